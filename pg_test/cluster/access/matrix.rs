//! The manual's matrix becomes privileges: what is missing is granted, what is too much is taken.

use postgres::error::SqlState;

use super::{apply, plan, set_up};
use crate::expect::{expect_error, expect_refused};
use crate::school::School;

tests! {
    the_manuals_example_becomes_privileges,
    what_is_not_said_is_not_allowed,
    a_grant_beside_the_matrix_is_drift_and_is_taken_back,
    a_grant_option_is_taken_back_with_what_was_passed_on,
    columns_of_the_matrix_become_column_lists,
    partitions_have_no_privileges_of_their_own,
    odd_names_survive,
    the_matrix_is_not_written_by_hand,
    applying_needs_an_operation_once_the_policy_is_active,
    who_may_not_configure_neither_plans_nor_applies,
    a_row_for_what_cannot_be_governed_is_refused,
    each_command_is_on_record,
}

/// Privileges of a role on a table, as letters of SELECT, INSERT, UPDATE, DELETE, TRUNCATE.
fn rights(school: &School, role: &str, table: &str) -> String {
    school.ask(&format!(
        "SELECT coalesce(string_agg(left(p, 1), '' ORDER BY n), '') FROM unnest('{{SELECT,INSERT,UPDATE,DELETE,TRUNCATE}}'::text[])
            WITH ORDINALITY t(p, n) WHERE has_table_privilege('{role}', '{table}', p)"
    ))
}

fn the_manuals_example_becomes_privileges() {
    let school = School::inactive();
    set_up(
        &school,
        "SELECT steward.set_permission('teacher_wang', 'app.student', true, true, true, false);
         SELECT steward.set_permission('teacher_wang', 'app.guardian', can_select => true, can_update => true);",
    );
    assert!(
        plan(&school).iter().any(|command| command == "REVOKE DELETE ON TABLE app.student FROM teacher_wang"),
        "{:?}",
        plan(&school)
    );
    apply(&school);
    assert_eq!(rights(&school, "teacher_wang", "app.student"), "SIU");
    assert_eq!(rights(&school, "teacher_wang", "app.guardian"), "SU");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.privilege_drift"), 0);
    let delete = school.session("teacher_wang").batch_execute("DELETE FROM app.student WHERE id = 1");
    expect_error(delete, &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
}

fn what_is_not_said_is_not_allowed() {
    let school = School::inactive();
    set_up(&school, "SELECT steward.set_permission('teacher_wang', 'app.student', true)");
    apply(&school);
    for role in ["region_chen", "security_han", "clerk_zhao", "region_liu"] {
        assert_eq!(rights(&school, role, "app.student"), "", "{role} has no row");
    }
    assert_eq!(rights(&school, "region_chen", "app.guardian"), "SIUD", "a table without a row is nobody's business");
    set_up(&school, "SELECT steward.drop_permission('teacher_wang', 'app.student')");
    assert_eq!(plan(&school), Vec::<String>::new(), "with its last row the table is governed no more");
}

fn a_grant_beside_the_matrix_is_drift_and_is_taken_back() {
    let school = School::inactive();
    set_up(&school, "SELECT steward.set_permission('teacher_wang', 'app.student', true)");
    apply(&school);
    set_up(
        &school,
        "GRANT UPDATE (note) ON app.student TO clerk_zhao; GRANT SELECT, TRIGGER ON app.student TO PUBLIC;
         REVOKE SELECT ON app.student FROM teacher_wang",
    );
    let drift =
        "SELECT string_agg(concat_ws(' ', role_id, privilege, columns::text, state), '; ' ORDER BY role_id, privilege)
        FROM steward.privilege_drift WHERE table_name = 'app.student'::regclass";
    let expected = "PUBLIC SELECT too much; PUBLIC TRIGGER too much; clerk_zhao UPDATE {note} too much; teacher_wang SELECT missing";
    assert_eq!(school.ask::<String>(drift), expected);
    apply(&school);
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.privilege_drift"), 0);
    assert_eq!(rights(&school, "teacher_wang", "app.student"), "S");
}

fn a_grant_option_is_taken_back_with_what_was_passed_on() {
    let school = School::inactive();
    set_up(
        &school,
        "SELECT steward.set_permission('teacher_wang', 'app.student', true, true);
         SELECT steward.set_permission('clerk_zhao', 'app.student', true);
         REVOKE ALL ON app.student FROM clerk_zhao;
         GRANT SELECT, INSERT ON app.student TO teacher_wang WITH GRANT OPTION;
         SET ROLE teacher_wang; GRANT SELECT ON app.student TO clerk_zhao, region_liu; GRANT INSERT ON app.student TO reviewer_sun; RESET ROLE",
    );
    apply(&school);
    assert_eq!(rights(&school, "teacher_wang", "app.student"), "SI");
    assert_eq!(rights(&school, "clerk_zhao", "app.student"), "S", "granted anew, by the owner");
    assert_eq!(rights(&school, "reviewer_sun", "app.student"), "");
    let options = "SELECT count(*) FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = 'app.student'::regclass AND is_grantable AND a.grantee <> c.relowner";
    assert_eq!(school.ask::<i64>(options), 0);
}

fn columns_of_the_matrix_become_column_lists() {
    let school = School::inactive();
    set_up(
        &school,
        "SELECT steward.set_permission('clerk_zhao', 'app.student', can_select => true, select_columns => '{id,name}',
            can_update => true, update_columns => '{note}')",
    );
    apply(&school);
    let mut clerk = school.session("clerk_zhao");
    clerk
        .batch_execute("SELECT id, name FROM app.student; UPDATE app.student SET note = 'x' WHERE id = 1")
        .expect("listed");
    for closed in [
        "SELECT phone FROM app.student",
        "SELECT * FROM app.student",
        "UPDATE app.student SET phone = phone WHERE id = 1",
    ] {
        expect_error(clerk.batch_execute(closed), &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    }
    set_up(
        &school,
        "SELECT steward.set_permission('clerk_zhao', 'app.student', can_select => true, select_columns => '{id,phone}')",
    );
    apply(&school);
    clerk.batch_execute("SELECT id, phone FROM app.student").expect("listed");
    expect_error(clerk.batch_execute("SELECT name FROM app.student"), &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
}

fn partitions_have_no_privileges_of_their_own() {
    let school = School::inactive();
    set_up(&school, "SELECT steward.set_permission('teacher_wang', 'app.card_transaction', true)");
    apply(&school);
    let mut teacher = school.session("teacher_wang");
    teacher.batch_execute("SELECT * FROM app.card_transaction").expect("through the root");
    let direct = teacher.batch_execute("SELECT * FROM app.card_transaction_2026_10");
    expect_error(direct, &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
}

fn odd_names_survive() {
    let school = School::inactive();
    set_up(
        &school,
        r#"CREATE SCHEMA "Школа"; CREATE ROLE "cl""erk; DROP TABLE app.student"; CREATE ROLE "public ";
           CREATE TABLE "Школа"."we ird"";--" ("col""x" int, "身份证号" text, "1st" int, gone int, "select" int);
           ALTER TABLE "Школа"."we ird"";--" DROP COLUMN gone;
           GRANT ALL ON "Школа"."we ird"";--" TO "public ";
           SELECT steward.set_permission('"cl""erk; DROP TABLE app.student"', '"Школа"."we ird"";--"', can_select => true,
               select_columns => ARRAY['col"x', '身份证号', '1st', 'select']::name[])"#,
    );
    apply(&school);
    let columns: i64 = school.ask(
        r#"SELECT count(*) FROM pg_attribute WHERE attrelid = '"Школа"."we ird"";--"'::regclass AND attnum > 0
            AND has_column_privilege('"cl""erk; DROP TABLE app.student"'::regrole, attrelid, attnum, 'SELECT')"#,
    );
    assert_eq!(columns, 4);
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student"), 200, "nobody's name is a command");
    let bad = school.superuser().batch_execute(
        r#"SELECT steward.set_permission('clerk_zhao', 'app.student', true, select_columns => '{no_such}')"#,
    );
    expect_error(bad, &SqlState::INVALID_PARAMETER_VALUE, "", "");
}

fn the_matrix_is_not_written_by_hand() {
    let school = School::active();
    let by_hand = "INSERT INTO steward.role_permission (role_id, table_name, can_delete) VALUES ('teacher_wang', 'app.student', true)";
    expect_refused(school.superuser().batch_execute(by_hand));
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.role_permission"), 0);
}

fn applying_needs_an_operation_once_the_policy_is_active() {
    let school = School::active();
    let call = "SELECT steward.set_permission('clerk_zhao', 'app.student', can_select => true)";
    expect_refused(school.superuser().batch_execute(call));
    expect_refused(school.superuser().batch_execute("SELECT * FROM steward.apply()"));
    school.operate("postgres", call);
    assert_eq!(rights(&school, "teacher_wang", "app.student"), "SIUD", "not before it is applied");
    school.operate("postgres", "SELECT count(*) FROM steward.apply()");
    assert_eq!(rights(&school, "clerk_zhao", "app.student"), "S");
    assert_eq!(rights(&school, "teacher_wang", "app.student"), "");
    let revoked = "operation_type = 'REVOKE' AND op_no IS NOT NULL AND 'app.student' = ANY (relations)";
    assert!(school.records(revoked) > 0);
}

fn who_may_not_configure_neither_plans_nor_applies() {
    let school = School::inactive();
    let mut teacher = school.session("teacher_wang");
    for call in [
        "SELECT * FROM steward.plan()",
        "SELECT * FROM steward.apply()",
        "SELECT * FROM steward.lint()",
        "SELECT * FROM steward.access('clerk_zhao')",
        "SELECT * FROM steward.privilege_drift",
        "SELECT steward.set_permission('teacher_wang', 'app.student', true, true, true, true)",
        "SELECT * FROM steward._plan",
    ] {
        expect_error(teacher.batch_execute(call), &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    }
    school
        .session("auditor_qian")
        .batch_execute("SELECT * FROM steward.plan(); SELECT * FROM steward.privilege_drift")
        .expect("an auditor looks");
    school
        .session("security_han")
        .batch_execute("SELECT * FROM steward.plan(); SELECT * FROM steward.apply()")
        .expect("an officer acts");
}

fn a_row_for_what_cannot_be_governed_is_refused() {
    let school = School::inactive();
    set_up(&school, "CREATE VIEW app.seen AS SELECT 1 AS one");
    for table in ["steward.rule", "pg_authid", "app.seen", "app.student_pkey"] {
        let call = format!("SELECT steward.set_permission('clerk_zhao', '{table}', true)");
        expect_error(school.superuser().batch_execute(&call), &SqlState::WRONG_OBJECT_TYPE, "", "");
    }
    for call in [
        "NULL, 'app.student'",
        "'-', 'app.student'",
        "'clerk_zhao', NULL",
        "'clerk_zhao', 'app.student', select_columns => '{id}'",
    ] {
        let call = format!("SELECT steward.set_permission({call})");
        expect_error(school.superuser().batch_execute(&call), &SqlState::INVALID_PARAMETER_VALUE, "", "");
    }
}

fn each_command_is_on_record() {
    let school = School::inactive();
    set_up(&school, "SELECT steward.set_permission('teacher_wang', 'app.student', true)");
    apply(&school);
    let revoke = "operation_type = 'REVOKE' AND statement LIKE 'REVOKE%FROM clerk_zhao' AND rule = 'privilege' AND tier = 'critical'
        AND table_name = 'app.student' AND user_id = 'postgres' AND result = 'SUCCESS'";
    assert_eq!(school.records(revoke), 1);
    assert_eq!(school.records("operation_type = 'set_permission' AND tier = 'critical'"), 1);
    assert_eq!(school.records("operation_type = 'apply' AND tier = 'critical'"), 1);
}
