//! The audit trail as an auditor and an intruder see it: a school with history, its verdicts, and tampering with it.
//!
//! Nobody can touch the chain while the library is loaded, so the intruder is a superuser who took it out of
//! postgresql.conf. Verification works all the same there, so an attack is tried in a transaction that is rolled back:
//! many attacks share one server, one after the other.

use std::sync::{Mutex, MutexGuard, PoisonError};

use postgres::Client;

use crate::school::{School, ask};

/// The answer of `verify_chain` and `verify_new`.
#[derive(Debug, PartialEq)]
pub struct Verdict {
    pub ok: bool,
    pub checked: i64,
    pub kind: String,
    pub first_bad_id: Option<i64>,
    pub anchored_to: Option<String>,
}

/// Asks one of the two functions, with its arguments.
#[track_caller]
pub fn verdict(session: &mut Client, call: &str) -> Verdict {
    let query = format!("SELECT ok, checked, kind, first_bad_id, anchored_to FROM steward.{call}");
    let row = session.query_one(&query, &[]).unwrap_or_else(|error| panic!("{call}: {error:?}"));
    Verdict { ok: row.get(0), checked: row.get(1), kind: row.get(2), first_bad_id: row.get(3), anchored_to: row.get(4) }
}

#[track_caller]
pub fn verify(school: &School, arguments: &str) -> Verdict {
    verdict(&mut school.superuser(), &format!("verify_chain({arguments})"))
}

/// The call's argument for an anchor.
pub fn anchor(line: &str) -> String {
    format!("anchor => $a${line}$a$")
}

/// A school whose chain holds at least sixty records of work.
pub fn school_with_history() -> School {
    let school = School::active();
    work(&school, 30);
    assert!(school.ask::<i64>("SELECT max(id) FROM steward.chain") > 60);
    school
}

/// Statements of a teacher, two records each, all of them chained.
pub fn work(school: &School, count: i32) {
    let mut teacher = school.session("teacher_wang");
    for id in 1..=count {
        teacher.execute("UPDATE app.student SET note = 'seen' WHERE id = $1", &[&id]).expect("update");
        teacher.query("SELECT name FROM app.student WHERE id = $1", &[&id]).expect("select");
    }
    school.flush_audit();
}

/// Restarts the server without the library.
pub fn unload(school: &mut School) {
    school.stop();
    school.configure(&["shared_preload_libraries = ''"]);
    school.start();
}

/// Restarts the server with the library.
pub fn load(school: &mut School) {
    school.stop();
    school.configure(&["shared_preload_libraries = 'pg_steward'"]);
    school.start();
}

/// Runs SQL on the cluster as a superuser would who took the library out of postgresql.conf.
pub fn tamper(school: &mut School, sql: &str) {
    unload(school);
    intruder(school).batch_execute(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    load(school);
}

/// What an intruder brings along. `unguard` takes away all constraints of the chain, `link` is the hash of a record in
/// its place, `reseal` recomputes all links from an id on, `append` adds a record that is linked as it should be, `push`
/// and `pull` move all ids from one on by one, `other` is the record a microsecond earlier or later, and `cover_up` makes the
/// tables beside the chain agree with it.
const TOOLS: &str = r"
    SET session_replication_role = 'replica';
    CREATE FUNCTION pg_temp.unguard() RETURNS void LANGUAGE plpgsql AS $$
    DECLARE guard record; BEGIN
        FOR guard IN SELECT conrelid::regclass AS chain, conname FROM pg_constraint WHERE conislocal AND conrelid IN
            (SELECT 'steward.chain'::regclass UNION SELECT inhrelid FROM pg_inherits WHERE inhparent = 'steward.chain'::regclass)
            ORDER BY contype LOOP
            EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', guard.chain, guard.conname);
        END LOOP;
        ALTER TABLE steward.chain ALTER id DROP NOT NULL, ALTER record DROP NOT NULL,
            ALTER prev_hash DROP NOT NULL, ALTER hash DROP NOT NULL;
    END $$;
    CREATE FUNCTION pg_temp.link(id bigint, prev bytea, record bytea) RETURNS bytea LANGUAGE sql AS $$
        SELECT sha256('\x02'::bytea || uuid_send((SELECT l.ledger FROM steward.ledger AS l)) || int8send(id) || prev
            || sha256('\x00'::bytea || record)) $$;
    CREATE FUNCTION pg_temp.reseal(first bigint) RETURNS void LANGUAGE plpgsql AS $$
    DECLARE this bigint; before bytea := (SELECT hash FROM steward.chain WHERE id = first - 1); BEGIN
        FOR this IN SELECT id FROM steward.chain WHERE id >= first ORDER BY id LOOP
            UPDATE steward.chain SET prev_hash = coalesce(before, prev_hash),
                hash = pg_temp.link(id, coalesce(before, prev_hash), record) WHERE id = this RETURNING hash INTO before;
        END LOOP;
    END $$;
    CREATE FUNCTION pg_temp.append(record bytea) RETURNS void LANGUAGE sql AS $$
        INSERT INTO steward.chain_1 SELECT id + 1, record, hash, pg_temp.link(id + 1, hash, record)
        FROM (SELECT id, hash FROM steward.chain ORDER BY id DESC LIMIT 1) AS head $$;
    CREATE FUNCTION pg_temp.push(first bigint) RETURNS void LANGUAGE sql AS $$
        UPDATE steward.chain SET id = -id - 1 WHERE id >= first; UPDATE steward.chain SET id = -id WHERE id < 0 $$;
    CREATE FUNCTION pg_temp.pull(first bigint) RETURNS void LANGUAGE sql AS $$
        UPDATE steward.chain SET id = -id + 1 WHERE id >= first; UPDATE steward.chain SET id = -id WHERE id < 0 $$;
    CREATE FUNCTION pg_temp.bytes(bits bit) RETURNS bytea LANGUAGE sql AS $$
        SELECT string_agg(decode(lpad(to_hex(substring(bits FROM 8 * i + 1 FOR 8)::int), 2, '0'), 'hex'), '' ORDER BY i)
        FROM generate_series(0, length(bits) / 8 - 1) AS i $$;
    CREATE FUNCTION pg_temp.cover_up() RETURNS void LANGUAGE sql AS $$
        DELETE FROM steward.definition;
        INSERT INTO steward.definition SELECT DISTINCT id FROM steward.chain
            WHERE steward._record_text(record, 1) = 'definition';
        UPDATE steward.ledger SET head = NULL;
        UPDATE steward.installation SET positions = (SELECT string_agg(pg_temp.bytes(digest), '' ORDER BY place)
            FROM (SELECT place, bit_xor(('x' || encode(row_digest, 'hex'))::bit(256)) AS digest
            FROM (SELECT generate_series(1, 5), decode(repeat('00', 32), 'hex')
                UNION ALL SELECT 1, sha256(record_send(r)) FROM steward.journal_taken r
                UNION ALL SELECT 2, sha256(record_send(r)) FROM steward.spool_offset r
                UNION ALL SELECT 3, sha256(record_send(r)) FROM steward.ledger r
                UNION ALL SELECT 4, sha256(record_send(ROW(number, closed_at, closed_xid, purge_id,
                    CASE WHEN purge_id IS NOT NULL THEN purged_at END))) FROM steward.segment
                UNION ALL SELECT 5, sha256(timestamptz_send(installed_at)) FROM steward.installation) AS r (place, row_digest)
            GROUP BY place) AS digests) $$;
    -- Another time, or, where the time of sealing would tell, another name.
    CREATE FUNCTION pg_temp.other(record bytea) RETURNS bytea LANGUAGE sql AS $$
        SELECT set_byte(record, byte, get_byte(record, byte) # 1)
        FROM (SELECT CASE WHEN substr(record, 15, 10) = 'pg_steward' THEN 14 ELSE 11 END AS byte) b $$;
";

/// A session of the intruder, where the library is not loaded.
pub fn intruder(school: &School) -> Client {
    let mut session = school.superuser();
    // The first segment may have been archived; then the tools that need it are not used.
    session.batch_execute("SET check_function_bodies = off").expect("settings");
    session.batch_execute(TOOLS).expect("the intruder's tools");
    session
}

/// The server that attacks share. Nothing that is tried there stays.
static SHARED: Mutex<Option<School>> = Mutex::new(None);

/// An intruder at the shared server.
pub struct Trail {
    session: Client,
    /// The head when the chain was whole.
    pub anchor: String,
    /// Its id.
    pub last: i64,
    _alone: MutexGuard<'static, Option<School>>,
}

impl Trail {
    #[track_caller]
    pub fn new() -> Trail {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let school = shared.get_or_insert_with(|| {
            let mut school = school_with_history();
            unload(&mut school);
            school
        });
        let mut session = intruder(school);
        let anchor: String = ask(&mut session, "SELECT steward.chain_head()");
        let last = ask(&mut session, "SELECT max(id) FROM steward.chain");
        let verdict = verdict(&mut session, &format!("verify_chain({})", self::anchor(&anchor)));
        assert!(verdict.ok && verdict.checked == last, "{verdict:?}");
        Trail { session, anchor, last, _alone: shared }
    }

    /// Does something to the chain, asks, and undoes it.
    #[track_caller]
    pub fn after<T>(&mut self, sql: &str, ask: impl FnOnce(&mut Client) -> T) -> T {
        self.session.batch_execute("BEGIN").expect("begin");
        self.session.batch_execute(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let answer = ask(&mut self.session);
        self.session.batch_execute("ROLLBACK").expect("rollback");
        answer
    }

    /// The verdicts after this SQL: without an anchor, and with the one from before.
    #[track_caller]
    pub fn verdicts(&mut self, sql: &str) -> [Verdict; 2] {
        let anchor = anchor(&self.anchor);
        self.after(sql, |session| {
            [verdict(session, "verify_chain()"), verdict(session, &format!("verify_chain({anchor})"))]
        })
    }

    /// After this SQL the chain is not ok any more: the kind of damage and the first bad id, anchor or not.
    #[track_caller]
    pub fn found(&mut self, sql: &str, kind: &str, first_bad_id: i64) {
        for verdict in self.verdicts(sql) {
            assert!(!verdict.ok && verdict.anchored_to.is_none(), "{sql}: {verdict:?}");
            assert_eq!((verdict.kind.as_str(), verdict.first_bad_id), (kind, Some(first_bad_id)), "{sql}: {verdict:?}");
        }
    }

    /// After this SQL, and with all traces covered up, nothing is wrong to be seen in the database; the anchor tells this.
    #[track_caller]
    pub fn found_by_anchor_only(&mut self, sql: &str, kind: &str, first_bad_id: i64) {
        let [without, with] = self.verdicts(&format!("{sql}; SELECT pg_temp.cover_up()"));
        assert!(without.ok && without.kind == "not_anchored" && without.first_bad_id.is_none(), "{sql}: {without:?}");
        assert!(!with.ok && with.anchored_to.is_none(), "{sql}: {with:?}");
        assert_eq!((with.kind.as_str(), with.first_bad_id), (kind, Some(first_bad_id)), "{sql}: {with:?}");
    }
}

/// Deletes the shared server; statics are not dropped.
pub fn remove_shared() {
    drop(SHARED.lock().unwrap_or_else(PoisonError::into_inner).take());
}
