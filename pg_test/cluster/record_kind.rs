//! Every kind of the register, by hand from the manual and the commitments: its fields, who records it, whether another
//! confirms it, and how long it holds. Backups, which only their hook records, are in `record`.

use postgres::error::SqlState;
use serde_json::{Map, Value, json};

use crate::expect::{expect_error, expect_refused};
use crate::school::{School, ask, request};

tests! {
    every_kind_of_record_demands_its_fields_its_people_and_its_term,
}

/// How long a record holds.
enum Term {
    Endless,
    /// An interval from when it was done.
    For(&'static str),
    /// What this field says.
    Field(&'static str),
}
use Term::{Endless, Field, For};

struct Expected {
    kind: &'static str,
    subject: &'static str,
    recorder: &'static str,
    /// Who may not record it.
    stranger: &'static str,
    confirmed: bool,
    term: Term,
    /// All of them demanded.
    fields: Value,
}

fn expected(
    (kind, subject): (&'static str, &'static str),
    (recorder, stranger): (&'static str, &'static str),
    confirmed: bool,
    term: Term,
    fields: Value,
) -> Expected {
    Expected { kind, subject, recorder, stranger, confirmed, term, fields }
}

const OFFICER: &str = "security_han";
const AUDITOR: &str = "auditor_qian";
const TEACHER: &str = "teacher_wang";

fn kinds(op_no: &str) -> Vec<Expected> {
    const OFFICE: (&str, &str) = (OFFICER, AUDITOR);
    const BOTH: (&str, &str) = (AUDITOR, TEACHER);
    const LATER: &str = "2099-01-01 00:00:00+00";
    let document = json!({"version": "3", "document": "/srv/rules"});
    vec![
        expected(("contact", "technical"), BOTH, false, For("1 year"), json!({"name": "Hu", "phone": "13800000001"})),
        expected(
            ("duty", "night"),
            OFFICE,
            false,
            Field("until"),
            json!({"person": "Wang", "from": "2026-01-01", "until": LATER, "phone": "13800000001"}),
        ),
        expected(("duty_description", "reviewer"), OFFICE, true, For("1 year"), json!({"duties": "approves"})),
        expected(("rules_of_use", "Wang"), (TEACHER, OFFICER), false, Endless, json!({"version": "1"})),
        expected(
            ("identity_evidence", "Wang"),
            OFFICE,
            true,
            Field("valid_until"),
            json!({"type": "staff_register", "reference": "S-17", "valid_until": LATER}),
        ),
        expected(("training_new", "Wang"), BOTH, true, Endless, json!({"hours": 4, "topic": "policy"})),
        expected(("training", "Wang"), BOTH, true, For("1 year"), json!({"hours": 2, "topic": "policy"})),
        expected(("exam", "Wang"), BOTH, true, For("1 year"), json!({"score": 91, "result": "passed"})),
        expected(
            ("drill", "emergency"),
            OFFICE,
            true,
            For("6 months"),
            json!({"scenario": "disk", "participants": "Wu, Han", "result": "success", "findings": "none"}),
        ),
        expected(
            ("restore_drill", "restore"),
            OFFICE,
            true,
            For("6 months"),
            json!({"backup": "b", "began_at": "2026-01-01 10:00+00", "ready_at": "2026-01-01 10:25+00",
                "verified": "count", "result": "success"}),
        ),
        expected(("plan", "emergency"), OFFICE, true, For("1 year"), document.clone()),
        expected(("procedure", "backup"), OFFICE, true, For("1 year"), document),
        expected(
            ("assessment", "database"),
            BOTH,
            true,
            For("1 year"),
            json!({"assessor": "an institute", "findings": 3, "open": 0, "report": "/srv/report"}),
        ),
        expected(("patch", "server"), OFFICE, true, For("3 months"), json!({"version": "15.20", "fixes": "a hole"})),
        expected(
            ("release", "2.1"),
            OFFICE,
            true,
            Endless,
            json!({"change_log": "new", "test_evidence": "CI", "gray_release": "one school", "notice": "by mail"}),
        ),
        expected(
            ("migration", "app.student"),
            OFFICE,
            true,
            Endless,
            json!({"op_no": op_no, "rows_before": 200, "rows_after": 200, "digest_before": "a", "digest_after": "a"}),
        ),
        expected(
            ("certificate", "server"),
            OFFICE,
            false,
            Field("valid_until"),
            json!({"issuer": "CA", "valid_until": LATER}),
        ),
        expected(
            ("authorization_agreement", "school 1"),
            OFFICE,
            true,
            Field("valid_until"),
            json!({"version": "1", "purpose": "cards", "limits": "no advertising", "valid_until": LATER}),
        ),
        expected(
            ("outbound_copy", "search"),
            OFFICE,
            true,
            For("1 year"),
            json!({"system": "search_engine", "columns": "app.student.name", "masked": true, "purpose": "search"}),
        ),
        expected(
            ("audit_report", "monthly"),
            (AUDITOR, OFFICER),
            true,
            For("1 month"),
            json!({"from": "2026-10-01", "until": "2026-11-01", "digest": "d", "location": "/srv/report"}),
        ),
        expected(
            ("outage", "card machine"),
            OFFICE,
            true,
            Endless,
            json!({"from": "2026-10-01", "until": "2026-10-02", "cause": "power"}),
        ),
    ]
}

fn call(kind: &str, subject: &str, fields: &Map<String, Value>) -> String {
    format!("SELECT steward.add_record('{kind}', '{subject}', $f${}$f$)", Value::Object(fields.clone()))
}

fn every_kind_of_record_demands_its_fields_its_people_and_its_term() {
    let school = School::inactive();
    let op_no = request(&mut school.session("region_chen"), "UPDATE app.student SET note = 'y' WHERE id < 90", "");
    let kinds = kinds(&op_no);
    let listed =
        "SELECT array_agg(name ORDER BY name) FROM steward.record_kind WHERE name NOT IN ('backup', 'off_site_backup')";
    let mut known: Vec<&str> = kinds.iter().map(|expected| expected.kind).collect();
    known.sort_unstable();
    assert_eq!(school.ask::<Vec<String>>(listed), known);
    for expected in kinds {
        holds_what_is_demanded(&school, &expected);
    }
}

fn holds_what_is_demanded(school: &School, expected: &Expected) {
    let Expected { kind, subject, .. } = expected;
    let fields = expected.fields.as_object().expect("fields");
    let mut recorder = school.session(expected.recorder);
    for field in fields.keys() {
        let mut fewer = fields.clone();
        fewer.remove(field);
        let error = expect_error(
            recorder.batch_execute(&call(kind, subject, &fewer)),
            &SqlState::INVALID_PARAMETER_VALUE,
            "",
            "",
        );
        assert!(error.message().contains(&format!("field \"{field}\" is missing")), "{kind}: {error:?}");
    }
    let mut more = fields.clone();
    more.insert("bribe".to_owned(), json!("x"));
    let error =
        expect_error(recorder.batch_execute(&call(kind, subject, &more)), &SqlState::INVALID_PARAMETER_VALUE, "", "");
    assert!(error.message().contains("there is no field \"bribe\""), "{kind}: {error:?}");
    expect_refused(school.session(expected.stranger).batch_execute(&call(kind, subject, fields)));

    let id: i64 = ask(&mut recorder, &call(kind, subject, fields));
    let status = format!("SELECT status FROM steward.record WHERE id = {id}");
    if expected.confirmed {
        assert_eq!(school.ask::<String>(&status), "unconfirmed", "{kind}");
        let confirm = format!("SELECT steward.confirm_record({id})");
        expect_refused(recorder.batch_execute(&confirm));
        school.session("reviewer_sun").batch_execute(&confirm).expect("somebody else");
    }
    assert_eq!(school.ask::<String>(&status), "valid", "{kind}");
    let until = match expected.term {
        Endless => "valid_until IS NULL".to_owned(),
        For(term) => format!("valid_until = done_at + interval '{term}'"),
        Field(field) => format!("valid_until = (fields ->> '{field}')::timestamptz"),
    };
    let holds = format!("SELECT {until} FROM steward.record WHERE id = {id}");
    assert!(school.ask::<bool>(&holds), "{kind}: {until}");
}
