//! Executing an operation: what is checked again, in which surroundings the script runs, and what a failure leaves.

use pgrx::prelude::*;

#[pg_schema]
mod tests {
    use crate::core::record::{Kind, Outcome, Record};
    use crate::core::tier::Tier;
    use crate::operation::review::{on_record, open_review};
    use crate::pg_test::fixture::{lines, school};
    use crate::pg_test::people::*;
    use pgrx::prelude::*;

    const SIXTY: &str = "UPDATE app.student SET phone = 'x' WHERE id <= 60";

    fn governed() {
        school();
        attempts();
        people();
        Spi::run("INSERT INTO app.student (id, id_card) SELECT n, n FROM generate_series(1, 100) n").unwrap();
    }

    fn set(op_no: &str, what: &str) {
        Spi::run(&format!("UPDATE steward._operation SET {what} WHERE op_no = '{op_no}'")).unwrap();
    }

    #[pg_test]
    fn nothing_runs_before_every_vote_is_there() {
        governed();
        let op_no = request(SIXTY, "");
        refused(&run(&op_no), &["55000", "is not approved", "0 of 1"]);
        vote("Sun", "approve", &op_no);
        refused(&run(&op_no), &["55000", "confirmation of a second person", "Nobody has confirmed"]);
        vote("Liu", "confirm", &op_no);
        set(&op_no, "confirmed_at = clock_timestamp() - interval '11 minutes'");
        refused(&run(&op_no), &["55000", "older than 10 minutes"]);
        vote("Liu", "confirm", &op_no);
        assert_eq!(attempt(&run(&op_no)), "ok");
        refused(&run(&op_no), &["55000", "is executed"]);
        assert_eq!(count("SELECT count(*) FROM app.student WHERE phone = 'x'"), 60);
    }

    #[pg_test]
    fn a_lost_right_takes_its_vote_along() {
        governed();
        let op_no = released(SIXTY, "");
        Spi::run("SELECT steward.suspend_person('Sun', 'left')").unwrap();
        refused(&run(&op_no), &["55000", "is not approved", "0 of 1"]);
        vote("Zhou", "approve", &op_no);
        Spi::run("SELECT steward.register_person('Liu', 'clerk')").unwrap();
        refused(&run(&op_no), &["55000", "Liu may no longer confirm"]);
        Spi::run("SELECT steward.register_person('Liu', 'ops')").unwrap();
        assert_eq!(attempt(&run(&op_no)), "ok");
    }

    #[pg_test]
    fn a_stricter_policy_holds_for_what_was_approved_before() {
        governed();
        let op_no = released(SIXTY, "");
        Spi::run("SELECT steward.set_tier_policy('critical', approvals => 2)").unwrap();
        refused(&run(&op_no), &["55000", "1 of 2"]);
        vote("Zhou", "approve", &op_no);
        act_as("Han");
        refused(&format!("SELECT steward.approve('{op_no}', '{}')", digest(&op_no)), &["55000"]);
        act_as("Chen");
        assert_eq!(attempt(&run(&op_no)), "ok");
        let cheap = request("DELETE FROM app.student WHERE id = 1", ", expected_rows => 1");
        Spi::run("SELECT steward.set_rule('no_delete', 'critical', commands => '{DELETE}')").unwrap();
        refused(&run(&cheap), &["42501", "approved as normal only", "no_delete"]);
    }

    #[pg_test]
    fn only_the_applicant_executes_and_only_here() {
        governed();
        let op_no = released(SIXTY, "");
        act_as("Liu");
        refused(&run(&op_no), &["42501", "Liu did not file it"]);
        act_as("Chen");
        set(&op_no, "database = 'elsewhere'");
        refused(&run(&op_no), &["42501", "another database", "elsewhere"]);
        set(&op_no, "database = current_database(), system_identifier = '1'");
        refused(&run(&op_no), &["42501", "another database"]);
    }

    #[pg_test]
    fn a_tampered_script_does_not_run() {
        governed();
        let op_no = released(SIXTY, "");
        set(&op_no, "script = 'DELETE FROM app.student'");
        refused(&run(&op_no), &["XX001", "does not match its digest"]);
        act_as("Zhou");
        refused(&format!("SELECT steward.approve('{op_no}', '{}')", digest(&op_no)), &["XX001"]);
    }

    #[pg_test]
    fn it_runs_within_its_term() {
        governed();
        let early = request(SIXTY, ", not_before => now() + interval '1 hour'");
        vote("Sun", "approve", &early);
        vote("Liu", "confirm", &early);
        refused(&run(&early), &["55000", "cannot be executed yet", "valid from"]);
        let late = released(SIXTY, "");
        // The clock counts, not the start of the transaction.
        set(&late, "not_after = clock_timestamp()");
        assert_eq!(status(&late), "expired");
        refused(&run(&late), &["55000", "has expired"]);
        act_as("Zhou");
        refused(&format!("SELECT steward.reject('{late}', 'late')"), &["55000", "has expired"]);
    }

    #[pg_test]
    fn each_run_needs_its_confirmation() {
        governed();
        let op_no = released("UPDATE app.student SET phone = coalesce(phone, '') || '+'", ", runs => 2");
        assert_eq!(attempt(&run(&op_no)), "ok");
        assert_eq!(status(&op_no), "approved");
        refused(&run(&op_no), &["55000", "confirmation"]);
        vote("Liu", "confirm", &op_no);
        assert_eq!(attempt(&run(&op_no)), "ok");
        assert_eq!(status(&op_no), "executed");
        assert_eq!(count("SELECT count(*) FROM app.student WHERE phone = '++'"), 100);
    }

    #[pg_test]
    fn what_ran_before_the_end_is_still_reviewed() {
        governed();
        let op_no = released(SIXTY, ", runs => 2");
        assert_eq!(attempt(&run(&op_no)), "ok");
        Spi::run(&format!("SELECT steward.cancel('{op_no}')")).unwrap();
        assert_eq!(status(&op_no), "executed");
        refused(&run(&op_no), &["55000", "is executed"]);
        act_as("Sun");
        assert_eq!(attempt(&format!("SELECT steward.review('{op_no}', 'rejected', 'too much')")), "ok");
        assert_eq!(
            text(&format!("SELECT status || ' ' || review_verdict FROM steward.operation WHERE op_no = '{op_no}'")),
            "closed rejected"
        );
    }

    #[pg_test]
    fn a_review_is_by_somebody_else_and_says_something() {
        governed();
        act_as("Han");
        let op_no = request("UPDATE app.student SET address = 'x' WHERE id = 1", ", expected_rows => 1");
        refused(
            &format!("SELECT steward.review('{op_no}', 'accepted', 'x')"),
            &["42501", "cannot review their own work"],
        );
        assert_eq!(attempt(&run(&op_no)), "ok");
        refused(
            &format!("SELECT steward.review('{op_no}', 'accepted', 'x')"),
            &["42501", "cannot review their own work"],
        );
        act_as("Chen");
        refused(&format!("SELECT steward.review('{op_no}', 'accepted', 'x')"), &["42501", "capability approve"]);
        act_as("Zhou");
        refused(&format!("SELECT steward.review('{op_no}', 'fine', 'x')"), &["22023"]);
        refused(&format!("SELECT steward.review('{op_no}', 'rejected', NULL)"), &["22023"]);
        assert_eq!(attempt(&format!("SELECT steward.review('{op_no}', 'accepted', NULL)")), "ok");
        refused(&format!("SELECT steward.review('{op_no}', 'accepted', 'again')"), &["55000"]);
    }

    #[pg_test]
    fn more_rows_than_expected_undo_everything() {
        governed();
        for script in [
            SIXTY,
            "UPDATE app.student SET phone = 'x' WHERE id <= 30; UPDATE app.student SET phone = 'x' WHERE id BETWEEN 31 AND 60",
            "WITH x AS (UPDATE app.student SET phone = 'x' WHERE id <= 60 RETURNING 1) SELECT count(*) FROM x",
            "DO $$ BEGIN UPDATE app.student SET phone = 'x' WHERE id <= 60; END $$",
        ] {
            let op_no = released(script, ", expected_rows => 59");
            refused(&run(&op_no), &["42501", "more rows than were approved", "60 rows", "59"]);
            assert_eq!(count("SELECT count(*) FROM app.student WHERE phone = 'x'"), 0, "{script}");
        }
        assert_eq!(attempt(&run(&released(SIXTY, ", expected_rows => 60"))), "ok");
    }

    #[pg_test]
    fn the_script_runs_as_its_role_with_fixed_settings() {
        governed();
        Spi::run(
            "CREATE TABLE app.seen (who name, path text, replication text, zone text, style text);
             CREATE ROLE worker; GRANT USAGE ON SCHEMA app TO worker; GRANT INSERT ON app.seen TO worker;
             SET search_path = app, public; SET session_replication_role = replica; SET TimeZone = 'UTC'; SET DateStyle = 'German'",
        )
        .unwrap();
        let script =
            "SET application_name = 'inside'; INSERT INTO app.seen SELECT current_user, current_setting('search_path'),
            current_setting('session_replication_role'), current_setting('TimeZone'), current_setting('DateStyle')";
        let op_no = released(script, ", run_as => 'worker'");
        let before = text("SELECT current_setting('application_name')");
        assert_eq!(attempt(&run(&op_no)), "ok");
        let zone = text("SELECT current_setting('steward.time_zone')");
        assert_eq!(
            lines("SELECT who::text, path, replication, zone, style FROM app.seen"),
            [format!("worker|pg_catalog, pg_temp|origin|{zone}|ISO, MDY")]
        );
        assert_eq!(text("SELECT current_setting('search_path')"), "app, public");
        assert_eq!(text("SELECT current_setting('session_replication_role')"), "replica");
        assert_eq!(text("SELECT current_setting('application_name')"), before, "what the script sets ends with it");
        assert_eq!(text("SELECT (current_user = session_user)::text"), "true");
        let denied = released("UPDATE app.student SET phone = 'x'", ", run_as => 'worker'");
        refused(&run(&denied), &["42501", "permission denied for table student"]);
        refused(&run(&released("RESET ROLE", ", run_as => 'worker'")), &["within security-definer function"]);
        assert_eq!(text("SELECT (current_user = session_user)::text"), "true", "also after an error");
        assert_eq!(text("SELECT current_setting('search_path')"), "app, public", "also after an error");
    }

    #[pg_test]
    fn errors_of_statements_pass_through_whole() {
        governed();
        let op_no =
            released("UPDATE app.student SET phone = 'x'; UPDATE app.student SET id_card = '1' WHERE id = 2", "");
        refused(
            &run(&op_no),
            &["23505", "duplicate key value", "Key (id_card)=(1) already exists", "|student_id_card_key"],
        );
        assert_eq!(count("SELECT count(*) FROM app.student WHERE phone = 'x'"), 0);
        assert!(crate::operation::cover::current().is_none(), "the cover ended with the error");
    }

    #[pg_test]
    fn executions_do_not_nest() {
        governed();
        let inner = released(SIXTY, "");
        let outer = released(&format!("SELECT steward.execute('{inner}')"), "");
        refused(&run(&outer), &["55000", "executions do not nest", &outer]);
        assert_eq!(attempt(&run(&inner)), "ok");
    }

    #[pg_test]
    fn only_the_script_s_own_deferred_work_runs_under_its_cover() {
        governed();
        Spi::run(
            "CREATE TABLE app.fired (who name, covered text);
             GRANT ALL ON app.fired TO PUBLIC; GRANT USAGE ON SCHEMA app TO PUBLIC; GRANT ALL ON app.scratch TO PUBLIC;
             CREATE FUNCTION app.fire() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO app.fired VALUES (current_user, NEW.id); RETURN NULL; END';
             CREATE CONSTRAINT TRIGGER fire AFTER INSERT ON app.scratch DEFERRABLE INITIALLY DEFERRED
                FOR EACH ROW EXECUTE FUNCTION app.fire();
             CREATE ROLE worker",
        )
        .unwrap();
        let op_no =
            released("SET CONSTRAINTS ALL DEFERRED; INSERT INTO app.scratch VALUES (2)", ", run_as => 'worker'");
        Spi::run("INSERT INTO app.scratch VALUES (1)").unwrap();
        assert_eq!(count("SELECT count(*) FROM app.fired"), 0);
        assert_eq!(attempt(&run(&op_no)), "ok");
        let fired = lines("SELECT (who = session_user)::text, covered, who::text FROM app.fired ORDER BY covered");
        assert!(fired[0].starts_with("true|1|"), "{fired:?}");
        assert_eq!(fired[1], "false|2|worker");
    }

    fn record(kind: Kind, operation_type: &str, outcome: Outcome) -> Record {
        let mut record = Record::new(kind, operation_type);
        // Safe: reads the clock.
        record.time = unsafe { pg_sys::GetCurrentTimestamp() };
        record.outcome = outcome;
        record.user_id = "card".to_owned();
        record
    }

    fn meet(record: &mut Record) {
        assert!(crate::own::run(|client| on_record(client, record)).is_ok());
    }

    #[pg_test]
    fn a_failure_on_record_makes_the_status_failed() {
        governed();
        let op_no = released("UPDATE app.student SET id_card = '1' WHERE id = 2", "");
        assert_eq!(attempt(&run(&op_no)).get(..5), Some("23505"));
        let mut failure = record(Kind::Operation, "EXECUTE", Outcome::Failure);
        failure.op_no = Some(op_no.clone());
        meet(&mut failure);
        assert_eq!(status(&op_no), "failed");
        Spi::run("UPDATE app.student SET id_card = 'free' WHERE id = 1").unwrap();
        assert_eq!(attempt(&run(&op_no)), "ok", "it may run again");
        meet(&mut failure);
        assert_eq!(status(&op_no), "executed", "a late record does not undo a later run");
        let mut rolled_back = record(Kind::Operation, "EXECUTE", Outcome::RolledBack);
        rolled_back.op_no = Some(op_no.clone());
        meet(&mut rolled_back);
        let trail = format!("SELECT event FROM steward.operation_trail WHERE op_no = '{op_no}' ORDER BY n");
        assert_eq!(lines(&trail), ["REQUEST", "APPROVE", "CONFIRM", "FAIL", "EXECUTE", "ROLLED BACK"]);
    }

    #[pg_test]
    fn a_term_that_is_over_is_written_down() {
        governed();
        let op_no = released(SIXTY, "");
        let mut expired = record(Kind::Operation, "EXPIRE", Outcome::Success);
        expired.op_no = Some(op_no.clone());
        meet(&mut expired);
        assert_eq!(status(&op_no), "approved", "the record alone does not expire it");
        set(&op_no, "not_after = clock_timestamp()");
        meet(&mut expired);
        assert_eq!(text(&format!("SELECT status FROM steward._operation WHERE op_no = '{op_no}'")), "expired");
    }

    fn important(person: &str, rule: &str) -> Record {
        let mut record = record(Kind::Statement, "UPDATE", Outcome::Success);
        record.tier = Some(Tier::Important);
        record.rule = Some(rule.to_owned());
        record.person = Some(person.to_owned());
        record.statement = Some("UPDATE app.student SET address = ?".to_owned());
        record.rows = Some(1);
        record
    }

    #[pg_test]
    fn important_work_opens_a_review_and_an_application_one_an_hour() {
        governed();
        let mut record = important("Chen", "sensitive_column");
        meet(&mut record);
        assert_eq!(record.op_no, None, "nothing before the policy is active");
        let number = |person: &str, rule: &str| {
            let mut record = important(person, rule);
            assert!(crate::own::run(|client| open_review(client, &mut record)).is_ok());
            record.op_no
        };
        assert_eq!(number("Chen", "sensitive_column"), None, "what was done before is not reviewed");
        Spi::run("INSERT INTO steward.activation (activated_by) VALUES ('test')").unwrap();
        let (first, second) = (number("Chen", "sensitive_column"), number("Chen", "sensitive_column"));
        assert!(first.is_some() && second.is_some() && first != second, "one each: {first:?} {second:?}");
        let hour = number("Card", "sensitive_column");
        assert!(hour.is_some());
        assert_eq!(number("Card", "sensitive_column"), hour);
        assert_ne!(number("Card", "export"), hour);
        assert_eq!(number("Card", "sensitive_column"), hour, "found again in the table");
        assert_eq!(number("Nobody", "sensitive_column"), None);
        let op_no = first.unwrap();
        assert_eq!(status(&op_no), "executed");
        refused(&run(&op_no), &["55000"]);
        act_as("Sun");
        assert_eq!(attempt(&format!("SELECT steward.review('{op_no}', 'accepted', 'seen')")), "ok");
    }

    #[pg_test]
    fn odd_records_are_left_alone() {
        governed();
        for kind in Kind::ALL {
            for outcome in Outcome::ALL {
                for name in ["EXECUTE", "EXPIRE", ""] {
                    let mut record = record(*kind, name, *outcome);
                    record.op_no = Some("OP-no-such".to_owned());
                    let before = record.clone();
                    meet(&mut record);
                    assert_eq!(record, before);
                }
            }
        }
    }

    #[pg_test]
    fn refusals_and_attempts_are_recorded_at_once() {
        governed();
        let written = frames;
        let op_no = request(SIXTY, "");
        let before = written();
        refused(&run(&op_no), &["55000"]);
        let attempted = written();
        assert!(attempted > before, "the attempt is recorded although it was refused");
        refused(&format!("SELECT steward.approve('{op_no}', '{}')", digest(&op_no)), &["42501"]);
        assert!(written() > attempted, "the denial is recorded inside an exception block");
    }

    /// Frames that this backend has written so far.
    fn frames() -> u64 {
        use std::sync::atomic::Ordering::SeqCst;
        // Safe: plain backend state.
        let slot = unsafe { pg_sys::MyBackendId } as u32;
        let shared = crate::shared::get().expect("preloaded");
        shared.lane(slot).expect("a lane").next_counter.load(SeqCst)
    }
}
