//! A11: the machine's clock is set back and forward under the server's feet. The chain says so,
//! what is sealed never goes back in time, and nothing that waits by the clock stops.

use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::cluster::Cluster;
use crate::journal_count::wait_for;
use crate::school::{School, settings};
use crate::trail::{tamper, verify, work};

tests! {
    a11_a_clock_that_is_set_is_on_record,
    a11_a_clock_that_stands_still_stops_nothing,
    a11_an_infinite_time_of_sealing_is_not_believed,
}

/// Steps on record, told by which clock, and with this condition on the milliseconds.
fn steps(school: &School, told_by: &str, by_ms: &str) -> i64 {
    school.records(&format!(
        "operation_type = 'CLOCK STEP' AND result = 'FAILURE' AND details::jsonb ->> 'told_by' = '{told_by}'
         AND (details::jsonb ->> 'by_ms')::bigint {by_ms}
         AND (details::jsonb ->> 'clock' < details::jsonb ->> 'sealed_at') = ('{by_ms}' LIKE '%-%')"
    ))
}

fn all_steps(school: &School) -> i64 {
    school.records("operation_type = 'CLOCK STEP'")
}

/// Nothing is sealed before what was sealed before it.
#[track_caller]
fn is_in_order(school: &School) {
    let back = "SELECT count(*) FROM (SELECT operation_time < lag(operation_time) OVER (ORDER BY id) AS back
        FROM steward.audit_log WHERE user_id = 'pg_steward') AS sealed WHERE back";
    assert_eq!(school.ask::<i64>(back), 0);
    let verdict = verify(school, "");
    assert!(verdict.ok, "{verdict:?}");
}

fn a11_a_clock_that_is_set_is_on_record() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs() as i64;
    let settings = settings("enforce");
    let settings = [&settings.each_ref().map(String::as_str)[..], &["steward.heartbeat_interval = 1"]].concat();
    let (cluster, clock) = Cluster::at(now, &settings);
    let mut school = School::set_up(cluster);
    let terms = "SELECT steward.set_retention(segment_age => '2 seconds'); SELECT steward.activate()";
    school.superuser().batch_execute(terms).expect("terms");
    work(&school, 3);
    assert_eq!(all_steps(&school), 0);
    let logins = school.data().join("pg_steward/logins");
    wait_for("the policy of logins", || logins.exists());

    // What lasts while the clock is set back is told all the same.
    school.superuser().batch_execute("SELECT pg_create_physical_replication_slot('gone', true)").expect("slot");

    // An hour back: told once, and the server goes on. A heartbeat that waited for the clock would not come.
    clock.advance(-3600);
    work(&school, 3);
    let beats = school.records("operation_type = 'HEARTBEAT'");
    sleep(Duration::from_secs(3));
    assert!(school.records("operation_type = 'HEARTBEAT'") > beats, "the heart stands still");
    assert_eq!((steps(&school, "monotonic clock", "BETWEEN -3605000 AND -3595000"), all_steps(&school)), (1, 1));
    is_in_order(&school);
    // Nor do logins wait for it: the file that they are judged by is looked after.
    std::fs::remove_file(&logins).expect("remove");
    wait_for("the policy of logins is written again", || logins.exists());

    let missing = "SELECT count(*) = 1 FROM steward.alert WHERE rule = 'standby_missing' AND subject = 'gone'";
    crate::failover::wait_until(&school, missing);
    let told = "SELECT count(*) = 1 FROM steward.alert WHERE rule = 'clock_step' AND level = 'important'";
    assert!(school.ask::<bool>(told));

    // Two hours forward, seen as well after the sequencer was killed meanwhile.
    let sequencer: i32 = school.ask("SELECT sequencer_pid FROM steward.audit_status");
    school.signal("STOP", sequencer);
    clock.advance(7200);
    school.signal("TERM", sequencer);
    school.signal("CONT", sequencer);
    crate::failover::wait_until(
        &school,
        &format!("SELECT sequencer_alive AND sequencer_pid <> {sequencer} FROM steward.audit_status"),
    );
    work(&school, 3);
    assert_eq!((steps(&school, "monotonic clock", "BETWEEN 7195000 AND 7205000"), all_steps(&school)), (1, 2));

    // Set back while the server is down: what was sealed last tells.
    school.stop();
    clock.advance(-3600);
    school.start();
    work(&school, 3);
    assert_eq!((steps(&school, "last sealed record", "BETWEEN -3605000 AND -3500000"), all_steps(&school)), (1, 3));
    is_in_order(&school);

    // What is sealed stands still until the clock is where it was; segments become full of age all the same.
    let ahead = "SELECT sealed_at > clock_timestamp() + interval '50 minutes' FROM steward.ledger";
    assert!(school.ask::<bool>(ahead), "the time of sealing waits for the clock");
    let closed: i64 = school.ask("SELECT count(*) FROM steward.segment");
    let two = format!("SELECT count(*) >= {closed} + 2 FROM steward.segment");
    crate::failover::wait_until(&school, &two);
    is_in_order(&school);
}

/// The server's clock says the same second on and on, as on a machine whose clock somebody holds.
fn a11_a_clock_that_stands_still_stops_nothing() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs() as i64;
    let settings = settings("enforce");
    let settings = [&settings.each_ref().map(String::as_str)[..], &["steward.heartbeat_interval = 1"]].concat();
    let (cluster, clock) = Cluster::at(now, &settings);
    let school = School::set_up(cluster);
    school.flush_audit();
    let (updates, beats) = ("operation_type = 'UPDATE' AND result = 'SUCCESS'", "operation_type = 'HEARTBEAT'");
    let before = (school.records(updates), school.records(beats));
    clock.stand_still(true);
    sleep(Duration::from_secs(7));
    work(&school, 3);
    sleep(Duration::from_secs(3));
    // Told again with each five seconds that it stays behind, never more often.
    let told = school.records(
        "operation_type = 'CLOCK STEP' AND details::jsonb ->> 'told_by' = 'monotonic clock'
            AND (details::jsonb ->> 'by_ms')::bigint BETWEEN -9000 AND -5000",
    );
    assert!((1..=4).contains(&told), "{told} steps");
    assert_eq!(all_steps(&school), told);
    let after = (school.records(updates), school.records(beats));
    assert!(after.0 >= before.0 + 3 && after.1 >= before.1 + 2, "{before:?} {after:?}");
    is_in_order(&school);
    // It goes on: one step to where it has to be.
    clock.stand_still(false);
    sleep(Duration::from_secs(2));
    work(&school, 3);
    let forward = steps(&school, "monotonic clock", "> 0");
    let all: Option<String> = school.ask(
        "SELECT string_agg(id || details, '; ' ORDER BY id) FROM steward.audit_log WHERE operation_type = 'CLOCK STEP'",
    );
    assert_eq!(forward, 1, "{all:?}");
    is_in_order(&school);
}

/// Written into the ledger's row while the library is away: what is sealed after that bears a time all the same.
fn a11_an_infinite_time_of_sealing_is_not_believed() {
    let mut school = School::inactive();
    work(&school, 3);
    for forged in ["infinity", "-infinity"] {
        tamper(&mut school, &format!("UPDATE steward.ledger SET sealed_at = '{forged}'"));
        work(&school, 3);
        assert_eq!(school.records("NOT isfinite(operation_time)"), 0, "{forged}");
        assert!(school.ask::<bool>("SELECT isfinite(sealed_at) FROM steward.ledger"), "{forged}");
        is_in_order(&school);
    }
}
