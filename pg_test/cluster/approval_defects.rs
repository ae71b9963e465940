//! Defects that other approval systems shipped, each with a test that this one does not have it. The system and its
//! issue stand beside each test.

use std::thread::spawn;

use postgres::error::SqlState;

use crate::cluster::Cluster;
use crate::expect::{db_error, expect_bulk_refused, expect_error, expect_refused};
use crate::school::{HOME, School, ask, execute, request, settings};

tests! {
    self_approval_hidden_only_in_the_client,
    a_double_click_approves_the_next_stage,
    two_clicks_at_once_count_twice,
    nobody_to_approve_means_approved,
    a_missing_policy_lets_everything_pass,
    one_approval_fills_another_persons_slot,
    an_owner_forces_the_rollout,
    a_revoked_right_works_until_the_session_ends,
    an_approval_moves_to_another_database,
    an_unknown_reviewer_is_nobody_in_particular,
    a_review_lacks_the_bar_of_an_approval,
    a_switch_means_its_opposite,
    a_pattern_over_the_text_decides,
    an_estimate_of_the_rows_decides,
    the_trail_is_closed_by_one_layer_only,
    a_setting_of_the_session_turns_the_rules_off,
    three_administrators_are_one_in_the_back_end,
    an_approval_covers_other_values_of_the_same_shape,
    an_approved_script_finds_other_functions_by_search_path,
    a_script_changes_after_its_approval,
    a_withdrawn_request_runs_all_the_same,
    a_step_named_by_the_client_skips_one,
    a_rollback_overwrites_what_colleagues_changed,
    a_backup_is_silently_absent,
    a_client_that_tries_without_a_password_has_failed,
    a_block_leaves_the_hooks_out_of_step,
}

const NOT_READY: &SqlState = &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE;
const REFUSED: &SqlState = &SqlState::INSUFFICIENT_PRIVILEGE;
const SIXTY: &str = "UPDATE app.student SET note = 'moved' WHERE id <= 60";

fn moved(school: &School) -> i64 {
    school.ask("SELECT count(*) FROM app.student WHERE note = 'moved'")
}

/// Bytebase #19142: the button was hidden, the call was not. Here there is nothing but the call.
fn self_approval_hidden_only_in_the_client() {
    let school = School::active();
    let mut han = school.session("security_han");
    let op_no = request(&mut han, "SELECT steward.set_rule('free', 'normal')", "");
    let digest = school.digest(&op_no);
    let vote = han.query("SELECT steward.approve($1, $2)", &[&op_no, &digest]);
    expect_error(vote, REFUSED, "cannot approve their own operation", "");
    // Nor by writing what the call would write.
    for write in [
        format!("UPDATE steward._operation SET status = 'approved', approvals_needed = 0 WHERE op_no = '{op_no}'"),
        format!("INSERT INTO steward._operation_event (op_no, event, person) VALUES ('{op_no}', 'APPROVE', 'Sun')"),
    ] {
        expect_error(school.superuser().batch_execute(&write), REFUSED, "", "");
    }
    assert_eq!(school.status(&op_no), "submitted");
}

/// Archery #3119: the second click went to the stage that came next.
fn a_double_click_approves_the_next_stage() {
    let school = School::active();
    let op_no = school.request("region_chen", "GRANT clerk_zhao TO region_liu");
    school.vote("reviewer_sun", "approve", &op_no).expect("a click");
    expect_error(school.vote("reviewer_sun", "approve", &op_no), REFUSED, "approves once", "");
    assert_eq!(school.status(&op_no), "submitted", "the second of two approvals is still missing");
}

/// The same with both clicks in flight: the row lock lets one pass.
fn two_clicks_at_once_count_twice() {
    let school = School::inactive();
    let second_login = "CREATE ROLE sun_private LOGIN;
        SELECT steward.register_person('Sun', NULL, roles => '{reviewer_sun, sun_private}');
        SELECT steward.set_tier_policy('critical', approvals => 2); SELECT steward.activate()";
    school.superuser().batch_execute(second_login).expect("two logins of one person");
    for _ in 0..5 {
        let op_no = school.request("region_chen", SIXTY);
        let digest = school.digest(&op_no);
        let clicks = ["reviewer_sun", "sun_private"].map(|login| {
            let mut session = school.session(login);
            let call = format!("SELECT steward.approve('{op_no}', '{digest}')");
            spawn(move || session.batch_execute(&call).is_ok())
        });
        let counted = clicks.into_iter().map(|click| click.join().expect("no panic"));
        assert_eq!(counted.filter(|counted| *counted).count(), 1);
        assert_eq!(school.status(&op_no), "submitted");
    }
}

/// Bytebase #5654: an empty group of approvers approved by itself.
fn nobody_to_approve_means_approved() {
    let mut school = School::active();
    let op_no = school.request("region_chen", SIXTY);
    school.release(&op_no);
    school.operate_by(&["reviewer_sun"], "SELECT steward.suspend_person('Zhou', 'x')");
    // The last who could agree to a registration stay.
    let mut superuser = school.superuser();
    let last = crate::school::request(&mut superuser, "SELECT steward.suspend_person('Han', 'x')", "");
    school.release(&last);
    expect_error(execute(&mut superuser, &last), NOT_READY, "", "");
    // But persons may leave, or a superuser write into tables while the policy is off.
    school.configure(&["steward.mode = 'off'"]);
    school.restart();
    let nobody = "UPDATE steward.person SET suspended_at = now(), suspended_reason = 'x' WHERE name IN ('Han', 'Sun')";
    school.superuser().batch_execute(nobody).expect("nobody is left");
    school.configure(&["steward.mode = 'enforce'"]);
    school.restart();
    let mut chen = school.session("region_chen");
    let filed = chen.query("SELECT steward.request($1, purpose => 'x')", &[&SIXTY]);
    expect_error(filed, NOT_READY, "there is not an approver", "steward.register_person");
    expect_error(execute(&mut chen, &op_no), NOT_READY, "0 of 1", "");
    assert_eq!(moved(&school), 0);
}

/// Bytebase #16915: without a policy a viewer's request for ownership was granted.
fn a_missing_policy_lets_everything_pass() {
    let mut school = School::active();
    school.configure(&["steward.mode = 'off'"]);
    school.restart();
    let bare = "DELETE FROM steward.tier_policy WHERE tier = 'critical'; DELETE FROM steward.rule";
    school.superuser().batch_execute(bare).expect("no rule, no demand");
    school.configure(&["steward.mode = 'enforce'"]);
    school.restart();
    for statement in ["SELECT * FROM app.student", "UPDATE app.student SET note = 'x' WHERE id = 1"] {
        expect_refused(school.session("teacher_wang").batch_execute(statement));
    }
    expect_refused(school.superuser().batch_execute("GRANT postgres TO clerk_zhao"));
    let filed = "SELECT steward.request('GRANT clerk_zhao TO region_liu', purpose => 'x')";
    expect_error(school.superuser().batch_execute(filed), NOT_READY, "Second factor", "");
}

/// Bytebase #19172: an administrator's approval took the place of the project owner's.
fn one_approval_fills_another_persons_slot() {
    let school = School::active();
    let op_no = school.request("region_chen", SIXTY);
    school.vote("reviewer_sun", "approve", &op_no).expect("approve");
    expect_error(school.vote("reviewer_sun", "confirm", &op_no), REFUSED, "does not fill two steps", "");
    school.vote("reviewer_zhou", "confirm", &op_no).expect("confirm");
    let next = school.request("region_chen", SIXTY);
    school.vote("reviewer_sun", "approve", &next).expect("approve");
    let missing = execute(&mut school.session("region_chen"), &next);
    expect_error(missing, NOT_READY, "Nobody has confirmed", "");
    assert_eq!(moved(&school), 0);
}

/// Bytebase #9228: owners and administrators had a «force rollout».
fn an_owner_forces_the_rollout() {
    let school = School::active();
    let op_no = school.request("postgres", SIXTY);
    let mut superuser = school.superuser();
    expect_error(execute(&mut superuser, &op_no), NOT_READY, "0 of 1", "steward.approve");
    expect_bulk_refused(superuser.batch_execute(SIXTY), "app.student");
    superuser.batch_execute("SET session_replication_role = replica").expect("a superuser's setting");
    expect_refused(superuser.batch_execute(SIXTY));
    assert_eq!(moved(&school), 0);
}

/// Yearning #634: rights were read at login. More of it in `leaver`.
fn a_revoked_right_works_until_the_session_ends() {
    let school = School::active();
    let mut chen = school.session("region_chen");
    let op_no = request(&mut chen, SIXTY, "");
    school.release(&op_no);
    school.operate("postgres", "SELECT steward.register_person('Chen', 'clerk')");
    expect_error(execute(&mut chen, &op_no), REFUSED, "does not give the capability apply", "");
    assert_eq!(moved(&school), 0);
}

/// Yearning #1126: changing an address let an approval run somewhere else.
fn an_approval_moves_to_another_database() {
    let school = School::active();
    let op_no = school.request("region_chen", SIXTY);
    school.release(&op_no);
    let settings = settings("enforce");
    let mut elsewhere = Cluster::empty(&settings.each_ref().map(String::as_str));
    elsewhere.start();
    elsewhere.connect("postgres", "postgres").batch_execute(&format!("CREATE DATABASE {HOME}")).expect("database");
    let copy = School::of(elsewhere);
    copy.superuser().batch_execute(include_str!("school.sql")).expect("school.sql");
    // The approved row, its trail included, carried over by hand before the copy is active.
    let columns: String = school.ask(
        "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
            WHERE attrelid = 'steward._operation'::regclass AND attnum > 0 AND NOT attisdropped",
    );
    let row: String =
        school.ask(&format!("SELECT row_to_json(o)::text FROM steward._operation o WHERE op_no = '{op_no}'"));
    let mut superuser = copy.superuser();
    let insert = format!(
        "INSERT INTO steward._operation ({columns}) SELECT {columns} FROM json_populate_record(NULL::steward._operation, $1::text::json)"
    );
    superuser.execute(&insert, &[&row]).expect("an operation from elsewhere");
    let event = "INSERT INTO steward._operation_event (op_no, event, person, login) VALUES ($1, 'APPROVE', 'Sun', 'reviewer_sun')";
    superuser.execute(event, &[&op_no]).expect("its approval");
    superuser.batch_execute("SELECT steward.activate()").expect("activate");
    let run = execute(&mut copy.session("region_chen"), &op_no);
    let error = expect_error(run, REFUSED, "It belongs to database", "");
    assert!(error.message().contains("approved for another database"), "{error:?}");
    assert_eq!(moved(&copy), 0);
}

/// Yuzu #2030: a reviewer without a name never equalled the applicant.
fn an_unknown_reviewer_is_nobody_in_particular() {
    let school = School::active();
    let op_no = school.request("region_chen", SIXTY);
    school.operate("postgres", "CREATE ROLE stranger LOGIN SUPERUSER");
    for step in ["approve", "confirm"] {
        let error = expect_error(school.vote("stranger", step, &op_no), REFUSED, "", "register_person");
        assert!(error.message().contains("no person is registered"), "{error:?}");
    }
    let done = school.operate("region_chen", SIXTY);
    let review = school.session("stranger").query("SELECT steward.review($1, 'accepted', 'x')", &[&done]);
    expect_error(review, REFUSED, "", "register_person");
    assert_eq!(school.status(&op_no), "submitted");
}

/// Yuzu #4752: reviews of access did without the bar that approvals had.
fn a_review_lacks_the_bar_of_an_approval() {
    let school = School::active();
    let op_no = school.operate("security_han", SIXTY);
    let mut own = school.session("security_han");
    let review = own.query("SELECT steward.review($1, 'accepted', 'all is well')", &[&op_no]);
    expect_error(review, REFUSED, "cannot review their own work", "");
    for login in ["teacher_wang", "auditor_qian", "region_liu"] {
        let review = school.session(login).query("SELECT steward.review($1, 'accepted', 'x')", &[&op_no]);
        expect_error(review, REFUSED, "capability approve", "");
    }
    let lure = format!("DO $$BEGIN PERFORM steward.review('{op_no}', 'accepted', 'x'); END$$");
    expect_error(school.session("reviewer_sun").batch_execute(&lure), REFUSED, "must see what for", "");
    assert_eq!(school.status(&op_no), "executed");
}

/// Archery #2567: the label of the switch said the opposite.
fn a_switch_means_its_opposite() {
    for (witness, approvals) in [(true, 0), (false, 1), (true, 1)] {
        let school = School::inactive();
        let policy = format!(
            "SELECT steward.set_tier_policy('critical', witness => {witness}, approvals => {approvals}); SELECT steward.activate()"
        );
        school.superuser().batch_execute(&policy).expect("policy");
        let mut chen = school.session("region_chen");
        let op_no = request(&mut chen, SIXTY, "");
        assert_eq!(school.status(&op_no), if approvals == 0 { "approved" } else { "submitted" });
        if approvals > 0 {
            expect_error(execute(&mut chen, &op_no), NOT_READY, "0 of 1", "steward.approve");
            school.vote("reviewer_sun", "approve", &op_no).expect("approve");
        }
        if witness {
            expect_error(execute(&mut chen, &op_no), NOT_READY, "Nobody has confirmed", "steward.confirm");
            school.vote("region_liu", "confirm", &op_no).expect("confirm");
        }
        assert_eq!(execute(&mut chen, &op_no).expect("execute"), 60, "witness {witness}, approvals {approvals}");
    }
}

/// Archery's default pattern looked at how a statement begins; denoland/clawpatrol #143 at a parser's extract.
fn a_pattern_over_the_text_decides() {
    let school = School::active();
    let mut chen = school.session("region_chen");
    for text in [
        "WITH gone AS (DELETE FROM app.guardian RETURNING *) SELECT * FROM gone",
        "/* SELECT */ DELETE FROM app.guardian",
        "-- SELECT\nDELETE FROM app.guardian",
        "dElEtE fRoM only app.guardian",
        "DELETE FROM \"app\".\"guardian\"",
        "EXPLAIN ANALYZE DELETE FROM app.guardian",
        "SELECT 1; DELETE FROM app.guardian",
        "DO $$BEGIN EXECUTE 'DEL' || 'ETE FROM app.guardian'; END$$",
        "PREPARE look AS DELETE FROM app.guardian; EXECUTE look",
    ] {
        expect_bulk_refused(chen.batch_execute(text), "app.guardian");
    }
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.guardian"), 160);
}

/// Archery #2388 and #643: the threshold was put to the planner's estimate.
fn an_estimate_of_the_rows_decides() {
    let school = School::active();
    // Statistics of an empty table: the planner expects one row, and gets sixty.
    let mut superuser = school.superuser();
    superuser
        .batch_execute(
            "CREATE TABLE app.wanted (id int); ANALYZE app.wanted; INSERT INTO app.wanted SELECT generate_series(1, 60)",
        )
        .expect("a table that looks empty");
    let update = "UPDATE app.student s SET note = 'moved' FROM app.wanted w WHERE w.id = s.id";
    expect_bulk_refused(superuser.batch_execute(update), "app.student");
    // And a plan that expects two hundred rows but gets one is no bulk write.
    superuser.batch_execute("UPDATE app.student SET note = 'one' WHERE id + 0 = 1 OR id < 0").expect("one row");
    assert_eq!(moved(&school), 0);
}

/// Nexuq #310: REVOKE was claimed, only a trigger refused. Two layers, each by itself.
fn the_trail_is_closed_by_one_layer_only() {
    let school = School::active();
    let records =
        ["steward.chain", "steward.journal_0", "steward.audit_log", "steward._operation", "steward._operation_event"];
    for login in ["teacher_wang", "auditor_qian", "security_han"] {
        for table in records {
            let may: bool = school
                .ask(&format!("SELECT has_table_privilege('{login}', '{table}', 'INSERT, UPDATE, DELETE, TRUNCATE')"));
            assert!(!may, "{login} has a privilege on {table}");
        }
    }
    for table in records {
        let error = expect_error(school.superuser().batch_execute(&format!("DELETE FROM {table}")), REFUSED, "", "");
        assert!(error.message().contains("refused"), "{table}: {error:?}");
    }
}

/// matrixone #29142: a session switched the row rule off.
fn a_setting_of_the_session_turns_the_rules_off() {
    let school = School::active();
    let mut superuser = school.superuser();
    let own: Vec<String> = superuser
        .query("SELECT name FROM pg_settings WHERE name LIKE 'steward.%'", &[])
        .expect("settings")
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert!(own.len() > 3, "{own:?}");
    for name in own {
        for set in [
            format!("SET {name} = 'off'"),
            format!("SET LOCAL {name} = '0'"),
            format!("SELECT set_config('{name}', 'off', false)"),
            format!("ALTER ROLE teacher_wang SET {name} = 'off'"),
            format!("ALTER DATABASE {HOME} SET {name} = 'off'"),
            format!("ALTER SYSTEM SET {name} = 'off'"),
        ] {
            db_error(superuser.batch_execute(&set));
        }
    }
    expect_bulk_refused(superuser.batch_execute(SIXTY), "app.student");
}

/// bkn-studio #147: three administrators in the menu, one in the back end. No two posts give the same but those that
/// give nothing, and those that only apply.
fn three_administrators_are_one_in_the_back_end() {
    let school = School::active();
    let can = |login: &str| {
        let mut session = school.session(login);
        ["apply", "approve", "witness", "audit", "configure", "break_glass"]
            .map(|capability| ask::<bool>(&mut session, &format!("SELECT steward.has_capability('{capability}')")))
    };
    let administrators = ["region_chen", "reviewer_sun", "auditor_qian", "security_han", "postgres"];
    for (place, one) in administrators.iter().enumerate() {
        for other in &administrators[..place] {
            assert_ne!(can(one), can(other), "{one} and {other}");
        }
    }
    assert_eq!(can("auditor_qian"), [false, false, false, true, false, false], "audits and nothing else");
}

/// hoop #1825: an approval of `id = 1` released `id = 999`, literals having been stripped.
fn an_approval_covers_other_values_of_the_same_shape() {
    let school = School::active();
    let op_no = school.request("region_chen", SIXTY);
    let other = school.request("region_chen", &SIXTY.replace("60", "90"));
    let digest = school.digest(&op_no);
    let vote = school.session("reviewer_sun").query("SELECT steward.approve($1, $2)", &[&other, &digest]);
    expect_error(vote, REFUSED, "other bytes", "steward.show");
    school.release(&op_no);
    // What is approved runs by its number only; the same shape by hand does not.
    expect_bulk_refused(school.session("region_chen").batch_execute(SIXTY), "app.student");
}

/// pgaudit #162, Bytebase's default schema: the same bytes under another search_path.
fn an_approved_script_finds_other_functions_by_search_path() {
    let school = School::active();
    let trap = "CREATE SCHEMA trap; CREATE FUNCTION trap.length(text) RETURNS int LANGUAGE sql AS 'SELECT 1000'";
    school.superuser().batch_execute(trap).expect("functions in a schema of one's own are free");
    school.operate("postgres", "GRANT USAGE ON SCHEMA trap TO PUBLIC");
    let op_no =
        school.request("region_chen", "UPDATE app.student SET note = 'moved' WHERE length(name) < 100 AND id <= 60");
    school.release(&op_no);
    let mut chen = school.session("region_chen");
    chen.batch_execute("SET search_path = trap, pg_catalog").expect("a path of one's own");
    assert_eq!(execute(&mut chen, &op_no).expect("the catalog's own length()"), 60);
}

/// pgroles #173: approved on an old base. A script that is edited in the table no longer matches its digest.
fn a_script_changes_after_its_approval() {
    let school = School::active();
    let op_no = school.request("region_chen", SIXTY);
    school.release(&op_no);
    let edit = format!("UPDATE steward._operation SET script = replace(script, '60', '90') WHERE op_no = '{op_no}'");
    expect_error(school.superuser().batch_execute(&edit), REFUSED, "", "");
    assert_eq!(execute(&mut school.session("region_chen"), &op_no).expect("as approved"), 60);
}

/// Archery #1470, hoop #858: taking back and rejecting, after the approval as well, until it runs.
fn a_withdrawn_request_runs_all_the_same() {
    let school = School::active();
    for approved in [false, true] {
        for step in ["cancel", "reject"] {
            let mut chen = school.session("region_chen");
            let op_no = request(&mut chen, SIXTY, "");
            if approved {
                school.release(&op_no);
            }
            match step {
                "cancel" => chen.query("SELECT steward.cancel($1)", &[&op_no]).expect("cancel"),
                _ => school
                    .session("reviewer_zhou")
                    .query("SELECT steward.reject($1, 'not now')", &[&op_no])
                    .expect("reject"),
            };
            expect_error(execute(&mut chen, &op_no), NOT_READY, "", "");
            let again = school.vote("security_han", "approve", &op_no);
            expect_error(again, NOT_READY, "That is final", "");
        }
    }
    assert_eq!(moved(&school), 0);
    // Once it has run there is nothing to take back.
    let done = school.operate("region_chen", SIXTY);
    let late = school.session("region_chen").query("SELECT steward.cancel($1)", &[&done]);
    expect_error(late, NOT_READY, "It has run", "");
}

/// Yearning: the index of the step came from the client. A vote names the operation and the bytes, nothing else, and
/// without the bytes it is none.
fn a_step_named_by_the_client_skips_one() {
    let school = School::active();
    let op_no = school.request("region_chen", SIXTY);
    let mut sun = school.session("reviewer_sun");
    for digest in ["", "0123456789a", "zzzzzzzzzzzz"] {
        let vote = sun.query("SELECT steward.approve($1, $2)", &[&op_no, &digest]);
        expect_error(vote, &SqlState::INVALID_PARAMETER_VALUE, "", "steward.show");
    }
    let vote = sun.query("SELECT steward.approve($1, NULL)", &[&op_no]);
    expect_error(vote, &SqlState::INVALID_PARAMETER_VALUE, "", "steward.show");
    expect_error(school.vote("region_liu", "confirm", &op_no), NOT_READY, "waits for its approval", "");
    assert_eq!(school.status(&op_no), "submitted");
}

/// Archery #1510, goInception #94: the roll-back wrote whole rows. Here the columns that were changed, where nobody has
/// changed them since, and what is left alone is counted. More of it in `restore`.
fn a_rollback_overwrites_what_colleagues_changed() {
    let school = School::active();
    let op_no = school.operate("region_chen", "UPDATE app.student SET note = 'moved' WHERE id <= 60");
    let colleague =
        "UPDATE app.student SET phone = '13911111111' WHERE id = 1; UPDATE app.student SET note = 'mine' WHERE id = 2";
    school.session("teacher_wang").batch_execute(colleague).expect("a colleague");
    let (_, restored, skipped) = crate::restore::restored(&school, &op_no);
    assert_eq!((restored, skipped), (59, 1));
    let left = "SELECT string_agg(id || ' ' || phone || ' ' || note, ', ' ORDER BY id) FROM app.student WHERE id <= 2";
    assert_eq!(school.ask::<String>(left), "1 13911111111 , 2 13800000002 mine");
}

/// Archery #2186, goInception #497, inception #69: the backup was not there, and the change went on. Whatever keeps a copy
/// from being taken keeps the change from being made. More of it in `pre_image` and `restore`.
fn a_backup_is_silently_absent() {
    let school = School::inactive();
    let without = "ALTER TABLE app.student DISABLE TRIGGER \"RI_steward_row_image\"; SELECT steward.activate()";
    school.superuser().batch_execute(without).expect("nothing keeps its rows");
    let op_no = school.request("region_chen", SIXTY);
    school.release(&op_no);
    let run = execute(&mut school.session("region_chen"), &op_no);
    let error = expect_error(run, NOT_READY, "", "");
    assert!(error.message().contains("no pre-image can be kept of app.student"), "{error:?}");
    assert_eq!(moved(&school), 0);
    assert_eq!(school.ask::<i32>(&format!("SELECT runs_done FROM steward._operation WHERE op_no = '{op_no}'")), 0);
}

/// credcheck #18 and #36: psql asks first whether it needs a password, and that was a failure; PgBouncer #83: it hid those
/// that were. More of it in `login`.
fn a_client_that_tries_without_a_password_has_failed() {
    let school = School::inactive();
    school
        .superuser()
        .batch_execute("ALTER ROLE teacher_wang PASSWORD 'right'; SELECT steward.activate()")
        .expect("set-up");
    school.data_file("pg_hba.conf", "local all teacher_wang scram-sha-256\nlocal all all trust\n");
    school.reload();
    crate::failover::wait_until(&school, "SELECT count(*) = 2 FROM pg_hba_file_rules");
    for _ in 0..6 {
        let mut psql = school.client_program("psql");
        let none = psql.args(["-X", "-w", "-U", "teacher_wang", "-d", HOME, "-c", "SELECT 1"]).output().expect("psql");
        assert!(String::from_utf8_lossy(&none.stderr).contains("no password supplied"), "{none:?}");
    }
    let mut wrong = school.config("teacher_wang", HOME);
    assert!(wrong.password("wrong").connect(postgres::NoTls).is_err());
    let failed = "operation_type = 'LOGIN' AND user_id = 'teacher_wang' AND result = 'FAILURE'";
    assert_eq!(school.records(failed), 1, "the one with a wrong password");
    assert_eq!(
        school.ask::<i64>("SELECT failures FROM steward.login_failures WHERE role = 'teacher_wang'::regrole"),
        1
    );
}

/// pgaudit #188, #173, #162, #242: a block that fails half-way, an extension's script, a cursor left open put its stack
/// out of step, and what came next was lost or stood under another statement.
fn a_block_leaves_the_hooks_out_of_step() {
    let school = School::active();
    let mut wang = school.session("teacher_wang");
    for statement in [
        "DO $$ DECLARE c CURSOR FOR SELECT id FROM app.student; i int; BEGIN
            FOR n IN 1..3 LOOP
                BEGIN OPEN c; FETCH c INTO i; UPDATE app.student SET note = 'half' WHERE id = i; RAISE 'half-way';
                EXCEPTION WHEN OTHERS THEN NULL; END;
            END LOOP; OPEN c; RETURN; END $$",
        "SET search_path = nowhere",
        "CREATE TEMP TABLE student (id int)",
    ] {
        wang.batch_execute(statement).unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
    expect_refused(wang.batch_execute("DO $$ BEGIN TRUNCATE app.guardian; END $$"));
    wang.batch_execute("UPDATE app.student SET note = 'after' WHERE id = 7").expect("one row");
    school.operate("postgres", "CREATE EXTENSION citext");
    let told = "SELECT string_agg(result || ' ' || coalesce(rows, 0), ', ' ORDER BY id) FROM steward.audit_log
        WHERE user_id = 'teacher_wang' AND operation_type = 'UPDATE'";
    school.flush_audit();
    let told = school.ask::<String>(told);
    assert!(told.starts_with("ROLLED_BACK") && told.ends_with("SUCCESS 1"), "{told}");
    assert_eq!(
        school.ask::<String>("SELECT string_agg(DISTINCT note, ' ') FROM app.student WHERE note <> ''"),
        "after"
    );
    assert_eq!(school.records("operation_type = 'CREATE EXTENSION' AND result = 'SUCCESS' AND op_no IS NOT NULL"), 1);
}
