//! What people do about alerts: acknowledge them in time, close them with a result, confirm that they were sent. Nobody
//! answers an alert about themselves (requirements 71, 72).

use super::watch::subject_of;
use crate::audit::buffer;
use crate::core::record::{Kind, Record};
use crate::error::{Fault, Outcome, answer};
use crate::own;
use crate::person::{one_text, required};
use crate::session;
use crate::watch::statement::client_calls;
use pgrx::datum::Interval;
use pgrx::prelude::*;
use serde_json::json;

#[pg_extern(sql = false)]
fn _may_see_alerts() -> bool {
    // Safe: looks up the role that authenticated.
    let superuser = unsafe { pg_sys::superuser_arg(session::login()) };
    superuser || session::person().is_some_and(|person| person.may("audit") || person.may("configure"))
}

#[pg_extern(sql = false)]
fn _may_send_alerts() -> bool {
    _may_see_alerts() || session::person().is_some_and(|person| person.post == "service")
}

#[pg_extern(sql = false)]
fn acknowledge(alert_id: Option<i64>, note: Option<&str>) -> Option<Interval> {
    answer((|| {
        let id = theirs("acknowledge", alert_id)?;
        let note = required("note", note)?;
        let sql = "UPDATE steward._alert SET acknowledged_at = clock_timestamp(), acknowledged_by = $2, note = $3
            WHERE id = $1 AND acknowledged_at IS NULL RETURNING acknowledged_at - raised_at";
        let response = own::run(|client| {
            let row = own::query(client, sql, &[id.into(), me().into(), note.into()])?.next();
            Ok(row.map(|row| row.get::<Interval>(1)).transpose()?.flatten())
        })?;
        let response = response.ok_or_else(|| {
            Fault::unknown(format!("alert {id} is acknowledged already"))
                .hint(format!("SELECT steward.close_alert({id}, '…');"))
        })?;
        record("acknowledge", id);
        Ok(Some(response))
    })())
}

#[pg_extern(sql = false)]
fn close_alert(alert_id: Option<i64>, result: Option<&str>) {
    answer((|| {
        let id = theirs("close_alert", alert_id)?;
        let result = required("result", result)?;
        let sql = "UPDATE steward._alert SET closed_at = clock_timestamp(), closed_by = $2, result = $3
            WHERE id = $1 AND acknowledged_at IS NOT NULL AND closed_at IS NULL RETURNING id::text";
        own::run(|client| one_text(client, sql, &[id.into(), me().into(), result.into()]))?.ok_or_else(|| {
            Fault::wrong_state(format!("alert {id} was not acknowledged"))
                .hint(format!("SELECT steward.acknowledge({id}, '…');"))
        })?;
        record("close_alert", id);
        Ok(())
    })())
}

#[pg_extern(sql = false)]
fn confirm_delivery(alert_id: i64) -> bool {
    answer((|| {
        if !_may_send_alerts() {
            return Err(not_yours("confirm_delivery"));
        }
        let sql = "UPDATE steward._alert SET delivered_at = clock_timestamp() WHERE id = $1 AND delivered_at IS NULL RETURNING id::text";
        let sent = own::run(|client| Ok(one_text(client, sql, &[alert_id.into()])?.is_some()))?;
        if sent {
            record("confirm_delivery", alert_id);
        }
        Ok(sent)
    })())
}

/// What somebody answers for is typed, not found in a view or function that another has written.
pub fn own_act(function: &str) -> Outcome<()> {
    if client_calls(function, "") {
        return Ok(());
    }
    Err(Fault::refused(format!("{function} refused: the client itself must call it"))
        .detail("Inside a function, view or block it does not count.")
        .hint(format!("SELECT steward.{function}(…);")))
}

/// The number of an open alert that the caller may answer.
fn theirs(function: &str, id: Option<i64>) -> Outcome<i64> {
    if !_may_see_alerts() {
        return Err(not_yours(function));
    }
    own_act(function)?;
    own::lock("SELECT FROM steward._alert WHERE id = $1 FOR UPDATE", &[id.into()], "steward._alert")?;
    let open = "SELECT subject FROM steward._alert WHERE id = $1 AND closed_at IS NULL FOR UPDATE";
    let subject = own::run(|client| one_text(client, open, &[id.into()]))?;
    match (id, subject) {
        (Some(id), Some(subject)) if subject != me() && subject != subject_of(&session::login_name()) => Ok(id),
        (Some(id), Some(_)) => Err(Fault::refused(format!("alert {id} is about you"))
            .detail("Somebody else must look into it.")
            .hint("SELECT name, post FROM steward.person;")),
        _ => Err(Fault::unknown("there is no such open alert")
            .hint("SELECT id, rule, subject FROM steward.alert WHERE closed_at IS NULL;")),
    }
}

fn not_yours(function: &str) -> Fault {
    Fault::refused(format!("steward.{function} is not yours to call"))
        .detail("It is for superusers and for persons with the capability audit or configure.")
        .hint("SELECT * FROM steward.post;")
}

fn me() -> String {
    session::person().map_or_else(session::login_name, |person| person.name.clone())
}

fn record(step: &str, id: i64) {
    let mut record = Record::new(Kind::Policy, step);
    record.details = Some(json!({ "alert": id }).to_string());
    buffer::push(record);
}
