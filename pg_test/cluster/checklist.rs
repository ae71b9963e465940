//! The manual's checklists: 22 boxes, each answered by the person it belongs to or filled with a fact; no stage advances
//! while one is open.

use postgres::error::{DbError, SqlState};

use crate::expect::{db_error, expect_error};
use crate::school::{School, ask, execute, request};

tests! {
    the_manual_has_twenty_two_boxes,
    no_list_is_demanded_at_first_and_activation_says_so,
    a_critical_operation_goes_its_way_with_every_box,
    boxes_after_the_run_need_no_seal,
    no_stage_advances_with_open_boxes,
    the_inbox_and_the_hint_give_each_person_their_own_box,
    what_has_ended_asks_for_no_boxes,
    nobody_answers_anothers_box,
    what_a_fact_fills_nobody_answers,
    an_answer_is_not_changed_after_its_stage,
    a_no_leaves_the_box_open,
    every_approver_answers_for_themselves,
    what_was_not_as_expected_is_left_to_a_person,
    the_administrator_s_list_belongs_to_its_rules,
    a_list_that_is_switched_on_holds_for_what_is_under_way,
    an_answer_inside_a_block_does_not_count,
    nobody_writes_an_answer_by_hand,
    a_rejected_review_needs_no_boxes,
    who_signs_a_row_answers_the_approvers_boxes,
    an_interrupted_run_is_accepted_with_a_reason,
    an_interrupted_run_is_rejected_after_a_no,
    what_a_suspended_person_owed_the_reviewer_answers,
    what_a_suspended_second_person_owed_the_reviewer_answers,
    a_list_switched_on_after_the_run_can_be_accepted,
    a_reviewer_answers_for_nobody_who_can,
    a_suspended_applicant_s_operation_is_ended,
}

const REFUSED: &SqlState = &SqlState::INSUFFICIENT_PRIVILEGE;
const NOT_READY: &SqlState = &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE;
const BAD: &SqlState = &SqlState::INVALID_PARAMETER_VALUE;
const SIXTY: &str = "UPDATE app.student SET note = 'moved' WHERE id <= 60";

/// An active school whose critical operations have these lists.
fn demanding(lists: &[&str]) -> School {
    let school = School::inactive();
    demand(school, lists)
}

fn demand(school: School, lists: &[&str]) -> School {
    for list in lists {
        school.superuser().query("SELECT steward.set_checklist('critical', $1, true)", &[list]).expect("demand");
    }
    school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    school
}

fn answer(school: &School, login: &str, op_no: &str, name: &str) -> Result<(), postgres::Error> {
    say(school, login, op_no, name, "yes", "looked at it")
}

fn say(
    school: &School,
    login: &str,
    op_no: &str,
    name: &str,
    answer: &str,
    comment: &str,
) -> Result<(), postgres::Error> {
    let call = "SELECT steward.answer($1, $2, $3, $4)";
    school.session(login).query(call, &[&op_no, &name, &answer, &comment]).map(drop)
}

#[track_caller]
fn answers(school: &School, login: &str, op_no: &str, names: &[&str]) {
    names
        .iter()
        .for_each(|name| answer(school, login, op_no, name).unwrap_or_else(|error| panic!("{name}: {error:?}")));
}

/// The call is refused for these open boxes, and the HINT is the answer to the first that a person can give.
#[track_caller]
fn expect_open<T>(result: Result<T, postgres::Error>, boxes: &[&str], next: &str) -> DbError {
    let error = expect_error(result, NOT_READY, "", next);
    let detail = error.detail().unwrap_or("").to_owned();
    let listed: Vec<&str> = detail
        .trim_start_matches("Open: ")
        .split("; ")
        .filter_map(|one| one.split_once(" (").map(|(name, _)| name))
        .collect();
    assert_eq!(listed, boxes, "{error:?}");
    error
}

fn review(school: &School, op_no: &str) -> Result<(), postgres::Error> {
    school.flush_audit();
    school.session("reviewer_zhou").query("SELECT steward.review($1, 'accepted', 'fine')", &[&op_no]).map(drop)
}

fn the_manual_has_twenty_two_boxes() {
    let school = School::inactive();
    let lists = "SELECT string_agg(list || ' ' || boxes, ', ' ORDER BY list DESC)
        FROM (SELECT list, count(*) AS boxes FROM steward.checklist WHERE installed GROUP BY list) counted";
    assert_eq!(school.ask::<String>(lists), "critical_operation 12, administration 10");
    for (list, labels) in [
        (
            "critical_operation",
            "操作目的明确 影响范围确认 申请人权限验证 必要性评估 风险评估 备份方案确认 双人确认(关键操作) 操作步骤按计划执行 结果验证 操作记录保存 相关人员通知 异常情况处理",
        ),
        (
            "administration",
            "维护时间窗口确认 影响范围评估 备份完成确认 回滚方案准备 按计划执行 每步确认结果 异常情况记录 系统功能验证 性能检查 操作记录归档",
        ),
    ] {
        let all =
            format!("SELECT string_agg(label_zh, ' ' ORDER BY line) FROM steward.checklist WHERE list = '{list}'");
        assert_eq!(school.ask::<String>(&all), labels);
    }
}

fn no_list_is_demanded_at_first_and_activation_says_so() {
    let school = School::inactive();
    let (notices, heard) = std::sync::mpsc::channel();
    let mut config = school.config("postgres", crate::school::HOME);
    config.notice_callback(move |notice| {
        notices.send((notice.message().to_owned(), notice.detail().unwrap_or("").to_owned())).unwrap_or(())
    });
    let mut wu = config.connect(postgres::NoTls).expect("connect");
    wu.batch_execute("SELECT steward.activate()").expect("activate");
    let (message, detail) = heard.recv_timeout(std::time::Duration::from_secs(10)).expect("a notice");
    assert!(message.contains("checklists of the manual"), "{message}");
    assert_eq!(detail, "Nobody has to fill in: critical_operation, administration.");
    school.operate("region_chen", SIXTY);
    let op_no = school.request("region_chen", SIXTY);
    let error = expect_error(answer(&school, "region_chen", &op_no, "purpose"), NOT_READY, "critical_operation", "");
    assert!(error.message().contains("is not demanded"), "{error:?}");
}

/// What has run is sealed no more.
fn boxes_after_the_run_need_no_seal() {
    let mut school = School::inactive();
    let key = school.private_file("steward.key", &"0123456789abcdef".repeat(4));
    school.configure(&[&format!("steward.key_file = '{}'", key.display())]);
    school.restart();
    let school = demand(school, &["critical_operation"]);
    let mut chen = school.session("region_chen");
    let op_no = request(&mut chen, SIXTY, ", expected_rows => 60");
    answers(&school, "region_chen", &op_no, &["purpose", "scope"]);
    answers(&school, "reviewer_sun", &op_no, &["necessity", "risk", "backup_plan"]);
    school.release(&op_no);
    execute(&mut chen, &op_no).expect("execute");
    answers(&school, "region_chen", &op_no, &["people_told"]);
    review(&school, &op_no).expect("review");
}

fn a_critical_operation_goes_its_way_with_every_box() {
    let school = demanding(&["critical_operation"]);
    let mut chen = school.session("region_chen");
    let op_no = request(&mut chen, SIXTY, ", expected_rows => 60");
    answers(&school, "region_chen", &op_no, &["purpose", "scope"]);
    answers(&school, "reviewer_sun", &op_no, &["necessity", "risk", "backup_plan"]);
    school.release(&op_no);
    assert_eq!(execute(&mut chen, &op_no).expect("execute"), 60);
    answers(&school, "region_chen", &op_no, &["people_told"]);
    review(&school, &op_no).expect("review");
    assert_eq!(school.status(&op_no), "closed");
    let filled = format!(
        "SELECT string_agg(box || ' ' || coalesce(answered_by, 'system'), ', ' ORDER BY line) FROM steward.operation_checklist WHERE op_no = '{op_no}'"
    );
    assert_eq!(
        school.ask::<String>(&filled),
        "purpose Chen, scope Chen, applicant_right system, necessity Sun, risk Sun, backup_plan Sun, two_persons system, \
         steps_as_planned system, result_verified system, records_kept system, people_told Chen, exceptions_handled system"
    );
    let facts = format!(
        "SELECT string_agg(comment, ' ' ORDER BY n) FROM steward.operation_trail WHERE op_no = '{op_no}' AND event = 'ANSWER' AND person IS NULL"
    );
    let facts: String = school.ask(&facts);
    for fact in [
        "The post region_admin of Chen gives the capability apply.",
        "Liu has confirmed it and stands by.",
        "1 of 1 runs came to their end, each of the approved bytes.",
        "60 rows, as expected.",
        "of the chain tell of 1 runs.",
        "No attempt failed or was rolled back.",
    ] {
        assert!(facts.contains(fact), "no {fact:?} in {facts}");
    }
    assert_eq!(school.records(&format!("op_no = '{op_no}' AND operation_type = 'ANSWER' AND result = 'SUCCESS'")), 12);
    let signed = format!(
        "SELECT bool_and(digest = (SELECT digest FROM steward.show('{op_no}'))) FROM steward.operation_trail WHERE op_no = '{op_no}' AND event = 'ANSWER'"
    );
    assert!(school.ask::<bool>(&signed));
    assert!(school.ask::<bool>("SELECT ok FROM steward.verify_chain()"));
}

fn no_stage_advances_with_open_boxes() {
    let school = demanding(&["critical_operation"]);
    let op_no = school.request("region_chen", SIXTY);
    let approve = || school.vote("reviewer_sun", "approve", &op_no);
    let next = |name: &str| format!("SELECT steward.answer('{op_no}', '{name}', 'yes', '…');");
    expect_open(approve(), &["purpose", "scope", "necessity", "risk", "backup_plan"], &next("necessity"));
    answers(&school, "region_chen", &op_no, &["purpose", "scope"]);
    expect_open(approve(), &["necessity", "risk", "backup_plan"], &next("necessity"));
    answers(&school, "reviewer_sun", &op_no, &["necessity", "risk"]);
    expect_open(approve(), &["backup_plan"], &next("backup_plan"));
    assert_eq!(school.status(&op_no), "submitted");
    answers(&school, "reviewer_sun", &op_no, &["backup_plan"]);
    approve().expect("approve");
    let mut chen = school.session("region_chen");
    let unconfirmed = expect_error(execute(&mut chen, &op_no), NOT_READY, "Nobody has confirmed", "");
    assert!(unconfirmed.message().contains("second person"), "{unconfirmed:?}");
    school.vote("region_liu", "confirm", &op_no).expect("confirm");
    execute(&mut chen, &op_no).expect("execute");
    // Nobody said how many rows there would be, so the second person looks at the result.
    expect_open(review(&school, &op_no), &["result_verified", "people_told"], &next("result_verified"));
    answers(&school, "region_liu", &op_no, &["result_verified"]);
    answers(&school, "region_chen", &op_no, &["people_told"]);
    review(&school, &op_no).expect("review");
}

fn the_inbox_and_the_hint_give_each_person_their_own_box() {
    let school = demanding(&["critical_operation"]);
    let op_no = school.request("region_chen", SIXTY);
    let waiting = |login: &str| -> Vec<(String, String)> {
        let rows = "SELECT waits_for, next_command FROM steward.inbox WHERE op_no = $1 ORDER BY next_command";
        let rows = school.session(login).query(rows, &[&op_no]).expect("the inbox");
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    };
    let boxes = |login: &str| -> Vec<String> {
        let mine = waiting(login);
        mine.iter().map(|(what, call)| format!("{what} {}", call.split('\'').nth(3).unwrap_or("-"))).collect()
    };
    // Takes every step that the inbox of somebody shows.
    let work_off = |login: &str, expected: &[&str]| {
        let shown: Vec<String> = waiting(login).into_iter().map(|(what, _)| what).collect();
        assert_eq!(shown, expected, "{login}");
        let mut session = school.session(login);
        waiting(login).iter().for_each(|(_, call)| session.batch_execute(call).expect(call));
    };
    let next = |name: &str| format!("SELECT steward.answer('{op_no}', '{name}', 'yes', '…');");
    assert_eq!(boxes("region_chen"), ["answer purpose", "answer scope"]);
    assert_eq!(boxes("reviewer_sun"), ["answer backup_plan", "answer necessity", "answer risk"]);
    for nobody in ["region_liu", "auditor_qian", "teacher_wang"] {
        assert_eq!(boxes(nobody), [""; 0], "{nobody}");
    }
    work_off("reviewer_sun", &["answer"; 3]);
    assert_eq!(boxes("reviewer_sun"), [""; 0], "an approval that would be refused");
    assert_eq!(boxes("reviewer_zhou").len(), 3, "each approver has their own");
    let refused = school.vote("reviewer_sun", "approve", &op_no);
    expect_open(refused, &["purpose", "scope"], &format!("By Chen, who has applied: {}", next("purpose")));
    work_off("region_chen", &["answer"; 2]);
    work_off("reviewer_sun", &["approval"]);
    assert_eq!(boxes("region_chen"), [""; 0]);
    work_off("region_liu", &["confirmation"]);
    work_off("region_chen", &["execution"]);
    assert_eq!(boxes("region_chen"), ["answer people_told"]);
    let hint = format!("By Liu, who has confirmed: {}", next("result_verified"));
    expect_open(review(&school, &op_no), &["result_verified", "people_told"], &hint);
    work_off("region_chen", &["answer"]);
    answers(&school, "region_liu", &op_no, &["result_verified"]);
    school.flush_audit();
    work_off("reviewer_zhou", &["review"]);
    assert_eq!(school.status(&op_no), "closed");
}

fn what_has_ended_asks_for_no_boxes() {
    let school = demanding(&["critical_operation"]);
    let op_no = school.request("region_chen", SIXTY);
    school.session("region_chen").batch_execute(&format!("SELECT steward.cancel('{op_no}')")).expect("cancel");
    expect_error(school.vote("reviewer_sun", "approve", &op_no), NOT_READY, "That is final", "");
}

fn nobody_answers_anothers_box() {
    let school = demanding(&["critical_operation"]);
    let op_no = school.request("region_chen", SIXTY);
    for (login, name) in [
        ("reviewer_sun", "purpose"),
        ("region_liu", "purpose"),
        ("postgres", "purpose"),
        ("security_han", "scope"),
        ("region_chen", "necessity"),
        ("region_liu", "risk"),
        ("postgres", "risk"),
        ("auditor_qian", "risk"),
        ("clerk_zhao", "backup_plan"),
        ("region_chen", "two_persons"),
        ("teacher_wang", "two_persons"),
    ] {
        let error = expect_error(answer(&school, login, &op_no, name), REFUSED, "cannot answer it", "");
        assert!(error.message().contains("is not theirs"), "{login}, {name}: {error:?}");
    }
    assert_eq!(school.records("operation_type = 'ANSWER' AND result = 'DENIED'"), 11);
    // Another role is put on, not another person.
    let mut wu = school.superuser();
    wu.batch_execute("SET SESSION AUTHORIZATION region_chen").expect("set");
    let call = format!("SELECT steward.answer('{op_no}', 'purpose', 'yes', 'x')");
    expect_error(wu.batch_execute(&call), REFUSED, "Wu cannot answer it", "");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.operation_trail WHERE event = 'ANSWER'"), 0);
}

fn what_a_fact_fills_nobody_answers() {
    let school = demanding(&["critical_operation"]);
    let op_no = school.request("region_chen", SIXTY);
    for login in ["region_chen", "reviewer_sun", "region_liu", "postgres"] {
        for name in ["applicant_right", "steps_as_planned", "records_kept"] {
            expect_error(answer(&school, login, &op_no, name), REFUSED, "a fact alone fills it", "");
        }
    }
    let unknown = answer(&school, "region_chen", &op_no, "everything");
    expect_error(unknown, &SqlState::UNDEFINED_OBJECT, "", "steward.checklist");
    expect_error(say(&school, "region_chen", &op_no, "purpose", "maybe", "x"), BAD, "", "");
    expect_error(say(&school, "region_chen", &op_no, "purpose", "no", ""), BAD, "", "");
    expect_error(answer(&school, "region_liu", &op_no, "result_verified"), NOT_READY, "nothing has run yet", "");
}

fn an_answer_is_not_changed_after_its_stage() {
    let school = demanding(&["critical_operation"]);
    let op_no = school.request("region_chen", SIXTY);
    answers(&school, "region_chen", &op_no, &["purpose", "scope", "scope"]);
    answers(&school, "reviewer_sun", &op_no, &["necessity", "risk", "backup_plan"]);
    say(&school, "reviewer_sun", &op_no, "risk", "yes", "on second thoughts, small").expect("before the stage is over");
    school.vote("reviewer_sun", "approve", &op_no).expect("approve");
    let over = "not changed after its stage";
    expect_error(say(&school, "region_chen", &op_no, "purpose", "no", "x"), NOT_READY, over, "");
    expect_error(answer(&school, "reviewer_sun", &op_no, "risk"), NOT_READY, over, "");
    school.vote("region_liu", "confirm", &op_no).expect("confirm");
    execute(&mut school.session("region_chen"), &op_no).expect("execute");
    expect_error(answer(&school, "region_chen", &op_no, "purpose"), NOT_READY, "has run", "");
    answers(&school, "region_liu", &op_no, &["result_verified"]);
    answers(&school, "region_chen", &op_no, &["people_told"]);
    review(&school, &op_no).expect("review");
    expect_error(answer(&school, "region_chen", &op_no, "people_told"), NOT_READY, "is closed", "");
}

fn a_no_leaves_the_box_open() {
    let school = demanding(&["critical_operation"]);
    let op_no = school.request("region_chen", SIXTY);
    answers(&school, "region_chen", &op_no, &["purpose", "scope"]);
    answers(&school, "reviewer_sun", &op_no, &["necessity", "backup_plan"]);
    say(&school, "reviewer_sun", &op_no, "risk", "no", "the term is too short").expect("a no is an answer");
    expect_open(school.vote("reviewer_sun", "approve", &op_no), &["risk"], "'risk'");
    say(&school, "reviewer_sun", &op_no, "risk", "not_applicable", "a test").expect("with a reason");
    school.vote("reviewer_sun", "approve", &op_no).expect("approve");
    let said = format!(
        "SELECT string_agg(details ->> 'answer', ' ' ORDER BY n) FROM steward.operation_trail WHERE op_no = '{op_no}' AND details ->> 'box' = 'risk'"
    );
    assert_eq!(school.ask::<String>(&said), "no not_applicable", "nothing is overwritten");
}

fn every_approver_answers_for_themselves() {
    let school = demanding(&["critical_operation"]);
    let mut chen = school.session("region_chen");
    let op_no = request(&mut chen, SIXTY, ", approvals => 2");
    answers(&school, "region_chen", &op_no, &["purpose", "scope"]);
    answers(&school, "reviewer_sun", &op_no, &["necessity", "risk", "backup_plan"]);
    school.vote("reviewer_sun", "approve", &op_no).expect("approve");
    let second = school.vote("reviewer_zhou", "approve", &op_no);
    expect_open(second, &["necessity", "risk", "backup_plan"], "'necessity'");
    answers(&school, "reviewer_zhou", &op_no, &["necessity", "risk", "backup_plan"]);
    school.vote("reviewer_zhou", "approve", &op_no).expect("approve");
    assert_eq!(school.status(&op_no), "approved");
}

fn what_was_not_as_expected_is_left_to_a_person() {
    let school = demanding(&["critical_operation"]);
    let mut chen = school.session("region_chen");
    // Fewer rows than were expected, after a run that failed.
    let script = format!("{SIXTY} AND note = ''; SELECT 1 / (SELECT count(*) FROM app.scratch)");
    let op_no = request(&mut chen, &script, ", expected_rows => 60");
    answers(&school, "region_chen", &op_no, &["purpose", "scope"]);
    answers(&school, "reviewer_sun", &op_no, &["necessity", "risk", "backup_plan"]);
    school.release(&op_no);
    assert_eq!(db_error(execute(&mut chen, &op_no)).code(), &SqlState::DIVISION_BY_ZERO);
    school.flush_audit();
    school.superuser().batch_execute("INSERT INTO app.scratch VALUES (1)").expect("no obstacle");
    school
        .session("teacher_wang")
        .batch_execute("UPDATE app.student SET note = 'seen' WHERE id = 7")
        .expect("a colleague");
    assert_eq!(execute(&mut chen, &op_no).expect("execute"), 60);
    let open = review(&school, &op_no);
    expect_open(open, &["result_verified", "people_told", "exceptions_handled"], "'result_verified'");
    expect_error(answer(&school, "reviewer_sun", &op_no, "result_verified"), REFUSED, "cannot answer it", "");
    answers(&school, "region_liu", &op_no, &["result_verified"]);
    answers(&school, "region_chen", &op_no, &["people_told", "exceptions_handled"]);
    review(&school, &op_no).expect("review");
}

fn the_administrator_s_list_belongs_to_its_rules() {
    let school = demanding(&["administration"]);
    school.operate("region_chen", SIXTY);
    let mut wu = school.superuser();
    let op_no = request(&mut wu, "TRUNCATE app.guardian", "");
    let approve = || school.vote("reviewer_sun", "approve", &op_no);
    expect_open(approve(), &["impact", "rollback_ready"], "'impact'");
    answers(&school, "postgres", &op_no, &["impact", "rollback_ready"]);
    approve().expect("approve");
    school.vote("region_liu", "confirm", &op_no).expect("confirm");
    execute(&mut wu, &op_no).expect("the window is set, and the pre-image is kept");
    let open = ["each_step_confirmed", "function_check", "performance_check"];
    expect_open(review(&school, &op_no), &open, "'each_step_confirmed'");
    answers(&school, "region_liu", &op_no, &open[..1]);
    answers(&school, "postgres", &op_no, &open[1..]);
    review(&school, &op_no).expect("review");
    // A term that never began would answer the box "window" with nothing.
    for (term, told) in
        [("not_before => '-infinity'", "not_before must be a day"), ("not_after => 'infinity'", "not_after")]
    {
        let call =
            format!("SELECT steward.request('TRUNCATE app.entry', purpose => 'x', rollback_plan => 'y', {term})");
        let error = db_error(wu.batch_execute(&call));
        assert_eq!(error.code(), &SqlState::INVALID_PARAMETER_VALUE, "{error:?}");
        assert!(error.message().contains(told), "{error:?}");
    }
}

fn a_list_that_is_switched_on_holds_for_what_is_under_way() {
    let school = School::active();
    let mut chen = school.session("region_chen");
    let op_no = request(&mut chen, SIXTY, ", expected_rows => 60");
    school.release(&op_no);
    let on = "SELECT steward.set_checklist('critical', 'critical_operation', true)";
    for login in ["postgres", "security_han", "region_chen", "reviewer_sun", "auditor_qian", "clerk_zhao"] {
        assert_eq!(db_error(school.session(login).batch_execute(on)).code(), REFUSED, "{login}");
    }
    school.operate("security_han", on);
    let open = ["purpose", "scope", "necessity", "risk", "backup_plan"];
    expect_open(execute(&mut chen, &op_no), &open, "'purpose'");
    answers(&school, "region_chen", &op_no, &open[..2]);
    answers(&school, "reviewer_sun", &op_no, &open[2..]);
    execute(&mut chen, &op_no).expect("what was open could still be filled");
}

fn an_answer_inside_a_block_does_not_count() {
    let school = demanding(&["critical_operation"]);
    let op_no = school.request("region_chen", SIXTY);
    let block = format!("DO $$BEGIN PERFORM steward.answer('{op_no}', 'purpose', 'yes', 'led to it'); END$$");
    let error = expect_error(school.session("region_chen").batch_execute(&block), REFUSED, "inside a function", "");
    assert!(error.message().contains("the client itself must call it"), "{error:?}");
    let mut chen = school.session("region_chen");
    let rolled_back = format!("BEGIN; SELECT steward.answer('{op_no}', 'purpose', 'yes', 'x'); ROLLBACK");
    chen.batch_execute(&rolled_back).expect("taken back");
    let purpose =
        format!("SELECT answer IS NULL FROM steward.operation_checklist WHERE op_no = '{op_no}' AND box = 'purpose'");
    assert!(ask::<bool>(&mut chen, &purpose));
}

fn nobody_writes_an_answer_by_hand() {
    let school = demanding(&["critical_operation"]);
    let op_no = school.request("region_chen", SIXTY);
    for login in ["postgres", "security_han", "region_chen", "reviewer_sun", "auditor_qian", "clerk_zhao"] {
        for attack in [
            format!(
                "INSERT INTO steward._operation_event (op_no, event, details) VALUES ('{op_no}', 'ANSWER', '{{\"box\": \"risk\", \"answer\": \"yes\"}}')"
            ),
            "UPDATE steward._operation_event SET details = '{}'".to_owned(),
            "UPDATE steward.checklist_policy SET demanded = false".to_owned(),
            "DELETE FROM steward.checklist".to_owned(),
            "UPDATE steward.checklist SET due = 'review'".to_owned(),
            "ALTER TABLE steward.checklist_policy RENAME TO gone".to_owned(),
            "SELECT steward.set_checklist('critical', 'critical_operation', false)".to_owned(),
        ] {
            let error = db_error(school.session(login).batch_execute(&attack));
            assert_eq!(error.code(), REFUSED, "{login}: {attack}: {error:?}");
        }
    }
}

const SIX: &str = "necessity risk backup_plan";

/// Chen's update of sixty rows, run, with the boxes until then.
fn executed(school: &School, more: &str) -> String {
    let mut chen = school.session("region_chen");
    let op_no = request(&mut chen, SIXTY, more);
    answers(school, "region_chen", &op_no, &["purpose", "scope"]);
    answers(school, "reviewer_sun", &op_no, &SIX.split(' ').collect::<Vec<_>>());
    school.release(&op_no);
    assert_eq!(execute(&mut chen, &op_no).expect("execute"), 60);
    op_no
}

fn reviewed(school: &School, login: &str, op_no: &str, verdict: &str) -> Result<(), postgres::Error> {
    // The records of the run are a box too.
    school.flush_audit();
    let call = format!("SELECT steward.review($1, '{verdict}', 'looked at it')");
    school.session(login).query(&call, &[&op_no]).map(drop)
}

fn a_rejected_review_needs_no_boxes() {
    let school = demanding(&["critical_operation"]);
    let op_no = executed(&school, "");
    expect_open(reviewed(&school, "reviewer_zhou", &op_no, "accepted"), &["result_verified", "people_told"], "");
    reviewed(&school, "reviewer_zhou", &op_no, "rejected").expect("nobody can keep others from saying no");
    assert_eq!(school.status(&op_no), "closed");
    let verdict = format!("SELECT review_verdict FROM steward.show('{op_no}')");
    assert_eq!(school.ask::<String>(&verdict), "rejected");
}

fn who_signs_a_row_answers_the_approvers_boxes() {
    let school = School::inactive();
    let demands = "SELECT steward.set_checklist('critical', 'critical_operation', true);
        SELECT steward.set_approval('critical', 1, '{person:Wang,person:Han}', capability => 'apply'); SELECT steward.activate()";
    school.superuser().batch_execute(demands).expect("demands");
    let op_no = school.request("region_chen", SIXTY);
    answers(&school, "region_chen", &op_no, &["purpose", "scope"]);
    let boxes: Vec<&str> = SIX.split(' ').collect();
    expect_open(school.vote("teacher_wang", "approve", &op_no), &boxes, "'necessity'");
    answers(&school, "teacher_wang", &op_no, &boxes);
    school.vote("teacher_wang", "approve", &op_no).expect("who signs the row");
    // Each for themselves.
    expect_open(school.vote("reviewer_sun", "approve", &op_no), &boxes, "'necessity'");
    answers(&school, "reviewer_sun", &op_no, &boxes);
    school.vote("reviewer_sun", "approve", &op_no).expect("the number");
    assert_eq!(school.status(&op_no), "approved");
    // Somebody whom no row means has no boxes.
    let other = school.request("region_chen", SIXTY);
    expect_error(answer(&school, "clerk_zhao", &other, "risk"), REFUSED, "cannot answer it", "");
}

/// An armed run of two statements that its session leaves after the first.
fn interrupted(school: &School) -> String {
    let mut wu = school.superuser();
    let op_no = request(&mut wu, "VACUUM FULL app.student; VACUUM FULL app.guardian", "");
    answers(school, "postgres", &op_no, &["purpose", "scope"]);
    answers(school, "reviewer_sun", &op_no, &SIX.split(' ').collect::<Vec<_>>());
    school.release(&op_no);
    wu.batch_execute(&format!("SELECT steward.arm('{op_no}')")).expect("arm");
    wu.batch_execute("VACUUM FULL app.student").expect("the first");
    drop(wu);
    school.flush_audit();
    assert_eq!(school.status(&op_no), "executed");
    op_no
}

fn an_interrupted_run_is_accepted_with_a_reason() {
    let school = demanding(&["critical_operation"]);
    let op_no = interrupted(&school);
    answers(&school, "postgres", &op_no, &["people_told", "exceptions_handled"]);
    answers(&school, "region_liu", &op_no, &["result_verified"]);
    expect_open(
        review(&school, &op_no),
        &["steps_as_planned", "records_kept"],
        &format!("SELECT steward.answer('{op_no}', 'steps_as_planned', 'not_applicable', '…');"),
    );
    // Nobody says that it was as it was not, and nobody but who reviews says anything.
    let yes = say(&school, "reviewer_zhou", &op_no, "steps_as_planned", "yes", "fine");
    expect_error(yes, BAD, "Nobody can say any more", "");
    expect_error(say(&school, "reviewer_zhou", &op_no, "steps_as_planned", "not_applicable", ""), BAD, "", "");
    for login in ["postgres", "region_liu", "region_chen", "auditor_qian", "teacher_wang"] {
        let other = say(&school, login, &op_no, "steps_as_planned", "not_applicable", "x");
        expect_error(other, REFUSED, "a fact alone fills it", "");
    }
    for name in ["steps_as_planned", "records_kept"] {
        say(&school, "reviewer_zhou", &op_no, name, "not_applicable", "the second table was left out")
            .expect("a reason");
    }
    reviewed(&school, "reviewer_zhou", &op_no, "accepted").expect("accepted with a reason");
    assert_eq!(school.status(&op_no), "closed");
    assert_eq!(
        school.records(&format!(
            "op_no = '{op_no}' AND operation_type = 'ANSWER' AND details LIKE '%reviewer%' AND details LIKE '%left out%'"
        )),
        2
    );
}

fn an_interrupted_run_is_rejected_after_a_no() {
    let school = demanding(&["critical_operation"]);
    let op_no = interrupted(&school);
    say(&school, "security_han", &op_no, "steps_as_planned", "no", "it stopped in the middle")
        .expect("by the security post");
    answers(&school, "postgres", &op_no, &["people_told", "exceptions_handled"]);
    answers(&school, "region_liu", &op_no, &["result_verified"]);
    expect_open(reviewed(&school, "security_han", &op_no, "accepted"), &["steps_as_planned", "records_kept"], "");
    reviewed(&school, "security_han", &op_no, "rejected").expect("rejected");
    assert_eq!(school.status(&op_no), "closed");
}

fn what_a_suspended_person_owed_the_reviewer_answers() {
    let school = demanding(&["critical_operation"]);
    let op_no = executed(&school, ", expected_rows => 60");
    let early = say(&school, "reviewer_zhou", &op_no, "people_told", "not_applicable", "x");
    expect_error(early, REFUSED, "the applicant's", "");
    suspend(&school, "Chen");
    expect_error(answer(&school, "region_liu", &op_no, "people_told"), REFUSED, "the applicant's", "");
    let open = review(&school, &op_no);
    expect_open(
        open,
        &["people_told"],
        &format!("SELECT steward.answer('{op_no}', 'people_told', 'not_applicable', '…');"),
    );
    say(&school, "reviewer_zhou", &op_no, "people_told", "not_applicable", "told by their successor")
        .expect("a successor");
    reviewed(&school, "reviewer_zhou", &op_no, "accepted").expect("not stuck");
}

fn what_a_suspended_second_person_owed_the_reviewer_answers() {
    let school = demanding(&["critical_operation"]);
    let op_no = executed(&school, "");
    suspend(&school, "Liu");
    answers(&school, "region_chen", &op_no, &["people_told"]);
    expect_open(review(&school, &op_no), &["result_verified"], "'not_applicable'");
    // Nobody takes two parts.
    let own = say(&school, "region_chen", &op_no, "result_verified", "not_applicable", "x");
    expect_error(own, REFUSED, "the witness's", "");
    say(&school, "reviewer_zhou", &op_no, "result_verified", "not_applicable", "looked at sixty rows")
        .expect("instead");
    review(&school, &op_no).expect("not stuck");
}

fn a_list_switched_on_after_the_run_can_be_accepted() {
    let school = School::active();
    let op_no = school.operate("region_chen", SIXTY);
    // Filed while the list is off, it runs while the list is off.
    school.operate("security_han", "SELECT steward.set_checklist('critical', 'critical_operation', true)");
    answers(&school, "region_chen", &op_no, &["people_told"]);
    answers(&school, "region_liu", &op_no, &["result_verified"]);
    let stage_over = ["purpose", "scope", "necessity", "risk", "backup_plan"];
    expect_error(answer(&school, "region_chen", &op_no, "purpose"), NOT_READY, "has run", "");
    for name in stage_over {
        let late = say(&school, "reviewer_zhou", &op_no, name, "not_applicable", "nobody asked for it then");
        late.unwrap_or_else(|error| panic!("{name}: {error:?}"));
    }
    review(&school, &op_no).expect("not stuck");
}

fn a_reviewer_answers_for_nobody_who_can() {
    let school = demanding(&["critical_operation"]);
    let op_no = executed(&school, "");
    for (name, whose) in [("people_told", "the applicant's"), ("result_verified", "the witness's")] {
        let instead = say(&school, "reviewer_zhou", &op_no, name, "not_applicable", "x");
        expect_error(instead, REFUSED, whose, "");
    }
    // Nor where a fact says it.
    let proved = say(&school, "reviewer_zhou", &op_no, "steps_as_planned", "no", "x");
    expect_error(proved, REFUSED, "a fact alone fills it", "");
    answers(&school, "region_chen", &op_no, &["people_told"]);
    answers(&school, "region_liu", &op_no, &["result_verified"]);
    review(&school, &op_no).expect("review");
}

fn a_suspended_applicant_s_operation_is_ended() {
    let school = demanding(&["critical_operation"]);
    let op_no = school.request("region_chen", SIXTY);
    suspend(&school, "Chen");
    let frozen = expect_error(answer(&school, "reviewer_sun", &op_no, "risk"), NOT_READY, "suspended", "filed again");
    assert!(frozen.message().contains("is frozen"), "{frozen:?}");
    let reject = "SELECT steward.reject($1, 'its applicant has left')";
    school.session("reviewer_sun").query(reject, &[&op_no]).expect("ending it is always possible");
    assert_eq!(school.status(&op_no), "rejected");
    // A successor files it anew.
    let anew = school.request("region_liu", SIXTY);
    answers(&school, "region_liu", &anew, &["purpose", "scope"]);
}

/// In an operation that answers the boxes of its own.
fn suspend(school: &School, person: &str) {
    let mut wu = school.superuser();
    let op_no = request(&mut wu, &format!("SELECT steward.suspend_person('{person}', 'gone')"), "");
    answers(school, "postgres", &op_no, &["purpose", "scope"]);
    answers(school, "reviewer_sun", &op_no, &SIX.split(' ').collect::<Vec<_>>());
    school.vote("reviewer_sun", "approve", &op_no).expect("approve");
    school.vote("reviewer_zhou", "confirm", &op_no).expect("confirm");
    execute(&mut wu, &op_no).expect("suspended");
}
