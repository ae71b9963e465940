//! Approval by relation: supervisors, departments, posts and persons, each row by somebody else, never by the applicant,
//! whatever is done to persons, rows and scripts in between.

use postgres::error::SqlState;

use crate::expect::{expect_error, expect_refused};
use crate::school::{School, ask, execute, request};

tests! {
    the_supervisor_signs_beside_the_number,
    one_person_does_not_fill_two_rows,
    two_logins_of_one_person_do_not_fill_two_rows,
    a_signer_moves_where_that_helps,
    an_approval_that_fills_no_open_row_is_refused,
    an_applicant_without_a_supervisor_is_told_at_the_request_and_at_the_activation,
    a_row_that_is_dropped_later_holds_for_what_was_filed,
    a_row_that_is_set_later_holds_for_what_was_approved,
    a_suspended_signer_fills_nothing,
    a_supervisor_who_is_replaced_fills_nothing,
    nobody_becomes_their_own_supervisor,
    a_supervisor_named_in_the_same_operation_does_not_sign_it,
    rows_are_written_by_their_functions_only,
    a_rule_hidden_in_a_block_needs_its_signature_at_the_run,
    the_rows_of_a_rule_guard_the_rule,
    direct_work_of_the_tier_needs_an_operation,
    a_row_of_a_normal_rule_asks_for_an_operation_and_no_number,
    a_rule_that_counts_rows_is_reached_by_rows_alone,
    a_cascade_does_not_reach_what_is_not_signed,
    a_riskier_script_needs_no_fewer_signatures,
    a_signer_of_another_capability_signs_for_the_row_only,
    a_signer_of_another_capability_is_no_approver,
    a_setting_of_rows_that_nobody_could_fill_is_refused,
    bad_rows_are_refused,
}

const SIXTY: &str = "UPDATE app.student SET note = 'moved' WHERE id <= 60";
const NOT_READY: &SqlState = &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE;
const REFUSED: &SqlState = &SqlState::INSUFFICIENT_PRIVILEGE;

/// A school where everybody's supervisor is Zhou and everybody belongs to North, with these rows of the policy; active.
fn school(rows: &str) -> School {
    let school = School::inactive();
    let relations = "DO $$DECLARE who text; BEGIN
        FOR who IN SELECT name FROM steward.person LOOP
            PERFORM steward.register_person(who, NULL, department => 'North',
                supervisor => CASE WHEN who <> 'Zhou' THEN 'Zhou' END);
        END LOOP; END$$";
    school.superuser().batch_execute(&format!("{relations}; {rows}; SELECT steward.activate()")).expect("set-up");
    school
}

fn moved(school: &School) -> i64 {
    school.ask("SELECT count(*) FROM app.student WHERE note = 'moved'")
}

/// The open rows of an operation, one a line.
fn open(school: &School, op_no: &str) -> String {
    school.ask(&format!("SELECT array_to_string(approvals_open, E'\\n') FROM steward.show('{op_no}')"))
}

fn the_supervisor_signs_beside_the_number() {
    let school = school("SELECT steward.set_approval('critical', 1, '{supervisor}')");
    let mut chen = school.session("region_chen");
    let op_no = request(&mut chen, SIXTY, "");
    school.vote("reviewer_sun", "approve", &op_no).expect("the number");
    assert_eq!(school.status(&op_no), "submitted");
    assert_eq!(open(&school, &op_no), "critical 1: supervisor");
    expect_error(execute(&mut chen, &op_no), NOT_READY, "Still open: critical 1: supervisor", "steward.approve");
    expect_error(school.vote("region_liu", "confirm", &op_no), NOT_READY, "waits for its approval", "");
    let asked = "SELECT count(*) FROM steward.inbox WHERE waits_for = 'approval'";
    assert_eq!(ask::<i64>(&mut school.session("reviewer_zhou"), asked), 1);
    assert_eq!(ask::<i64>(&mut school.session("security_han"), asked), 0, "only the supervisor is missing");
    school.vote("reviewer_zhou", "approve", &op_no).expect("the supervisor");
    assert_eq!((school.status(&op_no).as_str(), open(&school, &op_no).as_str()), ("approved", ""));
    school.vote("region_liu", "confirm", &op_no).expect("confirm");
    assert_eq!(execute(&mut chen, &op_no).expect("execute"), 60);
}

fn one_person_does_not_fill_two_rows() {
    let school = school(
        "SELECT steward.set_tier_policy('critical', approvals => 0);
        SELECT steward.set_approval('critical', 1, '{supervisor}');
        SELECT steward.set_approval('critical', 2, '{supervisor,department}')",
    );
    let op_no = school.request("region_chen", SIXTY);
    school.vote("reviewer_zhou", "approve", &op_no).expect("fits both rows");
    assert_eq!(open(&school, &op_no), "critical 2: supervisor or department");
    let twice = school.vote("reviewer_zhou", "approve", &op_no);
    expect_error(twice, REFUSED, "one person approves once", "");
    school.vote("reviewer_sun", "approve", &op_no).expect("somebody of the department");
    assert_eq!(school.status(&op_no), "approved");
}

fn two_logins_of_one_person_do_not_fill_two_rows() {
    let school = school(
        "CREATE ROLE zhou_second LOGIN; SELECT steward.register_person('Zhou', NULL, roles => '{reviewer_zhou,zhou_second}');
        SELECT steward.set_tier_policy('critical', approvals => 0);
        SELECT steward.set_approval('critical', 1, '{post:reviewer}');
        SELECT steward.set_approval('critical', 2, '{post:reviewer,supervisor}')",
    );
    let op_no = school.request("region_chen", SIXTY);
    school.vote("reviewer_zhou", "approve", &op_no).expect("one row");
    let second = school.vote("zhou_second", "approve", &op_no);
    expect_error(second, REFUSED, "one person approves once", "");
    assert_eq!(school.status(&op_no), "submitted");
}

fn a_signer_moves_where_that_helps() {
    let school = school(
        "SELECT steward.set_tier_policy('critical', approvals => 0);
        SELECT steward.set_approval('critical', 1, '{post:reviewer}');
        SELECT steward.set_approval('critical', 2, '{supervisor}')",
    );
    let op_no = school.request("region_chen", SIXTY);
    // Zhou fits both rows, Sun the first alone: whoever comes first, both are filled.
    school.vote("reviewer_zhou", "approve", &op_no).expect("approve");
    school.vote("reviewer_sun", "approve", &op_no).expect("approve");
    assert_eq!(school.status(&op_no), "approved");
}

fn an_approval_that_fills_no_open_row_is_refused() {
    let school = school(
        "SELECT steward.set_tier_policy('critical', approvals => 0);
        SELECT steward.set_approval('critical', 1, '{person:Zhou}')",
    );
    let op_no = school.request("region_chen", SIXTY);
    let vote = school.vote("reviewer_sun", "approve", &op_no);
    expect_error(vote, NOT_READY, "Still open: critical 1: person:Zhou", "approvals_open");
    for login in ["teacher_wang", "auditor_qian", "clerk_zhao", "region_liu", "postgres"] {
        expect_error(school.vote(login, "approve", &op_no), REFUSED, "capability approve", "");
    }
    expect_error(school.vote("region_chen", "approve", &op_no), REFUSED, "", "");
    assert_eq!(school.status(&op_no), "submitted");
}

fn an_applicant_without_a_supervisor_is_told_at_the_request_and_at_the_activation() {
    let school = School::inactive();
    let mut superuser = school.superuser();
    superuser.batch_execute("SELECT steward.set_approval('critical', 1, '{supervisor,department}')").expect("a row");
    let told = "For critical operations of Chen there is not somebody for critical 1: supervisor or department";
    expect_error(superuser.batch_execute("SELECT steward.activate()"), NOT_READY, told, "register_person");
    let mut chen = school.session("region_chen");
    let filed = chen.query("SELECT steward.request($1, purpose => 'x')", &[&SIXTY]);
    expect_error(filed, NOT_READY, "not somebody for critical 1", "supervisor =>");
    // A supervisor who may not approve is none, and neither is one who has gone.
    superuser.batch_execute("SELECT steward.register_person('Chen', NULL, supervisor => 'Zhao')").expect("a clerk");
    let filed = chen.query("SELECT steward.request($1, purpose => 'x')", &[&SIXTY]);
    expect_error(filed, NOT_READY, "not somebody for critical 1", "supervisor =>");
    superuser.batch_execute("SELECT steward.register_person('Chen', NULL, supervisor => 'Zhou')").expect("a reviewer");
    request(&mut chen, SIXTY, "");
    superuser.batch_execute("SELECT steward.suspend_person('Zhou', 'gone')").expect("suspend");
    let filed = chen.query("SELECT steward.request($1, purpose => 'x')", &[&SIXTY]);
    expect_error(filed, NOT_READY, "not somebody for critical 1", "supervisor =>");
}

fn a_row_that_is_dropped_later_holds_for_what_was_filed() {
    let school = school("SELECT steward.set_approval('critical', 1, '{supervisor}')");
    let mut chen = school.session("region_chen");
    let op_no = request(&mut chen, SIXTY, "");
    school.vote("reviewer_sun", "approve", &op_no).expect("the number");
    school
        .operate_by(&["reviewer_sun", "reviewer_zhou", "security_han"], "SELECT steward.drop_approval('critical', 1)");
    assert_eq!(open(&school, &op_no), "critical 1: supervisor");
    expect_error(execute(&mut chen, &op_no), NOT_READY, "Still open: critical 1", "");
    // What is filed now needs the number alone.
    let anew = request(&mut chen, SIXTY, "");
    school.release(&anew);
    assert_eq!(execute(&mut chen, &anew).expect("execute"), 60);
}

fn a_row_that_is_set_later_holds_for_what_was_approved() {
    let school = school("SELECT 1");
    let mut chen = school.session("region_chen");
    let op_no = request(&mut chen, SIXTY, "");
    school.vote("reviewer_sun", "approve", &op_no).expect("approve");
    school.operate("postgres", "SELECT steward.set_approval('critical', 1, '{supervisor}', rule => 'bulk_write')");
    school.vote("region_liu", "confirm", &op_no).expect("confirm");
    expect_error(
        execute(&mut chen, &op_no),
        NOT_READY,
        "critical 1 of rule \"bulk_write\": supervisor",
        "steward.approve",
    );
    assert_eq!(moved(&school), 0);
    school.vote("reviewer_zhou", "approve", &op_no).expect("the gap is filled");
    assert_eq!(execute(&mut chen, &op_no).expect("execute"), 60);
}

fn a_suspended_signer_fills_nothing() {
    let school = school("SELECT steward.set_approval('critical', 1, '{supervisor,person:Han}')");
    let mut chen = school.session("region_chen");
    let op_no = request(&mut chen, SIXTY, "");
    for login in ["reviewer_sun", "reviewer_zhou"] {
        school.vote(login, "approve", &op_no).expect("approve");
    }
    school.vote("region_liu", "confirm", &op_no).expect("confirm");
    school.operate_by(&["reviewer_sun", "security_han"], "SELECT steward.suspend_person('Zhou', 'gone')");
    expect_error(execute(&mut chen, &op_no), NOT_READY, "Still open: critical 1: supervisor or person:Han", "");
    school.vote("security_han", "approve", &op_no).expect("the other element");
    assert_eq!(execute(&mut chen, &op_no).expect("execute"), 60);
}

fn a_supervisor_who_is_replaced_fills_nothing() {
    let school = school("SELECT steward.set_approval('critical', 1, '{supervisor}')");
    let mut chen = school.session("region_chen");
    let op_no = request(&mut chen, SIXTY, "");
    for login in ["reviewer_sun", "reviewer_zhou"] {
        school.vote(login, "approve", &op_no).expect("approve");
    }
    school.vote("region_liu", "confirm", &op_no).expect("confirm");
    let replace = "SELECT steward.register_person('Chen', NULL, supervisor => 'Han')";
    school.operate_by(&["reviewer_sun", "reviewer_zhou", "security_han"], replace);
    expect_error(execute(&mut chen, &op_no), NOT_READY, "Still open: critical 1: supervisor", "");
    school.vote("security_han", "approve", &op_no).expect("the new one");
    assert_eq!(execute(&mut chen, &op_no).expect("execute"), 60);
}

fn nobody_becomes_their_own_supervisor() {
    let school = School::inactive();
    let mut superuser = school.superuser();
    for (name, supervisor) in [("Chen", "Chen"), ("Zhou", "Zhou")] {
        let own = format!("SELECT steward.register_person('{name}', NULL, supervisor => '{supervisor}')");
        expect_error(superuser.batch_execute(&own), &SqlState::INVALID_PARAMETER_VALUE, "", "");
    }
    superuser.batch_execute("SELECT steward.register_person('Zhou', NULL, supervisor => 'Han')").expect("upwards");
    let circle = "SELECT steward.register_person('Han', NULL, supervisor => 'Zhou')";
    expect_error(superuser.batch_execute(circle), &SqlState::INVALID_PARAMETER_VALUE, "", "");
    // Nor by hand: before the activation the table's own check holds, afterwards the table is closed.
    let hand = "UPDATE steward.person SET supervisor = name WHERE name = 'Chen'";
    expect_error(superuser.batch_execute(hand), &SqlState::CHECK_VIOLATION, "", "");
}

/// The relation that counts is the one before the run: what the script makes of it is not signed by whom it names.
fn a_supervisor_named_in_the_same_operation_does_not_sign_it() {
    let school = school("SELECT steward.set_approval('critical', 1, '{supervisor}')");
    let mut superuser = school.superuser();
    let script = format!("SELECT steward.register_person('Wu', NULL, supervisor => 'Han'); {SIXTY}");
    let op_no = request(&mut superuser, &script, "");
    for login in ["reviewer_sun", "security_han"] {
        school.vote(login, "approve", &op_no).expect("approve");
    }
    assert_eq!(open(&school, &op_no), "critical 1: supervisor");
    expect_error(execute(&mut superuser, &op_no), NOT_READY, "Still open: critical 1: supervisor", "");
    assert_eq!(moved(&school), 0);
    school.vote("reviewer_zhou", "approve", &op_no).expect("the supervisor of today");
    school.vote("region_liu", "confirm", &op_no).expect("confirm");
    execute(&mut superuser, &op_no).expect("execute");
}

fn rows_are_written_by_their_functions_only() {
    let school = school("SELECT steward.set_approval('critical', 1, '{supervisor}')");
    let op_no = school.request("region_chen", SIXTY);
    let direct = [
        "DELETE FROM steward.approval_rule".to_owned(),
        "UPDATE steward.approval_rule SET who = '{post:reviewer}'".to_owned(),
        "INSERT INTO steward.approval_rule VALUES ('normal', '', 1, '{supervisor}')".to_owned(),
        "TRUNCATE steward.approval_rule".to_owned(),
        format!("DELETE FROM steward._operation_approval WHERE op_no = '{op_no}'"),
        "UPDATE steward._operation_approval SET who = '{post:reviewer}'".to_owned(),
        "UPDATE steward._operation SET matched_rules = '{}', status = 'approved'".to_owned(),
        "UPDATE steward.person SET supervisor = 'Sun' WHERE name = 'Chen'".to_owned(),
        "SELECT steward.drop_approval('critical', 1)".to_owned(),
        "SELECT steward.set_approval('critical', 1, '{post:reviewer}')".to_owned(),
        "SELECT steward.register_person('Chen', NULL, supervisor => 'Sun')".to_owned(),
    ];
    for login in ["postgres", "security_han", "region_chen", "reviewer_sun", "auditor_qian", "teacher_wang"] {
        let mut session = school.session(login);
        for statement in &direct {
            expect_error(session.batch_execute(statement), REFUSED, "", "");
        }
    }
    assert_eq!(open(&school, &op_no), "critical 1: supervisor");
}

fn a_rule_hidden_in_a_block_needs_its_signature_at_the_run() {
    let school = school("SELECT steward.set_approval('critical', 1, '{person:Zhou}', rule => 'structure')");
    let mut superuser = school.superuser();
    let hidden = "DO $$BEGIN EXECUTE 'TRUNC' || 'ATE app.entry'; END$$";
    school.superuser().batch_execute("INSERT INTO app.entry (client) VALUES (1)").expect("a row");
    let op_no = request(&mut superuser, hidden, "");
    school.vote("reviewer_sun", "approve", &op_no).expect("the number");
    school.vote("region_liu", "confirm", &op_no).expect("confirm");
    let error =
        expect_error(execute(&mut superuser, &op_no), REFUSED, "critical 1 of rule \"structure\": person:Zhou", "");
    assert!(error.message().contains("does not reach as far as rule \"structure\""), "{error:?}");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.entry"), 1);
    assert_eq!(school.records("result = 'DENIED' AND operation_type = 'TRUNCATE TABLE'"), 1);
    // Whoever knows what the block does asks for one more.
    let op_no = request(&mut superuser, hidden, ", approvals => 2");
    for login in ["reviewer_sun", "reviewer_zhou"] {
        school.vote(login, "approve", &op_no).expect("approve");
    }
    school.vote("region_liu", "confirm", &op_no).expect("confirm");
    execute(&mut superuser, &op_no).expect("signed");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.entry"), 0);
}

fn the_rows_of_a_rule_guard_the_rule() {
    let school = school("SELECT steward.set_approval('critical', 1, '{person:Zhou}', rule => 'structure')");
    let mut superuser = school.superuser();
    for change in [
        "SELECT steward.drop_approval('critical', 1, 'structure')",
        "SELECT steward.set_approval('critical', 1, '{post:reviewer}', rule => 'structure')",
        "SELECT steward.drop_rule('structure')",
        "SELECT steward.set_rule('structure', 'normal', commands => '{DDL}', note => 'mine')",
    ] {
        // Less than before takes two approvals; here as many are given for each.
        let op_no = request(&mut superuser, change, ", approvals => 2");
        for approver in ["reviewer_sun", "security_han"] {
            school.vote(approver, "approve", &op_no).expect("approve");
        }
        school.vote("region_liu", "confirm", &op_no).expect("confirm");
        let error = expect_refused(execute(&mut superuser, &op_no));
        assert!(error.message().contains("rule \"structure\""), "{change}: {error:?}");
    }
}

fn direct_work_of_the_tier_needs_an_operation() {
    let school = school("SELECT steward.set_approval('important', 1, '{supervisor}')");
    let mut teacher = school.session("teacher_wang");
    let one = "UPDATE app.student SET id_card = 'X1' WHERE id = 1";
    expect_refused(teacher.batch_execute(one));
    teacher.batch_execute("UPDATE app.student SET note = 'x' WHERE id = 1").expect("normal work goes on");
    let op_no = request(&mut teacher, one, ", expected_rows => 1");
    assert_eq!(
        (school.status(&op_no).as_str(), open(&school, &op_no).as_str()),
        ("submitted", "important 1: supervisor")
    );
    school.vote("reviewer_zhou", "approve", &op_no).expect("the supervisor");
    assert_eq!(execute(&mut teacher, &op_no).expect("execute"), 1);
}

fn a_row_of_a_normal_rule_asks_for_an_operation_and_no_number() {
    let school = school(
        "SELECT steward.set_rule('no_delete', 'normal', commands => '{DELETE}', relation_pattern => '^app\\.entry$');
        SELECT steward.set_approval('normal', 1, '{supervisor}', rule => 'no_delete')",
    );
    let mut teacher = school.session("teacher_wang");
    teacher.batch_execute("INSERT INTO app.entry (client) VALUES (1)").expect("another command");
    expect_refused(teacher.batch_execute("DELETE FROM app.entry"));
    let op_no = request(&mut teacher, "DELETE FROM app.entry", ", expected_rows => 1");
    let needed = format!("SELECT tier || ' ' || approvals_needed FROM steward.show('{op_no}')");
    assert_eq!(school.ask::<String>(&needed), "normal 0");
    assert_eq!(open(&school, &op_no), "normal 1 of rule \"no_delete\": supervisor");
    school.vote("reviewer_zhou", "approve", &op_no).expect("the supervisor");
    assert_eq!(execute(&mut teacher, &op_no).expect("execute"), 1);
}

fn a_rule_that_counts_rows_is_reached_by_rows_alone() {
    let school = school(
        "SELECT steward.set_rule('ten', 'important', commands => '{UPDATE}', min_rows => 10);
        SELECT steward.set_approval('important', 1, '{person:Zhou}', rule => 'ten')",
    );
    let update = |rows: i32| format!("UPDATE app.student SET note = 'moved' WHERE id <= {rows}");
    let mut chen = school.session("region_chen");
    chen.batch_execute(&update(9)).expect("nine rows");
    expect_refused(chen.batch_execute(&update(10)));
    // Expecting fewer rows asks for no signature, and gives none.
    let op_no = request(&mut chen, &update(10), ", expected_rows => 9");
    assert_eq!(school.status(&op_no), "approved");
    expect_refused(execute(&mut chen, &op_no));
    let hidden = format!("DO $$BEGIN {}; END$$", update(10));
    let op_no = request(&mut chen, &hidden, ", expected_rows => 9");
    school.vote("reviewer_sun", "approve", &op_no).expect("approve");
    school.vote("region_liu", "confirm", &op_no).expect("confirm");
    expect_error(execute(&mut chen, &op_no), REFUSED, "It touched 10 rows", "");
    assert_eq!(moved(&school), 9);
    let op_no = request(&mut chen, &update(10), ", expected_rows => 10");
    assert_eq!(open(&school, &op_no), "important 1 of rule \"ten\": person:Zhou");
    school.vote("reviewer_zhou", "approve", &op_no).expect("approve");
    assert_eq!(execute(&mut chen, &op_no).expect("execute"), 10);
}

/// Deleting a student deletes the guardians: what a foreign key does is not signed by whoever saw the script alone.
fn a_cascade_does_not_reach_what_is_not_signed() {
    let school = school(
        "SELECT steward.set_rule('guardian_gone', 'important', commands => '{DELETE}', relation_pattern => '^app\\.guardian$');
        SELECT steward.set_approval('important', 1, '{person:Zhou}', rule => 'guardian_gone')",
    );
    let mut chen = school.session("region_chen");
    let op_no = request(&mut chen, "DELETE FROM app.student WHERE id = 200", "");
    school.vote("reviewer_sun", "approve", &op_no).expect("approve");
    school.vote("region_liu", "confirm", &op_no).expect("confirm");
    let refused = execute(&mut chen, &op_no);
    expect_error(refused, REFUSED, "important 1 of rule \"guardian_gone\": person:Zhou", "");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student WHERE id = 200"), 1);
}

/// Adding something riskier to a script takes no signature away.
fn a_riskier_script_needs_no_fewer_signatures() {
    let school = school("SELECT steward.set_approval('important', 1, '{supervisor}')");
    let op_no = school.request("region_chen", &format!("UPDATE app.student SET id_card = 'X1' WHERE id = 1; {SIXTY}"));
    assert_eq!(school.ask::<String>(&format!("SELECT tier::text FROM steward.show('{op_no}')")), "critical");
    assert_eq!(open(&school, &op_no), "important 1: supervisor");
}

fn a_signer_of_another_capability_signs_for_the_row_only() {
    let school = school(
        "SELECT steward.register_person('Chen', NULL, supervisor => 'Wang');
        SELECT steward.set_approval('critical', 1, '{supervisor,person:Wang,person:Han}', capability => 'apply')",
    );
    let mut chen = school.session("region_chen");
    let op_no = request(&mut chen, SIXTY, "");
    let mut wang = school.session("teacher_wang");
    let sees = format!("SELECT count(*) FROM steward.inbox WHERE waits_for = 'approval' AND op_no = '{op_no}'");
    assert_eq!(ask::<i64>(&mut wang, &sees), 1, "who is to sign sees what for");
    let digest = school.digest(&op_no);
    wang.query("SELECT steward.approve($1, $2)", &[&op_no, &digest]).expect("the supervisor");
    assert_eq!(
        (school.status(&op_no).as_str(), open(&school, &op_no).as_str()),
        ("submitted", ""),
        "the number is missing"
    );
    expect_error(execute(&mut chen, &op_no), NOT_READY, "0 of 1", "steward.approve");
    // Whom no row means has no say, and who signed does not stand by as well.
    for login in ["clerk_zhao", "auditor_qian", "region_liu"] {
        expect_error(school.vote(login, "approve", &op_no), REFUSED, "capability approve", "");
    }
    school.vote("reviewer_sun", "approve", &op_no).expect("the number");
    school.vote("region_liu", "confirm", &op_no).expect("confirm");
    assert_eq!(execute(&mut chen, &op_no).expect("execute"), 60);
}

fn a_signer_of_another_capability_is_no_approver() {
    let school = school(
        "SELECT steward.set_tier_policy('critical', approvals => 0);
        SELECT steward.set_rule('kept', 'normal', commands => '{DELETE}', relation_pattern => '^app\\.entry$', approvals => 1);
        SELECT steward.set_approval('critical', 1, '{person:Wang,person:Han}', capability => 'apply')",
    );
    school.superuser().batch_execute("INSERT INTO app.entry (client) VALUES (1)").expect("a row");
    let mut chen = school.session("region_chen");
    for (script, refused) in [("DELETE FROM app.entry", true), ("UPDATE app.entry SET client = 2", false)] {
        let op_no = request(&mut chen, &format!("DO $$BEGIN {script}; END$$"), "");
        school.vote("teacher_wang", "approve", &op_no).expect("the row");
        school.vote("region_liu", "confirm", &op_no).expect("confirm");
        let run = execute(&mut chen, &op_no);
        match refused {
            true => drop(expect_error(run, REFUSED, "nobody who may approve has signed", "")),
            false => drop(run.expect("no rule demands an approver")),
        }
    }
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.entry WHERE client = 2"), 1);
}

fn a_setting_of_rows_that_nobody_could_fill_is_refused() {
    let school = school("SELECT 1");
    let mut superuser = school.superuser();
    // Zhou has no supervisor, but files nothing; Han's own operations Han cannot sign.
    let script = "SELECT steward.set_approval('critical', 1, '{person:Han}')";
    let op_no = request(&mut superuser, script, "");
    school.release(&op_no);
    let refused = execute(&mut superuser, &op_no);
    expect_error(
        refused,
        NOT_READY,
        "For critical operations of Han there is not somebody for critical 1: person:Han",
        "",
    );
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.approval_rule"), 0);
}

fn bad_rows_are_refused() {
    let school = School::inactive();
    let mut superuser = school.superuser();
    let bad = &SqlState::INVALID_PARAMETER_VALUE;
    let unknown = &SqlState::UNDEFINED_OBJECT;
    for (arguments, code) in [
        ("'critical', 0, '{supervisor}'", bad),
        ("'critical', 10, '{supervisor}'", bad),
        ("'critical', NULL, '{supervisor}'", bad),
        ("NULL, 1, '{supervisor}'", bad),
        ("'critical', 1, '{}'", bad),
        ("'critical', 1, NULL", bad),
        ("'critical', 1, '{NULL}'", bad),
        ("'critical', 1, '{boss}'", bad),
        ("'critical', 1, '{supervisor}', capability => 'audit'", bad),
        ("'critical', 1, '{post:king}'", unknown),
        ("'critical', 1, '{person:Nobody}'", unknown),
        ("'critical', 1, '{supervisor}', rule => 'no_rule'", unknown),
    ] {
        let call = format!("SELECT steward.set_approval({arguments})");
        expect_error(superuser.batch_execute(&call), code, "", "");
    }
    expect_error(superuser.batch_execute("SELECT steward.drop_approval('critical', 1)"), unknown, "", "");
}
