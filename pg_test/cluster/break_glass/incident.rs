//! The record of an emergency (appendix C): told by whoever dealt with it, confirmed by somebody else, with a time to the
//! response that nobody types.

use postgres::Client;
use postgres::error::SqlState;

use super::{Emergency, NOT_NOW, SIXTY, end};
use crate::expect::{expect_error, expect_refused};
use crate::school::{School, ask, execute, request};

tests! {
    an_emergency_is_accepted_once_it_is_reported,
    a_report_says_what_the_form_asks_for,
    nobody_reports_anothers_emergency,
    who_reports_does_not_confirm,
    it_is_demanded_as_installed,
}

const BAD: &SqlState = &SqlState::INVALID_PARAMETER_VALUE;
const DEMANDED: &str = "SELECT steward.set_form('incident', true);";

fn report(session: &mut Client, op_no: &str, form: &str) -> Result<(), postgres::Error> {
    session.batch_execute(&format!("SELECT steward.report_incident('{op_no}', $f${form}$f$)"))
}

/// Twelve minutes before now, as a form takes it.
pub fn form(school: &School) -> String {
    let occurred: String = school.ask("SELECT (clock_timestamp() - interval '12 min')::text");
    format!(
        r#"{{"occurred_at": "{occurred}", "level": "major", "description": "no card can be read",
        "process": "moved sixty pupils", "result": "success"}}"#
    )
}

fn accept(op_no: &str) -> String {
    format!("SELECT steward.review('{op_no}', 'accepted', 'fine')")
}

/// In an approved operation.
fn suspend(emergency: &Emergency, person: &str) {
    let mut wu = emergency.active.stepped_up("postgres", 0);
    let op_no = request(&mut wu, &format!("SELECT steward.suspend_person('{person}', 'gone')"), "");
    let digest = emergency.school().digest(&op_no);
    for (login, step) in [("reviewer_sun", "approve"), ("region_liu", "confirm")] {
        let vote = format!("SELECT steward.{step}('{op_no}', '{digest}')");
        emergency.active.stepped_up(login, 0).batch_execute(&vote).expect(step);
    }
    execute(&mut wu, &op_no).expect("suspended");
}

fn an_emergency_is_accepted_once_it_is_reported() {
    let emergency = Emergency::with(DEMANDED);
    let school = emergency.school();
    let (mut zheng, op_no) = emergency.open(0);
    zheng.batch_execute(SIXTY).expect("in the window");
    end(&mut zheng);
    school.flush_audit();
    let mut sun = emergency.active.stepped_up("reviewer_sun", 0);
    let missing =
        expect_error(sun.batch_execute(&accept(&op_no)), NOT_NOW, "appendix C", "steward.report_incident('OP-");
    assert!(missing.message().contains("the form incident"), "{missing:?}");
    report(&mut zheng, &op_no, &form(school)).expect("reported");
    sun.batch_execute(&accept(&op_no)).expect("confirmed");
    let incident = format!(
        "SELECT concat_ws(' ', level, result, handler, confirmer, response_minutes BETWEEN 11 AND 12.1, confirmed_at > handled_at)
            FROM steward.incident WHERE incident_no = '{op_no}'"
    );
    assert_eq!(school.ask::<String>(&incident), "major success Zheng Sun t t");
    assert_eq!(
        school.records(&format!("operation_type = 'REPORT INCIDENT' AND op_no = '{op_no}' AND person = 'Zheng'")),
        1
    );
    // Afterwards it is what was confirmed.
    expect_error(report(&mut zheng, &op_no, &form(school)), NOT_NOW, "", "origin = 'break_glass'");
    assert_eq!(ask::<i64>(&mut school.session("teacher_wang"), "SELECT count(*) FROM steward.incident"), 0);
}

fn a_report_says_what_the_form_asks_for() {
    let emergency = Emergency::new();
    let school = emergency.school();
    let (mut zheng, op_no) = emergency.open(0);
    end(&mut zheng);
    school.flush_audit();
    let full = form(school);
    for (form, words) in [
        (full.replace("\"description\"", "\"why\""), "there is no field \"why\""),
        (full.replace("\"level\": \"major\",", ""), "field \"level\" is missing"),
        (full.replace("major", "huge"), "field \"level\" must be one of general, important, major"),
        (full.replace("\"success\"", "\"\""), "field \"result\" must be one of success, failure"),
        (full.replace("no card can be read", " "), "field \"description\" is empty"),
        (full.replace("no card", "no\u{202e} card"), "description contains a hidden character"),
        (r#"{"form": "operation"}"#.to_owned(), "reported with the form incident"),
    ] {
        let error = expect_error(report(&mut zheng, &op_no, &form), BAD, "", "");
        assert!(error.message().contains(words), "{form}: {error:?}");
    }
    for moment in ["infinity", "-infinity", "2099-01-01"] {
        let from = full.find("occurred_at\": \"").expect("a moment") + "occurred_at\": \"".len();
        let until = full[from..].find('"').expect("its end") + from;
        let later = format!("{}{moment}{}", &full[..from], &full[until..]);
        expect_error(report(&mut zheng, &op_no, &later), BAD, "", "executed_at");
    }
    report(&mut zheng, &op_no, &full).expect("what is right");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.operation_trail WHERE event = 'REPORT INCIDENT'"), 1);
    // It is no operation's form, and no other operation has one.
    let mut chen = emergency.active.stepped_up("region_chen", 0);
    let plain = request(&mut chen, SIXTY, "");
    expect_error(report(&mut chen, &plain, &full), NOT_NOW, "", "origin = 'break_glass'");
}

fn nobody_reports_anothers_emergency() {
    let emergency = Emergency::with(DEMANDED);
    let school = emergency.school();
    let (mut zheng, op_no) = emergency.open(0);
    end(&mut zheng);
    school.flush_audit();
    for login in ["postgres", "security_han", "reviewer_sun", "region_chen", "auditor_qian", "teacher_wang"] {
        let error = expect_refused(report(&mut school.session(login), &op_no, &form(school)));
        assert!(error.message().contains("somebody else's"), "{login}: {error:?}");
    }
    let inside = format!("DO $b$BEGIN PERFORM steward.report_incident('{op_no}', $f${}$f$); END$b$", form(school));
    expect_refused(zheng.batch_execute(&inside));
    expect_refused(school.superuser().batch_execute("CREATE OR REPLACE VIEW steward.incident AS SELECT 1"));
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.operation_trail WHERE event = 'REPORT INCIDENT'"), 0);
    // Somebody can always say no to it.
    let reject = format!("SELECT steward.review('{op_no}', 'rejected', 'nobody says what it was for')");
    emergency.active.stepped_up("reviewer_sun", 0).batch_execute(&reject).expect("rejected");
}

fn who_reports_does_not_confirm() {
    let emergency = Emergency::with(DEMANDED);
    let school = emergency.school();
    let (mut zheng, op_no) = emergency.open(0);
    end(&mut zheng);
    school.flush_audit();
    let mut han = emergency.active.stepped_up("security_han", 0);
    expect_refused(report(&mut han, &op_no, &form(school)));
    suspend(&emergency, "Zheng");
    report(&mut han, &op_no, &form(school)).expect("for somebody who is gone");
    let own = expect_refused(han.batch_execute(&accept(&op_no)));
    assert!(own.detail().is_some_and(|detail| detail.contains("Han has reported")), "{own:?}");
    emergency.active.stepped_up("reviewer_zhou", 0).batch_execute(&accept(&op_no)).expect("somebody else");
}

fn it_is_demanded_as_installed() {
    let school = School::inactive();
    let installed = "SELECT count(*) FROM steward.form_policy WHERE form = 'incident'";
    assert_eq!(school.ask::<i64>(installed), 1, "the school has switched it off");
    school
        .superuser()
        .batch_execute("DROP EXTENSION pg_steward CASCADE; CREATE EXTENSION pg_steward")
        .expect("as installed");
    assert!(school.ask::<bool>("SELECT demanded FROM steward.form_policy WHERE form = 'incident'"));
}
