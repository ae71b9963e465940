//! Recertification campaigns: every right of every person, confirmed by their supervisor or said to go. What goes is revoked
//! by an operation; nothing here touches a right.

use super::{actor, by_itself, lock, note, refused};
use crate::alert::answer::own_act;
use crate::cache::Person;
use crate::error::{Fault, Outcome, answer};
use crate::operation::person_named;
use crate::own;
use crate::person::{one_text, required};
use pgrx::datum::Interval;
use pgrx::prelude::*;
use serde_json::json;

const CAMPAIGN: &str = "INSERT INTO steward._recertification (id, title, opened_by, due_at)
    SELECT (SELECT coalesce(max(id), 0) + 1 FROM steward._recertification), $1, $2, clock_timestamp() + $3
    WHERE $3 BETWEEN interval '1 hour' AND interval '1 year' RETURNING id::text";
const ITEMS: &str = "INSERT INTO steward._recertification_item (id, campaign, person, grantee, kind, subject, revoke)
    SELECT (SELECT coalesce(max(id), 0) FROM steward._recertification_item) + row_number() OVER (ORDER BY person, grantee, kind, subject),
        $1::bigint, person, grantee, kind, subject, revoke FROM steward._recertified_right RETURNING id";

#[pg_extern(sql = false)]
fn open_recertification(title: Option<&str>, term: Option<Interval>, call: pg_sys::FunctionCallInfo) -> i64 {
    answer((|| {
        let function = "open_recertification";
        let person = actor(function)?;
        if !person.may("audit") && !person.may("configure") {
            return Err(refused(function, "it is not yours to call")
                .detail("It is for persons with the capability audit or configure."));
        }
        let title = required("title", title)?;
        by_itself(function, call)?;
        lock("LOCK TABLE steward._recertification, steward._recertification_item IN SHARE UPDATE EXCLUSIVE MODE", &[])?;
        let (id, items) = own::run(|client| {
            let id = one_text(client, CAMPAIGN, &[title.into(), person.name.as_str().into(), term.into()])?;
            let id =
                id.ok_or_else(|| Fault::bad_argument("term must be 1 hour to 1 year").hint("term => '30 days'"))?;
            let items = own::execute(client, ITEMS, &[id.as_str().into()])?;
            Ok((id, items))
        })?;
        note(function, title, json!({ "campaign": id, "rights": items }));
        id.parse().map_err(|_| Fault::internal("a campaign has no number"))
    })())
}

const ITEM: &str = "SELECT i.person, i.kind || ' ' || i.subject || ' of ' || i.grantee, i.keep IS NULL, p.supervisor
    FROM steward._recertification_item i LEFT JOIN steward.person p ON p.name = i.person WHERE i.id = $1 FOR UPDATE OF i";

#[pg_extern(sql = false)]
fn recertify(item: Option<i64>, keep: Option<bool>, comment: Option<&str>) {
    answer((|| {
        let function = "recertify";
        let person = actor(function)?;
        own_act(function)?;
        let item = item.unwrap_or(0);
        let (Some(keep), comment) = (keep, required("comment", comment)?) else {
            return Err(Fault::bad_argument("keep must be true or false"));
        };
        lock("SELECT FROM steward._recertification_item WHERE id = $1 FOR UPDATE", &[item.into()])?;
        let (holder, right, open, supervisor) = own::run(|client| {
            let row = own::query(client, ITEM, &[item.into()])?.next().ok_or_else(|| {
                Fault::unknown(format!("there is no right {item} to recertify"))
                    .hint("SELECT item, person, kind, subject FROM steward.recertification WHERE status = 'open';")
            })?;
            let text = |column: usize| row.get::<String>(column).map(Option::unwrap_or_default);
            Ok((text(1)?, text(2)?, row.get::<bool>(3)?.unwrap_or(false), row.get::<String>(4)?))
        })?;
        check_whose(&person, &holder, supervisor)?;
        if !open {
            return Err(Fault::wrong_state(format!("right {item} is decided"))
                .hint("SELECT item, status, decided_by FROM steward.recertification;"));
        }
        let change = "UPDATE steward._recertification_item SET keep = $2, decided_by = $3, decided_at = clock_timestamp(), comment = $4
            WHERE id = $1";
        let row = [item.into(), keep.into(), person.name.as_str().into(), comment.into()];
        own::run(|client| own::execute(client, change, &row))?;
        note(function, &holder, json!({ "item": item, "right": right, "keep": keep, "comment": comment }));
        Ok(())
    })())
}

/// The supervisor; where there is none who can, whoever approves or sets the policy up. Never the holder.
fn check_whose(person: &Person, holder: &str, supervisor: Option<String>) -> Outcome<()> {
    let supervisor = supervisor.filter(|name| person_named(name).is_some_and(|one| one.usable()));
    let theirs = match &supervisor {
        Some(supervisor) => *supervisor == person.name,
        None => person.may("approve") || person.may("configure"),
    };
    if theirs && person.name != holder {
        return Ok(());
    }
    let who = supervisor.unwrap_or_else(|| "a person with the capability approve or configure".to_owned());
    Err(refused("recertify", "somebody else decides that")
        .detail(format!("Rights of {holder} are confirmed by {who}, and never by {holder}.")))
}
