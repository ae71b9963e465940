//! `steward.access`: what a role sees of each column, and why.

use postgres::error::SqlState;

use super::{apply, set_up};
use crate::expect::expect_error;
use crate::school::School;

tests! {
    a_column_is_clear_masked_or_denied_and_it_is_said_why,
    a_sample_is_made_up_and_masked_as_the_role_sees_it,
    rows_by_policy_are_said,
    superusers_and_owners_have_nothing_beneath_their_mask,
    who_is_a_role_may_look_at_it_and_others_may_not,
}

/// Access, why and sample of a column.
fn of(school: &School, role: &str, table: &str, column: &str) -> (String, String, Option<String>) {
    let row = school
        .superuser()
        .query_one(
            "SELECT access, why, sample FROM steward.access($1::text::regrole) WHERE table_name = $2 AND column_name = $3",
            &[&role, &table, &column],
        )
        .expect("access");
    (row.get(0), row.get(1), row.get(2))
}

fn masked() -> School {
    let school = School::inactive();
    set_up(
        &school,
        "SECURITY LABEL FOR pg_steward ON COLUMN app.student.phone IS 'phone';
         SECURITY LABEL FOR pg_steward ON COLUMN app.student.name IS 'name';
         INSERT INTO steward.mask_rule (role, class, mask, prefix, suffix) VALUES ('clerk_zhao', 'phone', 'partial', 3, 4);
         INSERT INTO steward.mask_rule (role, class, mask) VALUES ('clerk_zhao', 'id_card', 'hide')",
    );
    school
}

fn a_column_is_clear_masked_or_denied_and_it_is_said_why() {
    let school = masked();
    apply(&school);
    let (access, why, _) = of(&school, "clerk_zhao", "app.student", "phone");
    assert_eq!((access.as_str(), why.as_str()), ("masked", "mask rule of clerk_zhao for phone: partial"));
    let (access, why, _) = of(&school, "clerk_zhao", "app.student", "name");
    assert_eq!((access.as_str(), why.as_str()), ("clear", "SELECT granted to clerk_zhao; no mask rule for name"));
    let (access, why, _) = of(&school, "auditor_qian", "app.student", "phone");
    assert_eq!((access.as_str(), why.as_str()), ("denied", "no privilege SELECT on the table"));
    set_up(
        &school,
        "SELECT steward.set_permission('teacher_wang', 'app.student', true, select_columns => '{id,name}')",
    );
    apply(&school);
    let (access, why, sample) = of(&school, "teacher_wang", "app.student", "phone");
    assert_eq!((access.as_str(), why.as_str(), sample), ("denied", "no privilege SELECT on the column", None));
}

fn a_sample_is_made_up_and_masked_as_the_role_sees_it() {
    let school = masked();
    apply(&school);
    let (_, _, phone) = of(&school, "clerk_zhao", "app.student", "phone");
    let phone = phone.expect("sample");
    assert!(
        phone.starts_with("138") && phone.ends_with("8000") && phone.contains('*') && !phone.contains("13800138000"),
        "{phone}"
    );
    let (_, _, clear) = of(&school, "teacher_wang", "app.student", "phone");
    assert_eq!(clear.as_deref(), Some("13800138000"));
    let (_, _, hidden) = of(&school, "clerk_zhao", "app.student", "id_card");
    assert!(!hidden.clone().unwrap_or_default().contains("110105"), "{hidden:?}");
}

fn rows_by_policy_are_said() {
    let school = masked();
    set_up(
        &school,
        "ALTER TABLE app.guardian ENABLE ROW LEVEL SECURITY; CREATE POLICY own_school ON app.guardian TO teacher_wang USING (id < 5)",
    );
    let (_, why, _) = of(&school, "teacher_wang", "app.guardian", "name");
    assert!(why.contains("rows by policy own_school"), "{why}");
    let (_, why, _) = of(&school, "region_chen", "app.guardian", "name");
    assert!(!why.contains("own_school"), "{why}");
}

fn superusers_and_owners_have_nothing_beneath_their_mask() {
    let school = masked();
    set_up(
        &school,
        "CREATE ROLE keeper; ALTER TABLE app.student OWNER TO keeper; GRANT USAGE, CREATE ON SCHEMA app TO keeper;
         INSERT INTO steward.mask_rule (role, class, mask) VALUES ('keeper', 'phone', 'hide'), ('postgres', 'phone', 'hide')",
    );
    for (role, words) in [("keeper", "an owner"), ("postgres", "a superuser")] {
        let (access, why, _) = of(&school, role, "app.student", "phone");
        assert!(access == "masked" && why.contains(words), "{access} {why}");
    }
}

fn who_is_a_role_may_look_at_it_and_others_may_not() {
    let school = masked();
    let ask = |login: &str| school.session(login).query("SELECT * FROM steward.access('clerk_zhao')", &[]);
    assert!(!ask("clerk_zhao").expect("their own").is_empty());
    assert!(!ask("auditor_qian").expect("an auditor").is_empty());
    expect_error(ask("teacher_wang"), &SqlState::INSUFFICIENT_PRIVILEGE, "others may see", "");
}
