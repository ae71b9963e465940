//! Many short connections at once: each record is kept, and the lanes of those that left are used again.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::thread;

use postgres::{Config, NoTls};

use crate::account::{self, Account, Counts, check_accounts};
use crate::fault::{report, scaled};
use crate::school::HOME;

tests! {
    two_hundred_short_connections_at_once_lose_no_record,
}

const CONNECTIONS: usize = 200;

/// Connects, and once all are there reads, writes, leaves.
fn visit(config: &Config, name: &str, id: i32, all: &Barrier) {
    let session = config.connect(NoTls);
    all.wait();
    let mut session = session.unwrap_or_else(|error| panic!("{name}: {error:?}"));
    session.query("SELECT name FROM app.student WHERE id = $1", &[&id]).expect("select");
    session.execute("INSERT INTO app.tally (client, sequence) VALUES ($1, $2)", &[&name, &1_i64]).expect("insert");
    session.execute("UPDATE app.student SET note = 'seen' WHERE id = $1", &[&id]).expect("update");
}

fn two_hundred_short_connections_at_once_lose_no_record() {
    let school = account::school(&["max_connections = 250"]);
    let waves = scaled(3, 20);
    let mut accounts = BTreeMap::new();
    for wave in 0..waves {
        let names: Vec<String> = (1..=CONNECTIONS).map(|number| format!("wave{wave}-{number}")).collect();
        let all = Barrier::new(CONNECTIONS);
        thread::scope(|scope| {
            for (name, id) in names.iter().zip(1..) {
                let mut config = school.config("teacher_wang", HOME);
                config.application_name(name);
                let all = &all;
                scope.spawn(move || visit(&config, name, id, all));
            }
        });
        let done = Counts { rows: 1, reads: 1, ..Counts::default() };
        accounts.extend(names.into_iter().map(|name| (name, Account { sure: done, possible: done })));
    }
    let checked = check_accounts(&school, &accounts);
    let update = "operation_type = 'UPDATE' AND table_name = 'app.student' AND result = 'SUCCESS' AND rows = 1";
    assert_eq!(school.records(update), (waves * CONNECTIONS) as i64);
    // One file for each slot, not for each connection: no slot had enough to write for a second one.
    let slots: i64 = school.ask("SELECT count(DISTINCT slot) FROM steward.spool_offset");
    let files: i32 = school.ask("SELECT spool_files FROM steward.audit_status");
    assert_eq!(i64::from(files), slots);
    assert!(files < 270, "{files} files");
    report(&format!(
        "short connections: {waves} waves of {CONNECTIONS}, {} records checked, {files} lanes",
        checked.records
    ));
}
