//! Crashes under mixed load, at random moments: every committed change has its record, none has two, no read or denial
//! that a client was told of is missing, the chain verifies.

use std::thread::sleep;
use std::time::Duration;

use crate::account::{self, check, check_accounts};
use crate::fault::{Random, SEQUENCER, report, scaled, wait_for, wait_for_process, wait_for_recovery};
use crate::school::School;
use crate::storm::{Load, decide_what_is_in_doubt, weather};

tests! {
    crashes_under_load_lose_and_double_no_record,
    terminated_sessions_under_load_lose_and_double_no_record,
    a_read_that_was_answered_survives_the_crash_of_its_transaction,
    a_prepared_transaction_is_recorded_when_it_commits_after_a_crash,
}

/// What happens to the server.
#[derive(Clone, Copy, Debug)]
enum Blow {
    KillBackend,
    KillSequencer,
    KillPostmaster,
    ImmediateShutdown,
    KillAuxiliary,
}

const BLOWS: [Blow; 5] =
    [Blow::KillBackend, Blow::KillSequencer, Blow::KillPostmaster, Blow::ImmediateShutdown, Blow::KillAuxiliary];

impl Blow {
    fn strike(self, school: &mut School) {
        match self {
            Blow::KillBackend => school.kill_9(wait_for_process(school, "usename = 'teacher_wang'")),
            Blow::KillSequencer => school.kill_9(wait_for_process(school, SEQUENCER)),
            Blow::KillAuxiliary => {
                school.kill_9(wait_for_process(school, "backend_type IN ('walwriter', 'checkpointer')"));
            }
            Blow::KillPostmaster => school.kill_9_postmaster(),
            Blow::ImmediateShutdown => school.stop_immediately(),
        }
    }

    /// Whether the server must be started again; otherwise the postmaster restarts its processes.
    fn ends_server(self) -> bool {
        matches!(self, Blow::KillPostmaster | Blow::ImmediateShutdown)
    }
}

fn crashes_under_load_lose_and_double_no_record() {
    let mut random = Random::announced("crashes under load");
    let mut school = account::school(&["max_prepared_transactions = 64"]);
    let rounds = scaled(5, 60);
    let mut last = account::Checked::default();
    for (round, blow) in BLOWS.into_iter().cycle().take(rounds).enumerate() {
        let starts = school.records("operation_type = 'SERVER START'");
        let moment = Duration::from_millis(150 + random.below(scaled(700, 2_000)));
        let accounts = weather(&mut school, &format!("storm{round}"), &mut random, |school| {
            sleep(moment);
            blow.strike(school);
            Load::EndsByItself
        });
        if blow.ends_server() {
            school.start();
        }
        drop(wait_for_recovery(&school));
        check_accounts(&school, &accounts);
        decide_what_is_in_doubt(&school, &mut random);
        last = check_accounts(&school, &accounts);
        assert_eq!(school.records("operation_type = 'SERVER START'"), starts + 1, "{blow:?} is on record");
    }
    report(&format!(
        "crashes under load: {rounds} rounds, {} records checked, {} losses, {} duplicates",
        last.records, last.losses, last.duplicates
    ));
}

/// Sessions that are taken away in order, one by one, while the others go on.
fn terminated_sessions_under_load_lose_and_double_no_record() {
    let mut random = Random::announced("terminated sessions");
    let mut school = account::school(&["max_prepared_transactions = 64"]);
    let rounds = scaled(2, 40);
    let mut checked = account::Checked::default();
    for round in 0..rounds {
        let mut moments = random.branch();
        let accounts = weather(&mut school, &format!("gone{round}"), &mut random, |school| {
            let mut operator = school.superuser();
            for _ in 0..4 {
                sleep(Duration::from_millis(50 + moments.below(300)));
                let one = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'teacher_wang'
                    ORDER BY random() LIMIT 1";
                operator.execute(one, &[]).expect("terminate");
            }
            Load::Stops
        });
        decide_what_is_in_doubt(&school, &mut random);
        checked = check_accounts(&school, &accounts);
    }
    report(&format!(
        "terminated sessions: {rounds} rounds, {} records checked, 0 losses, 0 duplicates",
        checked.records
    ));
}

fn a_read_that_was_answered_survives_the_crash_of_its_transaction() {
    let school = account::school(&[]);
    let mut clerk = school.session("clerk_zhao");
    clerk.batch_execute("BEGIN; SELECT name FROM app.student WHERE id = 7").expect("select");
    school.kill_9(wait_for_process(&school, "usename = 'clerk_zhao'"));
    assert!(clerk.batch_execute("COMMIT").is_err());
    // A session of the server that is about to go would be cut off.
    wait_for(&school, "crash", || school.log_tail().contains("reinitializing").then_some(()));
    drop(wait_for_recovery(&school));
    assert_eq!(school.records("user_id = 'clerk_zhao' AND operation_type = 'SELECT'"), 1);
}

fn a_prepared_transaction_is_recorded_when_it_commits_after_a_crash() {
    let mut school = account::school(&["max_prepared_transactions = 4"]);
    let mut teacher = school.session("teacher_wang");
    teacher
        .batch_execute("BEGIN; INSERT INTO app.tally VALUES ('x', 1), ('x', 2), ('x', 3); PREPARE TRANSACTION 'term'")
        .expect("prepare");
    school.kill_9_postmaster();
    school.start();
    let insert = "operation_type = 'INSERT' AND table_name = 'app.tally' AND result = 'SUCCESS' AND rows = 3";
    assert_eq!(school.records(insert), 0, "nothing is committed yet");
    school.session("teacher_wang").batch_execute("COMMIT PREPARED 'term'").expect("commit");
    assert_eq!(school.records(insert), 1);
    check(&school);
}
