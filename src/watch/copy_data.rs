//! COPY FROM STDIN of an armed session: its data is bound to a digest. The server gives no hook the data, so this runs the
//! command as the server's DoCopy does, with a source of data that reads the client's messages and hashes them. What does
//! not have the digest is undone with the statement.
//!
//! Frames are plain and hold nothing to drop, so that errors of the server pass untouched.

use super::armed::is_binary;
use crate::backend::backend_local;
use crate::core::script::hex;
use crate::error::Fault;
use crate::operation::{armed, denied};
use pgrx::pg_sys::{self, NodeTag};
use sha2::{Digest, Sha256};
use std::cell::{Cell, RefCell};
use std::ffi::{c_char, c_int, c_void};

/// Longest message with data, and longest other one, as the server has them.
const DATA_MESSAGE: c_int = 0x3fff_ffff - 1;
const OTHER_MESSAGE: c_int = 10_000;

/// utils/rls.h.
const RLS_ENABLED: c_int = 2;

/// libpq/libpq.h: what the backend says to its client with.
#[repr(C)]
struct CommMethods {
    reset: unsafe extern "C-unwind" fn(),
    flush: unsafe extern "C-unwind" fn() -> c_int,
}

#[rustfmt::skip]
#[allow(non_snake_case)] // the server's own names
unsafe extern "C-unwind" {
    static PqCommMethods: *const CommMethods;
    fn pq_startmsgread();
    fn pq_getbyte() -> c_int;
    fn pq_getmessage(message: pg_sys::StringInfo, longest: c_int) -> c_int;
    fn pq_beginmessage(message: pg_sys::StringInfo, kind: c_char);
    fn pq_endmessage(message: pg_sys::StringInfo);
    fn initStringInfo(message: pg_sys::StringInfo);
    fn appendBinaryStringInfo(message: pg_sys::StringInfo, bytes: *const c_char, length: c_int);
    fn make_parsestate(parent: *mut pg_sys::ParseState) -> *mut pg_sys::ParseState;
    fn free_parsestate(state: *mut pg_sys::ParseState);
    fn table_openrv(name: *const pg_sys::RangeVar, lock: pg_sys::LOCKMODE) -> pg_sys::Relation;
    fn table_close(relation: pg_sys::Relation, lock: pg_sys::LOCKMODE);
    fn addRangeTableEntryForRelation(state: *mut pg_sys::ParseState, relation: pg_sys::Relation, lock: c_int,
        alias: *mut pg_sys::Alias, inherits: bool, in_from: bool) -> *mut pg_sys::ParseNamespaceItem;
    fn CopyGetAttnums(shape: pg_sys::TupleDesc, relation: pg_sys::Relation, names: *mut pg_sys::List) -> *mut pg_sys::List;
    fn bms_add_member(set: *mut pg_sys::Bitmapset, member: c_int) -> *mut pg_sys::Bitmapset;
    fn ExecCheckRTPerms(entries: *mut pg_sys::List, raise: bool) -> bool;
    fn check_enable_rls(relation: pg_sys::Oid, user: pg_sys::Oid, no_error: bool) -> c_int;
    fn PreventCommandIfReadOnly(name: *const c_char);
    fn BeginCopyFrom(state: *mut pg_sys::ParseState, relation: pg_sys::Relation, condition: *mut pg_sys::Node,
        file: *const c_char, program: bool, source: pg_sys::copy_data_source_cb, columns: *mut pg_sys::List,
        options: *mut pg_sys::List) -> pg_sys::CopyFromState;
    fn CopyFrom(state: pg_sys::CopyFromState) -> u64;
    fn EndCopyFrom(state: pg_sys::CopyFromState);
}

/// The message being taken apart; its text belongs to the memory context of the statement.
static mut MESSAGE: pg_sys::StringInfoData =
    pg_sys::StringInfoData { data: std::ptr::null_mut(), len: 0, maxlen: 0, cursor: 0 };

backend_local! {
    static HASH: RefCell<Option<Sha256>> = const { RefCell::new(None) };
    static OVER: Cell<bool> = const { Cell::new(false) };
}

/// Whether the armed command takes its data from the client.
pub unsafe fn is_bound(node: *mut pg_sys::Node) -> bool {
    // Safe: cast after the tag.
    unsafe {
        (*node).type_ == NodeTag::T_CopyStmt && {
            let copy = &*node.cast::<pg_sys::CopyStmt>();
            copy.is_from && copy.filename.is_null() && !copy.is_program
        }
    }
}

/// Runs it: the steps of DoCopy in their order, for a table and data from the client.
pub unsafe fn load(
    copy: *mut pg_sys::CopyStmt,
    text: *const c_char,
    environment: *mut pg_sys::QueryEnvironment,
    completion: *mut pg_sys::QueryCompletion,
) {
    // Safe: a complete COPY FROM of the parser, which names a table.
    unsafe {
        let lock = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;
        let state = make_parsestate(std::ptr::null_mut());
        (*state).p_sourcetext = text;
        (*state).p_queryEnv = environment;
        let relation = table_openrv((*copy).relation, lock);
        let item = addRangeTableEntryForRelation(state, relation, lock, std::ptr::null_mut(), false, false);
        let entry = (*item).p_rte;
        (*entry).requiredPerms = pg_sys::ACL_INSERT as pg_sys::AclMode;
        let columns = CopyGetAttnums((*relation).rd_att, relation, (*copy).attlist);
        let count = if columns.is_null() { 0 } else { (*columns).length };
        for index in 0..count as usize {
            let column = (*(*columns).elements.add(index)).int_value - pg_sys::FirstLowInvalidHeapAttributeNumber;
            (*entry).insertedCols = bms_add_member((*entry).insertedCols, column);
        }
        ExecCheckRTPerms((*state).p_rtable, true);
        if check_enable_rls((*entry).relid, pg_sys::InvalidOid, false) == RLS_ENABLED {
            fail(Failure::RowSecurity);
        }
        PreventCommandIfReadOnly(c"COPY FROM".as_ptr());
        begin();
        answer_client(is_binary((*copy).options), count);
        let (none, no_file) = (std::ptr::null_mut(), std::ptr::null());
        let (names, options) = ((*copy).attlist, (*copy).options);
        let loading = BeginCopyFrom(state, relation, none, no_file, false, Some(give), names, options);
        let rows = CopyFrom(loading);
        EndCopyFrom(loading);
        // Behind the end of the data there may be more in the stream, and it all has one digest.
        while !OVER.get() {
            next_message();
        }
        check_digest();
        table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        free_parsestate(state);
        if !completion.is_null() {
            (*completion).commandTag = pg_sys::CommandTag::CMDTAG_COPY;
            (*completion).nprocessed = rows;
        }
    }
}

unsafe fn begin() {
    OVER.set(false);
    HASH.with_borrow_mut(|hash| *hash = Some(Sha256::new()));
    // Safe: one statement loads at a time.
    unsafe { initStringInfo(&raw mut MESSAGE) }
}

/// CopyInResponse: the client may send its data.
unsafe fn answer_client(binary: bool, columns: c_int) {
    // Safe: a message of our own, sent and flushed.
    unsafe {
        let mut message: pg_sys::StringInfoData = std::mem::zeroed();
        pq_beginmessage(&mut message, b'G' as c_char);
        let format = [u8::from(binary)];
        appendBinaryStringInfo(&mut message, format.as_ptr().cast(), 1);
        appendBinaryStringInfo(&mut message, (columns as u16).to_be_bytes().as_ptr().cast(), 2);
        for _ in 0..columns {
            appendBinaryStringInfo(&mut message, u16::from(binary).to_be_bytes().as_ptr().cast(), 2);
        }
        pq_endmessage(&mut message);
        ((*PqCommMethods).flush)();
    }
}

/// Gives COPY at least `least` bytes, fewer only at the end.
unsafe extern "C-unwind" fn give(buffer: *mut c_void, least: c_int, most: c_int) -> c_int {
    // Safe: the server's own buffer of `most` bytes.
    unsafe {
        let mut given = 0;
        while given < least && most > given {
            if MESSAGE.cursor >= MESSAGE.len {
                if OVER.get() {
                    break;
                }
                next_message();
                continue;
            }
            let length = (MESSAGE.len - MESSAGE.cursor).min(most - given);
            let from = MESSAGE.data.add(MESSAGE.cursor as usize);
            std::ptr::copy_nonoverlapping(from, buffer.cast::<c_char>().add(given as usize), length as usize);
            MESSAGE.cursor += length;
            given += length;
        }
        given
    }
}

/// Reads the client's next message into MESSAGE; data is hashed as it comes.
unsafe fn next_message() {
    // Safe: as the server reads them, not to be interrupted in the middle of one.
    unsafe {
        pg_sys::QueryCancelHoldoffCount += 1;
        pq_startmsgread();
        let kind = pq_getbyte();
        let longest = match u8::try_from(kind) {
            Err(_) => fail(Failure::Gone),
            Ok(b'd') => DATA_MESSAGE,
            Ok(b'c' | b'f' | b'H' | b'S') => OTHER_MESSAGE,
            Ok(_) => fail(Failure::Unexpected),
        };
        if pq_getmessage(&raw mut MESSAGE, longest) != 0 {
            fail(Failure::Gone);
        }
        pg_sys::QueryCancelHoldoffCount -= 1;
        match kind as u8 {
            b'd' => {
                let data = std::slice::from_raw_parts(MESSAGE.data.cast::<u8>(), MESSAGE.len as usize);
                HASH.with_borrow_mut(|hash| hash.iter_mut().for_each(|hash| hash.update(data)));
            }
            b'f' => _ = fail(Failure::ByClient),
            kind => {
                OVER.set(kind == b'c');
                MESSAGE.cursor = MESSAGE.len;
            }
        }
    }
}

/// Why data cannot be taken: never returns.
enum Failure {
    RowSecurity,
    Gone,
    Unexpected,
    ByClient,
}

#[pgrx::pg_guard]
#[allow(improper_ctypes_definitions)] // called from Rust alone
unsafe extern "C-unwind" fn fail(failure: Failure) -> c_int {
    match failure {
        Failure::RowSecurity => Fault::unsupported("COPY FROM is not supported with row-level security")
            .hint("Use INSERT statements instead."),
        Failure::Gone => Fault::connection_lost("unexpected EOF on client connection with an open transaction"),
        Failure::Unexpected => Fault::protocol_violated("unexpected message type during COPY from stdin"),
        Failure::ByClient => Fault::cancelled("COPY from stdin failed: the client has given up"),
    }
    .raise()
}

/// The data must be what was approved.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn check_digest() {
    let found = HASH.with_borrow_mut(Option::take).map(|hash| hex(&hash.finalize()));
    let wanted = armed::data_digest();
    if wanted.is_some() && found == wanted {
        return;
    }
    let op_no = crate::operation::cover::current().map(|cover| cover.op_no.clone()).unwrap_or_default();
    let (found, wanted) = (found.unwrap_or_default(), wanted.unwrap_or_default());
    denied("COPY FROM", &op_no, format!("the data of COPY FROM STDIN is not what was approved with {op_no}"))
        .detail(format!("Its SHA-256 is {found}; approved was {wanted}."))
        .hint("File it again with data_digests => '{…}'.")
        .raise()
}
