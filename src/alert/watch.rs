//! The sequencer's part: every record is looked at on its way into the chain, and what a rule speaks of is a row of
//! `steward._alert` in the same transaction, unless somebody holds that row: then with a later round.
//!
//! Whom and what a record is about stands in its definitions; which rules speak of them is found out once for each, as a
//! set of bits, so that most records cost two look-ups. Counts live in memory: they begin anew with the sequencer.

use super::listeners;
use super::query::ASKED;
use crate::audit::sequencer::SERVER;
use crate::backend::NumberMap;
use crate::cache;
use crate::core::alert::{Recent, Rule, kind_of};
use crate::core::calendar::{Calendar, Moment};
use crate::core::injection::Patterns;
use crate::core::record::{Field, Kind, ROWS_READ, Side, Split, Value, find_field, find_in_body, list};
use crate::core::tier::Tier;
use crate::error::Outcome;
use crate::register::reminder::TOLD;
use crate::{own, settings};
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use serde_json::json;
use std::collections::HashMap;
use std::ffi::CString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

/// Subjects whose records are counted, before those that are long over are forgotten.
const COUNTED: usize = 10_000;
/// Definitions that are remembered.
const REMEMBERED: usize = 50_000;
const MINUTE: i64 = 60_000_000;
/// The operation type of the record that tells of a suspected statement.
pub const SUSPICION: &str = "INJECTION PATTERN";
/// What an alert about a kind names of its things.
const SAMPLE: usize = 10;
/// Microseconds between two looks for alerts that nobody has answered.
const LOOK: i64 = 5_000_000;

/// Rules by their place, one bit each.
type Rules = u64;

/// Who a record is about.
#[derive(Clone, Default)]
struct Who {
    subject: Rc<str>,
    rules: Rules,
}

/// What it is about.
#[derive(Clone, Default)]
pub(super) struct What {
    operation_type: Rc<str>,
    relation: Option<Rc<str>>,
    rules: Rules,
    /// Of injected SQL, with a digest of the text.
    patterns: Patterns,
    text: u64,
}

impl What {
    /// Of no record.
    pub(super) fn of(operation_type: &str) -> What {
        What { operation_type: operation_type.into(), ..What::default() }
    }
}

/// What one round has to say of a rule and a subject.
pub(super) struct Raised {
    pub(super) times: i64,
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) what: What,
    /// Of what a case is folded from, some, for people to begin with.
    pub(super) sample: Vec<Rc<str>>,
}

#[derive(Default)]
pub struct Watch {
    rules: Rc<Vec<Rule>>,
    who: NumberMap<i64, Who>,
    what: NumberMap<i64, What>,
    recent: HashMap<(usize, Rc<str>), Recent>,
    raised: HashMap<(usize, Rc<str>), Raised>,
    suspected: Vec<(Vec<u8>, Patterns)>,
    /// When a text was last suspected of somebody.
    suspicions: HashMap<(Rc<str>, u64), i64>,
    calendar: Rc<Calendar>,
    /// The last minute that was asked for, in the policy's zone.
    minute: Option<(i64, Moment)>,
    looked_at: i64,
}

/// Where the content of a definition is found.
pub trait Definitions {
    fn content(&mut self, client: &mut SpiClient<'_>, id: i64) -> Outcome<Option<&[u8]>>;
}

impl Watch {
    /// Before the records of a round: the rules as they are now.
    pub fn begin(&mut self) {
        let rules = cache::policy().alert_rules();
        if !Rc::ptr_eq(&rules, &self.rules) {
            self.who.clear();
            self.what.clear();
            self.calendar = cache::policy().calendar();
            self.minute = None;
            if *rules != *self.rules {
                // Their places are those of the former rules.
                self.raise();
                self.raised.clear();
                // A rule that stands as it was goes on counting.
                let kept = |place: usize, rule: &Rule| self.rules.get(place) == Some(rule);
                let unchanged: Vec<bool> = rules.iter().enumerate().map(|(place, rule)| kept(place, rule)).collect();
                self.recent.retain(|(place, _), _| unchanged.get(*place) == Some(&true));
            }
            self.rules = rules;
        }
        if self.who.len() + self.what.len() > REMEMBERED {
            self.who.clear();
            self.what.clear();
        }
    }

    /// Looks at one record.
    pub fn see(
        &mut self,
        client: &mut SpiClient<'_>,
        record: &[u8],
        definitions: &mut impl Definitions,
    ) -> Outcome<()> {
        let Ok(split) = Split::new(record) else { return Ok(()) };
        if self.rules.is_empty() || matches!(split.kind, Kind::Definition | Kind::Genesis) {
            return Ok(());
        }
        let what = self.what(client, split.what, definitions)?;
        if what.patterns.any() {
            self.suspect(client, &split, &what, record, definitions)?;
        }
        if what.rules == 0 {
            return Ok(());
        }
        let mut who = self.who(client, split.who, definitions)?;
        if split.kind == Kind::Server
            && &*who.subject == SERVER
            && let Some(about) = &what.relation
        {
            // What the server says of a standby or a job is about that.
            who.subject = about.clone();
        }
        let told = what.relation.as_ref().filter(|_| TOLD.contains(&&*what.operation_type));
        if let Some(about) = told {
            // A reminder is about what is overdue, not about who runs the job that tells it. One case for each kind: a
            // first day finds hundreds, which nobody answers one by one.
            who.subject = kind_of(about).into();
        }
        let mut left = who.rules & what.rules;
        while left != 0 {
            let place = left.trailing_zeros() as usize;
            left &= left - 1;
            if self.fulfils(client, place, &split, record)? {
                self.count(place, &who, &what, told, split.time, record);
            }
        }
        Ok(())
    }

    /// Once an hour for each person and text: who attacks does so often.
    fn suspect(
        &mut self,
        client: &mut SpiClient<'_>,
        split: &Split<'_>,
        what: &What,
        record: &[u8],
        definitions: &mut impl Definitions,
    ) -> Outcome<()> {
        let who = self.who(client, split.who, definitions)?;
        let before = self.suspicions.insert((who.subject, what.text), split.time);
        if before.is_none_or(|before| split.time - before > 60 * MINUTE) {
            self.suspected.push((record.to_vec(), what.patterns));
        }
        Ok(())
    }

    /// Records that look like injected SQL, for the chain to tell.
    pub fn suspected(&mut self) -> Vec<(Vec<u8>, Patterns)> {
        if self.suspicions.len() > COUNTED {
            self.suspicions.clear();
        }
        std::mem::take(&mut self.suspected)
    }

    fn fulfils(&mut self, client: &mut SpiClient<'_>, place: usize, split: &Split<'_>, record: &[u8]) -> Outcome<bool> {
        let rules = self.rules.clone();
        let rule = &rules[place];
        if !rule.concerns_ending(split.kind, split.outcome) {
            return Ok(false);
        }
        // Of a statement that ran again and again what each took on average.
        if rule.longer_than.is_some_and(|least| split.duration_us.unwrap_or(0) / acts(record) < least) {
            return Ok(false);
        }
        Ok(!rule.asks_when() || rule.concerns_moment(self.moment(client, split.time)?))
    }

    fn count(&mut self, place: usize, who: &Who, what: &What, about: Option<&Rc<str>>, time: i64, record: &[u8]) {
        let key = (place, who.subject.clone());
        let rule = &self.rules[place];
        let rows = if rule.more_rows.is_some() { number(record, Field::Rows).max(rows_read(record)) } else { 0 };
        let recent = self.recent.entry(key.clone()).or_default();
        let exceeds = recent.exceeds(rule, time, acts(record), rows);
        if rule.more_than == 0 && rule.more_rows.is_none() {
            self.recent.remove(&key);
        }
        if exceeds {
            let raised = self.raised.entry(key).or_insert_with(|| Raised {
                times: 0,
                first: time,
                last: time,
                what: what.clone(),
                sample: Vec::new(),
            });
            raised.times += 1;
            if let Some(about) = about.filter(|about| !raised.sample.contains(about))
                && raised.sample.len() < SAMPLE
            {
                raised.sample.push(about.clone());
            }
            raised.first = raised.first.min(time);
            raised.last = raised.last.max(time);
        }
    }

    fn who(&mut self, client: &mut SpiClient<'_>, side: Side<'_>, definitions: &mut impl Definitions) -> Outcome<Who> {
        match side {
            Side::Own(bytes) => Ok(self.read_who(bytes)),
            Side::Defined(id) => {
                if let Some(who) = self.who.get(&id) {
                    return Ok(who.clone());
                }
                let who = definitions.content(client, id)?.map(|bytes| self.read_who(bytes)).unwrap_or_default();
                self.who.insert(id, who.clone());
                Ok(who)
            }
        }
    }

    fn what(
        &mut self,
        client: &mut SpiClient<'_>,
        side: Side<'_>,
        definitions: &mut impl Definitions,
    ) -> Outcome<What> {
        match side {
            Side::Own(bytes) => Ok(self.read_what(bytes)),
            Side::Defined(id) => {
                if let Some(what) = self.what.get(&id) {
                    return Ok(what.clone());
                }
                let what = definitions.content(client, id)?.map(|bytes| self.read_what(bytes)).unwrap_or_default();
                self.what.insert(id, what.clone());
                Ok(what)
            }
        }
    }

    fn read_who(&self, bytes: &[u8]) -> Who {
        let person = text(bytes, Field::Person);
        let post = person.and_then(post_of);
        let subject = match (person, text(bytes, Field::UserId)) {
            (Some(person), _) => person.into(),
            (None, Some(login)) => subject_of(login).into(),
            (None, None) => "nobody".into(),
        };
        Who { subject, rules: self.bits(|rule| rule.concerns_post(post.as_deref())) }
    }

    fn read_what(&self, bytes: &[u8]) -> What {
        let operation_type = text(bytes, Field::OperationType).unwrap_or_default();
        let tier = match find_in_body(bytes, Field::Tier) {
            Ok(Some(Value::Byte(tier))) => Tier::from_u8(tier),
            _ => None,
        };
        let relation = match find_in_body(bytes, Field::Relations) {
            Ok(Some(Value::List(relations))) => {
                list(relations).ok().and_then(|all| all.first().map(|one| Rc::from(*one)))
            }
            _ => None,
        };
        let rules = self.bits(|rule| rule.concerns_act(operation_type, tier));
        let statement = text(bytes, Field::Statement).filter(|_| operation_type != SUSPICION).unwrap_or_default();
        let mut digest = DefaultHasher::new();
        statement.hash(&mut digest);
        let (patterns, text) = (Patterns::of(statement), digest.finish());
        What { operation_type: operation_type.into(), relation, rules, patterns, text }
    }

    fn bits(&self, concerns: impl Fn(&Rule) -> bool) -> Rules {
        let places = self.rules.iter().enumerate().filter(|(_, rule)| concerns(rule)).map(|(place, _)| 1 << place);
        places.fold(0, |bits, bit: Rules| bits | bit)
    }

    fn moment(&mut self, client: &mut SpiClient<'_>, time: i64) -> Outcome<Moment> {
        let minute = time.div_euclid(MINUTE);
        if let Some((known, moment)) = self.minute
            && known == minute
        {
            return Ok(moment);
        }
        let sql = "SELECT (extract(epoch FROM (timestamptz '2000-01-01 00:00:00+00' + $1 * interval '1 minute')
            AT TIME ZONE $2 - timestamp '2000-01-01') / 60)::bigint";
        let local = own::select(client, sql, &[minute.into(), settings::time_zone().into()])?.first();
        let moment = self.calendar.moment(local.get_one::<i64>()?.unwrap_or(minute) * MINUTE);
        self.minute = Some((minute, moment));
        Ok(moment)
    }

    /// Writes down what was raised, each in a subtransaction of its own. What meets a locked row is tried again with the
    /// next round: nobody's open transaction stops the chain, or takes an alert away.
    pub fn raise(&mut self) {
        let raised = std::mem::take(&mut self.raised);
        for ((place, subject), raised) in raised {
            let rule = &self.rules[place];
            match own::attempt(|client| raised.write(client, rule, &subject)) {
                Ok(Written::New(id)) => {
                    tell("raised", id, &rule.name, &rule.level);
                    let what = &raised.what.operation_type;
                    warning!("pg_steward alert {id}: {} ({}), {what} by {subject}", rule.name, rule.level);
                    continue;
                }
                Ok(Written::Counted) => continue,
                Ok(Written::Locked) => {}
                Err(undone) => warning!("pg_steward: alert {} waits: {}", rule.name, undone.message),
            }
            self.raised.insert((place, subject), raised);
        }
    }

    /// Now and then, in a transaction of its own: what could not be written down before, alerts that nobody has
    /// acknowledged within 15 minutes, which are told again, and then every hour.
    pub fn tend(&mut self) {
        // Safe: reads the clock.
        let now = unsafe { pg_sys::GetCurrentTimestamp() };
        if (now - self.looked_at).abs() < LOOK {
            return;
        }
        self.looked_at = now;
        self.raise();
        match own::attempt(|client| told_of(client, ESCALATE)) {
            Ok(told) => told.iter().for_each(|(id, rule, level)| {
                tell("escalated", *id, rule, level);
                warning!("pg_steward alert {id}: {rule} ({level}) escalated");
            }),
            Err(undone) => warning!("pg_steward: alerts are looked after later: {}", undone.message),
        }
        if self.recent.len() > COUNTED {
            let rules = self.rules.clone();
            self.recent.retain(|(place, _), recent| !recent.is_over(&rules[*place], now));
        }
    }
}

/// What is about a login of nobody: its name, or what nobody takes for the person of that name.
pub fn subject_of(login: &str) -> String {
    let policy = cache::policy();
    let name = CString::new(login).unwrap_or_default();
    // Safe: a look-up by name inside a transaction.
    let role = unsafe { pg_sys::get_role_oid(name.as_ptr(), true) };
    let is_theirs = policy.person(role).is_some_and(|person| person.name == login);
    let is_a_person = policy.everybody().iter().any(|person| person.name == login);
    if is_a_person && !is_theirs { format!("login {login}") } else { login.to_owned() }
}

const ESCALATE: &str = "UPDATE steward._alert SET escalated_at = clock_timestamp(), delivered_at = NULL
    WHERE id IN (SELECT id FROM steward._alert WHERE acknowledged_at IS NULL
        AND raised_at < clock_timestamp() - interval '15 minutes'
        AND (escalated_at < clock_timestamp() - interval '1 hour') IS NOT FALSE FOR NO KEY UPDATE SKIP LOCKED)
    RETURNING id, rule, level";

fn told_of(client: &mut SpiClient<'_>, query: &str) -> Outcome<Vec<(i64, String, String)>> {
    let mut told = Vec::new();
    for row in own::query(client, query, &[])? {
        let text = |column: usize| row.get::<String>(column).map(Option::unwrap_or_default);
        told.push((row.get::<i64>(1)?.unwrap_or(0), text(2)?, text(3)?));
    }
    Ok(told)
}

/// What became of something raised.
pub(super) enum Written {
    New(i64),
    Counted,
    /// Somebody's transaction holds the row.
    Locked,
}

/// The case that it belongs to: nobody has answered it, or somebody did so just now.
macro_rules! same_case {
    () => {
        " FROM steward._alert WHERE rule = $1 AND subject = $2 AND closed_at IS NULL
            AND (acknowledged_at IS NULL OR acknowledged_at > clock_timestamp() - $3 * interval '1 microsecond')"
    };
}

impl Raised {
    pub(super) fn write(&self, client: &mut SpiClient<'_>, rule: &Rule, subject: &str) -> Outcome<Written> {
        let case = || [rule.name.as_str().into(), subject.into(), rule.within.into()];
        let sample = || self.sample.iter().map(|one| one.to_string()).collect::<Vec<_>>();
        let held = concat!("SELECT id", same_case!(), " ORDER BY id DESC LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED");
        if let Some(row) = own::query(client, held, &case())?.next() {
            let count = "UPDATE steward._alert SET times = times + $2,
                sample = (sample || ARRAY(SELECT s FROM unnest($5) s WHERE s <> ALL (sample)))[:$6],
                first_at = least(first_at, timestamptz '2000-01-01 00:00:00+00' + $3 * interval '1 microsecond'),
                last_at = greatest(last_at, timestamptz '2000-01-01 00:00:00+00' + $4 * interval '1 microsecond') WHERE id = $1";
            let row = [
                row.get::<i64>(1)?.into(),
                self.times.into(),
                self.first.into(),
                self.last.into(),
                sample().into(),
                (SAMPLE as i32).into(),
            ];
            own::execute(client, count, &row)?;
            return Ok(Written::Counted);
        }
        if !own::query(client, concat!("SELECT id", same_case!()), &case())?.is_empty() {
            return Ok(Written::Locked);
        }
        let insert =
            "INSERT INTO steward._alert (rule, level, subject, times, first_at, last_at, operation_type, relation, sample)
            VALUES ($1, $2, $3, $4, timestamptz '2000-01-01 00:00:00+00' + $5 * interval '1 microsecond',
                timestamptz '2000-01-01 00:00:00+00' + $6 * interval '1 microsecond', $7, $8, $9) RETURNING id";
        let row = [
            rule.name.as_str().into(),
            rule.level.as_str().into(),
            subject.into(),
            self.times.into(),
            self.first.into(),
            self.last.into(),
            (&*self.what.operation_type).into(),
            self.what.relation.as_deref().map(str::to_owned).into(),
            sample().into(),
        ];
        let id = own::query(client, insert, &row)?.first().get_one::<i64>()?.unwrap_or(0);
        self.open_incident(client, rule, id)?;
        Ok(Written::New(id))
    }

    /// A major alert is an incident (requirement 87). An emergency window is one already: its operation.
    fn open_incident(&self, client: &mut SpiClient<'_>, rule: &Rule, alert: i64) -> Outcome<()> {
        if rule.level != "major" || &*self.what.operation_type == "BREAK GLASS" {
            return Ok(());
        }
        // Of what a question finds, one that nobody has confirmed is enough: a question may find much.
        let incident = "INSERT INTO steward._incident (alert_id, level, occurred_at, description)
            SELECT $1, 'major', timestamptz '2000-01-01 00:00:00+00' + $2 * interval '1 microsecond', $3
            WHERE NOT $4 OR NOT EXISTS (SELECT FROM steward._incident i JOIN steward._alert a ON a.id = i.alert_id
                WHERE i.confirmed_at IS NULL AND a.rule = $5 AND a.operation_type = $6)";
        let description = format!("alert {}: {}", rule.name, self.what.operation_type);
        let row = [
            alert.into(),
            self.first.into(),
            description.as_str().into(),
            (&*self.what.operation_type == ASKED).into(),
            rule.name.as_str().into(),
            (&*self.what.operation_type).into(),
        ];
        own::execute(client, incident, &row).map(drop)
    }
}

/// Whom it is about is for those who may read the table.
pub(super) fn tell(event: &str, id: i64, rule: &str, level: &str) {
    listeners::tell(json!({ "alert": rule, "event": event, "id": id, "level": level }).to_string());
}

/// How often what a record tells of has happened: nested statements that repeat are one record.
fn acts(record: &[u8]) -> i64 {
    number(record, Field::Repeats).max(1)
}

/// How many rows went into those that a statement returned, if it says so.
fn rows_read(record: &[u8]) -> i64 {
    match find_field(record, Field::Details) {
        Ok(Some(Value::Text(details))) if details.contains(ROWS_READ) => {
            let details: serde_json::Value = serde_json::from_str(details).unwrap_or_default();
            details[ROWS_READ].as_i64().unwrap_or(0)
        }
        _ => 0,
    }
}

fn number(record: &[u8], field: Field) -> i64 {
    match find_field(record, field) {
        Ok(Some(Value::Int(number))) => number,
        Ok(Some(Value::Unsigned(number))) => number as i64,
        _ => 0,
    }
}

fn text(body: &[u8], field: Field) -> Option<&str> {
    match find_in_body(body, field) {
        Ok(Some(Value::Text(text))) => Some(text),
        _ => None,
    }
}

fn post_of(person: &str) -> Option<String> {
    crate::operation::person_named(person).map(|person| person.post.clone())
}
