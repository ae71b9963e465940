//! The native floor: a masked role has no privilege on the masked column itself, whatever a hook may miss.
//!
//! These tests write `steward.mask_rule` as a policy that is not active may: how masks look is not their subject.

use std::io::Read;

use postgres::Client;
use postgres::error::SqlState;

use super::{apply, plan, set_up};
use crate::expect::expect_error;
use crate::school::School;

tests! {
    a_table_grant_of_a_masked_role_becomes_a_column_list,
    a_mask_of_a_group_reaches_its_members,
    nobody_loses_rows_or_columns_to_the_floor,
    a_masked_role_keeps_no_trigger_references_truncate,
    a_grant_to_everybody_is_narrowed_as_well,
    partitions_follow_their_root,
    policies_that_are_there_are_not_opened,
    the_matrix_and_the_masks_agree,
    what_is_inherited_beneath_a_mask_is_said,
    a_column_that_no_mask_covers_and_a_masked_role_lacks_is_said,
    pg_stats_tell_a_masked_role_nothing,
    errors_tell_a_masked_role_no_other_values,
    whom_row_security_stops_from_copy_from_is_said,
    pg_dump_of_a_masked_role_gets_nothing,
}

/// A school whose clerk is masked on identity numbers and phones, before the floor is laid.
fn masked() -> School {
    let school = School::inactive();
    set_up(
        &school,
        "SECURITY LABEL FOR pg_steward ON COLUMN app.student.phone IS 'phone';
         INSERT INTO steward.mask_rule (role, class, mask) VALUES ('clerk_zhao', 'id_card', 'partial'), ('clerk_zhao', 'phone', 'partial')",
    );
    school
}

#[track_caller]
fn denied(session: &mut Client, query: &str) {
    expect_error(session.batch_execute(query), &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
}

/// Whether a role has the privilege on the column itself.
fn natively(school: &School, role: &str, column: &str) -> bool {
    school.ask(&format!("SELECT has_column_privilege('{role}', 'app.student', '{column}', 'SELECT')"))
}

fn a_table_grant_of_a_masked_role_becomes_a_column_list() {
    let school = masked();
    let commands = plan(&school);
    assert_eq!(commands[0], "REVOKE SELECT ON TABLE app.student FROM clerk_zhao");
    assert_eq!(
        commands[1],
        "GRANT SELECT (id, school_id, name, note, ctid, xmin, tableoid) ON TABLE app.student TO clerk_zhao"
    );
    apply(&school);
    assert!(!natively(&school, "clerk_zhao", "phone") && !natively(&school, "clerk_zhao", "id_card"));
    assert!(natively(&school, "clerk_zhao", "name") && natively(&school, "teacher_wang", "phone"));
    school
        .session("clerk_zhao")
        .batch_execute("SELECT id, name, ctid, xmin FROM app.student; SELECT count(*) FROM app.student")
        .expect("clear columns");
    // What masks do not reach is closed: here the floor stands alone.
    assert!(!school.ask::<bool>("SELECT has_table_privilege('clerk_zhao', 'app.student', 'SELECT')"));
    let mut copied = String::new();
    let mut clerk = school.session("clerk_zhao");
    let mut copy = clerk.copy_out("COPY app.student (phone) TO STDOUT").expect("masks are copied");
    copy.read_to_string(&mut copied).expect("rows");
    assert!(copied.starts_with("138****") && !copied.contains("13800"), "{copied}");
}

fn a_mask_of_a_group_reaches_its_members() {
    let school = School::inactive();
    set_up(
        &school,
        "CREATE ROLE support; GRANT support TO clerk_zhao;
         INSERT INTO steward.mask_rule (role, class, mask) VALUES ('support', '*', 'hide')",
    );
    apply(&school);
    assert!(!natively(&school, "clerk_zhao", "id_card"));
    // A clear rule of its own is weaker.
    set_up(&school, "INSERT INTO steward.mask_rule (role, class, mask) VALUES ('clerk_zhao', 'id_card', 'none')");
    assert_eq!(plan(&school), Vec::<String>::new());
    set_up(
        &school,
        "DELETE FROM steward.mask_rule WHERE role = 'support'::regrole; GRANT SELECT ON app.student TO clerk_zhao",
    );
    assert_eq!(plan(&school), Vec::<String>::new(), "nobody is masked");
    assert!(natively(&school, "clerk_zhao", "id_card"));
}

fn nobody_loses_rows_or_columns_to_the_floor() {
    let school = masked();
    set_up(
        &school,
        "CREATE ROLE keeper LOGIN; ALTER TABLE app.student OWNER TO keeper; GRANT USAGE, CREATE ON SCHEMA app TO keeper",
    );
    apply(&school);
    for login in ["teacher_wang", "region_liu", "keeper", "postgres", "clerk_zhao"] {
        let rows: i64 = school.session(login).query_one("SELECT count(*) FROM app.student", &[]).expect("rows").get(0);
        assert_eq!(rows, 200, "{login}");
    }
    school
        .session("teacher_wang")
        .batch_execute("UPDATE app.student SET phone = '13900000001' WHERE id = 1")
        .expect("writes");
    school.session("teacher_wang").batch_execute("SELECT * FROM app.student").expect("every column");
    school
        .session("teacher_wang")
        .batch_execute("DELETE FROM app.student WHERE id = 2; INSERT INTO app.guardian VALUES (999, 3, 'x')")
        .expect("foreign keys");
}

fn a_masked_role_keeps_no_trigger_references_truncate() {
    let school = masked();
    set_up(
        &school,
        "GRANT TRIGGER, REFERENCES, TRUNCATE ON app.student TO clerk_zhao; GRANT REFERENCES (phone) ON app.student TO clerk_zhao; GRANT TRIGGER ON app.student TO region_chen",
    );
    apply(&school);
    let left = "SELECT count(*) FROM unnest('{TRIGGER,REFERENCES,TRUNCATE}'::text[]) p WHERE has_table_privilege('clerk_zhao', 'app.student', p)";
    assert_eq!(school.ask::<i64>(left), 0);
    assert!(!school.ask::<bool>("SELECT has_column_privilege('clerk_zhao', 'app.student', 'phone', 'REFERENCES')"));
    assert!(
        school.ask::<bool>("SELECT has_table_privilege('region_chen', 'app.student', 'TRIGGER')"),
        "not masked, not governed"
    );
}

fn a_grant_to_everybody_is_narrowed_as_well() {
    let school = masked();
    set_up(&school, "GRANT SELECT ON app.student TO PUBLIC");
    apply(&school);
    assert!(!natively(&school, "clerk_zhao", "phone"));
    assert!(natively(&school, "region_liu", "phone"), "by its own grant");
}

fn partitions_follow_their_root() {
    let school = School::inactive();
    set_up(
        &school,
        "SECURITY LABEL FOR pg_steward ON COLUMN app.card_transaction.amount IS 'score';
         INSERT INTO steward.mask_rule (role, class, mask) VALUES ('clerk_zhao', 'score', 'hide')",
    );
    apply(&school);
    let mut clerk = school.session("clerk_zhao");
    for table in ["app.card_transaction", "app.card_transaction_2026_10"] {
        clerk.batch_execute(&format!("SELECT id FROM {table}")).expect("clear column");
        denied(&mut clerk, &format!("COPY (SELECT id FROM {table}) TO '/tmp/x'"));
        let open: bool =
            school.ask(&format!("SELECT has_column_privilege('clerk_zhao', '{table}', 'amount', 'SELECT')"));
        assert!(!open, "{table}");
    }
    let forced = "SELECT count(*) FROM pg_class WHERE relname LIKE 'card_transaction%' AND relkind IN ('r', 'p') AND relrowsecurity AND relforcerowsecurity";
    assert_eq!(school.ask::<i64>(forced), 3);
}

fn policies_that_are_there_are_not_opened() {
    let school = masked();
    set_up(
        &school,
        "CREATE ROLE keeper LOGIN; GRANT USAGE, CREATE ON SCHEMA app TO keeper; ALTER TABLE app.student OWNER TO keeper; ALTER TABLE app.student ENABLE ROW LEVEL SECURITY;
         CREATE POLICY own_school ON app.student TO teacher_wang USING (school_id = 1)",
    );
    apply(&school);
    let rows = |login: &str| -> i64 {
        school.session(login).query_one("SELECT count(*) FROM app.student", &[]).expect("rows").get(0)
    };
    assert_eq!((rows("teacher_wang"), rows("region_liu"), rows("keeper")), (50, 0, 200));
}

fn the_matrix_and_the_masks_agree() {
    let school = masked();
    set_up(
        &school,
        "SELECT steward.set_permission('clerk_zhao', 'app.student', true); SELECT steward.set_permission('teacher_wang', 'app.student', true)",
    );
    apply(&school);
    assert!(!natively(&school, "clerk_zhao", "phone") && natively(&school, "clerk_zhao", "name"));
    assert!(natively(&school, "teacher_wang", "phone"));
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.privilege_drift"), 0);
    // The mask goes: the matrix says the whole table again.
    set_up(&school, "DELETE FROM steward.mask_rule");
    apply(&school);
    assert!(natively(&school, "clerk_zhao", "phone"));
}

/// No privilege on the table closes it without taking it from those who see clear.
fn what_is_inherited_beneath_a_mask_is_said() {
    let school = masked();
    set_up(&school, "CREATE ROLE helpers; GRANT SELECT ON app.student TO helpers; GRANT helpers TO clerk_zhao");
    apply(&school);
    assert!(natively(&school, "clerk_zhao", "phone"), "the hook alone masks it");
    let remarks = "SELECT coalesce(string_agg(role_id || ': ' || reason, ';'), '') FROM steward.plan()
        WHERE command IS NULL AND reason LIKE 'inherits%'";
    let said: String = school.ask(remarks);
    assert!(
        said.starts_with("clerk_zhao: inherits SELECT (id_card, phone) from helpers")
            && said.contains("REVOKE helpers FROM clerk_zhao"),
        "{said}"
    );
    set_up(&school, "REVOKE helpers FROM clerk_zhao");
    assert_eq!(school.ask::<String>(remarks), "");
}

/// A list of columns does not grow by itself; whether somebody is to read what is not in it, only people know.
fn a_column_that_no_mask_covers_and_a_masked_role_lacks_is_said() {
    let school = masked();
    apply(&school);
    let remarks =
        "SELECT coalesce(string_agg(concat_ws(' ', table_name, role_id, reason), ';'), '') FROM steward.plan()
        WHERE command IS NULL AND reason LIKE 'may not read%'";
    assert_eq!(school.ask::<String>(remarks), "");
    let said = |columns: &str| {
        format!(
            "app.student clerk_zhao may not read {columns}, which no mask covers, though other columns: \
             GRANT SELECT ({columns}) ON TABLE app.student TO clerk_zhao, if it is to"
        )
    };
    set_up(&school, "ALTER TABLE app.student ADD COLUMN nick text");
    assert_eq!(school.ask::<String>(remarks), said("nick"));
    set_up(&school, "SELECT steward.drop_mask('clerk_zhao', 'phone')");
    assert_eq!(school.ask::<String>(remarks), said("phone, nick"));
    set_up(&school, "GRANT SELECT (phone, nick) ON TABLE app.student TO clerk_zhao");
    assert_eq!(school.ask::<String>(remarks), "");
    set_up(&school, "SELECT steward.drop_mask('clerk_zhao', 'id_card')");
    assert_eq!(school.ask::<String>(remarks), said("id_card"));
    assert_eq!(plan(&school), Vec::<String>::new(), "nothing is done about it");
    // Where the matrix says what the role reads, it is a command.
    set_up(&school, "SELECT steward.set_permission('clerk_zhao', 'app.student', true)");
    apply(&school);
    assert_eq!(school.ask::<String>(remarks), "");
    assert!(natively(&school, "clerk_zhao", "id_card"));
}

fn pg_stats_tell_a_masked_role_nothing() {
    let school = masked();
    set_up(&school, "ANALYZE app.student");
    apply(&school);
    let mut clerk = school.session("clerk_zhao");
    for place in ["pg_stats", "pg_stats_ext", "pg_stats_ext_exprs"] {
        let rows: i64 = clerk
            .query_one(&format!("SELECT count(*) FROM {place} WHERE tablename = 'student'"), &[])
            .expect("rows")
            .get(0);
        assert_eq!(rows, 0, "{place}");
    }
    denied(&mut clerk, "SELECT * FROM pg_statistic");
}

fn errors_tell_a_masked_role_no_other_values() {
    let school = masked();
    set_up(&school, "GRANT UPDATE, INSERT ON app.student TO clerk_zhao");
    apply(&school);
    let mut clerk = school.session("clerk_zhao");
    for write in [
        "UPDATE app.student SET phone = '1' WHERE id = 7",
        "UPDATE app.student SET name = NULL WHERE id = 7",
        "UPDATE app.student SET id_card = 'ID8' WHERE id = 7",
        "UPDATE app.student SET school_id = 99 WHERE id = 7",
    ] {
        let error = crate::expect::db_error(clerk.batch_execute(write));
        let said = format!("{} {}", error.message(), error.detail().unwrap_or(""));
        assert!(!said.contains("13800000007") && !said.contains("ID7"), "{write}: {said}");
    }
}

fn whom_row_security_stops_from_copy_from_is_said() {
    let school = masked();
    let remark = "SELECT role_id FROM steward.plan() WHERE command IS NULL AND table_name = 'app.student'";
    assert_eq!(school.ask::<String>(remark), "region_chen, security_han, teacher_wang");
    apply(&school);
    let remarks = "SELECT count(*) FROM steward.plan()";
    assert_eq!(school.ask::<i64>(remarks), 0);
}

fn pg_dump_of_a_masked_role_gets_nothing() {
    let school = masked();
    apply(&school);
    let mut dump = school.client_program("pg_dump");
    dump.env("PGUSER", "clerk_zhao").args(["--table=app.student", "--data-only", crate::school::HOME]);
    let output = dump.output().expect("pg_dump");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && !text.contains("13800000007"), "{text}");
}
