//! Erasure: nothing of a row is left in the images, and the chain verifies as before.

use postgres::error::SqlState;

use crate::expect::{expect_error, expect_refused};
use crate::school::School;

tests! {
    every_image_of_a_row_goes_and_the_chain_verifies,
    copies_of_the_table_lose_the_row_as_well,
    a_run_whose_images_were_erased_is_not_restored,
    erasing_needs_an_operation_and_the_whole_key,
}

/// Images that still tell this phone.
fn told(school: &School, phone: &str) -> i64 {
    let images = format!("SELECT count(*) FROM steward.row_image WHERE '{phone}' = ANY (old_values || new_values)");
    school.ask(&images)
}

fn with_images() -> School {
    let school = School::inactive();
    let set_up = "SELECT steward.protect('app.student', row_images => true); SELECT steward.activate()";
    school.superuser().batch_execute(set_up).expect("set-up");
    school
}

fn every_image_of_a_row_goes_and_the_chain_verifies() {
    let school = with_images();
    let mut teacher = school.session("teacher_wang");
    teacher.batch_execute("UPDATE app.student SET phone = '13911111111' WHERE id = 77; UPDATE app.student SET note = 'x' WHERE id = 78").expect("writes");
    assert_eq!(told(&school, "13800000077"), 1);
    let erasure = r#"DELETE FROM app.guardian WHERE student_id = 77; DELETE FROM app.student WHERE id = 77; SELECT steward.erase_images('app.student', '{"id": 77}')"#;
    school.operate("postgres", erasure);
    assert_eq!((told(&school, "13800000077"), told(&school, "13911111111")), (0, 0));
    assert!(
        school.ask::<i64>("SELECT count(*) FROM steward.row_image WHERE '78' = ANY (new_values)") > 0,
        "others stay"
    );
    let record = "operation_type = 'erase_images' AND table_name = 'app.student' AND op_no IS NOT NULL AND details::jsonb @> '{\"images\": 2}' AND NOT details LIKE '%77%'";
    assert_eq!(school.records(record), 1);
    assert!(school.ask::<bool>("SELECT ok FROM steward.verify_chain()"));
}

fn copies_of_the_table_lose_the_row_as_well() {
    let school = with_images();
    school.operate("postgres", "ALTER TABLE app.student DROP COLUMN note");
    let copy: String = school.ask("SELECT copy FROM steward.table_image WHERE copy IS NOT NULL");
    let rows = |school: &School| school.ask::<i64>(&format!("SELECT count(*) FROM {copy}"));
    assert_eq!(rows(&school), 200);
    school.operate("postgres", r#"SELECT steward.erase_images('app.student', '{"id": 77}')"#);
    assert_eq!(rows(&school), 199);
}

fn a_run_whose_images_were_erased_is_not_restored() {
    let school = with_images();
    let run = school.operate("postgres", "UPDATE app.student SET note = 'x' WHERE id IN (77, 78)");
    school.operate("postgres", r#"SELECT steward.erase_images('app.student', '{"id": 77}')"#);
    let mut applicant = school.superuser();
    let restore = crate::school::request(&mut applicant, &format!("SELECT * FROM steward.restore('{run}')"), "");
    school.release(&restore);
    let refused = crate::school::execute(&mut applicant, &restore);
    expect_error(refused, &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "", "");
}

fn erasing_needs_an_operation_and_the_whole_key() {
    let school = with_images();
    expect_refused(school.superuser().batch_execute(r#"SELECT steward.erase_images('app.student', '{"id": 77}')"#));
    let denied =
        school.session("teacher_wang").batch_execute(r#"SELECT steward.erase_images('app.student', '{"id": 77}')"#);
    expect_error(denied, &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    let school = School::inactive();
    for bad in [
        r#"'app.student', '{"name": "x"}'"#,
        "'app.student', '{}'",
        "'app.student', NULL",
        r#"'app.card_transaction', '{"id": 1}'"#,
        r#"'app.student', '[1]'"#,
    ] {
        let call = format!("SELECT steward.erase_images({bad})");
        expect_error(school.superuser().batch_execute(&call), &SqlState::INVALID_PARAMETER_VALUE, "", "");
    }
}
