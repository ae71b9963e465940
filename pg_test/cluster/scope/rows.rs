//! What a scoped role sees and writes, and how that is kept.

use postgres::error::SqlState;

use super::{COUNT, TEACHERS, active, inactive, students};
use crate::cluster::Cluster;
use crate::dump::dump;
use crate::expect::{expect_error, expect_refused};
use crate::school::{HOME, School, ask, settings};

tests! {
    a_teacher_sees_the_own_school_alone,
    an_index_on_the_column_is_used,
    who_has_no_value_sees_nothing,
    values_are_or_ed_and_scopes_are_and_ed,
    everything_is_an_explicit_value,
    a_changed_attribute_acts_in_open_sessions,
    rows_of_others_are_not_written,
    partitions_are_scoped_when_asked_directly,
    a_new_partition_is_scoped,
    odd_names_and_every_type_are_compared,
    values_of_another_type_are_refused,
    scopes_are_restored_with_their_policies,
    what_is_changed_by_hand_is_seen_and_repaired,
    scopes_are_critical_policy,
    a_scoped_table_stays_protected,
    other_policies_of_the_table_are_kept,
    dropping_a_scope_opens_its_rows_only,
    a_role_that_is_gone_stops_no_other_scope,
}

const REFUSED: &SqlState = &SqlState::INSUFFICIENT_PRIVILEGE;
const BAD: &SqlState = &SqlState::INVALID_PARAMETER_VALUE;
const NOT_READY: &SqlState = &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE;

fn a_teacher_sees_the_own_school_alone() {
    let school = active("");
    let mut wang = school.session("teacher_wang");
    assert_eq!(students(&mut wang), 50);
    assert_eq!(ask::<i64>(&mut wang, "SELECT count(*) FROM app.student WHERE school_id <> 1"), 0);
    assert_eq!(
        ask::<i64>(
            &mut wang,
            "SELECT count(*) FROM app.student s JOIN app.guardian g ON g.student_id = s.id AND s.school_id = 2"
        ),
        0
    );
    assert!(!ask::<bool>(&mut wang, "SELECT EXISTS (SELECT FROM app.student WHERE id = 1)"));
    let prepared = wang.prepare(COUNT).expect("prepare");
    for _ in 0..7 {
        assert_eq!(wang.query_one(&prepared, &[]).expect("count").get::<_, i64>(0), 50);
    }
    assert_eq!(students(&mut school.session("teacher_li")), 50);
    // Roles without a scope see what they are granted.
    assert_eq!(students(&mut school.session("region_chen")), 200);
    assert_eq!(students(&mut school.session("clerk_zhao")), 200);
    assert_eq!(school.ask::<i64>(COUNT), 200);
}

fn an_index_on_the_column_is_used() {
    let school = active(
        "CREATE INDEX ON app.student (school_id); GRANT CREATE ON DATABASE school TO region_chen; ANALYZE app.student",
    );
    let mut wang = school.session("teacher_wang");
    wang.batch_execute("SET enable_seqscan = off").expect("set");
    let plan: Vec<String> = wang
        .query("EXPLAIN (COSTS off) SELECT * FROM app.student", &[])
        .expect("explain")
        .iter()
        .map(|row| row.get(0))
        .collect();
    let plan = plan.join("\n");
    assert!(plan.contains("student_school_id_idx"), "{plan}");
    assert!(plan.contains("Index Cond: (school_id = ANY ($0))"), "{plan}");
    assert!(plan.contains("InitPlan 1 (returns $0)"), "{plan}");
    assert!(!plan.contains("Filter"), "{plan}");
    // And whom no scope limits has the plan of a table without one.
    let mut chen = school.session("region_chen");
    let plan: String = ask(&mut chen, "EXPLAIN (COSTS off) SELECT * FROM app.student");
    assert_eq!(plan, "Seq Scan on student");
}

fn who_has_no_value_sees_nothing() {
    let school = inactive(
        "SELECT steward.set_attribute('Li', 'school', NULL); CREATE ROLE stranger LOGIN; GRANT teacher TO stranger",
    );
    assert_eq!(students(&mut school.session("teacher_li")), 0);
    assert_eq!(students(&mut school.session("stranger")), 0, "no person, no row");
    // A role is not a person.
    let mut wang = school.session("teacher_wang");
    wang.batch_execute("SET ROLE teacher").expect("set role");
    assert_eq!(students(&mut wang), 0);
    wang.batch_execute("RESET ROLE").expect("reset role");
    assert_eq!(students(&mut wang), 50);
    // The attribute's own name alone counts.
    let mut superuser = school.superuser();
    superuser.batch_execute("SELECT steward.set_attribute('Li', 'region', '{2}')").expect("another attribute");
    assert_eq!(students(&mut school.session("teacher_li")), 0);
    superuser.batch_execute("SELECT steward.suspend_person('Wang', 'left')").expect("suspend");
    superuser.batch_execute("SET ROLE teacher_wang").expect("set role");
    assert_eq!(students(&mut superuser), 0, "a suspended person");
}

fn values_are_or_ed_and_scopes_are_and_ed() {
    let school = active("SELECT steward.set_attribute('Wang', 'school', '{1,2}')");
    let mut wang = school.session("teacher_wang");
    assert_eq!(students(&mut wang), 100);
    school.operate(
        "postgres",
        "SELECT steward.set_scope('teacher', 'app.student', 'id', 'student'); SELECT steward.set_attribute('Wang', 'student', '{4,5,6}')",
    );
    // 4 is of school 1, 5 of school 2, 6 of school 3.
    assert_eq!(students(&mut wang), 2);
    // Another role of the same login adds its scopes, it takes none away.
    school.operate(
        "postgres",
        "CREATE ROLE reader; GRANT reader TO teacher_wang; GRANT SELECT ON app.student TO reader;
         SELECT steward.set_scope('reader', 'app.student', 'id', 'read'); SELECT steward.set_attribute('Wang', 'read', '{4}')",
    );
    assert_eq!(students(&mut wang), 1);
}

fn everything_is_an_explicit_value() {
    let school = active("");
    let mut superuser = school.superuser();
    let mut wang = school.session("teacher_wang");
    let mut li = school.session("teacher_li");
    school.operate("postgres", "SELECT steward.set_attribute('Li', 'school', '{*}')");
    assert_eq!(students(&mut li), 200);
    assert_eq!(students(&mut wang), 50);
    li.batch_execute("INSERT INTO app.student VALUES (1000, 3, 'new', 'ID1000', '13800001000')").expect("any school");
    expect_error(
        wang.batch_execute("INSERT INTO app.student VALUES (1001, 3, 'new', 'ID1001', '13800001001')"),
        REFUSED,
        "",
        "",
    );
    school.operate("postgres", "SELECT steward.set_attribute('Li', 'school', '{3}')");
    assert_eq!(students(&mut li), 51);
    assert_eq!(ask::<i64>(&mut superuser, "SELECT count(*) FROM steward.scope_commands() WHERE NOT in_force"), 0);
    // Beside others it would be overlooked.
    let school = inactive("");
    let mut superuser = school.superuser();
    expect_error(superuser.batch_execute("SELECT steward.set_attribute('Li', 'school', '{1,*}')"), BAD, "", "{*}");
}

fn a_changed_attribute_acts_in_open_sessions() {
    let school = active("");
    let mut wang = school.session("teacher_wang");
    let prepared = wang.prepare("SELECT min(school_id) FROM app.student").expect("prepare");
    let mut first = || wang.query_one(&prepared, &[]).expect("min").get::<_, Option<i32>>(0);
    (0..7).for_each(|_| assert_eq!(first(), Some(1)));
    school.operate("postgres", "SELECT steward.set_attribute('Wang', 'school', '{3}')");
    assert_eq!(first(), Some(3));
    school.operate("postgres", "SELECT steward.set_attribute('Wang', 'school', '{}')");
    assert_eq!(first(), None);
}

fn rows_of_others_are_not_written() {
    let school = active("");
    let mut wang = school.session("teacher_wang");
    let policy = "new row violates row-level security policy";
    for statement in [
        "UPDATE app.student SET school_id = 2 WHERE id = 4",
        "UPDATE app.student SET school_id = 2 WHERE id = 4 RETURNING *",
        "INSERT INTO app.student VALUES (1000, 2, 'new', 'ID1000', '13800001000')",
        "INSERT INTO app.student VALUES (4, 2, 'x', 'ID4', '13800000004') ON CONFLICT (id) DO UPDATE SET school_id = 2",
        "MERGE INTO app.student s USING (VALUES (4)) v(id) ON s.id = v.id WHEN MATCHED THEN UPDATE SET school_id = 2",
    ] {
        let error = expect_error(wang.batch_execute(statement), REFUSED, "", "");
        assert!(error.message().contains(policy), "{statement}: {error:?}");
        assert!(error.detail().is_none(), "no row in the DETAIL: {error:?}");
    }
    assert_eq!(wang.execute("UPDATE app.student SET note = 'x' WHERE id = 1", &[]).expect("nothing"), 0);
    assert_eq!(wang.execute("DELETE FROM app.student WHERE id = 1", &[]).expect("nothing"), 0);
    assert_eq!(
        wang.query("UPDATE app.student SET note = 'x' WHERE id IN (1, 4) RETURNING id", &[]).expect("own").len(),
        1
    );
    assert_eq!(wang.query("SELECT id FROM app.student WHERE id IN (1, 4) FOR UPDATE", &[]).expect("lock").len(), 1);
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student WHERE school_id = 1"), 50);
    // The attempts to move a row away are on record as what they are.
    let failed =
        "result = 'FAILURE' AND sqlstate = '42501' AND user_id = 'teacher_wang' AND relations @> '{app.student}'";
    assert_eq!(school.records(failed), 5);
}

fn partitions_are_scoped_when_asked_directly() {
    let school = active(
        "SELECT steward.set_scope('teacher', 'app.card_transaction', 'id', 'card'); SELECT steward.set_attribute('Wang', 'card', '{1,2,3}')",
    );
    let mut wang = school.session("teacher_wang");
    assert_eq!(ask::<i64>(&mut wang, "SELECT count(*) FROM app.card_transaction"), 3);
    // The rights on the leaves are the application's mistake; the rows are not shown all the same.
    for leaf in ["app.card_transaction_2026_10", "app.card_transaction_2026_11", "ONLY app.card_transaction_2026_10"] {
        let seen = ask::<i64>(&mut wang, &format!("SELECT count(*) FROM {leaf} WHERE id > 3"));
        assert_eq!(seen, 0, "{leaf}");
    }
    let october = "SELECT count(*) FROM app.card_transaction_2026_10";
    assert_eq!(ask::<i64>(&mut wang, october), 3);
    let insert = "INSERT INTO app.card_transaction_2026_10 VALUES (999, '2026-10-05', 1)";
    expect_error(wang.batch_execute(insert), REFUSED, "", "");
}

fn a_new_partition_is_scoped() {
    let school = active(
        "SELECT steward.set_scope('teacher', 'app.card_transaction', 'id', 'card'); SELECT steward.set_attribute('Wang', 'card', '{1,2,3}');
         CREATE TABLE app.loose (id int NOT NULL, booked_on date NOT NULL, amount numeric NOT NULL)",
    );
    school.operate(
        "postgres",
        "CREATE TABLE app.december PARTITION OF app.card_transaction FOR VALUES FROM ('2026-12-01') TO ('2027-01-01');
         ALTER TABLE app.card_transaction ATTACH PARTITION app.loose FOR VALUES FROM ('2027-01-01') TO ('2027-02-01');
         GRANT ALL ON app.december, app.loose TO teacher;
         INSERT INTO app.card_transaction VALUES (2, '2026-12-05', 1), (77, '2026-12-05', 1), (3, '2027-01-05', 1), (78, '2027-01-05', 1)",
    );
    let mut wang = school.session("teacher_wang");
    for table in ["december", "loose"] {
        assert_eq!(ask::<i64>(&mut wang, &format!("SELECT count(*) FROM app.{table}")), 1, "{table}");
    }
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.scope_commands() WHERE NOT in_force"), 0);
}

fn odd_names_and_every_type_are_compared() {
    let school = inactive("");
    let mut superuser = school.superuser();
    let types = [
        ("smallint", "7", "8"),
        ("integer", "-7", "8"),
        ("bigint", "7000000000", "8"),
        ("text", "a\"b'c\\ {,}", "x"),
        ("varchar(20)", "东校", "西校"),
        ("char(6)", "320508", "320509"),
        ("uuid", "00000000-0000-0000-0000-00000000000a", "00000000-0000-0000-0000-00000000000b"),
        ("app.unit", "7", "8"),
    ];
    superuser.batch_execute("CREATE DOMAIN app.unit AS int CHECK (VALUE > 0); CREATE ROLE \"Our \"\"readers\"\"\"; GRANT \"Our \"\"readers\"\"\" TO teacher_wang").expect("names");
    for (number, (type_name, own, other)) in types.into_iter().enumerate() {
        let (table, attribute) = (format!("app.\"T {number} \"\"身份\"\"\""), format!("a{number}"));
        superuser
            .batch_execute(&format!(
                "CREATE TABLE {table} (\"col\"\"x ()\" {type_name}, n int); GRANT SELECT ON {table} TO \"Our \"\"readers\"\"\";
                 SELECT steward.protect('{table}');
                 SELECT steward.set_scope('\"Our \"\"readers\"\"\"', '{table}', 'col\"x ()', '{attribute}')"
            ))
            .unwrap_or_else(|error| panic!("{type_name}: {error:?}"));
        superuser
            .execute("SELECT steward.set_attribute('Wang', $1, $2)", &[&attribute, &vec![own]])
            .expect("attribute");
        let fill = format!(
            "INSERT INTO {table} SELECT $1::text::{type_name}, 1 UNION ALL SELECT $2::text::{type_name}, 2 UNION ALL SELECT NULL, 3"
        );
        superuser.execute(&fill, &[&own, &other]).expect("rows");
        let mut wang = school.session("teacher_wang");
        let seen: Vec<i32> =
            wang.query(&format!("SELECT n FROM {table}"), &[]).expect("rows").iter().map(|row| row.get(0)).collect();
        assert_eq!(seen, [1], "{type_name}");
    }
    let drift: String = ask(
        &mut superuser,
        "SELECT coalesce(string_agg(command, E'\\n'), '') FROM steward.scope_commands() WHERE NOT in_force",
    );
    assert_eq!(drift, "");
}

fn values_of_another_type_are_refused() {
    let school = inactive("");
    let mut superuser = school.superuser();
    for values in ["{one}", "{1.5}", "{\"1 OR true\"}", "{2147483648}", "{NULL}", "{\"\"}"] {
        let call = format!("SELECT steward.set_attribute('Li', 'school', '{values}')");
        expect_error(superuser.batch_execute(&call), BAD, "", "");
    }
    superuser.batch_execute("SELECT steward.set_attribute('Li', 'class', '{1a}')").expect("no scope asks for it yet");
    let call = "SELECT steward.set_scope('teacher', 'app.student', 'id', 'class')";
    expect_error(superuser.batch_execute(call), BAD, "", "");
    for (call, code) in [
        ("SELECT steward.set_scope('teacher', 'app.student', 'no_such', 'school')", &SqlState::UNDEFINED_COLUMN),
        (
            "SELECT steward.set_scope('teacher', 'app.card_transaction', 'amount', 'school')",
            &SqlState::FEATURE_NOT_SUPPORTED,
        ),
        ("SELECT steward.set_scope('teacher', 'app.scratch', 'id', 'school')", NOT_READY),
        ("SELECT steward.set_scope('postgres', 'app.student', 'school_id', 'school')", BAD),
        ("SELECT steward.set_scope('teacher', 'app.student', 'school_id', 'School x')", BAD),
        ("SELECT steward.set_scope('teacher', 'app.student', 'school_id')", BAD),
        ("SELECT steward.set_attribute('Nobody', 'school', '{1}')", &SqlState::UNDEFINED_OBJECT),
        ("SELECT steward.drop_scope('teacher', 'app.guardian')", &SqlState::UNDEFINED_OBJECT),
    ] {
        expect_error(superuser.batch_execute(call), code, "", "");
    }
}

fn scopes_are_restored_with_their_policies() {
    let school = active(
        "SELECT steward.set_scope('teacher', 'app.guardian', 'student_id', via => 'app.student', via_column => 'id');
         SELECT steward.set_temporary_grant_limit('3 days');
         SELECT steward.grant_temporarily('Wang', 'app.student', 'school', '{3}', now() + interval '1 day', 'a colleague is ill')",
    );
    let state = "SELECT concat_ws(' ', (SELECT string_agg(s::text, ' ' ORDER BY id) FROM steward.scope s),
        (SELECT string_agg(a::text, ' ' ORDER BY person) FROM steward.person_attribute a),
        (SELECT string_agg(concat(person, attribute, allowed_values, until), '') FROM steward.temporary_grant), (SELECT max_term FROM steward.temporary_grant_limit))";
    let before: String = school.ask(state);
    let guardians = ask::<i64>(&mut school.session("teacher_wang"), "SELECT count(*) FROM app.guardian");
    assert_eq!(guardians, 60 + 50, "of student 200, and of every second of a hundred");
    let [roles, database] = dump(&school);
    let settings = settings("enforce");
    let copy = Cluster::with_home(&settings.each_ref().map(String::as_str));
    copy.psql_file("postgres", "postgres", &roles);
    copy.psql_file("postgres", HOME, &database);
    let mut superuser = copy.connect("postgres", HOME);
    assert_eq!(ask::<String>(&mut superuser, state), before);
    assert_eq!(ask::<i64>(&mut superuser, "SELECT count(*) FROM steward.scope_commands() WHERE NOT in_force"), 0);
    let mut wang = copy.connect("teacher_wang", HOME);
    assert_eq!(students(&mut wang), 100);
    assert_eq!(ask::<i64>(&mut wang, "SELECT count(*) FROM app.guardian"), guardians);
    superuser.batch_execute("SELECT steward.activate()").expect("the restored policy is complete");
}

fn what_is_changed_by_hand_is_seen_and_repaired() {
    let school = inactive("");
    let mut superuser = school.superuser();
    let drift = "SELECT count(*) FROM steward.scope_commands('app.student') WHERE NOT in_force";
    let commands: i64 = ask(&mut superuser, "SELECT count(*) FROM steward.scope_commands('app.student')");
    assert_eq!(commands, 3);
    for change in [
        "ALTER TABLE app.student DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE app.student NO FORCE ROW LEVEL SECURITY",
        "DROP POLICY steward_scope_1 ON app.student",
        "ALTER POLICY steward_scope_1 ON app.student TO clerk_zhao",
        "ALTER POLICY steward_scope_1 ON app.student USING (true)",
        "ALTER POLICY steward_scope_1 ON app.student WITH CHECK (school_id > 0)",
        "ALTER POLICY steward_scope_1 ON app.student USING (school_id = ANY ((SELECT steward._allowed_integer(1))::int[]) OR id = 1)",
        "ALTER POLICY steward_scope_1 ON app.student RENAME TO mine",
        "DROP POLICY steward_scope_1 ON app.student; CREATE POLICY steward_scope_1 ON app.student FOR SELECT TO teacher
            USING (school_id = ANY ((SELECT steward._allowed_integer(1))::int[]))",
    ] {
        superuser.batch_execute(change).unwrap_or_else(|error| panic!("{change}: {error:?}"));
        assert!(ask::<i64>(&mut superuser, drift) > 0, "{change}");
        let issue = "SELECT count(*) FROM steward.scope_issues() WHERE issue = 'not_in_force'";
        assert!(ask::<i64>(&mut superuser, issue) > 0, "{change}");
        let activated = superuser.batch_execute("SELECT steward.activate()");
        expect_error(activated, NOT_READY, "The scopes of app.student are not in force", "");
        superuser
            .batch_execute("SELECT steward.set_scope('teacher', 'app.student', 'school_id', 'school')")
            .expect("repair");
        assert_eq!(ask::<i64>(&mut superuser, drift), 0, "{change}");
        assert_eq!(students(&mut school.session("teacher_wang")), 50, "{change}");
    }
    // A column that is gone takes its policy along; nobody sees more by that than before the repair.
    superuser.batch_execute("ALTER TABLE app.student RENAME school_id TO unit").expect("rename");
    assert_eq!(students(&mut school.session("teacher_wang")), 50, "PostgreSQL's own policy follows the column");
    assert_eq!(
        ask::<i64>(&mut superuser, "SELECT count(*) FROM steward.scope_issues() WHERE issue = 'column_gone'"),
        1
    );
}

fn scopes_are_critical_policy() {
    let school = active("");
    let calls = [
        "SELECT steward.set_scope('teacher', 'app.guardian', 'id', 'guardian')",
        "SELECT steward.drop_scope('teacher', 'app.student')",
        "SELECT steward.set_attribute('Wang', 'school', '{*}')",
        "SELECT steward.grant_temporarily('Wang', 'app.student', 'school', '{2}', now() + interval '1 day', 'because')",
        "SELECT steward.set_temporary_grant_limit('300 days')",
        "SELECT steward.end_temporary_grant(1)",
        "DROP POLICY steward_scope_1 ON app.student",
        "ALTER POLICY steward_scope_1 ON app.student USING (true)",
        "CREATE POLICY more ON app.student USING (true)",
        "ALTER TABLE app.student DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE app.student NO FORCE ROW LEVEL SECURITY",
        "ALTER ROLE teacher_wang BYPASSRLS",
        "UPDATE steward.person_attribute SET allowed_values = '{*}'",
        "INSERT INTO steward.temporary_grant VALUES (1, 'Wang', 'app.student', 'school', '{2}', now(), now() + interval '1 day', NULL, 'x', 'x', NULL)",
        "DELETE FROM steward.scope",
        "CREATE OR REPLACE FUNCTION steward._allowed_integer(scope int) RETURNS int[] LANGUAGE sql AS 'SELECT ARRAY[2]'",
    ];
    for login in ["postgres", "security_han", "teacher_wang"] {
        let mut session = school.session(login);
        for call in calls {
            expect_error(session.batch_execute(call), REFUSED, "", "");
        }
    }
    // One approval is not enough.
    for call in &calls[..5] {
        let op_no = school.request("security_han", call);
        let needed: i32 = school.ask(&format!("SELECT approvals_needed FROM steward.show('{op_no}')"));
        assert_eq!(needed, 2, "{call}");
    }
    assert_eq!(students(&mut school.session("teacher_wang")), 50);
    school.operate("security_han", calls[2]);
    assert_eq!(students(&mut school.session("teacher_wang")), 200);
    assert_eq!(school.records("operation_type = 'set_attribute' AND op_no IS NOT NULL AND result = 'SUCCESS'"), 1);
    for (person, login) in [("not yours", "teacher_wang"), ("not yours", "clerk_zhao")] {
        let error =
            expect_error(school.session(login).batch_execute("SELECT * FROM steward.scope_issues()"), REFUSED, "", "");
        assert!(error.message().contains(person), "{error:?}");
        expect_error(school.session(login).batch_execute("TABLE steward.person_attribute"), REFUSED, "", "");
    }
    school.session("auditor_qian").batch_execute("SELECT * FROM steward.scope_issues()").expect("auditors look");
}

fn a_scoped_table_stays_protected() {
    let school = inactive("");
    let mut superuser = school.superuser();
    let unprotect = superuser.batch_execute("SELECT steward.unprotect('app.student')");
    expect_error(unprotect, NOT_READY, "", "drop_scope");
}

fn other_policies_of_the_table_are_kept() {
    let school = School::inactive();
    let mut superuser = school.superuser();
    superuser.batch_execute("CREATE POLICY asleep ON app.guardian USING (id < 10)").expect("a policy that sleeps");
    superuser.batch_execute(TEACHERS).expect("teachers");
    let call = "SELECT steward.set_scope('teacher', 'app.guardian', 'id', 'guardian')";
    expect_error(superuser.batch_execute(call), NOT_READY, "wake", "");
    superuser.batch_execute("ALTER TABLE app.guardian ENABLE ROW LEVEL SECURITY").expect("enable");
    superuser.batch_execute(call).expect("set_scope");
    superuser.batch_execute("SELECT steward.set_attribute('Wang', 'guardian', '{5,50}')").expect("attribute");
    let guardians = "SELECT count(*) FROM app.guardian";
    assert_eq!(ask::<i64>(&mut school.session("teacher_wang"), guardians), 1, "both hold");
    assert_eq!(ask::<i64>(&mut school.session("clerk_zhao"), guardians), 9, "nobody sees more than before");
}

fn dropping_a_scope_opens_its_rows_only() {
    let school = active(
        "SELECT steward.set_scope('teacher', 'app.guardian', 'student_id', via => 'app.student', via_column => 'id')",
    );
    let mut superuser = school.superuser();
    let op_no = crate::school::request(&mut superuser, "SELECT steward.drop_scope('teacher', 'app.student')", "");
    school.release(&op_no);
    let leads = crate::school::execute(&mut superuser, &op_no);
    expect_error(leads, NOT_READY, "", "app.guardian");
    school.operate(
        "postgres",
        "SELECT steward.drop_scope('teacher', 'app.guardian'); SELECT steward.drop_scope('teacher', 'app.student', 'school_id')",
    );
    assert_eq!(students(&mut school.session("teacher_wang")), 200);
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM pg_policy WHERE polname LIKE 'steward_scope%'"), 0);
    expect_refused(superuser.batch_execute("SELECT steward.unprotect('app.student')"));
}

fn a_role_that_is_gone_stops_no_other_scope() {
    let school = inactive(
        "CREATE ROLE passing; SELECT steward.set_scope('passing', 'app.student', 'id', 'passing');
         CREATE TABLE app.map (student int, unit text);
         SELECT steward.set_scope('teacher', 'app.guardian', 'student_id', 'unit', via => 'app.map', via_column => 'student', assigned_column => 'unit');
         SELECT steward.set_attribute('Wang', 'unit', '{x}')",
    );
    let mut superuser = school.superuser();
    superuser.batch_execute("DROP OWNED BY passing; DROP ROLE passing; DROP TABLE app.map").expect("gone");
    superuser.batch_execute("SELECT steward.set_attribute('Wang', 'school', '{2}')").expect("others go on");
    superuser
        .batch_execute("SELECT steward.set_scope('teacher', 'app.student', 'id', 'student')")
        .expect("and new ones");
    let mut wang = school.session("teacher_wang");
    assert_eq!(ask::<i64>(&mut wang, "SELECT count(*) FROM app.guardian"), 0, "nothing leads there any more");
    let issues = "SELECT string_agg(issue, ' ' ORDER BY issue) FROM steward.scope_issues() WHERE issue LIKE '%gone'";
    assert_eq!(ask::<String>(&mut superuser, issues), "column_gone role_gone");
}
