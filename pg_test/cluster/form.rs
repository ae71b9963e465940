//! Forms of appendix A and B: typed, complete, shown, signed with the script, and never changed.

use postgres::error::SqlState;

use crate::expect::{expect_error, expect_refused};
use crate::school::{School, ask, execute, request};

tests! {
    the_forms_of_the_manual_are_there,
    a_form_without_a_required_field_is_not_filed,
    a_form_with_a_wrong_value_is_not_filed,
    a_form_is_shown_and_is_part_of_the_digest,
    the_digest_of_a_script_alone_is_as_before,
    an_operation_form_tells_tier_and_people_as_they_are,
    a_demanded_form_must_be_there,
    another_form_does_not_stand_for_the_demanded_one,
    what_grants_and_does_more_is_filed_as_two,
    a_block_with_the_role_form_gives_rights_and_nothing_else,
    a_form_of_ones_own_is_demanded_like_the_manual_s,
    nobody_changes_forms_once_the_policy_is_active,
    a_form_that_was_changed_from_outside_voids_its_operation,
}

const BAD: &SqlState = &SqlState::INVALID_PARAMETER_VALUE;
const ONE: &str = "UPDATE app.student SET note = 'x' WHERE id = 1";
const SIXTY: &str = "UPDATE app.student SET note = 'x' WHERE id <= 60";

/// Files this script with this form.
fn file(school: &School, login: &str, script: &str, form: &str, more: &str) -> Result<String, postgres::Error> {
    let call = format!("SELECT steward.request($1, purpose => 'forms', form => $f${form}$f${more})");
    Ok(school.session(login).query_one(&call, &[&script])?.get(0))
}

fn the_forms_of_the_manual_are_there() {
    let school = School::inactive();
    let fields = |form: &str| -> String {
        school.ask(&format!(
            "SELECT string_agg(field || CASE WHEN required THEN '!' ELSE '' END, ' ' ORDER BY line) FROM steward.form WHERE name = '{form}'"
        ))
    };
    assert_eq!(fields("role_grant"), "grantee! department role rights reason! until!");
    assert_eq!(fields("operation"), "kind! description! impact! people steps!");
    assert_eq!(
        fields("incident"),
        "occurred_at! level! description! process! result! impact root_cause evidence lesson"
    );
    let zh = "SELECT string_agg(label_zh, ' ' ORDER BY line) FROM steward.form WHERE name = 'role_grant'";
    assert_eq!(school.ask::<String>(zh), "申请人 所属部门 申请角色 申请权限 申请原因 有效期至");
}

fn a_form_without_a_required_field_is_not_filed() {
    let school = School::active();
    let full = [
        ("grantee", "\"region_chen\""),
        ("role", "\"region_liu\""),
        ("reason", "\"holiday\""),
        ("until", "\"2099-01-01\""),
    ];
    for missing in ["grantee", "reason", "until"] {
        let fields: Vec<String> = full
            .iter()
            .filter(|(name, _)| *name != missing)
            .map(|(name, value)| format!("\"{name}\": {value}"))
            .collect();
        let form = format!("{{\"form\": \"role_grant\", {}}}", fields.join(", "));
        let error = expect_error(
            file(&school, "postgres", "GRANT region_liu TO region_chen", &form, ""),
            BAD,
            "",
            "steward.form",
        );
        assert!(error.message().contains(&format!("field \"{missing}\" is missing")), "{error:?}");
    }
    let none = file(&school, "postgres", ONE, "{}", "");
    let none = expect_error(none, BAD, "Forms are: ", "");
    assert!(
        [" incident,", " operation,", " role_grant,"]
            .iter()
            .all(|form| none.detail().is_some_and(|all| all.contains(form)))
    );
    expect_error(file(&school, "postgres", ONE, "[1]", ""), BAD, "", "form => ");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.operation"), 0);
}

fn a_form_with_a_wrong_value_is_not_filed() {
    let school = School::active();
    let grant = |role: &str, until: &str| {
        format!(
            r#"{{"form": "role_grant", "grantee": "region_chen", "role": "{role}", "reason": "x", "until": "{until}"}}"#
        )
    };
    for (form, words) in [
        (grant("nobody_at_all", "2099-01-01"), "field \"role\" names no role"),
        (grant("region_liu", "some day"), "field \"until\" names no time"),
        (grant("region_liu", "2020-01-01"), "field \"until\" is in the past"),
        (grant("region_liu", "-infinity"), "field \"until\" is in the past"),
        (grant("region_liu", "2099-01-01").replace("reason", "why"), "there is no field \"why\""),
        (grant("region_liu", "2099-01-01").replace("\"x\"", "7"), "field \"reason\" must be a text"),
        (grant("region_liu", "2099-01-01").replace("\"x\"", "\"a\u{202e}b\""), "reason contains a hidden character"),
    ] {
        let error = expect_error(file(&school, "postgres", "GRANT region_liu TO region_chen", &form, ""), BAD, "", "");
        assert!(error.message().contains(words), "{form}: {error:?}");
    }
}

const PAPER: &str = r#"{"form": "operation", "kind": "critical", "steps": "one update", "description": "sixty pupils move",
    "people": 60, "impact": "school 1"}"#;

fn a_form_is_shown_and_is_part_of_the_digest() {
    let school = School::active();
    let op_no = file(&school, "region_chen", SIXTY, PAPER, ", expected_rows => 60").expect("filed");
    let shown: String = school.ask(&format!("SELECT form ->> 'impact' FROM steward.show('{op_no}')"));
    assert_eq!(shown, "school 1");
    let other = PAPER.replace("school 1", "school 2");
    let other = file(&school, "region_chen", SIXTY, &other, ", expected_rows => 60").expect("filed");
    let plain = school.request("region_chen", SIXTY);
    let digests = [&op_no, &other, &plain].map(|op_no| school.digest(op_no));
    assert_ne!(digests[0], digests[1], "another form is another operation");
    assert_ne!(digests[0], digests[2]);
    let vote = school.session("reviewer_sun").query("SELECT steward.approve($1, $2)", &[&op_no, &digests[2]]);
    expect_error(vote, &SqlState::INSUFFICIENT_PRIVILEGE, "other bytes", "steward.show");
    school.release(&op_no);
    assert_eq!(execute(&mut school.session("region_chen"), &op_no).expect("execute"), 60);
    assert_eq!(
        school.records(&format!("op_no = '{op_no}' AND operation_type = 'REQUEST' AND details LIKE '%school 1%'")),
        1
    );
}

fn the_digest_of_a_script_alone_is_as_before() {
    let school = School::active();
    let op_no = school.request("region_chen", SIXTY);
    let sha256 = format!("SELECT encode(sha256(convert_to($x${SIXTY}$x$, 'UTF8')), 'hex')");
    assert_eq!(school.digest(&op_no), school.ask::<String>(&sha256));
    assert!(school.ask::<bool>(&format!("SELECT form IS NULL FROM steward.show('{op_no}')")));
}

fn an_operation_form_tells_tier_and_people_as_they_are() {
    let school = School::active();
    let tier =
        file(&school, "region_chen", SIXTY, &PAPER.replace("\"critical\"", "\"normal\""), ", expected_rows => 60");
    expect_error(tier, BAD, "The script is critical", "");
    expect_error(file(&school, "region_chen", SIXTY, PAPER, ""), BAD, "", "expected_rows => 60");
    expect_error(file(&school, "region_chen", SIXTY, PAPER, ", expected_rows => 61"), BAD, "", "expected_rows => 60");
    // What the form declares is what may be touched.
    let more = SIXTY.replace("60", "61");
    let op_no = file(&school, "region_chen", &more, PAPER, ", expected_rows => 60").expect("filed");
    school.release(&op_no);
    expect_refused_rows(execute(&mut school.session("region_chen"), &op_no));
}

#[track_caller]
fn expect_refused_rows<T>(result: Result<T, postgres::Error>) {
    expect_error(result, &SqlState::INSUFFICIENT_PRIVILEGE, "touched 61 rows", "");
}

fn a_demanded_form_must_be_there() {
    let school = School::inactive();
    let demand = "SELECT steward.set_form('operation', true, sign_offs => 2); SELECT steward.activate()";
    school.superuser().batch_execute(demand).expect("demand");
    let mut chen = school.session("region_chen");
    let bare = chen.query("SELECT steward.request($1, purpose => 'x')", &[&SIXTY]);
    let error = expect_error(bare, BAD, "critical", "WHERE name = 'operation'");
    assert!(error.message().contains("the form operation is missing"), "{error:?}");
    request(&mut chen, "SELECT 1", "");
    let op_no = file(&school, "region_chen", SIXTY, PAPER, ", expected_rows => 60").expect("filed");
    assert_eq!(ask::<i32>(&mut chen, &format!("SELECT approvals_needed FROM steward.show('{op_no}')")), 2);
    let unknown = school.superuser().batch_execute("SELECT steward.set_form('nothing', true)");
    expect_refused(unknown);
}

/// An active school with these forms demanded.
fn with_forms(calls: &str) -> School {
    let school = School::inactive();
    school.superuser().batch_execute(&format!("{calls}; SELECT steward.activate()")).expect("demand");
    school
}

const ROLE: &str =
    r#"{"form": "role_grant", "grantee": "region_chen", "role": "region_liu", "reason": "x", "until": "infinity"}"#;
const INCIDENT: &str = r#"{"form": "incident", "occurred_at": "2026-01-01", "level": "major", "description": "x", "process": "x",
    "result": "success"}"#;

fn another_form_does_not_stand_for_the_demanded_one() {
    let school = with_forms("SELECT steward.set_form('operation', true); SELECT steward.set_form('role_grant', true)");
    let block = format!("DO $b$BEGIN {SIXTY}; END$b$");
    for script in [SIXTY, "TRUNCATE app.guardian", &block] {
        for other in [ROLE, INCIDENT] {
            // What a block does is seen when it runs: see below.
            if script == block && other == ROLE {
                continue;
            }
            let error = expect_error(
                file(&school, "region_chen", script, other, ", expected_rows => 60"),
                BAD,
                "critical",
                "WHERE name = 'operation'",
            );
            assert!(error.message().contains("takes the form operation"), "{script}: {error:?}");
        }
    }
    // Nor does the operation form for a grant, whether one or both are demanded.
    let grant = "GRANT region_liu TO region_chen";
    expect_error(file(&school, "postgres", grant, PAPER, ""), BAD, "", "role_grant");
    let op_no = file(&school, "postgres", grant, ROLE, "").expect("the right one");
    let digest = school.digest(&op_no);
    assert_eq!(school.request("postgres", grant).len(), op_no.len(), "or the one that the policy writes");
    assert_eq!(digest.len(), 64);
    // What is normal takes none.
    let normal = "UPDATE app.student SET note = 'x' WHERE id = 1";
    request(&mut school.session("region_chen"), normal, ", expected_rows => 1");
    // An incident is never filed with a script.
    let free = School::active();
    let error = expect_error(file(&free, "region_chen", SIXTY, INCIDENT, ""), BAD, "", "steward.report_incident");
    assert!(error.message().contains("not filed with a script"), "{error:?}");
}

fn what_grants_and_does_more_is_filed_as_two() {
    let school = with_forms("SELECT steward.set_form('operation', true); SELECT steward.set_form('role_grant', true)");
    let grant = "GRANT region_liu TO region_chen";
    for more in [SIXTY, "TRUNCATE app.guardian"] {
        for form in [ROLE, PAPER] {
            let both = file(&school, "postgres", &format!("{grant}; {more}"), form, ", expected_rows => 60");
            expect_error(both, BAD, "the rest the form operation", "a script of its own");
        }
    }
    // What is normal beside it has no form of its own.
    let beside = format!("{grant}; SELECT 1");
    file(&school, "postgres", &beside, ROLE, "").expect("one form says it all");
    // Rights of a plain role are important work: either form tells of them, and one must be there.
    let account = "GRANT SELECT ON app.guardian TO teacher_wang";
    let bare = school.superuser().query("SELECT steward.request($1, purpose => 'x')", &[&account]);
    expect_error(bare, BAD, "important", "WHERE name = 'operation'");
    let paper = PAPER.replace("critical", "important").replace("\"people\": 60, ", "");
    file(&school, "postgres", account, &paper, "").expect("as an operation");
    let role =
        r#"{"form": "role_grant", "grantee": "teacher_wang", "rights": ["query"], "reason": "x", "until": "infinity"}"#;
    file(&school, "postgres", account, role, "").expect("as a grant");
}

/// What it hides may be a grant, so it may be filed with the role form; then it gives rights and does nothing else.
fn a_block_with_the_role_form_gives_rights_and_nothing_else() {
    let school = with_forms("SELECT steward.set_form('operation', true); SELECT steward.set_form('role_grant', true)");
    let run = |body: &str, beside: &str| {
        let script = format!("{beside}DO $b$BEGIN {body} END$b$");
        let op_no = file(&school, "postgres", &script, ROLE, "").unwrap_or_else(|error| panic!("{script}: {error:?}"));
        school.release(&op_no);
        execute(&mut school.superuser(), &op_no)
    };
    let truncates = "TRUNCATE app.guardian;";
    for beyond in [&format!("{SIXTY};"), truncates, "ALTER TABLE app.student DISABLE TRIGGER ALL;"] {
        expect_refused(run(beyond, ""));
        let error = expect_refused(run(beyond, "GRANT region_liu TO region_chen; "));
        assert!(error.detail().is_some_and(|detail| detail.contains("the form role_grant")), "{error:?}");
        // The denial may be caught, and changes nothing.
        run(&format!("BEGIN {beyond} EXCEPTION WHEN OTHERS THEN NULL; END;"), "").expect("swallowed");
    }
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student WHERE note = 'x'"), 0);
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.guardian"), 160);
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM pg_auth_members WHERE member = 'region_chen'::regrole"), 0);
    run(&format!("GRANT region_liu TO region_chen; {ONE};"), "").expect("a grant, and what is normal");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM pg_auth_members WHERE member = 'region_chen'::regrole"), 1);
    // One command gives something and does more beside it.
    let whole = r#"{"form": "role_grant", "grantee": "region_chen", "rights": ["query", "modify", "delete", "administer"],
        "reason": "x", "until": "infinity"}"#;
    let both = "ALTER TABLE app.guardian OWNER TO region_chen, DISABLE TRIGGER ALL";
    let hidden = format!("DO $b$BEGIN {both}; END$b$");
    let op_no = file(&school, "postgres", &hidden, whole, "").expect("a block");
    school.release(&op_no);
    expect_refused(execute(&mut school.superuser(), &op_no));
    expect_error(file(&school, "postgres", both, whole, ""), BAD, "", "");
    // With the operation form it does the rest, and gives nothing.
    let paper = PAPER.replace("\"people\": 60, ", "");
    let script = format!("DO $b$BEGIN {SIXTY}; END$b$");
    let op_no = file(&school, "postgres", &script, &paper, "").expect("as an operation");
    school.release(&op_no);
    execute(&mut school.superuser(), &op_no).expect("sixty");
}

fn a_form_of_ones_own_is_demanded_like_the_manual_s() {
    let school = with_forms(
        "INSERT INTO steward.form (name, line, field, type, required, label_zh, label_en)
            VALUES ('change', 1, 'ticket', 'text', true, '单号', 'ticket');
        SELECT steward.set_form('change', true)",
    );
    expect_error(file(&school, "region_chen", SIXTY, PAPER, ", expected_rows => 60"), BAD, "", "WHERE name = 'change'");
    file(&school, "region_chen", SIXTY, r#"{"form": "change", "ticket": "T-1"}"#, "").expect("filed");
}

fn nobody_changes_forms_once_the_policy_is_active() {
    let school = School::active();
    let op_no = file(&school, "region_chen", SIXTY, PAPER, ", expected_rows => 60").expect("filed");
    for login in ["postgres", "security_han", "region_chen", "reviewer_sun", "auditor_qian", "clerk_zhao"] {
        for attack in [
            "UPDATE steward.form SET required = false",
            "DELETE FROM steward.form",
            "INSERT INTO steward.form (name, line, field, type, label_zh, label_en) VALUES ('operation', 9, 'x', 'text', 'x', 'x')",
            "TRUNCATE steward.form",
            "UPDATE steward.form_policy SET demanded = false",
            "UPDATE steward._operation SET form = NULL",
            "UPDATE steward._operation SET form = replace(form, 'school 1', 'school 2')",
            "ALTER TABLE steward.form DISABLE TRIGGER ALL",
            "SELECT steward.set_form('role_grant', false)",
            "SELECT steward.set_form('operation', false)",
        ] {
            let error = crate::expect::db_error(school.session(login).batch_execute(attack));
            assert_eq!(error.code(), &SqlState::INSUFFICIENT_PRIVILEGE, "{login}: {attack}: {error:?}");
        }
    }
    assert_eq!(school.ask::<String>(&format!("SELECT form ->> 'impact' FROM steward.show('{op_no}')")), "school 1");
    // A rule that demands approvals is not gone around by the form's own switch.
    let mut wu = school.superuser();
    let off = request(&mut wu, "SELECT steward.set_form('role_grant', false)", "");
    assert_eq!(ask::<i32>(&mut wu, &format!("SELECT approvals_needed FROM steward.show('{off}')")), 2);
}

fn a_form_that_was_changed_from_outside_voids_its_operation() {
    let school = School::inactive();
    let op_no = file(&school, "region_chen", SIXTY, PAPER, ", expected_rows => 60").expect("filed");
    // Nothing guards the table yet; a file that is edited would be the same later.
    let change =
        "UPDATE steward._operation SET form = replace(form, 'school 1', 'school 2'); SELECT steward.activate()";
    school.superuser().batch_execute(change).expect("changed");
    expect_error(school.vote("reviewer_sun", "approve", &op_no), &SqlState::DATA_CORRUPTED, "changed from outside", "");
}
