//! `steward-witness`: watches a chain from outside the server that keeps it. It holds what nobody in the database can
//! change, the checkpoints it has seen, and says so when the chain is no longer theirs. No server code is linked: the
//! pure modules are compiled in, and the protocol is spoken by a client library.
//!
//! Exit status: 0 all is well, 1 an alarm, 2 the program could not do its work.

#[path = "../core/mod.rs"]
#[allow(dead_code, unused_imports)]
mod core;
#[path = "../witness/mod.rs"]
mod witness;

use std::process::ExitCode;
use witness::{Failure, arguments::Arguments, files, watch};

const USAGE: &str = "\
steward-witness watch --connection 'host=… user=witness dbname=school' --file CHECKPOINTS
                      [--interval SECONDS] [--stale SECONDS] [--full] [--once]
    pulls new records, recomputes every link from the last checkpoint, and appends a checkpoint;
    prints a line that begins with ALARM and ends with status 1 on a truncated, forked, rewritten
    or damaged chain; goes on after an alarm of a stale chain or an unreachable server, unless --once.
    --interval  between two looks, 30 seconds
    --stale     alarm when no record came for so long; three heartbeats of the server
    --full      recompute from the oldest record online, compared with all checkpoints
steward-witness verify FILE… [--file CHECKPOINTS] [--append]
    verifies archive files and exports without a server, contiguous across files and equal to the
    checkpoints; --append adds one for the last record, so that watch can go on from there
steward-witness export --connection '…' [--from ID] FILE
    writes the records online to a file for verify, compressed if its name ends with .gz
Connections are not encrypted: use a unix socket, the loopback interface or a tunnel.";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let command = words.next().unwrap_or_default();
    let done = Arguments::parse(words).and_then(|arguments| match command.as_str() {
        "watch" => watch::watch(arguments),
        "verify" => files::verify(arguments),
        "export" => files::export(arguments),
        "help" | "--help" => {
            println!("{USAGE}");
            Ok(())
        }
        _ => Err(Failure::Own(format!("usage:\n{USAGE}"))),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Alarm(alarm)) => {
            println!("{alarm}");
            ExitCode::from(1)
        }
        Err(Failure::Own(message)) => {
            eprintln!("steward-witness: {message}");
            ExitCode::from(2)
        }
    }
}
