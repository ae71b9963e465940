//! When jobs are due, and which login runs them: changes of the policy.

use crate::core::job::is_schedule;
use crate::error::{Fault, Outcome, answer};
use crate::own;
use crate::person::{one_text, optional, texts};
use crate::policy::{changed, require_privilege};
use pgrx::datum::{DatumWithOid, Interval};
use pgrx::prelude::*;
use pgrx::spi::SpiClient;

#[pg_extern(sql = false)]
fn set_job(name: Option<&str>, schedule: Option<&str>, max_age: Option<Interval>, enabled: Option<bool>) {
    answer((|| {
        require_privilege("set_job")?;
        let task = super::task::named(name)?;
        if let Some(schedule) = schedule.filter(|schedule| !is_schedule(schedule)) {
            return Err(Fault::bad_argument(format!("\"{schedule}\" is no schedule"))
                .detail(
                    "It is minute, hour, day of the month, month and day of the week, as numbers, ranges, steps and *.",
                )
                .hint("schedule => '0 18 * * *'"));
        }
        if max_age.is_some_and(|age| age.as_micros() <= 0) {
            return Err(Fault::bad_argument("max_age must be longer than nothing"));
        }
        let change = "UPDATE steward.job SET schedule = coalesce($2, schedule), max_age = coalesce($3, max_age),
                enabled = coalesce($4, enabled), set_at = CASE WHEN enabled THEN set_at ELSE clock_timestamp() END
            WHERE name = $1 RETURNING name";
        let row: [DatumWithOid<'_>; 4] = [task.name.into(), optional(schedule), max_age.into(), enabled.into()];
        own::run(|client| one_text(client, change, &row))?
            .ok_or_else(|| Fault::unknown(format!("job {} has no row in steward.job", task.name)))?;
        changed("set_job", task.name)
    })())
}

#[pg_extern(sql = false)]
fn set_job_login(login: Option<pg_sys::Oid>, until: Option<TimestampWithTimeZone>) {
    answer((|| {
        require_privilege("set_job_login")?;
        let name = appoint(login, until)?;
        changed("set_job_login", name.as_deref().unwrap_or("nobody"))
    })())
}

/// Where the login of the jobs is none that they may have, as a sentence.
pub fn misplaced(client: &mut SpiClient<'_>) -> Outcome<Vec<String>> {
    let wrong = "SELECT format('The jobs are run by login %s, which is not of the post service.', j.role) FROM steward.job_login j
        WHERE NOT EXISTS (SELECT FROM steward.person_login l JOIN steward.person p ON p.name = l.person
            JOIN pg_roles r ON r.oid = l.role::oid WHERE l.role = j.role AND p.post = 'service' AND NOT r.rolsuper)
        UNION ALL SELECT format('The jobs were to be run by login %s until %s.', role, until) FROM steward.job_login
            WHERE until <= clock_timestamp()";
    texts(client, wrong, &[])
}

/// Until when jobs may be run by the login that is appointed, if there is one: who hands the jobs to a scheduler makes no
/// term longer.
pub fn approved_until() -> Outcome<Option<TimestampWithTimeZone>> {
    own::run(|client| {
        let term = own::select(client, "SELECT until FROM steward.job_login", &[])?.next();
        Ok(term.map(|row| row.get::<TimestampWithTimeZone>(1)).transpose()?.flatten())
    })
}

/// From now on the jobs may be run by this login, and by no other service, for a year if nothing else is said. Returns its
/// name.
pub fn appoint(login: Option<pg_sys::Oid>, until: Option<TimestampWithTimeZone>) -> Outcome<Option<String>> {
    let service = "SELECT r.rolname::text FROM pg_roles r JOIN steward.person_login l ON l.role::oid = r.oid
        JOIN steward.person p ON p.name = l.person
        WHERE r.oid = $1 AND r.rolcanlogin AND NOT r.rolsuper AND p.post = 'service' AND p.suspended_at IS NULL";
    own::run(|client| {
        own::execute(client, "DELETE FROM steward.job_login", &[])?;
        let Some(login) = login else { return Ok(None) };
        let name = one_text(client, service, &[login.into()])?.ok_or_else(|| {
            Fault::bad_argument("jobs are run by a login of the post service")
                .detail("It must be able to log in, be no superuser, and its person must not be suspended.")
                .hint("SELECT steward.register_person('Night jobs', 'service', roles => '{job_night}');")
        })?;
        let insert = "INSERT INTO steward.job_login (role, until)
            SELECT $1::oid::regrole, t.until FROM coalesce($2, clock_timestamp() + interval '1 year') t (until)
            WHERE t.until > clock_timestamp() AND t.until <= clock_timestamp() + interval '2 years' RETURNING 'yes'";
        one_text(client, insert, &[login.into(), until.into()])?.ok_or_else(|| {
            Fault::bad_argument("until must lie ahead, two years at most")
                .detail("The approval of the jobs stands for a time, as that of a standing operation.")
                .hint(format!("SELECT steward.set_job_login('{name}', until => now() + interval '1 year');"))
        })?;
        Ok(Some(name))
    })
}
