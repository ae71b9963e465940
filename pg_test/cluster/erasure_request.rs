//! A person asks for the erasure of data, from the form to the trail: who asked and why stays, what was erased does not.

use postgres::error::SqlState;

use crate::expect::{expect_error, expect_refused};
use crate::school::{School, ask, execute, request};

tests! {
    an_erasure_takes_its_form_and_two_approvals_and_leaves_no_value_behind,
    an_erasure_form_is_asked_of_nothing_else,
}

const BAD: &SqlState = &SqlState::INVALID_PARAMETER_VALUE;
/// Of pupil 77.
const PHONES: [&str; 2] = ["13800000077", "13911111111"];
const SCRIPT: &str = r#"DELETE FROM app.guardian WHERE student_id = 77; DELETE FROM app.student WHERE id = 77;
    SELECT steward.erase_images('app.student', '{"id": 77}')"#;
const FORM: &str = r#"{"form": "erasure", "subject": "S-2026-3011", "data": "app.student and app.guardian of one pupil",
    "ground": "consent_withdrawn", "requested_at": "2026-11-20", "reason": "left the school; nothing has to be kept"}"#;

fn file(school: &School, form: &str) -> Result<String, postgres::Error> {
    let call = format!("SELECT steward.request($1, purpose => 'erasure', form => $f${form}$f$)");
    Ok(school.superuser().query_one(&call, &[&SCRIPT])?.get(0))
}

fn demanding() -> School {
    let school = School::inactive();
    let set_up =
        "SELECT steward.protect('app.student', row_images => true); SELECT steward.set_form('erasure', true, 2);
        SELECT steward.activate()";
    school.superuser().batch_execute(set_up).expect("set-up");
    school
}

/// How many places still tell a phone of the pupil: the row, images, copies of the table, the trail.
fn told(school: &School) -> Vec<i64> {
    let mut places = Vec::new();
    for phone in PHONES {
        places.push(school.ask(&format!("SELECT count(*) FROM app.student WHERE phone = '{phone}'")));
        places.push(
            school.ask(&format!(
                "SELECT count(*) FROM steward.row_image WHERE '{phone}' = ANY (old_values || new_values)"
            )),
        );
        let copies: Vec<String> =
            school.ask("SELECT coalesce(array_agg(copy::text), '{}') FROM steward.table_image WHERE copy IS NOT NULL");
        let in_copies = copies.iter().map(|copy| {
            school.ask::<i64>(&format!("SELECT count(*) FROM {copy} t WHERE to_jsonb(t) ->> 'phone' = '{phone}'"))
        });
        places.push(in_copies.sum());
        places.push(school.records(&format!("concat(statement, details) LIKE '%{phone}%'")));
    }
    places
}

fn an_erasure_takes_its_form_and_two_approvals_and_leaves_no_value_behind() {
    let school = demanding();
    let update = "UPDATE app.student SET phone = '13911111111' WHERE id = 77";
    school.session("teacher_wang").batch_execute(update).expect("a write");
    school.operate("postgres", "ALTER TABLE app.student DROP COLUMN note");
    assert_eq!(told(&school), [0, 1, 0, 0, 1, 1, 1, 0], "images and copies hold what is to be erased");

    // Half a form, an unknown ground, no time: nothing is filed.
    for (form, words) in [
        (FORM.replace("\"ground\": \"consent_withdrawn\", ", ""), "field \"ground\" is missing"),
        (FORM.replace("\"subject\": \"S-2026-3011\", ", ""), "field \"subject\" is missing"),
        (FORM.replace("consent_withdrawn", "asked nicely"), "field \"ground\""),
        (FORM.replace("2026-11-20", "some day"), "field \"requested_at\" names no time"),
    ] {
        let error = expect_error(file(&school, &form), BAD, "", "");
        assert!(error.message().contains(words), "{form}: {error:?}");
    }
    // Nothing is filed without the form, nor with another, nor where a query hides the call among others.
    let role_form =
        r#"{"form": "role_grant", "grantee": "region_chen", "role": "region_liu", "reason": "x", "until": "infinity"}"#;
    for (script, more) in [
        (SCRIPT, String::new()),
        (SCRIPT, format!(", form => '{role_form}'")),
        (r#"WITH gone AS (SELECT steward.erase_images('app.student', '{"id": 77}')) TABLE gone"#, String::new()),
        (r#"SELECT 1 WHERE steward.erase_images('app.student', '{"id": 77}') > 0"#, String::new()),
    ] {
        let call = format!("SELECT steward.request($1, purpose => 'erasure', approvals => 2{more})");
        let error = expect_refused(school.superuser().query(&call, &[&script]));
        assert!(error.message().contains("no erasure form covers it"), "{script}: {error:?}");
        assert!(error.hint().is_some_and(|hint| hint.contains("form => ")), "{error:?}");
    }
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.operation WHERE purpose = 'erasure'"), 0);
    // What a block does is seen when it runs; then it is undone.
    let hidden = format!("DO $do$ BEGIN {}; END $do$", SCRIPT.replace("SELECT steward", "PERFORM steward"));
    let bare = request(&mut school.superuser(), &hidden, ", approvals => 2");
    school.release(&bare);
    let error = expect_refused(execute(&mut school.superuser(), &bare));
    assert!(error.message().contains("no erasure form covers it"), "{error:?}");
    assert_eq!(told(&school)[4..6], [1, 1], "nothing was erased");

    let op_no = file(&school, FORM).expect("filed");
    assert_eq!(school.ask::<i32>(&format!("SELECT approvals_needed FROM steward.show('{op_no}')")), 2);
    school.vote("reviewer_sun", "approve", &op_no).expect("one approval");
    let early = execute(&mut school.superuser(), &op_no);
    expect_error(early, &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "1 of 2", "");
    school.vote("reviewer_zhou", "approve", &op_no).expect("two approvals");
    school.vote("region_liu", "confirm", &op_no).expect("confirm");
    execute(&mut school.superuser(), &op_no).expect("execute");

    assert_eq!(told(&school), [0; 8], "the row, its images, its place in copies; and never in the trail");
    let left = "SELECT (SELECT count(*) FROM app.student WHERE id = 77) + (SELECT count(*) FROM app.guardian WHERE student_id = 77)";
    assert_eq!(school.ask::<i64>(left), 0);
    assert!(school.ask::<bool>("SELECT ok FROM steward.verify_chain()"));
    // Who asked for whom, on which ground, who agreed, and that it was done.
    let filed = "operation_type = 'REQUEST' AND details LIKE '%S-2026-3011%' AND details LIKE '%consent_withdrawn%'
        AND details LIKE '%left the school%' AND person IS NOT NULL";
    assert_eq!(school.records(&format!("op_no = '{op_no}' AND {filed}")), 1);
    let approvals =
        "SELECT count(DISTINCT person) FROM steward.audit_log WHERE op_no = $1 AND operation_type = 'APPROVE'";
    assert_eq!(school.superuser().query_one(approvals, &[&op_no]).expect("approvals").get::<_, i64>(0), 2);
    let done = "operation_type = 'erase_images' AND result = 'SUCCESS' AND details NOT LIKE '%77%'";
    assert_eq!(school.records(&format!("op_no = '{op_no}' AND {done}")), 1);
}

fn an_erasure_form_is_asked_of_nothing_else() {
    let school = demanding();
    school.operate("postgres", "ALTER TABLE app.student DROP COLUMN note");
    let mut chief = school.superuser();
    let grant =
        r#"{"form": "role_grant", "grantee": "region_chen", "role": "region_liu", "reason": "x", "until": "infinity"}"#;
    let call = format!("SELECT steward.request('GRANT region_liu TO region_chen', purpose => 'x', form => '{grant}')");
    let op_no: String = ask(&mut chief, &call);
    school.release(&op_no);
    execute(&mut chief, &op_no).expect("a role form stands for itself");
    // Nobody turns the demand off alone.
    expect_refused(chief.batch_execute("SELECT steward.set_form('erasure', false)"));
    expect_refused(chief.batch_execute(r#"SELECT steward.erase_images('app.student', '{"id": 77}')"#));
}
