//! Rights are given by a role form alone: it says who gets what, two others sign it, the command gives exactly that, and
//! what has an end is honoured no longer.

use std::thread::sleep;
use std::time::{Duration, Instant};

use postgres::Client;
use postgres::error::SqlState;

use crate::expect::{db_error, expect_error, expect_refused};
use crate::school::{School, ask, execute, request};

tests! {
    a_plain_grant_writes_its_own_form_and_takes_two_signatures,
    a_form_that_says_something_else_is_not_filed,
    what_one_form_cannot_say_needs_forms_of_its_own,
    no_spelling_of_a_grant_is_left_out,
    a_grant_in_a_block_keeps_to_the_form,
    a_grant_beyond_the_form_that_a_block_swallows_gives_nothing,
    nobody_signs_their_own_form,
    a_lapsed_membership_stops_an_open_session_at_its_next_statement,
    a_lapsed_right_stops_members_of_the_grantee_and_nobody_else,
    no_way_of_running_a_statement_survives_the_term,
    a_lapsed_privilege_is_taken_back,
    a_revocation_that_is_rolled_back_frees_nobody,
    the_inbox_tells_what_has_lapsed,
    a_later_form_prolongs_a_term,
    no_term_is_promised_that_nobody_keeps,
    nobody_changes_a_term,
    a_membership_that_makes_an_administrator_is_known_in_open_sessions,
    a_term_takes_nothing_that_was_there_before,
    a_term_on_a_table_leaves_older_rights_on_its_columns,
    a_term_for_passing_on_leaves_the_right_itself,
    a_later_form_ends_a_term_however_it_is_spelled,
    one_failing_revocation_leaves_the_rest_to_be_done,
    a_revocation_beside_a_dropped_role_is_told_and_repeated,
    two_sessions_revoke_each_grant_once,
    handing_over_needs_the_form_as_a_grant_does,
    a_handover_in_the_open_writes_its_own_form,
    a_policy_that_only_takes_away_needs_no_form,
    a_wider_policy_needs_the_form_of_those_it_lets_through,
    one_form_is_for_several_who_get_the_same,
    what_frees_rows_needs_the_form_of_those_it_frees,
    a_block_may_make_a_policy_of_a_table_it_uses,
}

const BAD: &SqlState = &SqlState::INVALID_PARAMETER_VALUE;
const REFUSED: &SqlState = &SqlState::INSUFFICIENT_PRIVILEGE;

/// An active school in which the role form is demanded, as it is installed.
fn demanding() -> School {
    let school = School::inactive();
    let on = "SELECT steward.set_form('role_grant', true); SELECT steward.activate()";
    school.superuser().batch_execute(on).expect("demand");
    school
}

fn form(grantee: &str, role: &str, until: &str) -> String {
    let role = if role.starts_with('[') { format!("\"rights\": {role}") } else { format!("\"role\": \"{role}\"") };
    format!(
        "{{\"form\": \"role_grant\", \"grantee\": \"{grantee}\", {role}, \"reason\": \"holiday\", \"until\": \"{until}\"}}"
    )
}

fn file(school: &School, script: &str, form: &str) -> Result<String, postgres::Error> {
    let call = format!("SELECT steward.request($1, purpose => 'role form', form => $f${form}$f$)");
    Ok(school.superuser().query_one(&call, &[&script])?.get(0))
}

/// Files, signs and runs a script with its form.
#[track_caller]
fn grant(school: &School, script: &str, form: &str) -> String {
    let op_no = file(school, script, form).unwrap_or_else(|error| panic!("{script}: {error:?}"));
    school.release(&op_no);
    execute(&mut school.superuser(), &op_no).unwrap_or_else(|error| panic!("{script}: {error:?}"));
    op_no
}

/// A moment these many seconds from now, as a form takes it.
fn moment(school: &School, seconds: u32) -> String {
    school
        .ask(&format!("SELECT to_char(clock_timestamp() + interval '{seconds} s', 'YYYY-MM-DD HH24:MI:SS.US TZH:TZM')"))
}

/// Waits until every term that was written down is over.
fn wait_for_lapse(school: &School) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !school.ask::<bool>("SELECT bool_and(until < clock_timestamp()) FROM steward.role_term") {
        assert!(Instant::now() < deadline, "the term does not end");
        sleep(Duration::from_millis(100));
    }
}

/// Seconds in which a form is signed and its script runs.
const SOON: u32 = 8;

fn member(school: &School, member: &str, role: &str) -> bool {
    school.ask(&format!(
        "SELECT EXISTS (SELECT FROM pg_auth_members WHERE member = '{member}'::regrole AND roleid = '{role}'::regrole)"
    ))
}

/// The session is stopped because a right of it has lapsed.
#[track_caller]
fn expect_lapsed<T>(result: Result<T, postgres::Error>) {
    let error = expect_error(result, REFUSED, "", "SELECT steward.revoke_lapsed();");
    assert!(error.message().contains("for a time that is over"), "{error:?}");
}

fn a_plain_grant_writes_its_own_form_and_takes_two_signatures() {
    let school = demanding();
    let mut wu = school.superuser();
    let op_no = request(&mut wu, "GRANT region_liu TO region_chen", "");
    let shown = "SELECT concat_ws(' ', form ->> 'form', form ->> 'grantee', form ->> 'role', form ->> 'reason', form ->> 'until')";
    let shown: String = ask(&mut wu, &format!("{shown} FROM steward.show('{op_no}')"));
    assert_eq!(shown, "role_grant region_chen region_liu cluster test infinity");
    school.vote("reviewer_sun", "approve", &op_no).expect("the first signature");
    expect_error(execute(&mut wu, &op_no), &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "1 of 2", "");
    school.vote("reviewer_zhou", "approve", &op_no).expect("the second signature");
    school.vote("region_liu", "confirm", &op_no).expect("confirm");
    execute(&mut wu, &op_no).expect("execute");
    assert!(member(&school, "region_chen", "region_liu"));
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.role_term"), 0, "no end, no term");
}

fn a_form_that_says_something_else_is_not_filed() {
    let school = demanding();
    let grant = "GRANT region_liu TO region_chen";
    let until = "2099-01-01";
    for (script, form, words) in [
        (grant, form("teacher_wang", "region_liu", until), "for teacher_wang, the command grants to region_chen"),
        (grant, form("region_chen", "region_chen", until), "names region_chen, the command grants the role region_liu"),
        (grant, form("region_chen", "[\"query\"]", until), "names no role"),
        ("GRANT region_liu TO region_chen WITH ADMIN OPTION", form("region_chen", "region_liu", until), "administer"),
        ("GRANT SELECT, DELETE ON app.student TO region_chen", form("region_chen", "[\"query\"]", until), "delete"),
        (
            "GRANT ALL ON app.student TO region_chen",
            form("region_chen", "[\"query\",\"modify\",\"delete\"]", until),
            "administer",
        ),
        ("GRANT SELECT ON app.student TO PUBLIC", form("region_chen", "[\"query\"]", until), "grants to public"),
        (
            "GRANT region_liu TO region_chen, region_chen, teacher_wang",
            form("region_chen", "region_liu", until),
            "grants to teacher_wang",
        ),
        ("ALTER ROLE region_chen SUPERUSER", form("region_chen", "[\"query\"]", until), "administer"),
        ("SELECT 1", form("region_chen", "region_liu", until), "does not grant it"),
    ] {
        let error = expect_error(file(&school, script, &form), BAD, words, "");
        assert!(error.message().contains("does not say what the script grants"), "{script}: {error:?}");
    }
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.operation"), 0);
}

fn what_one_form_cannot_say_needs_forms_of_its_own() {
    let school = demanding();
    let mut wu = school.superuser();
    for script in [
        "GRANT region_liu TO region_chen; GRANT SELECT ON app.student TO teacher_wang",
        "GRANT region_liu, reviewer_sun TO region_chen",
        "GRANT region_liu TO region_chen; DO $$BEGIN END$$",
    ] {
        let bare = wu.query("SELECT steward.request($1, purpose => 'x')", &[&script]);
        let error = expect_error(bare, BAD, "", "role_grant");
        assert!(error.message().contains("the form role_grant is missing"), "{script}: {error:?}");
    }
}

fn no_spelling_of_a_grant_is_left_out() {
    let school = demanding();
    let mut wu = school.superuser();
    for script in [
        "GRANT region_liu TO region_chen",
        "GRANT pg_read_all_data TO clerk_zhao",
        "ALTER GROUP region_liu ADD USER region_chen",
        "CREATE ROLE bridge IN ROLE region_liu",
        "CREATE ROLE bridge ROLE region_chen",
        "CREATE ROLE bridge ADMIN region_chen",
        "CREATE ROLE bridge SUPERUSER",
        "CREATE ROLE bridge BYPASSRLS",
        "ALTER ROLE clerk_zhao CREATEROLE",
        "ALTER ROLE clerk_zhao REPLICATION",
        "GRANT SELECT ON app.student TO PUBLIC",
        "GRANT SELECT (id_card) ON app.student TO region_liu",
        "GRANT ALL ON ALL TABLES IN SCHEMA app TO region_liu",
        "GRANT CREATE ON SCHEMA app TO region_liu",
        "GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_file(text) TO region_liu",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT ALL ON TABLES TO PUBLIC",
        "CREATE SCHEMA evil GRANT ALL ON TABLE app.student TO PUBLIC",
    ] {
        // Approved by two, but with no form: what a block does is seen when it runs.
        let hidden = format!("DO $b$BEGIN EXECUTE $q${script}$q$; END$b$");
        let op_no = request(&mut wu, &hidden, ", approvals => 2");
        school.release(&op_no);
        let error = expect_error(execute(&mut wu, &op_no), REFUSED, "role form", "form => ");
        assert!(error.message().contains("no role form covers it"), "{script}: {error:?}");
    }
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM pg_auth_members WHERE member >= 16384"), 0);
    assert_eq!(school.records("result = 'DENIED' AND rule = 'role_form'"), 17);
    // Taking away needs no form.
    let revoke = "DO $b$BEGIN EXECUTE 'REVOKE ALL ON app.student FROM region_liu'; END$b$";
    let op_no = request(&mut wu, revoke, ", approvals => 2");
    school.release(&op_no);
    execute(&mut wu, &op_no).expect("a REVOKE");
}

fn a_grant_in_a_block_keeps_to_the_form() {
    let school = demanding();
    let signed = form("region_chen", "region_liu", "2099-01-01");
    let block = |grantee: &str, role: &str| format!("DO $b$BEGIN EXECUTE 'GRANT {role} TO {grantee}'; END$b$");
    for (grantee, role, words) in
        [("teacher_wang", "region_liu", "grants to teacher_wang"), ("region_chen", "clerk_zhao", "the role clerk_zhao")]
    {
        let op_no = file(&school, &block(grantee, role), &signed).expect("what is hidden is asked later");
        school.release(&op_no);
        let error = expect_error(execute(&mut school.superuser(), &op_no), REFUSED, words, "");
        assert!(error.message().contains("the role form says something else"), "{error:?}");
        assert!(!member(&school, grantee, role));
    }
    let op_no = grant(&school, &block("region_chen", "region_liu"), &signed);
    let term = format!("SELECT count(*) FROM steward.role_term WHERE op_no = '{op_no}' AND until = '2099-01-01 00:00'");
    assert_eq!(school.ask::<i64>(&term), 1);
}

fn a_grant_beyond_the_form_that_a_block_swallows_gives_nothing() {
    let school = demanding();
    let swallowed = "DO $b$BEGIN GRANT clerk_zhao TO region_chen; EXCEPTION WHEN OTHERS THEN NULL; END$b$";
    grant(&school, swallowed, &form("region_chen", "region_liu", "2099-01-01"));
    assert!(!member(&school, "region_chen", "clerk_zhao"));
    assert_eq!(school.records("result = 'DENIED' AND rule = 'role_form'"), 1);
}

fn nobody_signs_their_own_form() {
    let school = demanding();
    let mut han = school.session("security_han");
    let script = "GRANT region_liu TO security_han";
    let op_no = request(&mut han, script, "");
    let digest = school.digest(&op_no);
    let own = han.query("SELECT steward.approve($1, $2)", &[&op_no, &digest]);
    expect_error(own, REFUSED, "Han filed it", "");
    school.vote("reviewer_sun", "approve", &op_no).expect("the first signature");
    expect_error(school.vote("reviewer_sun", "approve", &op_no), REFUSED, "one person approves once", "");
    assert_eq!(school.status(&op_no), "submitted", "one signature is none");
}

fn a_lapsed_membership_stops_an_open_session_at_its_next_statement() {
    let school = demanding();
    let mut chen = school.session("region_chen");
    let op_no =
        grant(&school, "GRANT region_liu TO region_chen", &form("region_chen", "region_liu", &moment(&school, SOON)));
    chen.batch_execute("SELECT count(*) FROM app.student; SET ROLE region_liu").expect("in time");
    wait_for_lapse(&school);
    assert!(member(&school, "region_chen", "region_liu"), "nobody has taken it back");
    for statement in ["SELECT 1", "SELECT count(*) FROM app.student", "UPDATE app.student SET note = 'x' WHERE id = 1"]
    {
        expect_lapsed(chen.batch_execute(statement));
    }
    expect_lapsed(school.session("region_chen").batch_execute("SELECT 1"));
    assert_eq!(chen.query_one("SELECT steward.revoke_lapsed()", &[]).expect("the way out").get::<_, i64>(0), 1);
    assert!(!member(&school, "region_chen", "region_liu"));
    chen.batch_execute("RESET ROLE; SELECT count(*) FROM app.student").expect("with the rights that are left");
    expect_error(chen.batch_execute("SET ROLE region_liu"), REFUSED, "", "");
    let trail =
        format!("SELECT comment FROM steward.operation_trail WHERE op_no = '{op_no}' AND event = 'REVOKE LAPSED'");
    assert_eq!(school.ask::<String>(&trail), "REVOKE region_liu FROM region_chen CASCADE");
    assert_eq!(
        school.records(&format!("operation_type = 'revoke_lapsed' AND op_no = '{op_no}' AND person = 'Chen'")),
        1
    );
    assert_eq!(school.records("result = 'DENIED' AND rule = 'lapsed' AND person = 'Chen'"), 4);
}

fn a_lapsed_right_stops_members_of_the_grantee_and_nobody_else() {
    let school = School::inactive();
    let group = "CREATE ROLE office; GRANT office TO region_chen; SELECT steward.set_form('role_grant', true); SELECT steward.activate()";
    school.superuser().batch_execute(group).expect("group");
    let mut sessions: Vec<Client> =
        ["region_chen", "teacher_wang", "postgres"].map(|login| school.session(login)).into();
    grant(&school, "GRANT region_liu TO office", &form("office", "region_liu", &moment(&school, SOON)));
    wait_for_lapse(&school);
    expect_lapsed(sessions[0].batch_execute("SELECT 1"));
    sessions[1].batch_execute("SELECT count(*) FROM app.student").expect("a teacher");
    sessions[2].batch_execute("SELECT count(*) FROM app.student").expect("a superuser has nothing by the grant");
    // Who joins the group later has the lapsed right too.
    let mut wang = school.session("teacher_wang");
    grant(&school, "GRANT office TO teacher_wang", &form("teacher_wang", "office", "infinity"));
    expect_lapsed(wang.batch_execute("SELECT 1"));
    // Anybody may end it.
    school.session("clerk_zhao").query("SELECT steward.revoke_lapsed()", &[]).expect("by a clerk");
    wang.batch_execute("SELECT 1").expect("ended for everybody");
}

fn no_way_of_running_a_statement_survives_the_term() {
    let school = demanding();
    let mut chen = school.session("region_chen");
    grant(&school, "GRANT region_liu TO region_chen", &form("region_chen", "region_liu", &moment(&school, SOON)));
    chen.batch_execute(
        "PREPARE p AS SELECT count(*) FROM app.student; DECLARE c CURSOR WITH HOLD FOR SELECT id FROM app.student",
    )
    .expect("in time");
    wait_for_lapse(&school);
    for attack in [
        "EXECUTE p",
        "FETCH 1 FROM c",
        "DO $$BEGIN PERFORM steward.revoke_lapsed(); UPDATE app.student SET note = 'x' WHERE id = 1; END$$",
        "SELECT steward.revoke_lapsed(), count(*) FROM app.student",
        "SELECT steward.revoke_lapsed() FROM app.student",
        "EXPLAIN ANALYZE SELECT count(*) FROM app.student",
        "COPY (SELECT * FROM app.student) TO STDOUT",
        "TRUNCATE app.guardian",
        "CREATE TEMP TABLE t AS SELECT 1",
        "SELECT steward.request('SELECT 1', purpose => 'x')",
        "LISTEN news",
    ] {
        let mut session =
            if attack.contains(" p") || attack.contains(" c") { None } else { Some(school.session("region_chen")) };
        expect_lapsed(session.as_mut().unwrap_or(&mut chen).batch_execute(attack));
    }
    chen.batch_execute("BEGIN; ROLLBACK").expect("ROLLBACK is never blocked");
    assert!(member(&school, "region_chen", "region_liu"));
    chen.batch_execute("select steward.revoke_lapsed();").expect("the one statement");
    chen.batch_execute("EXECUTE p").expect("with the rights that are left");
}

fn a_lapsed_privilege_is_taken_back() {
    let school = demanding();
    let until = moment(&school, SOON);
    grant(
        &school,
        "GRANT DELETE, UPDATE (name) ON app.student, app.guardian TO region_liu",
        &form("region_liu", "[\"modify\",\"delete\"]", &until),
    );
    grant(&school, "ALTER ROLE region_liu CREATEDB", &form("region_liu", "[\"administer\"]", &until));
    let holds = "SELECT concat_ws(' ', has_table_privilege('region_liu', 'app.student', 'DELETE'), has_table_privilege('region_liu', 'app.guardian', 'DELETE'),
        has_column_privilege('region_liu', 'app.student', 'name', 'UPDATE'), rolcreatedb) FROM pg_roles WHERE rolname = 'region_liu'";
    assert_eq!(school.ask::<String>(holds), "t t t t");
    wait_for_lapse(&school);
    expect_lapsed(school.session("region_liu").batch_execute("DELETE FROM app.guardian WHERE id = 1"));
    assert_eq!(school.ask::<i64>("SELECT steward.revoke_lapsed()"), 5, "each right by itself");
    assert_eq!(school.ask::<String>(holds), "f f f f");
    let denied = db_error(school.session("region_liu").batch_execute("DELETE FROM app.guardian WHERE id = 1"));
    assert_eq!(denied.code(), REFUSED, "by PostgreSQL itself: {denied:?}");
    assert_eq!(school.ask::<i64>("SELECT steward.revoke_lapsed()"), 0);
}

fn a_revocation_that_is_rolled_back_frees_nobody() {
    let school = demanding();
    let mut chen = school.session("region_chen");
    grant(&school, "GRANT region_liu TO region_chen", &form("region_chen", "region_liu", &moment(&school, SOON)));
    wait_for_lapse(&school);
    chen.batch_execute("BEGIN").expect("begin");
    chen.query("SELECT steward.revoke_lapsed()", &[]).expect("revoked, for now");
    chen.batch_execute("SELECT 1").expect("without the right");
    chen.batch_execute("ROLLBACK").expect("rollback");
    expect_lapsed(chen.batch_execute("SELECT 1"));
    chen.batch_execute("BEGIN; SAVEPOINT s").expect("begin");
    chen.query("SELECT steward.revoke_lapsed()", &[]).expect("revoked, for now");
    chen.batch_execute("ROLLBACK TO s").expect("rollback");
    expect_lapsed(chen.batch_execute("SELECT 1"));
    assert!(member(&school, "region_chen", "region_liu"));
}

fn the_inbox_tells_what_has_lapsed() {
    let school = demanding();
    let op_no =
        grant(&school, "GRANT region_liu TO region_chen", &form("region_chen", "region_liu", &moment(&school, SOON)));
    let waits = format!("SELECT next_command FROM steward.inbox WHERE waits_for = 'revocation' AND op_no = '{op_no}'");
    let mut sun = school.session("reviewer_sun");
    assert!(sun.query(&waits, &[]).expect("inbox").is_empty());
    wait_for_lapse(&school);
    let command: String = ask(&mut sun, &waits);
    assert_eq!(command, "SELECT steward.revoke_lapsed();  -- REVOKE region_liu FROM region_chen CASCADE");
    sun.batch_execute(&command).expect("ready to paste");
    assert!(sun.query(&waits, &[]).expect("inbox").is_empty());
}

fn a_later_form_prolongs_a_term() {
    let school = demanding();
    grant(&school, "GRANT region_liu TO region_chen", &form("region_chen", "region_liu", &moment(&school, SOON)));
    let later = grant(&school, "GRANT region_liu TO region_chen", &form("region_chen", "region_liu", "2099-01-01"));
    let open = "SELECT string_agg(op_no, ' ') FROM steward.role_term WHERE ended_at IS NULL";
    assert_eq!(school.ask::<String>(open), later);
    sleep(Duration::from_secs(u64::from(SOON)));
    school.session("region_chen").batch_execute("SELECT 1").expect("the later form holds");
    assert_eq!(school.ask::<i64>("SELECT steward.revoke_lapsed()"), 0);
}

fn no_term_is_promised_that_nobody_keeps() {
    let school = demanding();
    for script in [
        "GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_file(text) TO region_liu",
        "GRANT SELECT ON ALL TABLES IN SCHEMA app TO region_liu",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO region_liu",
    ] {
        let all = form("region_liu", "[\"query\",\"administer\"]", "2099-01-01");
        expect_error(file(&school, script, &all), &SqlState::FEATURE_NOT_SUPPORTED, "Terms are kept for", "infinity");
        let hidden = format!("DO $b$BEGIN EXECUTE $q${script}$q$; END$b$");
        let op_no = file(&school, &hidden, &all).expect("what is hidden is asked later");
        school.release(&op_no);
        expect_error(
            execute(&mut school.superuser(), &op_no),
            &SqlState::FEATURE_NOT_SUPPORTED,
            "Terms are kept for",
            "",
        );
    }
    let public = file(&school, "GRANT SELECT ON app.scratch TO PUBLIC", &form("public", "[\"query\"]", "2099-01-01"));
    expect_error(public, BAD, "everybody", "infinity");
    // A form whose time is over before its script runs gives nothing.
    let op_no =
        file(&school, "GRANT region_liu TO region_chen", &form("region_chen", "region_liu", &moment(&school, 4)));
    let op_no = op_no.expect("filed");
    school.approve(&op_no);
    sleep(Duration::from_secs(4));
    school.vote("region_liu", "confirm", &op_no).expect("confirm");
    let error = expect_refused(execute(&mut school.superuser(), &op_no));
    assert!(error.message().contains("the term of the role form is over"), "{error:?}");
}

fn nobody_changes_a_term() {
    let school = demanding();
    grant(&school, "GRANT region_liu TO region_chen", &form("region_chen", "region_liu", "2099-01-01"));
    for login in ["postgres", "security_han", "region_chen", "reviewer_sun", "auditor_qian", "clerk_zhao"] {
        for attack in [
            "UPDATE steward.role_term SET until = 'infinity'",
            "UPDATE steward.role_term SET ended_at = now()",
            "DELETE FROM steward.role_term",
            "TRUNCATE steward.role_term",
            "INSERT INTO steward.role_term (op_no, grantee, until, role) VALUES ('OP', 'postgres', now(), 'region_liu')",
            "CREATE OR REPLACE VIEW steward._role_term_open AS SELECT 1",
        ] {
            let error = db_error(school.session(login).batch_execute(attack));
            assert_eq!(error.code(), REFUSED, "{login}: {attack}: {error:?}");
        }
    }
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.role_term WHERE ended_at IS NULL"), 1);
}

fn a_membership_that_makes_an_administrator_is_known_in_open_sessions() {
    let school = School::active();
    let mut wu = school.superuser();
    wu.batch_execute("ALTER ROLE teacher_wang CONNECTION LIMIT 30").expect("account work");
    // Two approvals and a second person, in other sessions.
    let mut han = school.session("security_han");
    han.batch_execute("SELECT 1").expect("a session");
    school.operate_by(&["reviewer_sun", "reviewer_zhou"], "GRANT region_chen TO teacher_wang");
    let error = expect_refused(wu.batch_execute("ALTER ROLE teacher_wang CONNECTION LIMIT 31"));
    assert!(error.message().contains("critical"), "a teacher who has an administrator's role: {error:?}");
}

/// What region_liu may do, one word a right.
fn rights_of_liu(school: &School) -> String {
    school.ask(
        "SELECT concat_ws(' ', (SELECT string_agg(x.privilege_type || CASE WHEN x.is_grantable THEN '+' ELSE '' END, ' ' ORDER BY 1)
                FROM pg_class c, aclexplode(c.relacl) x WHERE c.oid = 'app.student'::regclass AND x.grantee = 'region_liu'::regrole),
            (SELECT string_agg(a.attname || ':' || x.privilege_type || CASE WHEN x.is_grantable THEN '+' ELSE '' END, ' ' ORDER BY 1)
                FROM pg_attribute a, aclexplode(a.attacl) x WHERE a.attrelid = 'app.student'::regclass AND x.grantee = 'region_liu'::regrole),
            (SELECT string_agg(roleid::regrole::text || CASE WHEN admin_option THEN '+' ELSE '' END, ' ' ORDER BY 1)
                FROM pg_auth_members WHERE member = 'region_liu'::regrole))",
    )
}

/// An active school where this was so before; the role form is demanded.
fn demanding_after(before: &str) -> School {
    let school = School::inactive();
    let on = format!("{before}; SELECT steward.set_form('role_grant', true); SELECT steward.activate()");
    school.superuser().batch_execute(&on).expect("demand");
    school
}

fn a_term_takes_nothing_that_was_there_before() {
    let school = demanding_after("GRANT clerk_zhao TO region_liu; GRANT UPDATE (note) ON app.student TO region_liu");
    let until = moment(&school, SOON);
    let before = rights_of_liu(&school);
    assert_eq!(before, "SELECT note:UPDATE clerk_zhao");
    // SELECT is old, DELETE is new; of the columns note is old.
    let both =
        "GRANT SELECT, DELETE ON app.student TO region_liu; GRANT UPDATE (note, name) ON app.student TO region_liu;
        GRANT clerk_zhao TO region_liu";
    let signed = "{\"form\": \"role_grant\", \"grantee\": \"region_liu\", \"role\": \"clerk_zhao\",
        \"rights\": [\"query\", \"modify\", \"delete\"], \"reason\": \"holiday\", \"until\": \"UNTIL\"}";
    grant(&school, both, &signed.replace("UNTIL", &until));
    let terms =
        "SELECT string_agg(concat(privilege, ' ' || column_name), ', ' ORDER BY privilege) FROM steward.role_term";
    assert_eq!(school.ask::<String>(terms), "DELETE, UPDATE name");
    wait_for_lapse(&school);
    assert_eq!(school.ask::<i64>("SELECT steward.revoke_lapsed()"), 2);
    assert_eq!(rights_of_liu(&school), before);
    school.session("region_liu").batch_execute("SELECT count(*) FROM app.student").expect("as before");
}

fn a_term_on_a_table_leaves_older_rights_on_its_columns() {
    let school = demanding_after("GRANT UPDATE (name), UPDATE (note) ON app.student TO region_liu WITH GRANT OPTION");
    let before = rights_of_liu(&school);
    grant(
        &school,
        "GRANT ALL ON app.student TO region_liu",
        &form("region_liu", "[\"query\",\"modify\",\"delete\",\"administer\"]", &moment(&school, SOON)),
    );
    wait_for_lapse(&school);
    // ALL but SELECT, which was there.
    assert_eq!(school.ask::<i64>("SELECT steward.revoke_lapsed()"), 6);
    assert_eq!(rights_of_liu(&school), before, "SELECT name:UPDATE+ note:UPDATE+");
}

fn a_term_for_passing_on_leaves_the_right_itself() {
    let school = demanding_after("GRANT clerk_zhao TO region_liu");
    let until = moment(&school, SOON);
    let before = rights_of_liu(&school);
    grant(
        &school,
        "GRANT SELECT ON app.student TO region_liu WITH GRANT OPTION",
        &form("region_liu", "[\"query\",\"administer\"]", &until),
    );
    let admin = "{\"form\": \"role_grant\", \"grantee\": \"region_liu\", \"role\": \"clerk_zhao\",
        \"rights\": [\"administer\"], \"reason\": \"holiday\", \"until\": \"UNTIL\"}";
    grant(&school, "GRANT clerk_zhao TO region_liu WITH ADMIN OPTION", &admin.replace("UNTIL", &until));
    assert_eq!(rights_of_liu(&school), "SELECT+ clerk_zhao+");
    wait_for_lapse(&school);
    assert_eq!(school.ask::<i64>("SELECT steward.revoke_lapsed()"), 2);
    assert_eq!(rights_of_liu(&school), before);
}

fn a_later_form_ends_a_term_however_it_is_spelled() {
    let school = demanding();
    let all = "[\"query\",\"modify\",\"delete\",\"administer\"]";
    let until = moment(&school, 600);
    let open = "SELECT count(*) FROM steward.role_term WHERE ended_at IS NULL";
    grant(&school, "GRANT DELETE, UPDATE ON app.student TO region_liu", &form("region_liu", all, &until));
    assert_eq!(school.ask::<i64>(open), 2);
    grant(
        &school,
        "GRANT update ON TABLE \"app\".\"student\", app.guardian TO region_liu",
        &form("region_liu", all, "infinity"),
    );
    let left = "SELECT string_agg(privilege || ' ' || relation, ', ') FROM steward.role_term WHERE ended_at IS NULL";
    assert_eq!(school.ask::<String>(left), "DELETE app.student");
    // ALL is DELETE too.
    grant(&school, "GRANT ALL PRIVILEGES ON app.student TO region_liu", &form("region_liu", all, "infinity"));
    assert_eq!(school.ask::<i64>(open), 0);
    grant(&school, "GRANT clerk_zhao TO region_liu", &form("region_liu", "clerk_zhao", &until));
    grant(&school, "ALTER GROUP clerk_zhao ADD USER region_liu", &form("region_liu", "clerk_zhao", "infinity"));
    assert_eq!(school.ask::<i64>(open), 0);
}

fn one_failing_revocation_leaves_the_rest_to_be_done() {
    let school = demanding();
    let until = moment(&school, 3 * SOON);
    let op_no =
        grant(&school, "GRANT UPDATE (name) ON app.student TO region_liu", &form("region_liu", "[\"modify\"]", &until));
    grant(&school, "GRANT clerk_zhao TO region_chen", &form("region_chen", "clerk_zhao", &until));
    // The column has another name now, and the right with it.
    school.operate_by_witness("reviewer_zhou", "ALTER TABLE app.student RENAME COLUMN name TO full_name");
    wait_for_lapse(&school);
    let mut liu = school.session("region_liu");
    expect_lapsed(liu.batch_execute("SELECT 1"));
    assert_eq!(ask::<i64>(&mut liu, "SELECT steward.revoke_lapsed()"), 1, "the other one is taken back");
    assert!(!member(&school, "region_chen", "clerk_zhao"));
    expect_lapsed(liu.batch_execute("SELECT 1"));
    school.session("region_chen").batch_execute("SELECT 1").expect("nothing has lapsed any more");
    assert_eq!(
        school.records(&format!(
            "operation_type = 'revoke_lapsed' AND op_no = '{op_no}' AND result = 'FAILURE' AND sqlstate = '42703'"
        )),
        1
    );
    assert_eq!(school.records("operation_type = 'revoke_lapsed' AND result = 'SUCCESS'"), 1);
    school.operate_by_witness("reviewer_zhou", "ALTER TABLE app.student RENAME COLUMN full_name TO name");
    assert_eq!(ask::<i64>(&mut liu, "SELECT steward.revoke_lapsed()"), 1, "once the reason is gone");
    liu.batch_execute("SELECT count(*) FROM app.student").expect("free again");
    assert_eq!(rights_of_liu(&school), "SELECT");
}

/// Whatever runs beside it: the grants that can be taken back are, and a second call finds nothing left.
fn a_revocation_beside_a_dropped_role_is_told_and_repeated() {
    let school = School::inactive();
    school.superuser().batch_execute("CREATE ROLE guest; CREATE ROLE visitor").expect("roles");
    let until = moment(&school, SOON);
    grant(&school, "GRANT clerk_zhao TO guest", &form("guest", "clerk_zhao", &until));
    grant(&school, "GRANT clerk_zhao TO visitor", &form("visitor", "clerk_zhao", &until));
    grant(&school, "GRANT DELETE ON app.student TO region_liu", &form("region_liu", "[\"delete\"]", &until));
    wait_for_lapse(&school);
    let mut other = school.superuser();
    other
        .batch_execute(
            "BEGIN; DROP ROLE guest; REVOKE clerk_zhao FROM visitor; REVOKE DELETE ON app.student FROM region_liu",
        )
        .expect("somebody else takes them");
    let mut caller = school.superuser();
    let beside = std::thread::spawn(move || ask::<i64>(&mut caller, "SELECT steward.revoke_lapsed()"));
    sleep(Duration::from_secs(1));
    other.batch_execute("COMMIT").expect("commit");
    let at_once = beside.join().expect("no error ends the batch");
    assert!(at_once <= 3, "{at_once}");
    assert_eq!(at_once + school.ask::<i64>("SELECT steward.revoke_lapsed()"), 3, "each is ended once");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.role_term WHERE ended_at IS NULL"), 0);
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM pg_auth_members WHERE roleid = 'clerk_zhao'::regrole"), 0);
    assert_eq!(rights_of_liu(&school), "SELECT");
}

fn two_sessions_revoke_each_grant_once() {
    let school = School::inactive();
    let until = moment(&school, SOON);
    for grantee in ["region_chen", "region_liu"] {
        grant(&school, &format!("GRANT clerk_zhao TO {grantee}"), &form(grantee, "clerk_zhao", &until));
    }
    wait_for_lapse(&school);
    let mut first = school.superuser();
    first.batch_execute("BEGIN").expect("begin");
    assert_eq!(ask::<i64>(&mut first, "SELECT steward.revoke_lapsed()"), 2);
    assert_eq!(school.ask::<i64>("SELECT steward.revoke_lapsed()"), 0, "what another session ends is left to it");
    first.batch_execute("COMMIT").expect("commit");
    assert_eq!(school.records("operation_type = 'revoke_lapsed'"), 2);
}

/// Each gives rights without the word GRANT; region_liu has an administrator's post.
const HANDOVERS: [&str; 14] = [
    "ALTER TABLE app.student OWNER TO region_liu",
    "ALTER TABLE app.student ADD COLUMN more text, OWNER TO region_liu",
    "ALTER TABLE app.scratch OWNER TO region_liu",
    "ALTER VIEW app.seen OWNER TO region_liu",
    "ALTER SEQUENCE app.numbers OWNER TO region_liu",
    "ALTER SCHEMA app OWNER TO region_liu",
    "ALTER FUNCTION app.helper() OWNER TO region_liu",
    "ALTER TYPE app.colour OWNER TO region_liu",
    "ALTER DATABASE school OWNER TO region_liu",
    "REASSIGN OWNED BY guest TO region_liu",
    "CREATE POLICY more ON app.student USING (true)",
    "CREATE POLICY more ON app.student FOR SELECT TO region_liu USING (true)",
    "ALTER POLICY known ON app.student TO region_liu",
    "ALTER POLICY known ON app.student USING (true)",
];

fn with_things() -> School {
    demanding_after(
        "CREATE ROLE guest; CREATE VIEW app.seen AS SELECT 1 AS one; CREATE SEQUENCE app.numbers;
        CREATE FUNCTION app.helper() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TYPE app.colour AS ENUM ('red');
        CREATE POLICY known ON app.student FOR DELETE TO region_liu USING (false);
        CREATE POLICY narrow ON app.student AS RESTRICTIVE FOR SELECT TO region_chen USING (school_id = 1)",
    )
}

fn handing_over_needs_the_form_as_a_grant_does() {
    let school = with_things();
    let mut wu = school.superuser();
    for script in HANDOVERS {
        let hidden = format!("DO $b$BEGIN EXECUTE $q${script}$q$; END$b$");
        let op_no = request(&mut wu, &hidden, ", approvals => 2");
        school.release(&op_no);
        let error = expect_error(execute(&mut wu, &op_no), REFUSED, "role form", "form => ");
        assert!(error.message().contains("no role form covers it"), "{script}: {error:?}");
        // A form for less, and a term that nobody would keep.
        let less = file(&school, script, &form("region_liu", "[\"modify\"]", "infinity"));
        let words = if script.contains("USING (true)") && !script.contains("region_liu") && script.contains("CREATE") {
            "grants to public"
        } else {
            "falls under"
        };
        expect_error(less, BAD, words, "");
        let all = "[\"query\",\"modify\",\"delete\",\"administer\"]";
        if !words.contains("public") {
            let term = file(&school, script, &form("region_liu", all, "2099-01-01"));
            expect_error(term, &SqlState::FEATURE_NOT_SUPPORTED, "Terms are kept for", "infinity");
        }
    }
    assert_eq!(school.records("result = 'DENIED' AND rule = 'role_form'"), HANDOVERS.len() as i64);
    let owner = "SELECT count(*) FROM pg_class WHERE relowner = 'region_liu'::regrole";
    assert_eq!(school.ask::<i64>(owner), 0);
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM pg_policy"), 2);
}

fn a_handover_in_the_open_writes_its_own_form() {
    let school = with_things();
    let mut wu = school.superuser();
    for (script, rights) in [
        (HANDOVERS[0], "region_liu [\"query\", \"modify\", \"delete\", \"administer\"]"),
        (HANDOVERS[9], "region_liu [\"query\", \"modify\", \"delete\", \"administer\"]"),
        (HANDOVERS[10], "public [\"query\", \"modify\", \"delete\"]"),
        (HANDOVERS[13], "region_liu [\"delete\"]"),
    ] {
        let op_no = request(&mut wu, script, "");
        let said = format!("SELECT concat_ws(' ', form ->> 'grantee', form ->> 'rights') FROM steward.show('{op_no}')");
        assert_eq!(ask::<String>(&mut wu, &said), rights, "{script}");
        let needed: i32 = ask(&mut wu, &format!("SELECT approvals_needed FROM steward.show('{op_no}')"));
        assert_eq!(needed, 2, "{script}");
        school.release(&op_no);
        execute(&mut wu, &op_no).unwrap_or_else(|error| panic!("{script}: {error:?}"));
    }
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward.role_term"), 0);
    // What a plain role gets is account work, as with GRANT.
    let op_no = request(&mut wu, "ALTER TABLE app.scratch OWNER TO clerk_zhao", "");
    assert!(ask::<bool>(&mut wu, &format!("SELECT form IS NULL FROM steward.show('{op_no}')")));
}

fn a_policy_that_only_takes_away_needs_no_form() {
    let school = with_things();
    for script in
        ["CREATE POLICY less ON app.student AS RESTRICTIVE USING (school_id = 1)", "DROP POLICY known ON app.student"]
    {
        let op_no = school.operate("postgres", script);
        assert!(school.ask::<bool>(&format!("SELECT form IS NULL FROM steward.show('{op_no}')")), "{script}");
    }
}

fn a_wider_policy_needs_the_form_of_those_it_lets_through() {
    let school = with_things();
    let mut wu = school.superuser();
    // Chen is freed of it, and Liu is not the one who gains.
    for script in
        ["ALTER POLICY narrow ON app.student USING (true)", "ALTER POLICY narrow ON app.student TO region_chen"]
    {
        let other = file(&school, script, &form("region_liu", "[\"query\"]", "infinity"));
        expect_error(other, BAD, "grants to region_chen", "");
        let op_no = file(&school, script, &form("region_chen", "[\"query\"]", "infinity")).expect("filed");
        school.release(&op_no);
        execute(&mut wu, &op_no).unwrap_or_else(|error| panic!("{script}: {error:?}"));
    }
    // Two gain the same by it, and one form says so.
    let both = "ALTER POLICY narrow ON app.student TO region_liu";
    expect_error(
        file(&school, both, &form("region_liu", "[\"query\"]", "infinity")),
        BAD,
        "grants to region_chen",
        "[\"region_chen\",\"region_liu\"]",
    );
    let op_no = request(&mut wu, both, "");
    let said = format!("SELECT form ->> 'grantee' FROM steward.show('{op_no}')");
    assert_eq!(ask::<String>(&mut wu, &said), "[\"region_chen\", \"region_liu\"]");
    school.release(&op_no);
    execute(&mut wu, &op_no).expect("signed for both");
}

fn one_form_is_for_several_who_get_the_same() {
    let school = demanding();
    let several = form("LIST", "region_liu", "2099-01-01").replace("\"LIST\"", "[\"region_chen\", \"clerk_zhao\"]");
    let grant_to = |grantees: &str| format!("GRANT region_liu TO {grantees}");
    let beyond = file(&school, &grant_to("region_chen, clerk_zhao, teacher_wang"), &several);
    expect_error(beyond, BAD, "for clerk_zhao, region_chen, the command grants to teacher_wang", "");
    let op_no = grant(&school, &grant_to("region_chen, clerk_zhao"), &several);
    assert!(member(&school, "region_chen", "region_liu") && member(&school, "clerk_zhao", "region_liu"));
    // Each has a term of their own.
    assert_eq!(school.ask::<i64>(&format!("SELECT count(*) FROM steward.role_term WHERE op_no = '{op_no}'")), 2);
    for list in ["[]", "[\"region_chen\", 7]", "[\"region_chen\", \" \"]", "{}"] {
        let form = several.replace("[\"region_chen\", \"clerk_zhao\"]", list);
        let error = expect_error(file(&school, &grant_to("region_chen"), &form), BAD, "", "");
        assert!(error.message().contains("a text or a list of texts"), "{list}: {error:?}");
    }
    let nobody = several.replace("clerk_zhao", "nobody_at_all");
    let error = expect_error(file(&school, &grant_to("region_chen"), &nobody), BAD, "nobody_at_all", "");
    assert!(error.message().contains("names no role"), "{error:?}");
}

fn what_frees_rows_needs_the_form_of_those_it_frees() {
    let school = demanding_after(
        "CREATE POLICY narrow ON app.student AS RESTRICTIVE FOR SELECT TO region_chen USING (school_id = 1);
        CREATE TABLE app.guarded (id int); ALTER TABLE app.guarded OWNER TO region_liu;
        ALTER TABLE app.guarded ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
        GRANT CREATE ON DATABASE school TO region_liu",
    );
    let mut wu = school.superuser();
    let rows = "[\"query\", \"modify\", \"delete\"]";
    let all = "[\"query\", \"modify\", \"delete\", \"administer\"]";
    for (script, grantee, rights) in [
        ("ALTER TABLE app.guarded NO FORCE ROW LEVEL SECURITY", "region_liu", rows),
        ("ALTER TABLE app.guarded DISABLE ROW LEVEL SECURITY", "public", rows),
        ("DROP POLICY narrow ON app.student", "region_chen", "[\"query\"]"),
        ("CREATE SCHEMA owned AUTHORIZATION region_liu", "region_liu", all),
    ] {
        let hidden = format!("DO $b$BEGIN EXECUTE $q${script}$q$; END$b$");
        let op_no = request(&mut wu, &hidden, ", approvals => 2");
        school.release(&op_no);
        let error = expect_error(execute(&mut wu, &op_no), REFUSED, "role form", "form => ");
        assert!(error.message().contains("no role form covers it"), "{script}: {error:?}");
        let other = file(&school, script, &form("clerk_zhao", all, "infinity"));
        expect_error(other, BAD, &format!("grants to {grantee}"), "");
        let op_no = request(&mut wu, script, "");
        let said = format!("SELECT concat_ws(' ', form ->> 'grantee', form ->> 'rights') FROM steward.show('{op_no}')");
        assert_eq!(ask::<String>(&mut wu, &said), format!("{grantee} {rights}"), "{script}");
        school.release(&op_no);
        execute(&mut wu, &op_no).unwrap_or_else(|error| panic!("{script}: {error:?}"));
    }
    // A database is owned from its first moment too; a table space as well.
    for script in
        ["CREATE DATABASE other OWNER region_liu", "CREATE TABLESPACE other OWNER region_liu LOCATION '/none'"]
    {
        let other = file(&school, script, &form("clerk_zhao", all, "infinity"));
        expect_error(other, BAD, "grants to region_liu", "");
    }
    // What frees nobody needs none.
    for script in
        ["ALTER TABLE app.scratch DISABLE ROW LEVEL SECURITY", "CREATE SCHEMA more AUTHORIZATION CURRENT_USER"]
    {
        let op_no = request(&mut wu, script, "");
        assert!(ask::<bool>(&mut wu, &format!("SELECT form IS NULL FROM steward.show('{op_no}')")), "{script}");
    }
}

/// Its own run finds what it has made; what others make meanwhile is refused as ever.
fn a_block_may_make_a_policy_of_a_table_it_uses() {
    let school = demanding();
    let block = "DO $b$BEGIN
            CREATE POLICY more ON app.student FOR SELECT TO region_liu USING (true);
            UPDATE app.student SET note = 'x' WHERE id = 1;
        END$b$";
    let op_no = grant(&school, block, &form("region_liu", "[\"query\"]", "infinity"));
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM pg_policy WHERE polname = 'more'"), 1);
    assert_eq!(school.status(&op_no), "executed");
    // Somebody else's change in the middle of the run waits until it has ended.
    school.superuser().batch_execute("CREATE TABLE app.gate (id int)").expect("a gate");
    let waits = "DO $b$BEGIN LOCK TABLE app.gate; DROP POLICY more ON app.student; END$b$";
    let mut wu = school.superuser();
    let op_no = file(&school, waits, &form("region_liu", "[\"query\"]", "infinity")).expect("filed");
    school.release(&op_no);
    let mut holder = school.superuser();
    holder.batch_execute("BEGIN; LOCK TABLE app.gate").expect("a lock");
    let run = std::thread::spawn(move || execute(&mut wu, &op_no));
    let blocked = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND relation = 'app.gate'::regclass";
    crate::failover::wait_until(&school, blocked);
    let mut attacker = school.superuser();
    attacker.batch_execute("SET lock_timeout = '1s'").expect("set");
    let index = "CREATE INDEX ON app.student (note)";
    expect_error(attacker.batch_execute(index), &SqlState::LOCK_NOT_AVAILABLE, "", "");
    holder.batch_execute("COMMIT").expect("commit");
    run.join().expect("no panic").expect("the run");
}
