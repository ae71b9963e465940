//! A16: the tables of the audit trail are altered while the library is not loaded. Each alteration has its verdict, and a
//! WARNING that says what differs; of what holds a record the first bad id is told.

use std::sync::{Arc, Mutex};

use postgres::Client;

use crate::retention::school_with_segments;
use crate::school::{HOME, School, ask};
use crate::trail::{Verdict, load, unload, verdict};

tests! {
    a16_every_alteration_of_the_audit_tables_is_found,
    an_altered_journal_crashes_nobody_and_loses_nothing,
}

/// An intruder, and what is said to him.
struct Intruder {
    session: Client,
    said: Arc<Mutex<Vec<String>>>,
}

impl Intruder {
    fn at(school: &School) -> Intruder {
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = said.clone();
        let mut config = school.config("postgres", HOME);
        config.notice_callback(move |notice| {
            let detail = notice.detail().unwrap_or_default();
            heard.lock().expect("heard").push(format!("{}: {detail}", notice.severity()));
        });
        Intruder { session: config.connect(postgres::NoTls).expect("session"), said }
    }

    /// Alters something, verifies, and undoes it: the verdict and the warnings.
    #[track_caller]
    fn after(&mut self, sql: &str, call: &str) -> (Verdict, String) {
        self.session.batch_execute("BEGIN").expect("begin");
        self.session.batch_execute(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        self.said.lock().expect("said").clear();
        let verdict = verdict(&mut self.session, call);
        self.session.batch_execute("ROLLBACK").expect("rollback");
        (verdict, self.said.lock().expect("said").join("\n"))
    }

    #[track_caller]
    fn found(&mut self, sql: &str, kind: &str, first_bad_id: Option<i64>, told: &str) {
        for call in ["verify_chain()", "verify_chain(to_id => 20)", "verify_new()"] {
            let (verdict, said) = self.after(sql, call);
            assert!(!verdict.ok && verdict.anchored_to.is_none(), "{sql}: {verdict:?}");
            assert!(said.starts_with("WARNING: ") && said.contains(told), "{sql}: {said:?} does not say {told}");
            // What the chain itself contradicts is named by the record that does.
            if kind == "altered_table" && verdict.kind == "catalog" {
                assert!(verdict.first_bad_id.is_some(), "{call} after {sql}: {said}");
                continue;
            }
            if kind == "altered_table" {
                assert_eq!(verdict.kind, kind, "{call} after {sql}: {said}");
            }
            if call == "verify_chain()" {
                assert_eq!((verdict.kind.as_str(), verdict.first_bad_id), (kind, first_bad_id), "{sql}: {said}");
            }
        }
    }
}

/// What no record shows: statement, and what is said of it.
const SHAPES: [(&str, &str); 18] = [
    ("ALTER TABLE steward.chain ADD COLUMN note text", "steward.chain_1 has: column 5 note text"),
    ("ALTER TABLE steward.chain_2 ADD COLUMN note text DEFAULT 'x'", "steward.chain_2 has: default note 'x'::text"),
    (
        "ALTER TABLE steward.journal_2 ALTER COLUMN batch TYPE text USING encode(batch, 'hex')",
        "steward.journal_2 lacks: column 1 batch bytea",
    ),
    ("ALTER TABLE steward.chain RENAME hash TO digest", "steward.chain has: column 4 digest bytea"),
    ("ALTER TABLE steward.segment ALTER closed_xid TYPE text", "steward.segment has: column 8 closed_xid text"),
    ("ALTER TABLE steward.ledger ALTER head TYPE text COLLATE \"C\"", "steward.ledger has: column 7 head text COLLATE"),
    ("ALTER TABLE steward.chain ALTER record DROP NOT NULL", "steward.chain_2 lacks: not null record"),
    (
        "ALTER TABLE steward.chain DROP CONSTRAINT chain_hash_check",
        "steward.chain lacks: constraint CHECK ((octet_length(hash) = 32))",
    ),
    (
        "ALTER TABLE steward.definition DROP CONSTRAINT definition_pkey",
        "steward.definition lacks: constraint PRIMARY KEY (id)",
    ),
    ("DROP INDEX steward.chain_2_order", "steward.chain_2 lacks: index CREATE INDEX chain_N_order"),
    (
        "CREATE TRIGGER late BEFORE INSERT ON steward.journal_1 FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "steward.journal_1 has: trigger CREATE TRIGGER late",
    ),
    (
        "CREATE RULE gone AS ON DELETE TO steward.segment DO INSTEAD NOTHING",
        "steward.segment has: rule CREATE RULE gone",
    ),
    (
        "CREATE POLICY anybody ON steward.chain_1; ALTER TABLE steward.chain_1 ENABLE ROW LEVEL SECURITY",
        "steward.chain_1 has: policy anybody",
    ),
    ("CREATE TABLE app.heir () INHERITS (steward.journal_0)", "steward.journal_0 has: is inherited by app.heir"),
    (
        "ALTER TABLE steward.chain_1 DROP CONSTRAINT IF EXISTS bounds, ADD CONSTRAINT bounds CHECK (id BETWEEN 1 AND 1000) NOT VALID",
        "steward.chain_1 has the bounds CHECK (((id >= 1) AND (id <= 1000)))",
    ),
    (
        "CREATE TABLE app.empty () INHERITS (steward.chain)",
        "app.empty inherits from steward.chain and is none of its segments",
    ),
    (
        "CREATE TABLE steward.chain_99 () INHERITS (steward.chain)",
        "steward.chain has chain_99, of which steward.segment knows nothing",
    ),
    (
        "CREATE EXTENSION file_fdw; CREATE SERVER s FOREIGN DATA WRAPPER file_fdw;
      CREATE FOREIGN TABLE app.f () INHERITS (steward.chain) SERVER s OPTIONS (filename '/dev/null')",
        "app.f inherits from steward.chain",
    ),
];

fn a16_every_alteration_of_the_audit_tables_is_found() {
    let mut school = school_with_segments();
    unload(&mut school);
    let mut intruder = Intruder::at(&school);
    let none = ["", "SET quote_all_identifiers = on; SET DateStyle = 'German'; SET bytea_output = 'escape'"];
    for nothing in none {
        let (verdict, said) = intruder.after(nothing, "verify_chain()");
        assert!(verdict.ok && verdict.kind == "not_anchored" && said.is_empty(), "{nothing}: {verdict:?} {said}");
    }
    assert!(intruder.after("", "verify_new()").0.ok);
    for (sql, told) in SHAPES {
        intruder.found(sql, "altered_table", None, told);
    }
    let session = &mut intruder.session;
    let end: i64 = ask(session, "SELECT last_id FROM steward.segment WHERE number = 1");
    let second: i64 = ask(session, "SELECT last_id FROM steward.segment WHERE number = 2");
    let open: i64 = ask(session, "SELECT 1 + max(number)::bigint FROM steward.segment");
    assert!(end >= 10 && second > end && open >= 4);

    // A genuine segment taken off: its records are gone. One put in its place, with the same records.
    let detach = "ALTER TABLE steward.chain_2 NO INHERIT steward.chain";
    intruder.found(detach, "missing", Some(end + 1), "steward.chain lacks its segment chain_2");
    let forged = format!(
        "{detach}; ALTER TABLE steward.chain_2 RENAME TO taken; CREATE TABLE steward.chain_2 () INHERITS (steward.chain);
         INSERT INTO steward.chain_2 SELECT * FROM steward.taken"
    );
    intruder.found(&forged, "altered_table", None, "steward.chain_2 lacks: index");
    let stranger =
        format!("{detach}; ALTER TABLE steward.chain_2 SET SCHEMA app; ALTER TABLE app.chain_2 INHERIT steward.chain");
    intruder.found(&stranger, "altered_table", Some(end + 1), "app.chain_2 inherits from steward.chain");
    let edited = format!(
        "{forged}; UPDATE steward.chain_2 SET record = set_byte(record, 11, get_byte(record, 11) # 1) WHERE id = {}",
        end + 2
    );
    intruder.found(&edited, "edited", Some(end + 2), "steward.chain_2 lacks: index");
    // Whole records in a segment that they do not belong to, or in none.
    let moved = format!(
        "ALTER TABLE steward.chain_2 DROP CONSTRAINT IF EXISTS bounds; ALTER TABLE steward.chain_1 DROP CONSTRAINT IF EXISTS bounds;
         INSERT INTO steward.chain_1 SELECT * FROM steward.chain_2 WHERE id = {0}; DELETE FROM steward.chain_2 WHERE id = {0}",
        second - 1
    );
    let told = format!("record {} lies outside its segment", second - 1);
    intruder.found(&moved, "altered_table", Some(second - 1), &told);
    let parent = format!(
        "INSERT INTO steward.chain SELECT * FROM ONLY steward.chain_2 WHERE id = {0}; DELETE FROM ONLY steward.chain_2 WHERE id = {0}",
        end + 3
    );
    intruder.found(&parent, "altered_table", Some(end + 3), &format!("record {} lies outside", end + 3));
    // What the segments are said to hold.
    let shorter = format!("UPDATE steward.segment SET last_id = last_id - 1 WHERE number = {}", open - 1);
    let last: i64 = ask(&mut intruder.session, "SELECT max(last_id) FROM steward.segment");
    intruder.found(&shorter, "altered_table", Some(last), &format!("record {last} lies outside its segment"));
    let gone = format!("DELETE FROM steward.segment WHERE number = {}", open - 1);
    intruder.found(&gone, "altered_table", Some(last + 1), "of which steward.segment knows nothing");
    let overlapping = "UPDATE steward.segment SET first_id = first_id - 1 WHERE number = 2";
    intruder.found(overlapping, "altered_table", None, "steward.segment has number 2 from");
    // All of them at once: not every difference is told, and none is passed over.
    let all = "ALTER TABLE steward.chain ADD a int, ADD b int, ADD c int, ADD d int, ADD e int";
    intruder.found(all, "altered_table", None, "more differences");
}

/// Another column, or a row that is NULL: the sequencer and the backends that write go on, and what they do is chained.
fn an_altered_journal_crashes_nobody_and_loses_nothing() {
    let mut school = School::active();
    unload(&mut school);
    school
        .superuser()
        .batch_execute(
            "ALTER TABLE steward.journal_0 ADD COLUMN note int; ALTER TABLE steward.journal_1 ADD COLUMN note int;
             ALTER TABLE steward.journal_2 ALTER COLUMN batch DROP NOT NULL; INSERT INTO steward.journal_2 VALUES (NULL)",
        )
        .expect("nothing stands in the way");
    load(&mut school);
    let mut teacher = school.session("teacher_wang");
    for id in 1..=20 {
        teacher.execute("UPDATE app.student SET note = 'kept' WHERE id = $1", &[&id]).expect("a row");
    }
    assert_eq!(school.records("operation_type = 'UPDATE' AND user_id = 'teacher_wang' AND result = 'SUCCESS'"), 20);
    assert_eq!(school.records("operation_type = 'DAMAGED JOURNAL'"), 1);
    // Said at once, and for as long as it lasts; nobody has to verify for that.
    let alerts = "SELECT string_agg(concat_ws(' ', level, subject, times), ', ' ORDER BY subject)
        FROM steward.alert WHERE rule = 'journal_altered'";
    assert_eq!(school.ask::<String>(alerts), "major steward.journal_0 1, major steward.journal_1 1");
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM steward._condition WHERE name = 'JOURNAL ALTERED'"), 2);
    assert!(!school.log_tail().contains("terminated by signal"), "{}", school.log_tail());
    assert_eq!(verdict(&mut school.superuser(), "verify_chain()").kind, "altered_table");
}
