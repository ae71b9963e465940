//! The SQL functions of the policy of logins. They write its tables; the sequencer carries them to where logins look.

use super::failures;
use crate::error::{Fault, Outcome, answer};
use crate::person::required;
use crate::policy::{changed, require_configuration};
use crate::{own, session};
use pgrx::datum::{DatumWithOid, Interval};
use pgrx::prelude::*;

#[pg_extern(sql = false)]
fn set_login_limit(failures: Option<i32>, within: Option<Interval>, lock_for: Option<Interval>) {
    answer((|| {
        require_configuration("set_login_limit")?;
        if failures.is_some_and(|failures| !(0..=1000).contains(&failures)) {
            return Err(Fault::bad_argument("failures are 1 to 1000, or 0 to count none"));
        }
        if within.as_ref().is_some_and(|within| within.as_micros() <= 0) {
            return Err(Fault::bad_argument("within must be longer than nothing").hint("within => '15 min'"));
        }
        if lock_for.as_ref().is_some_and(|lock| lock.as_micros() < 0) {
            return Err(Fault::bad_argument("lock_for cannot be negative").hint("lock_for => '30 min'"));
        }
        own::run(|client| {
            let row = "UPDATE steward.login_limit SET failures = nullif(coalesce($1, failures), 0),
                within = coalesce($2, within), lock_for = nullif(coalesce($3, lock_for), interval '0')";
            own::execute(client, row, &[failures.into(), within.into(), lock_for.into()]).map(drop)
        })?;
        changed("set_login_limit", "login_limit")
    })())
}

#[pg_extern(sql = false)]
fn set_login_policy(
    role: Option<pg_sys::Oid>,
    addresses: Option<pgrx::AnyArray>,
    tls: Option<bool>,
    replication: Option<bool>,
) {
    answer((|| {
        require_configuration("set_login_policy")?;
        let role = role.ok_or_else(|| Fault::bad_argument("which role?"))?;
        let name = existing(role)?;
        let addresses = match &addresses {
            // Safe: the argument was declared cidr[] and lives as long as the call.
            Some(array) => unsafe { DatumWithOid::new(array.datum(), pg_sys::CIDRARRAYOID) },
            None => DatumWithOid::null_oid(pg_sys::CIDRARRAYOID),
        };
        own::run(|client| {
            let row = "INSERT INTO steward.login_policy AS p (role, addresses, tls, replication)
                VALUES ($1, nullif($2, '{}'), coalesce($3, false), coalesce($4, false))
                ON CONFLICT (role) DO UPDATE SET addresses = nullif(coalesce($2, p.addresses), '{}'),
                    tls = coalesce($3, p.tls), replication = coalesce($4, p.replication)";
            own::execute(client, row, &[regrole(role), addresses, tls.into(), replication.into()]).map(drop)
        })?;
        changed("set_login_policy", &name)
    })())
}

#[pg_extern(sql = false)]
fn block_address(address: Option<pgrx::AnyElement>, until: Option<TimestampWithTimeZone>, reason: Option<&str>) {
    answer((|| {
        require_configuration("block_address")?;
        let address = address.ok_or_else(|| Fault::bad_argument("which network?"))?;
        let reason = required("reason", reason)?;
        // Safe: reads the clock.
        let now = unsafe { pg_sys::GetCurrentTimestamp() };
        if until.is_some_and(|until| i64::from(until) <= now) {
            return Err(Fault::bad_argument("until has passed").hint("until => now() + interval '1 hour'"));
        }
        let by = session::login_name();
        let name = own::run(|client| {
            let row =
                "INSERT INTO steward.blocked_address AS b (address, until, reason, blocked_by) VALUES ($1, $2, $3, $4)
                ON CONFLICT (address) DO UPDATE SET until = EXCLUDED.until, reason = EXCLUDED.reason,
                    blocked_at = EXCLUDED.blocked_at, blocked_by = EXCLUDED.blocked_by RETURNING b.address::text";
            let row = own::query(client, row, &[cidr(&address), until.into(), reason.into(), by.into()])?;
            Ok(row.first().get_one::<String>()?)
        })?;
        changed("block_address", &name.unwrap_or_default())
    })())
}

#[pg_extern(sql = false)]
fn unblock_address(address: pgrx::AnyElement) {
    answer((|| {
        require_configuration("unblock_address")?;
        let gone = own::run(|client| {
            let row = "DELETE FROM steward.blocked_address WHERE address = $1 RETURNING address::text";
            let row = own::query(client, row, &[cidr(&address)])?;
            Ok(if row.is_empty() { None } else { row.first().get_one::<String>()? })
        })?;
        let Some(name) = gone else {
            return Err(
                Fault::unknown("this network is not blocked").hint("SELECT address FROM steward.blocked_address;")
            );
        };
        changed("unblock_address", &name)
    })())
}

#[pg_extern(sql = false)]
fn unlock_login(role: pg_sys::Oid) -> bool {
    answer((|| {
        require_configuration("unlock_login")?;
        let name = existing(role)?;
        changed("unlock_login", &name)?;
        Ok(failures::unlock(&name))
    })())
}

#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn _login_state(
    role: pg_sys::Oid,
) -> TableIterator<
    'static,
    (name!(failures, i64), name!(denials, i64), name!(locked_until, Option<TimestampWithTimeZone>)),
> {
    let (failures, denials, until) = failures::state(&session::role_name(role));
    let until = until.and_then(|until| TimestampWithTimeZone::try_from(until).ok());
    TableIterator::once((failures.into(), denials.into(), until))
}

/// The name of a role that must exist.
fn existing(role: pg_sys::Oid) -> Outcome<String> {
    // Safe: a syscache look-up with missing_ok; copied.
    unsafe {
        let name = pg_sys::GetUserNameFromId(role, true);
        if name.is_null() {
            return Err(Fault::unknown("this role does not exist").hint("SELECT rolname FROM pg_roles;"));
        }
        Ok(std::ffi::CStr::from_ptr(name).to_string_lossy().into_owned())
    }
}

fn regrole<'a>(role: pg_sys::Oid) -> DatumWithOid<'a> {
    // Safe: an oid is what regrole holds.
    unsafe { DatumWithOid::new(role, pg_sys::REGROLEOID) }
}

fn cidr<'a>(address: &pgrx::AnyElement) -> DatumWithOid<'a> {
    // Safe: the argument was declared cidr and lives as long as the call.
    unsafe { DatumWithOid::new(address.datum(), pg_sys::CIDROID) }
}
