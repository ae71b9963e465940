//! Ways around that are accepted: one finding each, by those who may, for a time; whatever else there is goes on being told.

use super::set_up;
use crate::expect::{expect_error, expect_refused};
use crate::school::{School, ask};
use postgres::Client;
use postgres::error::SqlState;

tests! {
    what_is_accepted_is_one_finding_for_a_time,
    a_finding_that_becomes_another_is_told_again,
    nobody_accepts_a_way_around_alone,
}

const BAD: &SqlState = &SqlState::INVALID_PARAMETER_VALUE;
const UNKNOWN: &SqlState = &SqlState::UNDEFINED_OBJECT;

/// What this check of a run finds.
#[track_caller]
fn daily(officer: &mut Client, check: &str) -> i64 {
    ask(officer, &format!("SELECT coalesce(issues, -1) FROM steward.daily_check() WHERE check_name = '{check}'"))
}

fn accept(kind: &str, object: &str, role: &str) -> String {
    let role = if role.is_empty() { "NULL".to_owned() } else { format!("'{role}'") };
    format!("SELECT steward.accept_way_around('{kind}', '{object}', now() + '30 days', 'known', {role})")
}

const OWNERS: &str = "CREATE ROLE keeper NOLOGIN; CREATE ROLE dba LOGIN; GRANT keeper TO dba;
    ALTER TABLE app.guardian OWNER TO keeper; SECURITY LABEL FOR pg_steward ON COLUMN app.guardian.name IS 'name'";

fn what_is_accepted_is_one_finding_for_a_time() {
    let school = School::inactive();
    set_up(&school, OWNERS);
    let mut officer = school.superuser();
    let before = daily(&mut officer, "way_around");
    set_up(&school, &accept("owner_login", "app.guardian", "dba"));
    assert_eq!(daily(&mut officer, "way_around"), before - 1);
    // Everything is shown, what is accepted with who, why and until when.
    let marked = "SELECT string_agg(concat_ws(' ', kind, object, role_id, accepted_by, accepted_reason,
        accepted_until BETWEEN now() + '29 days' AND now() + '30 days'), ', ') FROM steward.lint() WHERE accepted_by IS NOT NULL";
    assert_eq!(school.ask::<String>(marked), "owner_login app.guardian dba Wu known t");
    // Another login of the same owner, the same login elsewhere, another kind: none of that was looked at.
    set_up(
        &school,
        "CREATE ROLE intruder LOGIN; GRANT keeper TO intruder; ALTER TABLE app.school OWNER TO keeper;
        SECURITY LABEL FOR pg_steward ON COLUMN app.school.name IS 'name'; CREATE ROLE passer LOGIN BYPASSRLS",
    );
    assert_eq!(daily(&mut officer, "way_around"), before - 1 + 4);
    // A superuser's login is no exception of its own any more.
    set_up(&school, &accept("superuser", "role postgres", "postgres"));
    assert_eq!(daily(&mut officer, "way_around"), before - 2 + 4);
    // Nor is another role of the same name the one that was looked at.
    set_up(&school, "CREATE ROLE boss LOGIN SUPERUSER");
    let with_boss = daily(&mut officer, "way_around");
    set_up(&school, &accept("superuser", "role boss", "boss"));
    assert_eq!(daily(&mut officer, "way_around"), with_boss - 1);
    set_up(&school, "DROP ROLE boss; CREATE ROLE boss LOGIN SUPERUSER");
    assert_eq!(daily(&mut officer, "way_around"), with_boss);
    set_up(&school, "DROP ROLE boss");
    for (call, state, detail) in [
        (accept("owner_login", "app.guardian", "nobody"), UNKNOWN, "named by its kind"),
        (accept("owner_login", "app.guardian", ""), UNKNOWN, "named by its kind"),
        (accept("owner_login", "%", "dba"), UNKNOWN, "named by its kind"),
        (accept("owner_login", "app.guardian", "dba").replace("'known'", "' '"), BAD, ""),
        (accept("owner_login", "app.guardian", "dba").replace("30 days", "13 months"), BAD, "given anew"),
        (accept("owner_login", "app.guardian", "dba").replace("now() + '30 days'", "'infinity'"), BAD, "given anew"),
        (accept("owner_login", "app.guardian", "dba").replace("now() + '30 days'", "NULL"), BAD, ""),
        (accept("not_in_force", "app.student", ""), BAD, ""),
    ] {
        expect_error(officer.batch_execute(&call), state, detail, "");
    }
    // A time that is over takes it back, and so does the clock.
    set_up(&school, "SELECT steward.accept_way_around('owner_login', 'app.guardian', now(), 'no more', 'dba')");
    set_up(&school, "UPDATE steward._accepted_way SET until = clock_timestamp()");
    assert_eq!(daily(&mut officer, "way_around"), before + 4);
    assert_eq!(school.ask::<Option<String>>(marked), None);
    let unknown = "SELECT steward.accept_way_around('owner_login', 'app.guardian', now(), 'no more', 'dba')";
    expect_error(officer.batch_execute(unknown), UNKNOWN, "", "accepted_by IS NOT NULL");
}

/// Of the same name: a view that more may read, a function with another body, a scope's missing index.
fn a_finding_that_becomes_another_is_told_again() {
    let school = School::inactive();
    set_up(
        &school,
        "SECURITY LABEL FOR pg_steward ON COLUMN app.student.phone IS 'phone';
        CREATE VIEW app.seen AS SELECT id, phone FROM app.student WHERE id < 3; GRANT SELECT ON app.seen TO clerk_zhao;
        CREATE VIEW app.other AS SELECT id, phone FROM app.student WHERE id < 3; GRANT SELECT ON app.other TO clerk_zhao;
        CREATE FUNCTION app.f() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM app.student';
        CREATE FUNCTION app.narrow() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM app.student';
        CREATE ROLE teacher; GRANT SELECT ON app.student TO teacher; GRANT teacher TO teacher_wang;
        SELECT steward.set_scope('teacher', 'app.student', 'school_id', 'school')",
    );
    let mut officer = school.superuser();
    let (ways, scopes) = (daily(&mut officer, "way_around"), daily(&mut officer, "scope_issue"));
    for (kind, object, role) in [
        ("owner_view", "app.seen", "postgres"),
        ("owner_view", "app.other", "postgres"),
        ("definer_function", "app.f()", "postgres"),
        ("definer_function", "app.narrow()", "postgres"),
        ("bypasses_rls", "postgres", ""),
    ] {
        set_up(&school, &accept(kind, object, role));
    }
    assert_eq!((daily(&mut officer, "way_around"), daily(&mut officer, "scope_issue")), (ways - 4, scopes - 1));
    let marked = "SELECT concat_ws(' ', issue, object, accepted_by, accepted_reason) FROM steward.scope_issues() WHERE accepted_until > now()";
    assert_eq!(school.ask::<String>(marked), "bypasses_rls postgres Wu known");
    for (n, change) in [
        "CREATE OR REPLACE FUNCTION app.f() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT max(phone)::bigint FROM app.student'",
        "CREATE OR REPLACE VIEW app.seen AS SELECT id, phone FROM app.student",
        "GRANT SELECT ON app.other TO teacher",
        "REVOKE EXECUTE ON FUNCTION app.narrow() FROM PUBLIC; GRANT EXECUTE ON FUNCTION app.narrow() TO teacher",
    ]
    .into_iter()
    .enumerate()
    {
        set_up(&school, change);
        assert_eq!(daily(&mut officer, "way_around"), ways - 3 + n as i64, "{change}");
    }
}

fn nobody_accepts_a_way_around_alone() {
    let school = School::inactive();
    set_up(&school, OWNERS);
    set_up(&school, "SELECT steward.register_person('Tables', 'service', roles => '{dba}'); SELECT steward.activate()");
    let call = accept("owner_login", "app.guardian", "dba");
    for login in ["postgres", "security_han", "teacher_wang", "auditor_qian"] {
        let refused = school.session(login).batch_execute(&call);
        expect_error(refused, &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    }
    let mut superuser = school.superuser();
    for write in [
        "INSERT INTO steward._accepted_way VALUES ('owner_login', 'app.guardian', 'dba', 'x', '2999-01-01', 'x', 'x')",
        "UPDATE steward._accepted_way SET until = '2999-01-01'",
        "TRUNCATE steward._accepted_way",
    ] {
        expect_refused(superuser.batch_execute(write));
    }
    assert!(school.session("teacher_wang").batch_execute("SELECT * FROM steward._accepted_way").is_err());
    let before = daily(&mut superuser, "way_around");
    school.operate("postgres", &call);
    assert_eq!(daily(&mut superuser, "way_around"), before - 1);
    let record = "operation_type = 'accept_way_around' AND tier = 'critical' AND op_no IS NOT NULL
        AND details::jsonb @> '{\"kind\": \"owner_login\", \"object\": \"app.guardian\", \"role\": \"dba\", \"reason\": \"known\"}'";
    assert_eq!(school.records(record), 1);
}
