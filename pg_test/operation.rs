//! Filing an operation and voting on it: what is asked of the script, who may take which step, and who sees it.

use pgrx::prelude::*;

#[pg_schema]
mod tests {
    use crate::pg_test::fixture::{lines, school};
    use crate::pg_test::people::*;
    use pgrx::prelude::*;

    const SIXTY: &str = "UPDATE app.student SET phone = 'x' WHERE id <= 60";

    fn governed() {
        school();
        attempts();
        people();
    }

    #[pg_test]
    fn the_whole_way() {
        governed();
        Spi::run("INSERT INTO app.student (id) SELECT generate_series(1, 100)").unwrap();
        let op_no = request(SIXTY, ", expected_rows => 60");
        assert!(op_no.starts_with("OP-20") && op_no.len() >= 16, "{op_no}");
        assert_eq!(status(&op_no), "submitted");
        vote("Sun", "approve", &op_no);
        assert_eq!(status(&op_no), "approved");
        vote("Liu", "confirm", &op_no);
        assert_eq!(
            lines(&format!("SELECT step::text, rows::text, statement FROM steward.execute('{op_no}')")),
            [format!("1|60|{SIXTY}")]
        );
        assert_eq!(status(&op_no), "executed");
        assert_eq!(count("SELECT count(*) FROM app.student WHERE phone = 'x'"), 60);
        act_as("Zhou");
        Spi::run(&format!("SELECT steward.review('{op_no}', 'accepted', 'as agreed')")).unwrap();
        assert_eq!(status(&op_no), "closed");
        let trail =
            format!("SELECT event || ' ' || person FROM steward.operation_trail WHERE op_no = '{op_no}' ORDER BY n");
        assert_eq!(lines(&trail), ["REQUEST Chen", "APPROVE Sun", "CONFIRM Liu", "EXECUTE Chen", "REVIEW Zhou"]);
    }

    #[pg_test]
    fn the_number_has_the_day_of_the_policy_s_zone() {
        governed();
        Spi::run("SET TimeZone = 'Pacific/Kiritimati'").unwrap();
        let day =
            text("SELECT to_char(clock_timestamp() AT TIME ZONE current_setting('steward.time_zone'), 'YYYYMMDD')");
        assert!(request("SELECT 1", "").starts_with(&format!("OP-{day}-")));
    }

    #[pg_test]
    fn nobody_acts_in_two_steps() {
        governed();
        act_as("Han");
        let op_no = request(SIXTY, "");
        let (approve, confirm) = (
            format!("SELECT steward.approve('{op_no}', '{}')", digest(&op_no)),
            format!("SELECT steward.confirm('{op_no}', '{}')", digest(&op_no)),
        );
        refused(&approve, &["42501", "Han filed it and cannot approve their own operation"]);
        refused(&format!("SELECT steward.reject('{op_no}', 'no')"), &["42501", "Han filed it"]);
        act_as("Sun");
        Spi::run("SELECT steward.set_tier_policy('critical', approvals => 2)").unwrap();
        assert_eq!(attempt(&approve), "ok");
        refused(&approve, &["42501", "Sun has approved it already"]);
        assert_eq!(status(&op_no), "submitted", "two are demanded by now");
        act_as("Zhou");
        assert_eq!(attempt(&approve), "ok");
        assert_eq!(status(&op_no), "approved");
        for person in ["Sun", "Zhou"] {
            act_as(person);
            refused(&confirm, &["42501", "has approved it"]);
        }
        act_as("Liu");
        assert_eq!(attempt(&confirm), "ok");
    }

    #[pg_test]
    fn a_vote_is_for_the_digest_that_was_read() {
        governed();
        let op_no = request(SIXTY, "");
        let other = digest(&request("SELECT 1", ""));
        act_as("Sun");
        let approve = |digest: &str| format!("SELECT steward.approve('{op_no}', '{digest}')");
        refused(&approve(&other), &["42501", "changed digest"]);
        refused(&approve(&digest(&op_no)[..11]), &["22023", "12 to 64 hexadecimal digits"]);
        refused(&approve(""), &["22023"]);
        refused(&format!("SELECT steward.approve('{op_no}', NULL)"), &["22023"]);
        assert_eq!(status(&op_no), "submitted");
        assert_eq!(attempt(&approve(&digest(&op_no)[..12])), "ok");
    }

    #[pg_test]
    fn capabilities_are_those_of_the_post() {
        governed();
        let op_no = request(SIXTY, "");
        let vote = |step: &str| format!("SELECT steward.{step}('{op_no}', '{}')", digest(&op_no));
        for person in ["Chen", "Liu", "Qian", "Zhao", "Card"] {
            act_as(person);
            refused(&vote("approve"), &["42501", "capability approve"]);
        }
        act_as("Sun");
        assert_eq!(attempt(&vote("approve")), "ok");
        for person in ["Han", "Qian", "Zhao", "Card"] {
            act_as(person);
            refused(&vote("confirm"), &["42501", "capability witness"]);
        }
        for person in ["Sun", "Qian", "Zhao"] {
            act_as(person);
            refused("SELECT steward.request('SELECT 1', 'x')", &["42501", "capability apply"]);
            refused(&run(&op_no), &["42501", "capability apply"]);
        }
    }

    #[pg_test]
    fn without_a_person_nothing_can_be_filed() {
        school();
        attempts();
        refused("SELECT steward.request('SELECT 1', 'x')", &["42501", "no person is registered for login"]);
    }

    #[pg_test]
    fn without_an_eligible_approver_nothing_critical_can_be_filed() {
        governed();
        for person in ["Zhou", "Han"] {
            Spi::run(&format!("SELECT steward.suspend_person('{person}', 'test')")).unwrap();
        }
        // Sun approves and Liu is the second person.
        assert_eq!(attempt(&format!("SELECT steward.request('{}', 'x')", SIXTY.replace('\'', "''"))), "ok");
        Spi::run("SELECT steward.suspend_person('Liu', 'test')").unwrap();
        let file = format!("SELECT steward.request($s${SIXTY}$s$, 'x')");
        refused(&file, &["55000", "a second person other than the approver"]);
        Spi::run("SELECT steward.suspend_person('Sun', 'test')").unwrap();
        refused(&file, &["55000", "an approver"]);
        assert_eq!(
            attempt(&format!("SELECT steward.request($s${SIXTY}$s$, 'x', expected_rows => 3)")),
            "ok",
            "normal work is automatic"
        );
    }

    #[pg_test]
    fn the_tier_is_the_highest_that_may_come() {
        governed();
        let tier = |script: &str, more: &str| {
            let op_no = request(script, more);
            text(&format!("SELECT tier || ' ' || rule || ' ' || status FROM steward.operation WHERE op_no = '{op_no}'"))
        };
        assert_eq!(tier(SIXTY, ", expected_rows => 49"), "normal write approved");
        assert_eq!(tier(SIXTY, ", expected_rows => 50"), "critical bulk_write submitted");
        assert_eq!(tier(SIXTY, ""), "critical bulk_write submitted", "unknown rows count as bulk");
        assert_eq!(
            tier("UPDATE app.student SET id_card = 'x' WHERE id = 1", ", expected_rows => 1"),
            "important sensitive_column approved"
        );
        assert_eq!(
            tier("SELECT 1; TRUNCATE app.payment; SELECT 2", ", expected_rows => 1"),
            "critical structure submitted"
        );
        assert_eq!(tier("DO $$ BEGIN END $$", ", expected_rows => 1"), "critical opaque submitted");
        assert_eq!(tier("SELECT app.touch()", ", expected_rows => 1"), "critical opaque submitted");
        assert_eq!(
            tier("CREATE TABLE app.new (id int); INSERT INTO app.new VALUES (1)", ""),
            "critical unknown submitted"
        );
    }

    #[pg_test]
    fn what_cannot_be_understood_or_run_is_not_filed() {
        governed();
        let file = |script: &str| format!("SELECT steward.request($file${script}$file$, 'x')");
        for empty in ["", "  ", "-- nothing", ";"] {
            refused(&file(empty), &["22023", "script must not be empty"]);
        }
        refused("SELECT steward.request(NULL, 'x')", &["22023"]);
        refused("SELECT steward.request('SELECT 1', ' ')", &["22023", "purpose must not be empty"]);
        refused("SELECT steward.request('SELECT 1', NULL)", &["22023"]);
        refused(&file("UPDAT app.student"), &["42601"]);
        refused(&file("UPDATE student SET phone = ''"), &["22023", "step 1 cannot be judged", "student"]);
        for impossible in ["COMMIT", "EXECUTE p", "LOAD 'x'", "COPY app.student FROM STDIN WHERE id > 0"] {
            refused(&file(impossible), &["0A000", "step 1 cannot run in an operation"]);
        }
        refused(&file("DELETE FROM app.student WHERE CURRENT OF c"), &["0A000", "cursor"]);
        refused(&file("DELETE FROM steward.rule"), &["0A000", "steward.rule"]);
        refused(&file("ALTER ROLE sun PASSWORD 'secret'"), &["22023", "password"]);
        refused(&file("SELECT 1 /* \u{202e} */"), &["22023", "hidden character", "U+202E"]);
        refused("SELECT steward.request('SELECT 1', E'x\\u200b')", &["22023", "U+200B"]);
        for bad in [
            "runs => 0",
            "expected_rows => -1",
            "not_after => now() - interval '1 s'",
            "not_after => 'infinity'",
            "not_before => now() + interval '8 days'",
        ] {
            refused(&format!("SELECT steward.request('SELECT 1', 'x', {bad})"), &["22023"]);
        }
    }

    #[pg_test]
    fn the_role_to_run_as_is_one_the_login_may_put_on() {
        governed();
        Spi::run("CREATE ROLE stranger; GRANT sun TO chen").unwrap();
        assert_eq!(
            attempt("SELECT steward.request('SELECT 1', 'x', run_as => 999999::oid::regrole)").get(..5),
            Some("42704")
        );
        // The session's login is a superuser, who may put on any role.
        let op_no = request("SELECT 1", ", run_as => 'stranger'");
        assert_eq!(text(&format!("SELECT run_as::text FROM steward.operation WHERE op_no = '{op_no}'")), "stranger");
        Spi::run("SET LOCAL ROLE chen").unwrap();
        let op_no = request("SELECT 1", "");
        Spi::run("RESET ROLE").unwrap();
        assert_eq!(
            text(&format!("SELECT run_as::text FROM steward.operation WHERE op_no = '{op_no}'")),
            "chen",
            "the current role"
        );
    }

    #[pg_test]
    fn reject_and_cancel_end_it() {
        governed();
        let (rejected, cancelled) = (request(SIXTY, ""), request(SIXTY, ""));
        refused(&format!("SELECT steward.reject('{rejected}', 'no')"), &["42501", "capability approve"]);
        vote("Sun", "approve", &rejected);
        act_as("Zhou");
        refused(&format!("SELECT steward.reject('{rejected}', '')"), &["22023"]);
        refused(&format!("SELECT steward.cancel('{cancelled}')"), &["42501", "somebody else's operation"]);
        Spi::run(&format!("SELECT steward.reject('{rejected}', 'not this term')")).unwrap();
        act_as("Chen");
        Spi::run(&format!("SELECT steward.cancel('{cancelled}')")).unwrap();
        for (op_no, end) in [(rejected, "rejected"), (cancelled, "cancelled")] {
            assert_eq!(status(&op_no), end);
            refused(&run(&op_no), &["55000", end]);
            act_as("Sun");
            refused(&format!("SELECT steward.reject('{op_no}', 'no')"), &["55000", end]);
            act_as("Chen");
        }
    }

    #[pg_test]
    fn unknown_numbers_are_unknown() {
        governed();
        act_as("Sun");
        for call in [
            "show('OP-1')",
            "approve('OP-1', '0123456789ab')",
            "reject('OP-1', 'x')",
            "cancel('OP-1')",
            "review('OP-1', 'accepted', 'x')",
        ] {
            refused(&format!("SELECT steward.{call}"), &["42704", "OP-1"]);
        }
        act_as("Liu");
        refused("SELECT steward.confirm('OP-1', '0123456789ab')", &["42704"]);
        refused(&run("OP-1"), &["42704"]);
    }

    #[pg_test]
    fn operations_are_seen_by_those_they_concern() {
        governed();
        act_as("Card");
        let op_no = request(SIXTY, "");
        Spi::run("GRANT card, sun TO zhao; SET LOCAL ROLE zhao").unwrap();
        let seen = || count(&format!("SELECT count(*) FROM steward.operation WHERE op_no = '{op_no}'"));
        // The login of this session is a superuser's: SESSION_USER decides, the current role does not.
        assert_eq!(seen(), 1);
        Spi::run("RESET ROLE; SET LOCAL SESSION AUTHORIZATION zhao").unwrap();
        for (person, sees) in [("Zhao", 0), ("Card", 1), ("Sun", 1), ("Liu", 1), ("Qian", 1), ("Han", 1)] {
            behind_login(person);
            assert_eq!(seen(), sees, "{person}");
        }
    }

    /// As `act_as`, while another session authorization is on.
    fn behind_login(person: &str) {
        Spi::run("RESET SESSION AUTHORIZATION").unwrap();
        act_as(person);
        Spi::run("SET LOCAL SESSION AUTHORIZATION zhao").unwrap();
    }

    #[pg_test]
    fn the_inbox_tells_each_person_the_next_call() {
        governed();
        let waits = |person: &str| {
            act_as(person);
            lines("SELECT waits_for FROM steward.inbox").join(",")
        };
        let take = |person: &str| {
            act_as(person);
            Spi::run(&text("SELECT next_command FROM steward.inbox")).unwrap();
        };
        assert_eq!(waits("Sun"), "");
        act_as("Chen");
        request("UPDATE app.student SET phone = '' WHERE id = 1", "");
        assert_eq!(
            (waits("Chen"), waits("Liu"), waits("Sun"), waits("Han")),
            (String::new(), String::new(), "approval".into(), "approval".into())
        );
        take("Sun");
        assert_eq!(
            (waits("Sun"), waits("Zhou"), waits("Liu"), waits("Han")),
            (String::new(), "confirmation".into(), "confirmation".into(), String::new())
        );
        take("Liu");
        assert_eq!((waits("Liu"), waits("Chen")), (String::new(), "execution".into()));
        take("Chen");
        assert_eq!((waits("Chen"), waits("Zhou")), (String::new(), "review".into()));
        take("Zhou");
        assert_eq!(waits("Zhou"), "");
    }
}
