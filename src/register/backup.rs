//! What hooks of backup tools tell: an entry of the kind backup or off_site_backup, after a look at whether it can be a
//! backup of this cluster. And what the server itself says of archiving and standbys.

use super::entry::add;
use super::refused;
use crate::core::register::{BACKUP_KINDS, Backup, lsn};
use crate::error::{Fault, Outcome, answer};
use crate::own;
use crate::person::{one_text, required};
use crate::register::_may_see_records;
use pgrx::prelude::*;
use serde_json::{Map, Value, json};

#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments)] // the SQL function's own
fn register_backup(
    kind: Option<&str>,
    label: Option<&str>,
    location: Option<&str>,
    off_site: Option<bool>,
    bytes: Option<i64>,
    manifest_digest: Option<&str>,
    // pg_lsn, whose values are 64 bits without a sign.
    start_lsn: Option<i64>,
    stop_lsn: Option<i64>,
    started_at: Option<TimestampWithTimeZone>,
    stopped_at: Option<TimestampWithTimeZone>,
    call: pg_sys::FunctionCallInfo,
) -> i64 {
    answer((|| {
        // Safe: reads shared control data.
        if unsafe { pg_sys::RecoveryInProgress() } {
            return Err(Fault::wrong_state("a standby keeps no register").hint("Register the backup at the primary."));
        }
        let missing =
            || Fault::bad_argument("a backup has a size, LSNs, times and a place").hint("\\df steward.register_backup");
        let (start, stop) = (start_lsn.ok_or_else(missing)? as u64, stop_lsn.ok_or_else(missing)? as u64);
        let (started_at, stopped_at) = (started_at.ok_or_else(missing)?, stopped_at.ok_or_else(missing)?);
        let backup = Backup {
            kind: required("type", kind)?,
            manifest_digest: required("manifest_digest", manifest_digest)?,
            start_lsn: start,
            stop_lsn: stop,
            bytes: bytes.ok_or_else(missing)?,
        };
        // Safe: reads shared state of the log.
        let log_end = unsafe { pg_sys::GetXLogInsertRecPtr() };
        if let Some(why) = backup.implausible(log_end) {
            return Err(Fault::bad_argument(format!("that is no backup of this cluster: {why}")));
        }
        check_recent(stopped_at)?;
        let fields = json!({
            "label": required("label", label)?, "location": required("location", location)?, "bytes": backup.bytes,
            "manifest_digest": backup.manifest_digest.to_lowercase(), "system_identifier": cluster()?,
            "start_lsn": lsn(start), "stop_lsn": lsn(stop),
            "started_at": started_at.to_iso_string(), "stopped_at": stopped_at.to_iso_string(),
        });
        let Value::Object(fields): Value = fields else { return Err(Fault::internal("fields are no object")) };
        register(off_site.ok_or_else(missing)?, backup.kind, fields, stopped_at, call)
    })())
}

/// Whoever could backdate would fill the days without a backup.
fn check_recent(stopped_at: TimestampWithTimeZone) -> Outcome<()> {
    let recent = "SELECT 'yes' WHERE $1 >= clock_timestamp() - interval '2 days'";
    match own::run(|client| one_text(client, recent, &[stopped_at.into()]))? {
        Some(_) => Ok(()),
        None => Err(Fault::bad_argument("stopped_at is more than 2 days ago")
            .detail("A backup is put on record when it is made, by its hook.")
            .hint("SELECT * FROM steward.backup_coverage;")),
    }
}

fn register(
    off_site: bool,
    kind: &str,
    fields: Map<String, Value>,
    at: TimestampWithTimeZone,
    call: pg_sys::FunctionCallInfo,
) -> Outcome<i64> {
    add("register_backup", BACKUP_KINDS[usize::from(off_site)], kind, fields, Some(at), call)
}

/// Which cluster this is.
fn cluster() -> Outcome<String> {
    let identifier = "SELECT system_identifier::text FROM pg_control_system()";
    Ok(own::run(|client| one_text(client, identifier, &[]))?.unwrap_or_default())
}

const CONTINUITY: &str = "SELECT 'archiving', 'wal', current_setting('archive_mode') <> 'off' AND last_archived_time IS NOT NULL
            AND coalesce(last_failed_time, '-infinity') < last_archived_time,
        CASE WHEN current_setting('archive_mode') = 'off' THEN 'archive_mode is off'
            WHEN coalesce(last_failed_time, '-infinity') >= coalesce(last_archived_time, '-infinity') AND last_failed_time IS NOT NULL
                THEN format('%s has failed at %s', last_failed_wal, last_failed_time)
            WHEN last_archived_time IS NULL THEN 'nothing archived yet'
            ELSE format('%s archived at %s', last_archived_wal, last_archived_time) END
        FROM pg_stat_archiver
    UNION ALL SELECT 'standby', coalesce(nullif(application_name, ''), client_addr::text, pid::text),
            state = 'streaming' AND coalesce(replay_lag, '0') <= interval '5 seconds',
            format('%s, %s, replay lag %s', state, sync_state, coalesce(replay_lag, '0'))
        FROM pg_stat_replication
    UNION ALL SELECT 'standby', 'none', false, 'no standby is connected' WHERE NOT EXISTS (SELECT FROM pg_stat_replication)";

#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn backup_continuity()
-> TableIterator<'static, (name!(what, String), name!(name, String), name!(ok, bool), name!(state, String))> {
    let rows = answer((|| {
        if !_may_see_records() {
            return Err(refused("backup_continuity", "it is not yours to call")
                .detail("It is for superusers and persons with the capability audit, approve or configure."));
        }
        own::run(|client| {
            let mut rows = Vec::new();
            for row in own::select(client, CONTINUITY, &[])? {
                let text = |column: usize| row.get::<String>(column).map(Option::unwrap_or_default);
                rows.push((text(1)?, text(2)?, row.get(3)?.unwrap_or(false), text(4)?));
            }
            Ok(rows)
        })
    })());
    TableIterator::new(rows)
}
