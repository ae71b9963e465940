//! The check in which every test of a fault ends: no committed change without its record, no record doubled, no read or
//! denial that its client was told of without a record, the chain verifies, and what is missing is explained by a record.
//!
//! Clients write rows of `app.tally`, each with its client's name, a number of that client's own and the transaction that
//! wrote it. A record holds the transaction too, so rows and records are compared transaction by transaction.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use crate::school::School;

/// A school with the table of tallies under policy, active, with further lines in postgresql.conf.
pub fn school(more: &[&str]) -> School {
    let school = School::with("enforce", more);
    activate(&school);
    school
}

/// Puts the table of tallies under policy and activates it. Any number of rows of it may be written, and the chain has
/// segments small enough for a test to see many.
pub fn activate(school: &School) {
    let tally = "CREATE TABLE app.tally (client text, sequence bigint,
            xact bigint NOT NULL DEFAULT pg_current_xact_id()::text::bigint, PRIMARY KEY (client, sequence));
        GRANT SELECT, INSERT ON app.tally TO teacher_wang;
        SELECT steward.protect('app.tally');
        UPDATE steward.retention_policy SET segment_records = 2000;
        SELECT steward.set_rule('bulk_write', 'critical', '{WRITE}', min_rows => 50,
            except_relations => '^app\\.tally$', note => 'tallies are no data');
        SELECT steward.activate()";
    school.superuser().batch_execute(tally).expect("app.tally");
}

/// What clients did, or what records say of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows of `app.tally` that are committed.
    pub rows: i64,
    /// Rows of `app.tally` that were rolled back.
    pub rolled_back: i64,
    /// Reads of `app.student`.
    pub reads: i64,
    pub denials: i64,
    /// Unique violations.
    pub failures: i64,
    pub prepared: i64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.rows += other.rows;
        self.rolled_back += other.rolled_back;
        self.reads += other.reads;
        self.denials += other.denials;
        self.failures += other.failures;
        self.prepared += other.prepared;
    }
}

impl Counts {
    /// Each number with its name.
    fn named(&self) -> [(&'static str, i64); 6] {
        [
            ("rows", self.rows),
            ("rolled back", self.rolled_back),
            ("reads", self.reads),
            ("denials", self.denials),
            ("failures", self.failures),
            ("prepared", self.prepared),
        ]
    }
}

/// What one client knows: what it was told has happened, and what may have happened (the answer did not come).
#[derive(Clone, Copy, Debug, Default)]
pub struct Account {
    pub sure: Counts,
    pub possible: Counts,
}

/// Rows of `app.tally` against records of their transactions.
const BY_TRANSACTION: &str = "
    WITH stored AS (SELECT xact, count(*) AS rows FROM app.tally GROUP BY xact),
    recorded AS (
        SELECT steward._record_bigint(chain.record, 21) AS xact, sum(audit_log.rows) AS rows
        FROM steward.audit_log JOIN steward.chain USING (id)
        WHERE operation_type = 'INSERT' AND table_name = 'app.tally' AND result = 'SUCCESS' GROUP BY 1
    )
    SELECT coalesce(sum(greatest(coalesce(stored.rows, 0) - coalesce(recorded.rows, 0), 0)), 0)::bigint,
           coalesce(sum(greatest(coalesce(recorded.rows, 0) - coalesce(stored.rows, 0), 0)), 0)::bigint
    FROM stored FULL JOIN recorded USING (xact)";

/// What records and rows say of each client.
const BY_CLIENT: &str = "
    SELECT application_name, (SELECT count(*) FROM app.tally WHERE client = application_name),
        coalesce(sum(rows) FILTER (WHERE operation_type = 'INSERT' AND result = 'ROLLED_BACK'), 0)::bigint,
        coalesce(sum(coalesce(repeats, 1)) FILTER (
            WHERE operation_type = 'SELECT' AND table_name = 'app.student' AND result = 'SUCCESS'), 0)::bigint,
        count(*) FILTER (WHERE result = 'DENIED'),
        count(*) FILTER (WHERE result = 'FAILURE' AND sqlstate = '23505'),
        count(*) FILTER (WHERE operation_type = 'PREPARE TRANSACTION' AND result = 'SUCCESS')
    FROM steward.audit_log WHERE application_name = ANY($1) GROUP BY 1";

/// What only damage, or a want of space, explains.
pub const EXPLANATIONS: &str = "operation_type IN ('LOST', 'TORN SPOOL', 'UNREADABLE', 'COPIED SPOOL', 'FOREIGN SPOOL',
        'HEAD MISMATCH', 'DAMAGED JOURNAL', 'MISSING JOURNAL', 'DAMAGED COUNT', 'POSITIONS ALTERED')";

/// What a check has found: nothing, or it would have panicked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Checked {
    /// Records in the chain.
    pub records: i64,
    pub losses: i64,
    pub duplicates: i64,
}

/// Everything recorded so far is chained, verifies, and agrees with the table transaction by transaction.
#[track_caller]
pub fn check(school: &School) -> Checked {
    school.flush_audit();
    let mut auditor = school.superuser();
    let verdict = auditor.query_one("SELECT ok, kind, checked FROM steward.verify_chain()", &[]).expect("verify_chain");
    assert!(verdict.get::<_, bool>(0), "{}", verdict.get::<_, String>(1));
    let found = auditor.query_one(BY_TRANSACTION, &[]).expect("rows against records");
    let checked = Checked { records: verdict.get(2), losses: found.get(0), duplicates: found.get(1) };
    assert_eq!((checked.losses, checked.duplicates), (0, 0), "rows without record, records without row");
    checked
}

/// As `check`, and the records of each client agree with its account; nothing is missing that would need an explanation.
#[track_caller]
pub fn check_accounts(school: &School, accounts: &BTreeMap<String, Account>) -> Checked {
    let checked = check(school);
    assert_eq!(school.records(EXPLANATIONS), 0, "something is explained that did not happen");
    let clients: Vec<&str> = accounts.keys().map(String::as_str).collect();
    let mut said = BTreeMap::new();
    for row in school.superuser().query(BY_CLIENT, &[&clients]).expect("records of clients") {
        let counts = Counts {
            rows: row.get(1),
            rolled_back: row.get(2),
            reads: row.get(3),
            denials: row.get(4),
            failures: row.get(5),
            prepared: row.get(6),
        };
        said.insert(row.get::<_, String>(0), counts);
    }
    for (client, account) in accounts {
        let counts = said.get(client).copied().unwrap_or_default();
        let bounds = account.sure.named().into_iter().zip(account.possible.named());
        for (((name, least), (_, most)), (_, found)) in bounds.zip(counts.named()) {
            assert!((least..=most).contains(&found), "{client}: {found} {name} on record, {least} to {most} happened");
        }
    }
    checked
}
