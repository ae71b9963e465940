//! Whose rights a restore uses: those of the caller and of the owners of tables, never its own, wherever code of somebody
//! else may run. What they lack is lent for that moment; an error undoes the loan with everything else.

use super::text;
use crate::error::Outcome;
use crate::own;
use pgrx::pg_sys;

/// Runs `body` as a role that can neither leave it nor leave anything behind in the session, as VACUUM does.
pub fn as_owner<T>(owner: pg_sys::Oid, body: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    become_owner(owner, pg_sys::SECURITY_RESTRICTED_OPERATION, body)
}

/// Runs `body` as the owner of a table who looks for rows in it, as a foreign key does: row security hides none.
pub fn as_key<T>(owner: pg_sys::Oid, body: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    become_owner(owner, pg_sys::SECURITY_RESTRICTED_OPERATION | pg_sys::SECURITY_NOFORCE_RLS, body)
}

fn become_owner<T>(owner: pg_sys::Oid, more: u32, body: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    /// Puts the former role back, by a panic (an SQL error on its way through) as well.
    struct Former(pg_sys::Oid, i32);
    impl Drop for Former {
        fn drop(&mut self) {
            // Safe: what `become_owner` has read.
            unsafe { pg_sys::SetUserIdAndSecContext(self.0, self.1) }
        }
    }
    let _exact = text::Exact::enter();
    let mut former = Former(pg_sys::InvalidOid, 0);
    // Safe: backend state, restored by the guard.
    unsafe {
        pg_sys::GetUserIdAndSecContext(&mut former.0, &mut former.1);
        let context = former.1 | (pg_sys::SECURITY_LOCAL_USERID_CHANGE | more) as i32;
        pg_sys::SetUserIdAndSecContext(owner, context);
    }
    body()
}

/// Runs `body` while this role has a privilege on a table.
pub fn with_right<T>(right: &str, table: &str, role: pg_sys::Oid, body: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    let has = own::run(|client| {
        let has = "SELECT has_table_privilege($1, to_regclass($2), $3)";
        Ok(own::select(client, has, &[role.into(), table.into(), right.into()])?.first().get_one::<bool>()?)
    })?;
    if has == Some(true) { body() } else { permit("ON", table, right, role, body) }
}

/// Runs `body` while this role may read the copy.
pub fn readable<T>(copy: &str, role: pg_sys::Oid, body: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    permit("ON", copy, "SELECT", role, body)
}

/// Runs `body` while this role may create tables where this one belongs.
pub fn with_place<T>(table: &str, role: pg_sys::Oid, body: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    let missing = own::run(|client| {
        let missing = "SELECT max(quote_ident(s)) FROM (SELECT (parse_ident($1))[1]) t(s) WHERE NOT has_schema_privilege($2, s, 'CREATE')";
        Ok(own::select(client, missing, &[table.into(), role.into()])?.first().get_one::<String>()?)
    })?;
    match missing {
        Some(schema) => permit("ON SCHEMA", &schema, "CREATE", role, body),
        None => body(),
    }
}

/// Runs `body` while a role has a privilege that it had not before. An error undoes all of it.
fn permit<T>(
    on: &str,
    object: &str,
    privilege: &str,
    role: pg_sys::Oid,
    body: impl FnOnce() -> Outcome<T>,
) -> Outcome<T> {
    let role = pgrx::spi::quote_identifier(&*crate::session::role_name(role));
    own::run(|client| own::execute(client, &format!("GRANT {privilege} {on} {object} TO {role}"), &[]).map(drop))?;
    let value = body()?;
    own::run(|client| own::execute(client, &format!("REVOKE {privilege} {on} {object} FROM {role}"), &[]).map(drop))?;
    Ok(value)
}
