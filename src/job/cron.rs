//! The jobs in pg_cron. Its functions are somebody else's code, so they run with the caller's own rights, watched as
//! whatever the caller does: never as own SQL.

use super::set::{appoint, approved_until};
use crate::error::{Fault, Outcome, answer};
use crate::person::{one_text, texts};
use crate::policy::{changed, require_privilege};
use crate::{own, preload};
use pgrx::prelude::*;
use pgrx::spi::SpiClient;

#[pg_extern(sql = false)]
fn schedule_jobs(login: Option<pg_sys::Oid>) -> i64 {
    answer((|| {
        require_privilege("schedule_jobs")?;
        require_pg_cron()?;
        let login = match login {
            Some(login) => appoint(Some(login), approved_until()?)?,
            None => own::run(|client| one_text(client, APPOINTED, &[]))?,
        };
        let login = login.ok_or_else(|| {
            Fault::wrong_state("nobody knows which login runs the jobs")
                .hint("SELECT steward.schedule_jobs('job_night');  -- a login of the post service")
        })?;
        let scheduled = as_caller(|client| {
            count(client, STALE, &login)?;
            count(client, SCHEDULE, &login)
        })?;
        changed("schedule_jobs", &login)?;
        Ok(scheduled)
    })())
}

#[pg_extern(sql = false)]
fn unschedule_jobs() -> i64 {
    answer((|| {
        require_privilege("unschedule_jobs")?;
        require_pg_cron()?;
        let gone = as_caller(|client| count(client, UNSCHEDULE, ""))?;
        changed("unschedule_jobs", "pg_cron")?;
        Ok(gone)
    })())
}

const APPOINTED: &str = "SELECT r.rolname::text FROM steward.job_login l JOIN pg_roles r ON r.oid = l.role::oid";
/// Of another login, database or host, or of a job that is not enabled any more.
const STALE: &str = "SELECT count(cron.unschedule(jobid)) FROM cron.job WHERE jobname LIKE 'steward: %' AND (username <> $1
    OR database <> current_database() OR nodename <> current_setting('cron.host') OR nodeport::text <> current_setting('port')
    OR jobname <> ALL (SELECT 'steward: ' || name FROM steward.job WHERE enabled))";
/// pg_cron replaces a job of the same name and login.
const SCHEDULE: &str =
    "SELECT count(cron.schedule_in_database('steward: ' || name, schedule, format('SELECT steward.run_job(%L)', name),
        current_database()::text, $1)) FROM steward.job WHERE enabled";
const UNSCHEDULE: &str =
    "SELECT count(cron.unschedule(jobid)) FROM cron.job WHERE jobname LIKE 'steward: %' AND $1 = ''";

fn require_pg_cron() -> Outcome<()> {
    let facts =
        "SELECT unnest(ARRAY[current_database()::text, (SELECT count(*)::text FROM pg_extension WHERE extname = 'pg_cron'),
        current_setting('cron.database_name', true)])";
    let facts = own::run(|client| texts(client, facts, &[]))?;
    let (Some(home), Some(installed)) = (facts.first(), facts.get(1)) else {
        return Err(Fault::internal("nothing is known of pg_cron"));
    };
    let Some(database) = facts.get(2) else {
        return Err(Fault::wrong_state("pg_cron is not loaded").hint(preload::hint(&["pg_cron"])));
    };
    if database != home {
        return Err(Fault::wrong_state("pg_cron works in another database")
            .detail(format!("Its tables belong to \"{database}\"."))
            .hint(format!("Add to postgresql.conf and restart: cron.database_name = '{home}'")));
    }
    if installed == "0" {
        return Err(Fault::wrong_state("pg_cron is not installed in this database").hint("CREATE EXTENSION pg_cron;"));
    }
    Ok(())
}

/// Ends the level of settings; after an error the abort does.
struct Level(i32);

impl Drop for Level {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // Safe: closes the level that was opened below.
            unsafe { pg_sys::AtEOXact_GUC(true, self.0) };
        }
    }
}

/// SQL with the caller's rights, watched, and with names that are looked up in the catalog only.
fn as_caller<T>(body: impl FnOnce(&mut SpiClient<'_>) -> Outcome<T>) -> Outcome<T> {
    // Safe: paired with the end of the level.
    let _level = Level(unsafe { pg_sys::NewGUCNestLevel() });
    own::pin(&[(c"search_path", c"pg_catalog, pg_temp")]);
    Spi::connect_mut(body)
}

fn count(client: &mut SpiClient<'_>, query: &str, login: &str) -> Outcome<i64> {
    Ok(own::query(client, query, &[login.into()])?.first().get_one::<i64>()?.unwrap_or(0))
}
