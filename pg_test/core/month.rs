//! A seeded month of traffic: every installed alert rule speaks of what was put there for it, and of nothing else. The
//! rules are those that the files in `sql/` install; the month is October 2026 in China, with its holidays, the Saturday
//! that makes up for them, and the borders of the night. `cluster::month` provokes the same rules on a server.

use std::collections::{BTreeMap, HashMap};

use crate::core::alert::{Recent, Rule, kind_of};
use crate::core::calendar::Calendar;
use crate::core::record::{Kind, Outcome};
use crate::core::tier::Tier;

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3600 * SECOND;
const DAY: i64 = 24 * HOUR;
/// 2026-10-01, a Thursday, in days since 2000-01-01.
const FIRST: i64 = 9770;

/// What a record says to rules. Local time.
#[derive(Clone)]
struct Event {
    time: i64,
    subject: &'static str,
    post: Option<&'static str>,
    kind: Kind,
    operation_type: &'static str,
    tier: Tier,
    outcome: Outcome,
    took: i64,
    rows: i64,
}

/// The rules as they are installed, read from the tuples of the INSERTs of every file.
fn installed() -> Vec<Rule> {
    let directory = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/sql")).expect("sql/");
    let files = directory.map(|entry| entry.expect("entry").path()).filter(|file| file.is_file());
    let sql: String = files.map(|file| std::fs::read_to_string(file).expect("a file in sql/")).collect();
    let tuples = |line: &&str| line.starts_with("    ('") && (line.ends_with("),") || line.ends_with(");"));
    let mut rules: Vec<Rule> = Vec::new();
    for insert in sql.split("INSERT INTO steward.alert_rule (").skip(1) {
        let columns: Vec<&str> = insert[..insert.find(')').expect("columns")].split(", ").collect();
        let end = insert.find(";\n").expect("an end") + 1;
        rules.extend(insert[..end].lines().filter(tuples).map(|tuple| rule(&columns, &values(tuple))));
    }
    rules
}

/// The values of `('a', '{b,c}', NULL, 0)`.
fn values(tuple: &str) -> Vec<String> {
    let inside = tuple.trim().trim_end_matches([',', ';']).trim_start_matches('(').trim_end_matches(')');
    let mut values = vec![String::new()];
    let mut quoted = false;
    for next in inside.chars() {
        match next {
            '\'' => quoted = !quoted,
            ',' if !quoted => values.push(String::new()),
            _ => values.last_mut().expect("one").push(next),
        }
    }
    values.iter().map(|value| value.trim().to_owned()).collect()
}

fn rule(columns: &[&str], values: &[String]) -> Rule {
    assert_eq!(columns.len(), values.len(), "{values:?}");
    let value = |column: &str| {
        let place = columns.iter().position(|known| *known == column);
        place.map(|place| values[place].as_str()).filter(|value| *value != "NULL")
    };
    let list = |column: &str| -> Vec<String> {
        let names = value(column).unwrap_or("{}").trim_start_matches('{').trim_end_matches('}').split(',');
        names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
    };
    let interval = |text: &str| {
        let (number, unit) = text.split_once(' ').expect("a number and a unit");
        let unit = if unit.starts_with("hour") { HOUR } else { SECOND };
        number.parse::<i64>().expect("a number") * unit
    };
    let minute = |text: &str| text[..2].parse::<u16>().expect("hour") * 60 + text[3..].parse::<u16>().expect("minute");
    Rule {
        name: value("name").expect("name").to_owned(),
        level: value("level").expect("level").to_owned(),
        kinds: list("kinds").iter().map(|kind| Kind::from_name(kind).expect("kind")).collect(),
        operation_types: list("operation_types"),
        outcomes: list("results").iter().map(|name| Outcome::from_name(name).expect("result")).collect(),
        min_tier: value("min_tier").map(|tier| Tier::from_name(tier).expect("tier")),
        longer_than: value("longer_than").map(interval),
        hours: value("from_time").map(minute).zip(value("to_time").map(minute)),
        free_days: value("free_days") == Some("true"),
        posts: list("posts"),
        except_posts: list("except_posts"),
        more_than: value("more_than").map_or(0, |number| number.parse().expect("number")),
        more_rows: value("more_rows").map(|number| number.parse().expect("number")),
        within: value("within").map_or(HOUR, interval),
    }
}

/// Numbers that are the same in every run.
struct Seed(u64);

impl Seed {
    fn below(&mut self, most: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) as i64) % most
    }
}

fn at(day: i64, hour: i64, minute: i64) -> i64 {
    (FIRST + day - 1) * DAY + hour * HOUR + minute * 60 * SECOND
}

/// An everyday look of somebody.
fn look(subject: &'static str, post: &'static str, time: i64) -> Event {
    Event {
        time,
        subject,
        post: Some(post),
        kind: Kind::Statement,
        operation_type: "SELECT",
        tier: Tier::Normal,
        outcome: Outcome::Success,
        took: 900_000,
        rows: 20,
    }
}

/// What the server says.
fn said(what: &'static str, subject: &'static str, outcome: Outcome, time: i64) -> Event {
    let kind = Kind::Server;
    Event { post: None, kind, operation_type: what, outcome, took: 0, rows: 0, ..look(subject, "", time) }
}

/// People work by day, at most 40 statements an hour; the application and parents do as they like.
fn everyday() -> Vec<Event> {
    let mut seed = Seed(20261001);
    let mut events = Vec::new();
    for day in 1..=31 {
        for (subject, post) in [("Wang", "teacher"), ("Zhao", "clerk"), ("Chen", "region")] {
            for hour in 7..22 {
                for _ in 0..seed.below(21) {
                    let time = at(day, hour, 0) + seed.below(HOUR);
                    events.push(look(subject, post, time));
                }
            }
        }
        for hour in 0..24 {
            for _ in 0..80 {
                let time = at(day, hour, 0) + seed.below(HOUR);
                events.push(Event { rows: 500, ..look("The application", "service", time) });
            }
            events.push(look("Xu", "parent", at(day, hour, 30)));
        }
        // What goes well is nothing to tell.
        let well = |what, hour| said(what, "archive", Outcome::Success, at(day, hour, 0));
        events.extend([well("ARCHIVE LATE", 3), well("REPLICATION LAG", 4), well("HEARTBEAT", 5)]);
        events.push(Event { kind: Kind::Policy, ..said("daily_check", "job", Outcome::Success, at(day, 2, 0)) });
        events.push(Event { kind: Kind::Policy, ..said("JOB", "night", Outcome::Success, at(day, 2, 5)) });
        events.push(Event {
            kind: Kind::Policy,
            ..said("REMINDER", "contact: security", Outcome::Success, at(day, 2, 6))
        });
    }
    events
}

/// What somebody should hear of: each event, by whose rule and how often that rule speaks of it.
fn incidents() -> (Vec<Event>, Vec<(&'static str, &'static str, u32)>) {
    let mut events = Vec::new();
    let night = |time| Event { rows: 1, ..look("Liu", "region", time) };
    // Four at night, four that are not: 21:59:59.999999 and 07:00 belong to the day.
    for time in [at(8, 22, 0), at(9, 7, 0) - 1, at(3, 0, 0), at(31, 24, 0) - 1] {
        events.push(night(time));
    }
    events.extend([at(8, 22, 0) - 1, at(9, 7, 0), at(3, 12, 0), at(10, 12, 0)].map(night));
    // 53 within an hour are three too many; 50 in one and 50 in the next, two hours later, are none.
    events.extend((0..53).map(|n| look("He", "teacher", at(12, 9, n))));
    events.extend((0..50).map(|n| look("Ma", "teacher", at(12, 9, 0) + n * 60 * SECOND)));
    events.extend((0..50).map(|n| look("Ma", "teacher", at(12, 11, 0) + n * 60 * SECOND)));
    // The third of these exceeds ten thousand; on another day there are ten thousand and no more.
    events.extend((0..3).map(|n| Event { rows: 4_000, ..look("Gu", "clerk", at(13, 10, n * 10)) }));
    events.extend((0..2).map(|n| Event { rows: 5_000, ..look("Gu", "clerk", at(14, 10, n * 10)) }));
    let slow = |took, minute| Event { took, ..look("Luo", "clerk", at(15, 10, minute)) };
    events.extend([slow(SECOND - 1, 0), slow(SECOND, 10), slow(2 * SECOND, 20)]);
    let denied = |tier| Event { outcome: Outcome::Denied, tier, ..look("Zhao", "clerk", at(16, 8, 30)) };
    events.extend([Tier::Normal, Tier::Important, Tier::Critical].map(denied));
    let login = |what, outcome| Event { kind: Kind::Login, post: None, ..said(what, "mallory", outcome, at(17, 3, 0)) };
    events.extend([login("LOGIN", Outcome::Failure), login("LOGIN FAILURES", Outcome::Failure)]);
    events.push(login("PERMISSION FAILURES", Outcome::Failure));
    events.push(login("SYNTAX ERRORS", Outcome::Failure));
    // Refused twice; what is let through, or only tells, is nothing to tell.
    events.extend(["BASE_BACKUP", "START_REPLICATION"].map(|what| login(what, Outcome::Denied)));
    events.extend(["BASE_BACKUP", "IDENTIFY_SYSTEM"].map(|what| login(what, Outcome::Success)));
    events.push(Event { operation_type: "OUT OF SCOPE", ..look("Wang", "teacher", at(18, 8, 0)) });
    let opened = |outcome| Event { kind: Kind::Operation, outcome, ..said("BREAK GLASS", "Wu", outcome, at(19, 9, 0)) };
    events.extend([opened(Outcome::Success), opened(Outcome::Denied)]);
    let missing = said("ROWS MISSING", "Chen", Outcome::Failure, at(19, 10, 0));
    events.push(Event { kind: Kind::Operation, ..missing });
    events.push(Event { kind: Kind::Policy, ..said("daily_check", "job", Outcome::Failure, at(20, 2, 0)) });
    events.push(Event { kind: Kind::Policy, ..said("JOB", "night", Outcome::Failure, at(20, 2, 5)) });
    // One kind is one case, however many things of it are over.
    let overdue = |outcome| said("OVERDUE", kind_of("contact: technical"), outcome, at(20, 2, 20));
    events.push(Event { kind: Kind::Policy, ..overdue(Outcome::Failure) });
    let another = said("OVERDUE", kind_of("contact: by night: second"), Outcome::Failure, at(20, 2, 20));
    events.push(Event { kind: Kind::Policy, ..another });
    // Not of the policy's own making, and not a failure.
    events.push(overdue(Outcome::Failure));
    events.push(Event { kind: Kind::Policy, ..overdue(Outcome::Success) });
    let server: [(&str, &str, &str); 24] = [
        ("login_policy_lost", "LOGIN POLICY LOST", "pg_steward"),
        ("records_lost", "LOST", "pg_steward"),
        ("records_in_doubt", "TORN SPOOL", "pg_steward"),
        ("records_in_doubt", "UNREADABLE", "pg_steward"),
        ("records_in_doubt", "COPIED SPOOL", "pg_steward"),
        ("records_in_doubt", "DAMAGED JOURNAL", "pg_steward"),
        ("records_in_doubt", "MISSING JOURNAL", "pg_steward"),
        ("records_in_doubt", "DAMAGED COUNT", "pg_steward"),
        ("records_in_doubt", "POSITIONS ALTERED", "pg_steward"),
        ("chain_changed", "HEAD MISMATCH", "pg_steward"),
        ("chain_changed", "VERIFICATION FAILED", "pg_steward"),
        ("replication_lag", "REPLICATION LAG", "second"),
        ("standby_missing", "STANDBY MISSING", "second"),
        ("archive_late", "ARCHIVE LATE", "archive"),
        ("archive_late", "ARCHIVE FAILING", "archive"),
        ("archive_late", "ARCHIVE AGE", "archive"),
        ("backup_late", "BACKUP OVERDUE", "backup"),
        ("missed_check", "CHECK OVERDUE", "daily_check"),
        ("missed_verification", "VERIFICATION OVERDUE", "audit_chain"),
        ("missed_job", "JOB OVERDUE", "revoke_lapsed"),
        ("sequencer_lag", "SEQUENCER LAG", "sequencer"),
        ("journal_altered", "JOURNAL ALTERED", "steward.journal_1"),
        ("clock_step", "CLOCK STEP", "pg_steward"),
        ("injection_pattern", "INJECTION PATTERN", "The application"),
    ];
    events.extend(server.iter().map(|(_, what, subject)| said(what, subject, Outcome::Failure, at(21, 3, 0))));
    let mut expected = vec![
        ("off_hours", "Liu", 4),
        ("rest_days", "Liu", 3),
        ("many_operations", "He", 3),
        ("many_rows", "Gu", 1),
        ("slow_statement", "Luo", 2),
        ("very_slow_statement", "Luo", 1),
        ("without_approval", "Zhao", 2),
        ("login_failures", "mallory", 1),
        ("permission_failures", "mallory", 1),
        ("syntax_errors", "mallory", 1),
        ("replication_refused", "mallory", 2),
        ("out_of_scope", "Wang", 1),
        ("emergency_window", "Wu", 1),
        ("rows_missing", "Chen", 1),
        ("daily_check", "job", 1),
        ("failed_job", "night", 1),
        ("record_overdue", "contact", 2),
    ];
    expected.extend(server.map(|(rule, _, subject)| (rule, subject, 1)));
    (events, expected)
}

fn alerts(rules: &[Rule], calendar: &Calendar, events: &[Event]) -> BTreeMap<(String, String), u32> {
    let mut recent: HashMap<(usize, &str), Recent> = HashMap::new();
    let mut alerts = BTreeMap::new();
    for event in events {
        for (place, rule) in rules.iter().enumerate() {
            let concerned = rule.concerns_post(event.post)
                && rule.concerns_act(event.operation_type, Some(event.tier))
                && rule.concerns_ending(event.kind, event.outcome)
                && rule.longer_than.is_none_or(|least| event.took >= least)
                && rule.concerns_moment(calendar.moment(event.time));
            if concerned && recent.entry((place, event.subject)).or_default().exceeds(rule, event.time, 1, event.rows) {
                *alerts.entry((rule.name.clone(), event.subject.to_owned())).or_insert(0) += 1;
            }
        }
    }
    alerts
}

#[test]
fn each_installed_rule_speaks_of_what_it_should_in_a_month_and_of_nothing_else() {
    let mut rules = installed();
    // Of one's own, for one region: nobody works on free days.
    rules.push(Rule { name: "rest_days".into(), free_days: true, posts: vec!["region".into()], ..Rule::default() });
    let holidays = (FIRST..FIRST + 7).map(|day| (day as i32, true));
    let calendar = Calendar::new(holidays.chain([(FIRST as i32 + 9, false)]));

    let (incidents, expected) = incidents();
    let mut wanted: BTreeMap<(String, String), u32> = BTreeMap::new();
    for (rule, subject, times) in expected {
        *wanted.entry((rule.to_owned(), subject.to_owned())).or_default() += times;
    }
    let mut events = everyday();
    // Chen's free days are told one by one: 1 to 7, then Sundays and all Saturdays but the 10th, which is worked.
    let free = [1, 2, 3, 4, 5, 6, 7, 11, 17, 18, 24, 25, 31].map(|day| FIRST + day - 1);
    let restless = events.iter().filter(|e| e.subject == "Chen" && free.contains(&(e.time.div_euclid(DAY)))).count();
    wanted.insert(("rest_days".into(), "Chen".into()), restless as u32);
    assert!(restless > 100 && events.len() > 60_000, "a month is more than {} events", events.len());
    events.extend(incidents);
    events.sort_by_key(|event| event.time);
    assert_eq!(alerts(&rules, &calendar, &events), wanted);
    let mut names: Vec<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
    names.sort_unstable();
    let mut spoken: Vec<&str> = wanted.keys().map(|(name, _)| name.as_str()).collect();
    spoken.dedup();
    assert_eq!(spoken, names, "each rule has its case, and each is there once");
    assert!(names.contains(&"record_overdue") && names.len() == 32, "{names:?}");
}
