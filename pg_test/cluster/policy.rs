//! Changes of the policy hold at once, also in sessions and prepared statements that are open.

use postgres::error::SqlState;

use crate::expect::{expect_error, expect_refused};
use crate::school::School;

tests! {
    a_new_rule_reaches_an_open_prepared_statement,
    a_dropped_rule_reaches_an_open_session,
    a_newly_protected_table_is_protected_in_open_sessions,
    a_new_partition_is_under_policy,
    a_rule_of_a_rolled_back_transaction_never_held,
    the_highest_tier_wins_whatever_the_order,
    a_rule_follows_the_login_not_the_role_put_on,
    views_cannot_be_protected,
    a_rule_with_a_broken_pattern_is_not_accepted,
    what_the_policy_looks_for_is_no_login_s_to_read,
    everything_public_says_what_it_is,
}

/// Whoever looks at an object with psql is told what it is. Sequences behind identity columns are the server's.
fn everything_public_says_what_it_is() {
    let school = School::inactive();
    let silent = "SELECT coalesce(string_agg(name, ' ' ORDER BY name), '') FROM (
            SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'steward'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'S')
                AND c.relname !~ '^(_|chain_|journal_)' AND obj_description(c.oid, 'pg_class') IS NULL
                AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'i'
                    AND d.refclassid = 'pg_class'::regclass)
            UNION ALL SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'steward'::regnamespace AND p.proname !~ '^_'
                AND obj_description(p.oid, 'pg_proc') IS NULL
            UNION ALL SELECT a.attname FROM pg_attribute a WHERE a.attrelid = 'steward.operation'::regclass AND a.attnum > 0
                AND col_description(a.attrelid, a.attnum) IS NULL) s(name)";
    assert_eq!(school.ask::<String>(silent), "");
}

/// Networks, thresholds, exemptions: they tell an attacker what to keep away from.
const CLOSED: &str =
    "login_limit login_policy blocked_address alert_rule alert_condition integrity_check job_login mask_rule
    mask_exemption role_permission scope temporary_grant_limit export_limit break_glass_limit";

fn what_the_policy_looks_for_is_no_login_s_to_read() {
    let school = School::inactive();
    school.superuser().batch_execute("CREATE ROLE parent LOGIN").expect("a login of nobody");
    for (login, reads) in [
        ("parent", false),
        ("teacher_wang", false),
        ("clerk_zhao", false),
        ("region_chen", false),
        ("reviewer_sun", false),
        ("auditor_qian", true),
        ("security_han", true),
    ] {
        let mut session = school.session(login);
        for table in CLOSED.split_whitespace() {
            let read = session.simple_query(&format!("TABLE steward.{table}"));
            assert_eq!(read.is_ok(), reads, "{login}: {table}: {read:?}");
        }
        for open in ["protected", "rule", "tier_policy", "form", "checklist", "operation", "inbox"] {
            session.simple_query(&format!("TABLE steward.{open}")).unwrap_or_else(|error| panic!("{login}: {error:?}"));
        }
    }
    school.superuser().batch_execute("DROP ROLE parent; SELECT steward.activate()").expect("activate");
    assert_eq!(school.ask::<i64>("SELECT issues FROM steward.daily_check() WHERE check_name = 'own_privilege'"), 0);
    school.operate("postgres", "SELECT steward.register_person('Qian', 'teacher')");
    expect_error(
        school.session("auditor_qian").simple_query("TABLE steward.alert_rule"),
        &SqlState::INSUFFICIENT_PRIVILEGE,
        "",
        "",
    );
}

const TEN: &str = "UPDATE app.student SET note = 'moved' WHERE id <= 10";
const FEW: &str = "SELECT steward.set_rule('few', 'critical', commands => '{UPDATE}', \
    relation_pattern => '^app\\.student$', min_rows => 5)";

fn a_new_rule_reaches_an_open_prepared_statement() {
    let school = School::active();
    let mut teacher = school.session("teacher_wang");
    let ten = teacher.prepare(TEN).expect("prepare");
    for _ in 0..7 {
        teacher.execute(&ten, &[]).expect("ten rows are normal work");
    }
    school.operate("postgres", FEW);
    let error = expect_refused(teacher.execute(&ten, &[]));
    let detail = error.detail().unwrap_or("");
    assert!(detail.contains("few") && detail.contains("5 rows"), "{error:?}");
}

fn a_dropped_rule_reaches_an_open_session() {
    let school = School::inactive();
    school.superuser().batch_execute(FEW).expect("rule");
    school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    let mut teacher = school.session("teacher_wang");
    expect_refused(teacher.batch_execute(TEN));
    school.operate("postgres", "SELECT steward.drop_rule('few')");
    teacher.batch_execute(TEN).expect("the rule is gone");
}

fn a_newly_protected_table_is_protected_in_open_sessions() {
    let school = School::active();
    let mut teacher = school.session("teacher_wang");
    let fill = "INSERT INTO app.scratch SELECT n, 'x' FROM generate_series(1, 60) AS n";
    teacher.batch_execute(fill).expect("not protected yet");
    school.operate("postgres", "SELECT steward.protect('app.scratch')");
    expect_refused(teacher.batch_execute(fill));
}

fn a_new_partition_is_under_policy() {
    let school = School::active();
    // A new partition is important: done at once, reviewed afterwards.
    let december = "CREATE TABLE app.card_transaction_2026_12 PARTITION OF app.card_transaction
        FOR VALUES FROM ('2026-12-01') TO ('2027-01-01')";
    school.superuser().batch_execute(december).expect("a partition of a protected table");
    let fill = "INSERT INTO app.card_transaction_2026_12
        SELECT n, '2026-12-05', n FROM generate_series(1001, 1060) AS n";
    expect_refused(school.superuser().batch_execute(fill));
}

fn a_rule_of_a_rolled_back_transaction_never_held() {
    let school = School::inactive();
    let mut superuser = school.superuser();
    superuser.batch_execute(&format!("BEGIN; {FEW}; ROLLBACK")).expect("rollback");
    superuser.batch_execute("SELECT steward.activate()").expect("activate");
    school.session("teacher_wang").batch_execute(TEN).expect("the rule was never committed");
}

fn the_highest_tier_wins_whatever_the_order() {
    let school = School::inactive();
    let rules = "SELECT steward.set_rule('a_low', 'normal', commands => '{DELETE}');
        SELECT steward.set_rule('m_high', 'critical', commands => '{DELETE}', relation_pattern => '^app\\.guardian$');
        SELECT steward.set_rule('z_low', 'normal', commands => '{WRITE}');
        SELECT steward.activate()";
    school.superuser().batch_execute(rules).expect("rules");
    let error = expect_refused(school.session("teacher_wang").batch_execute("DELETE FROM app.guardian WHERE id = 1"));
    assert!(error.detail().unwrap_or("").contains("m_high"), "{error:?}");
    school.session("teacher_wang").batch_execute("DELETE FROM app.entry WHERE id = 1").expect("normal there");
}

fn a_rule_follows_the_login_not_the_role_put_on() {
    let school = School::inactive();
    let rule = "SELECT steward.set_rule('no_teacher', 'critical', commands => '{UPDATE}',
            relation_pattern => '^app\\.student$', roles => '{teacher_wang}');
        GRANT region_chen TO teacher_wang;
        SELECT steward.activate()";
    school.superuser().batch_execute(rule).expect("rule");
    let mut teacher = school.session("teacher_wang");
    teacher.batch_execute("SET ROLE region_chen").expect("set role");
    expect_refused(teacher.batch_execute(TEN));
    school.session("region_chen").batch_execute(TEN).expect("the rule is about the teacher");
}

fn views_cannot_be_protected() {
    let school = School::inactive();
    let mut superuser = school.superuser();
    superuser
        .batch_execute("CREATE VIEW app.v AS SELECT 1; CREATE MATERIALIZED VIEW app.m AS SELECT 1")
        .expect("views");
    for view in ["app.v", "app.m"] {
        let call = format!("SELECT steward.protect('{view}')");
        expect_error(superuser.batch_execute(&call), &SqlState::WRONG_OBJECT_TYPE, "", "");
    }
}

fn a_rule_with_a_broken_pattern_is_not_accepted() {
    let school = School::inactive();
    let call = "SELECT steward.set_rule('broken', 'critical', relation_pattern => '(')";
    expect_error(school.superuser().batch_execute(call), &SqlState::INVALID_PARAMETER_VALUE, "", "");
}
