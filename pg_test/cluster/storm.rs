//! Mixed load that keeps an account of itself: clients that write, roll back, prepare, fail, are denied and read, until
//! the server takes their session away.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{self, ScopedJoinHandle};

use postgres::error::{DbError, SqlState};
use postgres::{Client, NoTls};

use crate::account::{Account, Counts};
use crate::fault::Random;
use crate::school::{HOME, School};

/// Sessions of the load; every third commits asynchronously.
const CLIENTS: u64 = 6;
/// A client leaves no more prepared transactions open than this.
const IN_DOUBT: u64 = 2;

/// Errors by which a server says that the session is over.
const ENDS: [SqlState; 3] = [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN, SqlState::CANNOT_CONNECT_NOW];

/// What becomes of the load after a fault.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// The server takes its sessions away. Only when it has, one may wait for the server's return.
    EndsByItself,
    /// The sessions live; they are told to stop.
    Stops,
}

/// Runs the load while `fault` does what it does to the server, and returns each client's account.
pub fn weather(
    school: &mut School,
    name: &str,
    random: &mut Random,
    fault: impl FnOnce(&mut School) -> Load,
) -> BTreeMap<String, Account> {
    let over = AtomicBool::new(false);
    let sessions: Vec<(String, Client, bool, Random)> = (0..CLIENTS)
        .map(|number| {
            let client = format!("{name}-{number}");
            let mut config = school.config("teacher_wang", HOME);
            config.application_name(&client);
            (client, config.connect(NoTls).expect("client of the load"), number % 3 == 2, random.branch())
        })
        .collect();
    thread::scope(|scope| {
        let start = |(name, session, asynchronous, random)| {
            let over = &over;
            scope.spawn(move || Sailor::new(name, session, asynchronous, random).sail(over))
        };
        let clients: Vec<ScopedJoinHandle<(String, Account)>> = sessions.into_iter().map(start).collect();
        over.store(fault(school) == Load::Stops, SeqCst);
        clients.into_iter().map(|client| client.join().expect("client of the load")).collect()
    })
}

/// Commits or rolls back each prepared transaction that the load left.
pub fn decide_what_is_in_doubt(school: &School, random: &mut Random) {
    let mut operator = school.superuser();
    for row in operator.query("SELECT gid FROM pg_prepared_xacts", &[]).expect("pg_prepared_xacts") {
        let decision = if random.below(2) == 0 { "COMMIT" } else { "ROLLBACK" };
        operator.batch_execute(&format!("{decision} PREPARED '{}'", row.get::<_, String>(0))).expect(decision);
    }
}

/// One client of the load.
struct Sailor {
    name: String,
    session: Client,
    asynchronous: bool,
    random: Random,
    /// The number of its next row.
    next: i64,
    in_doubt: u64,
    account: Account,
}

impl Sailor {
    fn new(name: String, session: Client, asynchronous: bool, random: Random) -> Sailor {
        Sailor { name, session, asynchronous, random, next: 0, in_doubt: 0, account: Account::default() }
    }

    /// Works until the session is taken away or the load is over.
    fn sail(mut self, over: &AtomicBool) -> (String, Account) {
        if self.asynchronous && self.run("SET synchronous_commit = off").is_none() {
            return (self.name, self.account);
        }
        while !over.load(SeqCst) && self.act().is_some() {}
        (self.name, self.account)
    }

    /// One piece of work; None if the session is gone.
    fn act(&mut self) -> Option<()> {
        match self.random.below(9) {
            0..2 => self.write(),
            2 => self.savepoints(),
            3 => self.roll_back(),
            4 => self.exception_block(),
            5..7 => self.read(),
            7 => self.ask_for_too_much(),
            _ => self.prepare(),
        }
    }

    /// Notes what the work may leave, does it, and notes what it has left for sure.
    fn work(&mut self, counts: Counts, durable: bool, work: impl FnOnce(&mut Sailor) -> Option<()>) -> Option<()> {
        self.account.possible += counts;
        if work(self).is_none() {
            // A session that ends in order rolls back what it had begun.
            self.account.possible.rolled_back += counts.rows;
            return None;
        }
        if durable {
            self.account.sure += counts;
        }
        Some(())
    }

    /// Statements that must succeed while the session lives.
    fn run(&mut self, statements: &str) -> Option<()> {
        match self.session.batch_execute(statements) {
            Ok(()) => Some(()),
            Err(error) => expect_end(&error, statements),
        }
    }

    /// The statement that writes this client's next row.
    fn insert(&mut self) -> String {
        self.next += 1;
        format!("INSERT INTO app.tally (client, sequence) VALUES ('{}', {})", self.name, self.next)
    }

    fn write(&mut self) -> Option<()> {
        let durable = !self.asynchronous;
        self.work(Counts { rows: 1, ..Counts::default() }, durable, |own| {
            let insert = own.insert();
            own.run(&insert)
        })
    }

    /// Kept and undone savepoints in one transaction, which also reads.
    fn savepoints(&mut self) -> Option<()> {
        let counts = Counts { rows: 3, rolled_back: 1, reads: 1, ..Counts::default() };
        let durable = !self.asynchronous;
        self.work(counts, durable, |own| {
            let [kept, undone, nested, last] = [own.insert(), own.insert(), own.insert(), own.insert()];
            own.run(&format!("BEGIN; {kept}; SAVEPOINT a; {undone}; ROLLBACK TO a; SELECT count(*) FROM app.student"))?;
            own.run(&format!("SAVEPOINT b; {nested}; RELEASE b"))?;
            own.run(&format!("{last}; COMMIT"))
        })
    }

    fn roll_back(&mut self) -> Option<()> {
        self.work(Counts { rolled_back: 2, ..Counts::default() }, true, |own| {
            let [first, second] = [own.insert(), own.insert()];
            own.run(&format!("BEGIN; {first}"))?;
            own.run(&second)?;
            own.run("ROLLBACK")
        })
    }

    /// A block that swallows a unique violation, and a nested one that undoes a row.
    fn exception_block(&mut self) -> Option<()> {
        let counts = Counts { rows: 2, rolled_back: 1, failures: 1, ..Counts::default() };
        let durable = !self.asynchronous;
        self.work(counts, durable, |own| {
            let [kept, undone, last] = [own.insert(), own.insert(), own.insert()];
            own.run(&format!(
                "DO $$ BEGIN
                    {kept};
                    BEGIN {kept}; EXCEPTION WHEN unique_violation THEN NULL; END;
                    BEGIN {undone}; RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END;
                    {last};
                END $$"
            ))
        })
    }

    fn read(&mut self) -> Option<()> {
        self.work(Counts { reads: 1, ..Counts::default() }, true, |own| {
            let id = own.random.below(200) as i32 + 1;
            match own.session.query("SELECT name FROM app.student WHERE id = $1", &[&id]) {
                Ok(_) => Some(()),
                Err(error) => expect_end(&error, "SELECT"),
            }
        })
    }

    /// What no operation covers: the client is told so, or a block swallows it.
    fn ask_for_too_much(&mut self) -> Option<()> {
        let bulk = "UPDATE app.student SET note = 'moved' WHERE id <= 60";
        let statement = match self.random.below(3) {
            0 => bulk.to_owned(),
            1 => "TRUNCATE app.student".to_owned(),
            _ => format!("DO $$ BEGIN {bulk}; EXCEPTION WHEN insufficient_privilege THEN NULL; END $$"),
        };
        self.work(Counts { denials: 1, ..Counts::default() }, true, |own| {
            match own.session.batch_execute(&statement) {
                Ok(()) => assert!(statement.starts_with("DO"), "{statement} was not refused"),
                Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => (),
                Err(error) => expect_end(&error, &statement)?,
            }
            Some(())
        })
    }

    /// Two phases; now and then the second is left to whoever comes after the fault.
    fn prepare(&mut self) -> Option<()> {
        let gid = format!("{}-{}", self.name, self.next);
        self.work(Counts { prepared: 1, ..Counts::default() }, true, |own| {
            let [first, second] = [own.insert(), own.insert()];
            // Prepared is not committed: whoever decides later may find the rows, or none.
            own.account.possible.rows += 2;
            let done = own.run(&format!("BEGIN; {first}; {second}; PREPARE TRANSACTION '{gid}'"));
            if done.is_none() {
                own.account.possible.rolled_back += 2;
            }
            done
        })?;
        if self.in_doubt < IN_DOUBT && self.random.below(4) == 0 {
            self.in_doubt += 1;
            return Some(());
        }
        let (decision, rows) = if self.random.below(3) == 0 { ("ROLLBACK", 0) } else { ("COMMIT", 2) };
        self.run(&format!("{decision} PREPARED '{gid}'"))?;
        if !self.asynchronous {
            self.account.sure.rows += rows;
        }
        Some(())
    }
}

/// The session is over, and for no other reason than that the server is.
fn expect_end(error: &postgres::Error, statement: &str) -> Option<()> {
    // A leader may notice that its workers are gone before it notices that the server is.
    let ends = |error: &DbError| ENDS.contains(error.code()) || error.message() == "lost connection to parallel worker";
    assert!(error.as_db_error().is_none_or(ends), "{statement}: {error:?}");
    None
}
