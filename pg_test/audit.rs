//! The audit trail inside one server process: lane, journal, chain and the views. What needs restarts is in `cluster`.

use pgrx::prelude::*;

#[pg_schema]
mod tests {
    use crate::audit::lane::Durability::{Buffered, Flushed};
    use crate::audit::{journal, lane, ledger, positions};
    use crate::core::chain::Head;
    use crate::core::frame::{Frames, HEADER_LEN, Header};
    use crate::core::record::{Kind, Outcome, Record};
    use crate::core::tier::Tier;
    use crate::error::answer;
    use crate::{own, shared};
    use pgrx::prelude::*;
    use std::sync::atomic::Ordering::SeqCst;

    fn record(number: i64) -> Record {
        Record {
            user_id: "teacher_wang".into(),
            time: 845_000_000_000_000 + number,
            rows: Some(number),
            ..Record::new(Kind::Statement, "UPDATE")
        }
    }

    /// Begins a chain in this transaction and fills it: record 1 is the genesis record.
    fn chain_of(records: &[Record]) -> Head {
        answer(own::run(|client| {
            let (ledger, genesis) = ledger::start(client)?;
            let mut head = ledger::head(client, &ledger)?;
            let encoded: Vec<_> = [genesis].iter().chain(records).map(Record::encode).collect();
            ledger::append(&ledger, &mut head, &encoded)?;
            positions::renew(client, &ledger.id)?;
            assert!(ledger::current(client)? == Some(ledger), "the chain's ledger is found again");
            Ok(head)
        }))
    }

    fn records(count: i64) -> Vec<Record> {
        (1..=count).map(record).collect()
    }

    fn tamper(sql: &str) {
        answer(own::run(|client| own::execute(client, sql, &[]).map(drop)));
    }

    fn text(sql: &str) -> String {
        Spi::get_one::<String>(sql).expect("the query runs").expect("a value")
    }

    /// ok, kind and first bad id.
    fn verdict(arguments: &str) -> String {
        text(&format!("SELECT concat_ws(' ', ok, kind, first_bad_id) FROM steward.verify_chain({arguments})"))
    }

    fn refused(sql: &str) -> (String, String) {
        let block = "DO $outer$ BEGIN EXECUTE $inner$#$inner$; EXCEPTION WHEN OTHERS THEN
            PERFORM set_config('test.error', SQLSTATE || '|' || SQLERRM, true); END $outer$";
        Spi::run("SELECT set_config('test.error', 'none|none', true)").expect("a setting");
        Spi::run(&block.replace('#', sql)).expect("the block catches");
        let error = text("SELECT current_setting('test.error')");
        let (code, message) = error.split_once('|').expect("two parts");
        (code.into(), message.into())
    }

    #[pg_test]
    fn a_chain_verifies_and_equals_its_own_head() {
        let head = chain_of(&records(5));
        assert_eq!(head.id, 6);
        assert_eq!(verdict(""), "t not_anchored");
        assert_eq!(verdict("anchor => steward.chain_head()"), "t ok");
        assert_eq!(verdict("3, 4"), "t not_anchored");
        assert_eq!(Head::parse(&text("SELECT steward.chain_head()")), Some(head));
    }

    #[pg_test]
    fn nothing_checked_is_not_ok() {
        assert_eq!(verdict(""), "f empty");
        chain_of(&[]);
        assert_eq!(verdict("7"), "f empty");
    }

    #[pg_test]
    fn an_edited_record_is_found() {
        chain_of(&records(9));
        tamper("UPDATE steward.chain SET record = set_byte(record, 5, get_byte(record, 5) # 1) WHERE id = 5");
        assert_eq!(verdict(""), "f edited 5");
        assert_eq!(verdict("6, 9"), "t not_anchored");
    }

    #[pg_test]
    fn a_missing_record_is_found() {
        chain_of(&records(9));
        tamper("DELETE FROM steward.chain WHERE id = 5");
        assert_eq!(verdict(""), "f missing 5");
    }

    #[pg_test]
    fn a_missing_beginning_is_found() {
        chain_of(&records(9));
        tamper("DELETE FROM steward.chain WHERE id <= 3");
        assert_eq!(verdict(""), "f missing 1");
    }

    #[pg_test]
    fn swapped_records_are_found() {
        chain_of(&records(9));
        tamper("UPDATE steward.chain SET id = -id WHERE id IN (5, 6)");
        tamper("UPDATE steward.chain SET id = 11 + id WHERE id < 0");
        assert_eq!(verdict(""), "f reordered 5");
    }

    #[pg_test]
    fn a_cut_tail_is_found_with_the_anchor_only() {
        chain_of(&records(9));
        let anchor = text("SELECT steward.chain_head()");
        tamper("DELETE FROM steward.chain WHERE id > 8");
        assert_eq!(verdict(""), "t not_anchored");
        assert_eq!(verdict(&format!("anchor => '{anchor}'")), "f truncated 9");
    }

    #[pg_test]
    fn a_record_that_no_format_knows_is_not_ok() {
        answer(own::run(|client| {
            let (ledger, genesis) = ledger::start(client)?;
            let mut head = ledger::head(client, &ledger)?;
            ledger::append(&ledger, &mut head, &[genesis.encode(), b"no record".to_vec()])
        }));
        assert_eq!(verdict(""), "f unknown_format 2");
        assert_eq!(text("SELECT coalesce(operation_type, 'null') FROM steward.audit_log WHERE id = 2"), "null");
    }

    #[pg_test]
    fn a_wrong_anchor_or_range_is_a_bad_argument() {
        chain_of(&records(2));
        let line = text("SELECT steward.chain_head()");
        for arguments in ["anchor => ''", "anchor => '2'", "0", "3, 2", &format!("1, 2, '{line}'")] {
            let (code, message) = refused(&format!("SELECT steward.verify_chain({arguments})"));
            assert_eq!(code, "22023", "{arguments}: {message}");
        }
    }

    #[pg_test]
    fn without_a_chain_there_is_no_head_and_nothing_to_flush() {
        assert_eq!(refused("SELECT steward.chain_head()").0, "55000");
        assert_eq!(refused("SELECT steward.flush_audit('0 s')").0, "55000");
    }

    #[pg_test]
    fn the_views_show_the_hashed_bytes() {
        let full = Record {
            effective_user: Some("app".into()),
            person: Some("王芳".into()),
            client_ip: Some("10.1.2.3".into()),
            application_name: Some("psql".into()),
            relations: vec!["app.student".into(), "app.card".into()],
            tier: Some(Tier::Critical),
            rule: Some("bulk_write".into()),
            op_no: Some("OP-20261121-0001".into()),
            outcome: Outcome::Denied,
            sqlstate: Some("42501".into()),
            repeats: Some(3),
            duration_us: Some(250),
            statement: Some("UPDATE app.student SET note = $1".into()),
            details: Some(r#"{"counted":50}"#.into()),
            ..record(50)
        };
        chain_of(&[full]);
        Spi::run("SET LOCAL TimeZone = 'Asia/Shanghai'").expect("a time zone");
        let shown =
            "SELECT concat_ws('|', operation_time, user_id, effective_user, person, client_ip, application_name,
            operation_type, table_name, relations, tier, rule, op_no, result, sqlstate, rows, repeats, duration_us,
            statement, details) FROM steward.audit_log WHERE id = 2";
        assert_eq!(
            text(shown),
            "2026-10-11 10:13:20.00005+08|teacher_wang|app|王芳|10.1.2.3|psql|UPDATE|app.student|{app.student,app.card}|\
             critical|bulk_write|OP-20261121-0001|DENIED|42501|50|3|250|UPDATE app.student SET note = $1|{\"counted\":50}"
        );
        let manual = "SELECT concat_ws('|', user_id, operation_type, table_name, client_ip, result,
            details::json ->> 'outcome', details::json -> 'details' ->> 'counted', length(prev_hash)) FROM steward.audit_logs WHERE id = 2";
        assert_eq!(text(manual), "teacher_wang|UPDATE|app.student|10.1.2.3|FAILURE|DENIED|50|64");
    }

    #[pg_test]
    fn an_address_that_is_none_does_not_break_the_view() {
        let from = |address: &str| Record { client_ip: Some(address.into()), ..record(1) };
        chain_of(&[from("fe80::1%eth0"), from("client.example")]);
        let shown = text(
            "SELECT string_agg(coalesce(host(client_ip), 'null'), ' ' ORDER BY id) FROM steward.audit_log WHERE id > 1",
        );
        assert_eq!(shown, "fe80::1 null");
    }

    #[pg_test]
    fn the_views_have_exactly_the_columns_of_the_contract() {
        let columns = |view: &str| {
            text(&format!(
                "SELECT string_agg(attname || ' ' || format_type(atttypid, NULL), ', ' ORDER BY attnum)
                 FROM pg_attribute WHERE attrelid = 'steward.{view}'::regclass AND attnum > 0"
            ))
        };
        assert_eq!(
            columns("audit_log"),
            "id bigint, operation_time timestamp with time zone, user_id text, effective_user text, person text, \
             client_ip inet, application_name text, operation_type text, table_name text, relations text[], \
             tier steward.tier, rule text, op_no text, result text, sqlstate text, rows bigint, repeats bigint, \
             duration_us bigint, statement text, details text, prev_hash bytea, hash bytea"
        );
        assert_eq!(
            columns("audit_logs"),
            "id bigint, user_id text, operation_type text, table_name text, operation_time timestamp with time zone, \
             client_ip inet, result text, details text, prev_hash text"
        );
    }

    #[pg_test]
    fn only_auditors_read_the_trail() {
        Spi::run("CREATE ROLE nobody_special").expect("a role");
        let readable = "SELECT coalesce(string_agg(relname, ' '), 'none') FROM pg_class WHERE relnamespace = 'steward'::regnamespace
            AND relname ~ '^(audit_|chain|journal_|spool_offset|ledger)' AND relkind IN ('r', 'v')
            AND has_table_privilege('nobody_special', oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')";
        assert_eq!(text(readable), "none");
    }

    /// The frames of this backend's current lane file.
    fn own_frames() -> Vec<(u64, Vec<u8>)> {
        let shared = shared::get().expect("preloaded");
        // Safe: a plain global.
        let slot = unsafe { pg_sys::MyBackendId } as u32;
        let generation = shared.lane(slot).expect("a slot").generation.load(SeqCst);
        let path = lane::directory(&shared.boot_id).join(lane::file_name(slot, generation));
        let bytes = std::fs::read(path).expect("the lane file");
        let header = Header::decode(&bytes).unwrap_or_else(|error| panic!("{error}"));
        // Safe: reads control data.
        assert_eq!(header.system_identifier, unsafe { pg_sys::GetSystemIdentifier() });
        assert_eq!((header.slot, header.generation), (slot, generation));
        Frames::new(&bytes[HEADER_LEN..], HEADER_LEN as u64)
            .map(|frame| frame.map(|frame| (frame.counter, frame.payload.to_vec())))
            .collect::<Result<_, _>>()
            .expect("whole frames only")
    }

    #[pg_test]
    fn a_lane_keeps_what_is_appended_in_order() {
        let bytes: Vec<_> = records(3).iter().map(Record::encode).collect();
        lane::append(&[&bytes[0], &bytes[1]], Buffered).expect("buffered");
        lane::append(&[&bytes[2]], Flushed).expect("flushed");
        let frames = own_frames();
        let last = &frames[frames.len() - 3..];
        assert_eq!(last.iter().map(|(_, payload)| payload).collect::<Vec<_>>(), bytes.iter().collect::<Vec<_>>());
        assert!(frames.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1), "counters have no gap");
    }

    #[pg_test]
    fn what_cannot_be_appended_is_an_error_and_is_counted() {
        let shared = shared::get().expect("preloaded");
        // Safe: a plain global.
        let lane = shared.lane(unsafe { pg_sys::MyBackendId } as u32).expect("a slot");
        let (lost, length, counter) =
            (lane.lost.load(SeqCst), lane.length.load(SeqCst), lane.next_counter.load(SeqCst));
        let too_long = vec![0; crate::core::frame::MAX_PAYLOAD + 1];
        assert!(lane::append(&[b"good", &too_long], Buffered).is_err());
        assert_eq!(lane.lost.load(SeqCst), lost + 2, "all or none");
        assert_eq!((lane.length.load(SeqCst), lane.next_counter.load(SeqCst)), (length, counter));
        lane.lost.store(lost, SeqCst);
    }

    /// Everything that is in the journals, this transaction's rows included.
    fn take() -> journal::Taken {
        // Safe: inside a transaction; makes its own rows visible to the scan.
        unsafe {
            pg_sys::CommandCounterIncrement();
            pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        }
        let taken = journal::take(usize::MAX, |_, name| name.into());
        // Safe: pushed above.
        unsafe { pg_sys::PopActiveSnapshot() };
        taken
    }

    /// Empties the journals and keeps other sessions, which may be committing, out of them until the test has ended.
    fn empty_journals() {
        let lock = "LOCK TABLE steward.journal_0, steward.journal_1, steward.journal_2 IN EXCLUSIVE MODE";
        answer(own::run(|client| own::execute(client, lock, &[]).map(drop)));
        take();
    }

    #[pg_test]
    fn the_journal_gives_back_what_was_written_once_and_in_order() {
        assert!(journal::exists());
        empty_journals();
        let mut written: Vec<_> = records(1000).iter().map(Record::encode).collect();
        written.push(vec![7; 300 << 10]);
        written.extend(records(500).iter().map(Record::encode));
        let slices: Vec<&[u8]> = written.iter().map(Vec::as_slice).collect();
        journal::write(&slices[..700]);
        journal::write(&slices[700..]);
        let taken = take();
        assert!(taken.records == written, "{} of {} records, in order", taken.records.len(), written.len());
        assert!(taken.damaged.is_empty() && !taken.more);
        assert!(take().records.is_empty());
    }

    #[pg_test]
    fn a_row_of_the_journal_that_is_no_batch_is_handed_on() {
        empty_journals();
        tamper("INSERT INTO steward.journal_1 VALUES ('\\x00'), ('\\x0000000000000001000000000000ffff00')");
        let taken = take();
        assert_eq!((taken.records.len(), taken.damaged.len()), (0, 2));
    }
}
