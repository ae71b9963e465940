//! The server's answers: the two functions that auditors may call, and nothing else.

use super::{Failure, Kind, Outcome};
use crate::core::archive::Link;
use crate::core::chain::{Hash, Ledger};
use postgres::{Client, Config, NoTls, Row};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Records asked for at a time.
const BATCH: i32 = 10_000;
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an answer may take: a server that hangs is as bad as none.
const ANSWER: Duration = Duration::from_secs(120);

/// What `steward.chain_origin()` says.
pub struct Origin {
    pub ledger: Ledger,
    pub system_identifier: String,
    /// Oldest and newest record online.
    pub first_id: Option<i64>,
    pub last_id: Option<i64>,
    /// The hash of the last archived record.
    pub cut_hash: Option<Hash>,
    pub heartbeat: Duration,
}

/// A connection that cannot hang unseen.
pub struct Database {
    client: Client,
    /// When the answer that is waited for is overdue.
    due: Arc<Mutex<Option<Instant>>>,
}

impl Database {
    pub fn connect(connection: &str) -> Outcome<Database> {
        let mut config: Config = connection.parse().map_err(|error| Failure::Own(format!("--connection: {error}")))?;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT);
        }
        if config.get_application_name().is_none() {
            config.application_name("steward-witness");
        }
        let due = Arc::new(Mutex::new(Some(Instant::now() + ANSWER)));
        watch_over(due.clone());
        let client = config.connect(NoTls).map_err(unreachable)?;
        Ok(Database { client, due })
    }

    /// None before the chain begins.
    pub fn origin(&mut self) -> Outcome<Option<Origin>> {
        let query = "SELECT replace(ledger::text, '-', ''), system_identifier, first_id, last_id, cut_hash,
            extract(epoch FROM heartbeat)::float8 FROM steward.chain_origin()";
        let rows = self.ask(query, &[])?;
        let Some(row) = rows.first() else { return Ok(None) };
        let ledger = u128::from_str_radix(&get::<String>(row, 0)?, 16).map_err(unreachable)?;
        let heartbeat: Option<f64> = get(row, 5)?;
        Ok(Some(Origin {
            ledger: ledger.to_be_bytes(),
            system_identifier: get(row, 1)?,
            first_id: get(row, 2)?,
            last_id: get(row, 3)?,
            cut_hash: get::<Option<Vec<u8>>>(row, 4)?.and_then(|hash| hash.try_into().ok()),
            heartbeat: Duration::try_from_secs_f64(heartbeat.unwrap_or_default()).unwrap_or_default(),
        }))
    }

    /// Hands over every record from this id on, in order.
    pub fn pull(&mut self, from: i64, mut each: impl FnMut(&Link) -> Outcome<()>) -> Outcome<()> {
        let mut from = from;
        loop {
            let query = "SELECT id, record, prev_hash, hash FROM steward.export_chain($1, $2)";
            let rows = self.ask(query, &[&from, &BATCH])?;
            let Some(last) = rows.last() else { return Ok(()) };
            let end: i64 = get(last, 0)?;
            for row in &rows {
                // A hash of a wrong length is followed by nothing.
                let hash = |column| Ok(get::<Vec<u8>>(row, column)?.try_into().unwrap_or_default());
                each(&Link { id: get(row, 0)?, record: get(row, 1)?, prev_hash: hash(2)?, hash: hash(3)? })?;
            }
            from = end.max(from).saturating_add(1);
        }
    }

    fn ask(&mut self, query: &str, values: &[&(dyn postgres::types::ToSql + Sync)]) -> Outcome<Vec<Row>> {
        self.set_due(Some(Instant::now() + ANSWER));
        let rows = self.client.query(query, values).map_err(unreachable);
        self.set_due(None);
        rows
    }

    fn set_due(&self, when: Option<Instant>) {
        if let Ok(mut due) = self.due.lock() {
            *due = when;
        }
    }
}

/// Ends the program with an alarm when an answer is overdue. Lives as long as its connection.
fn watch_over(due: Arc<Mutex<Option<Instant>>>) {
    thread::spawn(move || {
        while Arc::strong_count(&due) > 1 {
            thread::sleep(Duration::from_secs(1));
            let overdue = due.lock().is_ok_and(|due| due.is_some_and(|due| Instant::now() > due));
            if overdue {
                println!("ALARM unreachable: the server does not answer for {} seconds", ANSWER.as_secs());
                std::process::exit(1);
            }
        }
    });
}

fn get<'a, T: postgres::types::FromSql<'a>>(row: &'a Row, column: usize) -> Outcome<T> {
    row.try_get(column).map_err(unreachable)
}

fn unreachable(error: impl std::error::Error) -> Failure {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    Failure::alarm(Kind::Unreachable, text)
}
