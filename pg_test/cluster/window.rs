//! Maintenance windows: critical work runs inside them only, by the server's clock in the policy's zone, whatever the
//! session says, and what has begun is finished.

use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use postgres::error::SqlState;

use crate::expect::{expect_error, expect_refused};
use crate::school::{School, ask, execute, request};

tests! {
    outside_its_window_nothing_critical_runs,
    a_window_over_midnight_belongs_to_the_day_it_opens,
    of_several_windows_any_will_do,
    a_term_that_reaches_into_no_window_is_refused,
    a_run_may_outlast_its_window,
    a_transaction_begun_inside_does_not_keep_the_window_open,
    the_session_has_no_say_in_the_hour,
    a_rule_s_window_holds_for_what_a_block_hides,
    the_policy_is_changed_inside_the_window_too,
    windows_are_written_by_their_functions_only,
    bad_windows_are_refused,
}

const SIXTY: &str = "UPDATE app.student SET note = 'moved' WHERE id <= 60";
const NOT_READY: &SqlState = &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE;
const REFUSED: &SqlState = &SqlState::INSUFFICIENT_PRIVILEGE;

/// A zone in which it is between one and two in the morning now.
fn zone() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs();
    let behind = (seconds / 3600 % 24) as i64 - 1;
    let behind = if behind > 12 { behind - 24 } else { behind };
    // POSIX counts to the west.
    format!("Etc/GMT{behind:+}")
}

/// A school in that zone, not active, with these calls made.
fn night(calls: &str) -> School {
    let school = School::with("enforce", &[&format!("steward.time_zone = '{}'", zone())]);
    school.superuser().batch_execute(calls).expect("set-up");
    school
}

/// The same, active.
fn active_night(calls: &str) -> School {
    let school = night(calls);
    school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    school
}

/// The call that sets a window which opens on today's day of the week, so many days later.
fn window(name: &str, of: &str, days: i32, from: &str, to: &str) -> String {
    format!(
        "SELECT steward.set_window('{name}', '{of}',
            ARRAY[extract(isodow FROM clock_timestamp() AT TIME ZONE current_setting('steward.time_zone') + interval '{days} days')::int],
            '{from}', '{to}')"
    )
}

/// A moment of this day in the policy's zone, as refusals show it.
fn moment(school: &School, days: i32, time: &str) -> String {
    school.ask(&format!(
        "SELECT to_char((clock_timestamp() AT TIME ZONE current_setting('steward.time_zone'))::date + {days}, 'YYYY-MM-DD')
            || ' {time} ' || current_setting('steward.time_zone')"
    ))
}

fn released(school: &School, script: &str) -> String {
    let op_no = school.request("region_chen", script);
    school.release(&op_no);
    op_no
}

fn outside_its_window_nothing_critical_runs() {
    let school = active_night(&window("evening", "critical", 0, "22:00", "23:00"));
    let op_no = released(&school, SIXTY);
    let next = format!("The maintenance window of critical opens next at {}.", moment(&school, 0, "22:00:00"));
    let mut chen = school.session("region_chen");
    expect_error(execute(&mut chen, &op_no), NOT_READY, &next, "steward.execute");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.student WHERE note = 'moved'"), 0);
    assert_eq!(school.status(&op_no), "approved", "it waits");
    // Work below the tier is not concerned.
    chen.batch_execute("UPDATE app.student SET id_card = 'X' WHERE id = 1").expect("important work");
}

fn a_window_over_midnight_belongs_to_the_day_it_opens() {
    let school = active_night(&window("night", "critical", -1, "22:00", "04:00"));
    let op_no = released(&school, SIXTY);
    assert_eq!(execute(&mut school.session("region_chen"), &op_no).expect("opened yesterday"), 60);
    let school = active_night(&window("night", "critical", 0, "22:00", "04:00"));
    let op_no = released(&school, SIXTY);
    let next = moment(&school, 0, "22:00:00");
    expect_error(execute(&mut school.session("region_chen"), &op_no), NOT_READY, &next, "");
    // The end of the day is midnight, and a week later is the next time.
    let school = active_night(&window("early", "critical", 0, "00:00", "01:00"));
    let op_no = released(&school, SIXTY);
    let next = moment(&school, 7, "00:00:00");
    expect_error(execute(&mut school.session("region_chen"), &op_no), NOT_READY, &next, "");
}

fn of_several_windows_any_will_do() {
    let windows = [
        window("evening", "critical", 0, "22:00", "23:00"),
        window("morning", "critical", 0, "00:00", "24:00"),
        window("bulk", "bulk_write", 0, "00:30", "23:30"),
    ];
    let school = active_night(&windows.join(";"));
    let op_no = released(&school, SIXTY);
    assert_eq!(execute(&mut school.session("region_chen"), &op_no).expect("inside"), 60);
    // Tier and rule: both must be open.
    let windows = [window("day", "critical", 0, "00:00", "24:00"), window("bulk", "bulk_write", 0, "22:30", "23:30")];
    let school = active_night(&windows.join(";"));
    let op_no = released(&school, SIXTY);
    let next = format!("rule \"bulk_write\" opens next at {}", moment(&school, 0, "22:30:00"));
    expect_error(execute(&mut school.session("region_chen"), &op_no), NOT_READY, &next, "");
}

fn a_term_that_reaches_into_no_window_is_refused() {
    let school = active_night(&window("evening", "critical", 0, "22:00", "23:00"));
    let mut chen = school.session("region_chen");
    let call = "SELECT steward.request($1, purpose => 'x', not_after => now() + interval '2 hours')";
    let next = moment(&school, 0, "22:00:00");
    expect_error(chen.query(call, &[&SIXTY]), NOT_READY, &next, "not_before");
    let call = "SELECT steward.request($1, purpose => 'x', not_before => now() + interval '2 days', not_after => now() + interval '3 days')";
    expect_error(chen.query(call, &[&SIXTY]), NOT_READY, "opens next at", "not_before");
    request(&mut chen, SIXTY, ", not_after => now() + interval '60 days'");
    request(&mut chen, SIXTY, ", not_before => now() + interval '5 days', not_after => now() + interval '9 days'");
    request(
        &mut chen,
        "UPDATE app.student SET note = 'x' WHERE id = 1",
        ", expected_rows => 1, not_after => now() + interval '1 hour'",
    );
}

/// A window that closes after so many seconds.
fn closing(school: &School, seconds: u32) {
    let set = format!(
        "SELECT steward.set_window('closing', 'critical', '{{1,2,3,4,5,6,7}}', '00:00',
            (clock_timestamp() AT TIME ZONE current_setting('steward.time_zone') + interval '{seconds} seconds')::time)"
    );
    school.superuser().batch_execute(&set).expect("a window that closes soon");
}

fn a_run_may_outlast_its_window() {
    let school = night("SELECT 1");
    let op_no = released(&school, &format!("{SIXTY}; SELECT pg_sleep(4)"));
    let mut chen = school.session("region_chen");
    closing(&school, 2);
    assert_eq!(execute(&mut chen, &op_no).expect("what has begun is finished"), 61);
    let late = released(&school, SIXTY);
    expect_error(execute(&mut chen, &late), NOT_READY, "opens next at", "");
}

fn a_transaction_begun_inside_does_not_keep_the_window_open() {
    let school = night("SELECT 1");
    let op_no = released(&school, SIXTY);
    let mut chen = school.session("region_chen");
    closing(&school, 1);
    chen.batch_execute("BEGIN; SELECT 1").expect("inside the window");
    sleep(Duration::from_millis(1_500));
    expect_error(execute(&mut chen, &op_no), NOT_READY, "opens next at", "");
}

fn the_session_has_no_say_in_the_hour() {
    let school = active_night(&window("evening", "critical", 0, "22:00", "23:00"));
    let op_no = released(&school, SIXTY);
    let mut chen = school.session("region_chen");
    for zone in ["Etc/GMT+11", "Etc/GMT-8", "UTC"] {
        chen.batch_execute(&format!("SET TimeZone = '{zone}'")).expect("a zone of one's own");
        expect_error(execute(&mut chen, &op_no), NOT_READY, &moment(&school, 0, "22:00:00"), "");
    }
    expect_refused(school.superuser().batch_execute("ALTER SYSTEM SET steward.time_zone = 'Etc/GMT+4'"));
    for set in ["SET steward.time_zone = 'UTC'", "SELECT set_config('steward.time_zone', 'UTC', false)"] {
        school.superuser().batch_execute(set).expect_err("no session chooses the zone");
    }
}

fn a_rule_s_window_holds_for_what_a_block_hides() {
    let school = active_night(&window("evening", "structure", 0, "22:00", "23:00"));
    let mut superuser = school.superuser();
    let op_no = request(&mut superuser, "DO $$BEGIN EXECUTE 'TRUNC' || 'ATE app.entry'; END$$", "");
    school.release(&op_no);
    let error = expect_error(execute(&mut superuser, &op_no), REFUSED, &moment(&school, 0, "22:00:00"), "");
    assert!(error.message().contains("does not reach as far as rule \"structure\""), "{error:?}");
    let op_no = request(&mut superuser, "TRUNCATE app.entry", "");
    school.release(&op_no);
    expect_error(execute(&mut superuser, &op_no), NOT_READY, "rule \"structure\" opens next at", "");
    // What the rule does not match runs.
    school.operate("region_chen", SIXTY);
}

fn the_policy_is_changed_inside_the_window_too() {
    let school = active_night(&window("evening", "critical", 0, "22:00", "23:00"));
    let mut superuser = school.superuser();
    for change in ["SELECT steward.drop_window('evening')", "SELECT steward.deactivate()"] {
        let op_no = request(&mut superuser, change, "");
        school.release(&op_no);
        expect_error(execute(&mut superuser, &op_no), NOT_READY, "opens next at", "");
    }
}

fn windows_are_written_by_their_functions_only() {
    let school = active_night(&window("evening", "critical", 0, "22:00", "23:00"));
    let direct = [
        "DELETE FROM steward.maintenance_window",
        "TRUNCATE steward.maintenance_window",
        "UPDATE steward.maintenance_window SET from_time = '00:00'",
        "INSERT INTO steward.maintenance_window VALUES ('mine', 'critical', NULL, '{1,2,3,4,5,6,7}', '00:00', '24:00')",
        "SELECT steward.drop_window('evening')",
        "SELECT steward.set_window('evening', 'critical', '{1,2,3,4,5,6,7}', '00:00', '24:00')",
    ];
    for login in ["postgres", "security_han", "region_chen", "reviewer_sun", "auditor_qian", "teacher_wang"] {
        let mut session = school.session(login);
        for statement in direct {
            expect_error(session.batch_execute(statement), REFUSED, "", "");
        }
        assert_eq!(
            ask::<i64>(&mut session, "SELECT count(*) FROM steward.maintenance_window"),
            1,
            "{login} may read it"
        );
    }
}

fn bad_windows_are_refused() {
    let school = School::inactive();
    let mut superuser = school.superuser();
    let bad = &SqlState::INVALID_PARAMETER_VALUE;
    for (arguments, code) in [
        ("'', 'critical', '{1}', '22:00', '23:00'", bad),
        ("'w', 'critical', '{}', '22:00', '23:00'", bad),
        ("'w', 'critical', '{0}', '22:00', '23:00'", bad),
        ("'w', 'critical', '{8}', '22:00', '23:00'", bad),
        ("'w', 'critical', '{1,NULL}', '22:00', '23:00'", bad),
        ("'w', 'critical', NULL, '22:00', '23:00'", bad),
        ("'w', 'critical', '{1}', '22:00', '22:00'", bad),
        ("'w', 'critical', '{1}', NULL, '22:00'", bad),
        ("'w', 'no_rule', '{1}', '22:00', '23:00'", &SqlState::UNDEFINED_OBJECT),
    ] {
        let call = format!("SELECT steward.set_window({arguments})");
        expect_error(superuser.batch_execute(&call), code, "", "");
    }
    expect_error(superuser.batch_execute("SELECT steward.drop_window('w')"), &SqlState::UNDEFINED_OBJECT, "", "");
    superuser
        .batch_execute("SELECT steward.set_window('w', 'bulk_write', '{7,1,7}', '22:00', '00:00')")
        .expect("a window");
    assert_eq!(school.ask::<String>("SELECT days::text FROM steward.maintenance_window"), "{1,7}");
}
