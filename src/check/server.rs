//! What the policy asks of the server and of itself every day, beside the checks that users set. Each is a query whose
//! rows are issues, told by their first column. Nothing here may show a secret: settings are compared by digest.

use crate::access::accepted::{self, Way};
use crate::access::ways_around;
use crate::error::{Outcome, answer};
use crate::own;
use crate::person::{self, one_text, texts};
use crate::policy::{changed, require_privilege};
use crate::scope::lint;
use pgrx::prelude::*;
use pgrx::spi::SpiClient;

/// What is configured for the whole server: what sessions cannot set, the files' other lines, settings of roles and
/// databases, who may come in how, in this order, and the libraries that the server was started with, by digest.
macro_rules! configuration {
    () => {
        "SELECT 'setting'::text AS kind, name, encode(sha256(convert_to(coalesce(reset_val, ''), 'UTF8')), 'hex') AS value
            FROM pg_settings WHERE context IN ('postmaster', 'sighup')
        UNION ALL SELECT 'setting', format('%s (file)', f.name),
                encode(sha256(convert_to(string_agg(coalesce(f.setting, ''), E'\\n' ORDER BY f.seqno), 'UTF8')), 'hex')
            FROM pg_file_settings f LEFT JOIN pg_settings s USING (name)
            WHERE f.name IS NOT NULL AND s.context IS DISTINCT FROM 'postmaster' AND s.context IS DISTINCT FROM 'sighup'
            GROUP BY f.name
        UNION ALL SELECT 'setting', format('%s in %s: %s', coalesce(r.rolname, 'every role'),
                coalesce(d.datname, 'every database'), split_part(c, '=', 1)), encode(sha256(convert_to(c, 'UTF8')), 'hex')
            FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole
            LEFT JOIN pg_database d ON d.oid = s.setdatabase, unnest(s.setconfig) c
        UNION ALL SELECT 'pg_hba.conf', concat_ws(' ', type, array_to_string(database, ','), array_to_string(user_name, ','),
                address, netmask, auth_method, array_to_string(options, ' ')),
                string_agg((row_number - 1)::text, ' ' ORDER BY row_number)
            FROM (SELECT *, row_number() OVER (ORDER BY line_number) FROM pg_hba_file_rules) h GROUP BY 2
        UNION ALL SELECT 'library', path,
                coalesce(encode(sha256(pg_read_binary_file(path, 0, (pg_stat_file(path, true)).size, true)), 'hex'), 'not found')
            FROM steward._preloaded_libraries() path"
    };
}

/// Where a check that could not be made is told.
pub const FAILED: &str = "failed_check";

/// Name and query of each; requirements 21, 43, 65, 71, 169, 178, 196.
const CHECKS: [(&str, &str); 13] = [
    ("audit_chain", "SELECT concat_ws(' ', kind, first_bad_id) FROM steward.verify_new() WHERE NOT ok AND kind <> 'empty'"),
    ("separation_of_duties", "SELECT format('%s: %s and %s', person, one, other) FROM steward._separation_issue ORDER BY 1"),
    (
        "login_without_person",
        "SELECT r.rolname::text FROM pg_roles r
            WHERE r.rolcanlogin AND NOT EXISTS (SELECT FROM steward.person_login l WHERE l.role::oid = r.oid) ORDER BY 1",
    ),
    (
        "weak_password",
        "SELECT rolname::text FROM pg_authid WHERE rolcanlogin AND rolpassword !~ '^SCRAM-SHA-256\\$' ORDER BY 1",
    ),
    (
        "weak_authentication",
        "SELECT format('line %s of pg_hba.conf: %s', line_number, coalesce(error, auth_method)) FROM pg_hba_file_rules
            WHERE error IS NOT NULL OR auth_method IN ('trust', 'ident', 'password', 'md5') ORDER BY line_number",
    ),
    (
        "privilege_drift",
        "SELECT format('%s on %s: %s %s', role_id, table_name, privilege, state) FROM steward.privilege_drift ORDER BY 1",
    ),
    (
        "lapsed_right",
        "SELECT format('%s: %s', op_no, grantee) FROM steward.role_term
            WHERE ended_at IS NULL AND until <= clock_timestamp()
        UNION ALL SELECT format('job login %s: jobs that remove or take back anything stand still since %s', role, until)
            FROM steward.job_login WHERE until <= clock_timestamp() ORDER BY 1",
    ),
    (
        "overdue_review",
        "SELECT op_no FROM steward._operation WHERE review_due < clock_timestamp() AND runs_done > 0
            AND status IN ('executed', 'approved', 'failed', 'armed') ORDER BY review_due",
    ),
    ("forged_operation", "SELECT unnest(steward._forged_operations())"),
    ("register", include_str!("register.sql")),
    ("own_object", include_str!("own_object.sql")),
    (
        "foreign_object",
        "SELECT format('%s %s', i.type, i.identity) FROM pg_class c,
                LATERAL pg_identify_object('pg_class'::regclass, c.oid, 0) i
            WHERE c.relnamespace = 'steward'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
                AND c.relname !~ '^chain_[0-9]+$' AND c.oid <> ALL (SELECT objid FROM pg_depend
                    WHERE classid = 'pg_class'::regclass AND deptype IN ('e', 'i') )
        UNION ALL SELECT format('function %s', p.oid::regprocedure) FROM pg_proc p
            WHERE p.pronamespace = 'steward'::regnamespace AND p.oid <> ALL (SELECT objid FROM pg_depend
                    WHERE classid = 'pg_proc'::regclass AND deptype = 'e')
        UNION ALL SELECT format('trigger %s on %s is disabled', t.tgname, t.tgrelid::regclass) FROM pg_trigger t
            JOIN pg_class c ON c.oid = t.tgrelid WHERE c.relnamespace = 'steward'::regnamespace AND t.tgenabled = 'D'
        ORDER BY 1",
    ),
    (
        "configuration_drift",
        concat!(
            "SELECT CASE WHEN kept.name IS NULL THEN 'not accepted: ' ELSE 'changed: ' END || coalesce(kept.kind, now.kind)
                || ' ' || coalesce(kept.name, now.name)
            FROM steward._configuration kept FULL JOIN (", configuration!(), ") now USING (kind, name)
            WHERE kept.value IS DISTINCT FROM now.value OR now.value = 'not found' AND now.kind = 'library' ORDER BY 1"
        ),
    ),
];

/// Those that take more than a query.
const LOOKS: [(&str, Look); 5] = [
    ("own_privilege", |client| texts(client, include_str!("own_privilege.sql"), &person::GRANTED.map(Into::into))),
    ("unlabelled_column", |client| ways_around(client, true)),
    ("way_around", |client| ways_around(client, false)),
    ("scope_drift", |client| scope_issues(client, true)),
    ("scope_issue", |client| scope_issues(client, false)),
];
type Look = fn(&mut SpiClient<'_>) -> Outcome<Vec<String>>;

/// Scopes that are not what was set (`drift`), or what is wrong with them as they are and nobody has accepted.
fn scope_issues(client: &mut SpiClient<'_>, drift: bool) -> Outcome<Vec<String>> {
    let found = lint::findings(client)?.into_iter().filter(|found| lint::is_drift(found.issue) == drift);
    let ways = accepted::mark(client, found.map(Way::of_scope).collect())?;
    Ok(ways.iter().filter(|way| way.accepted.is_none()).map(Way::told).collect())
}

pub fn is_built_in(name: &str) -> bool {
    name == FAILED || names().any(|known| known == name)
}

/// Names, in the order in which they are made.
pub fn names() -> impl Iterator<Item = &'static str> {
    CHECKS.iter().map(|(name, _)| *name).chain(LOOKS.iter().map(|(name, _)| *name))
}

/// Every issue of one of them.
pub fn issues(name: &str) -> Outcome<Vec<String>> {
    if let Some((_, look)) = LOOKS.iter().find(|(known, _)| *known == name) {
        return own::run(look);
    }
    let query = CHECKS.iter().find(|(known, _)| *known == name).map_or("", |(_, query)| query);
    own::run(|client| texts(client, query, &[]))
}

#[pg_extern(sql = false)]
fn accept_configuration() -> i64 {
    answer((|| {
        require_privilege("accept_configuration")?;
        let accepted = own::run(|client| {
            own::execute(client, "DELETE FROM steward._configuration", &[])?;
            let now = concat!("INSERT INTO steward._configuration (kind, name, value) ", configuration!());
            own::execute(client, now, &[])?;
            one_text(client, "SELECT count(*)::text FROM steward._configuration", &[])
        })?;
        changed("accept_configuration", "configuration")?;
        Ok(accepted.and_then(|count| count.parse().ok()).unwrap_or(0))
    })())
}
