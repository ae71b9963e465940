//! What an armed session sees of the hooks: which query or command is the client's own, that the next statement of the
//! script is nothing else, and how many rows it worked on. What is armed is `operation::armed`'s.
//!
//! Frames that C calls hold nothing to drop; an error in one of them ends the session's being armed with its transaction.

use super::list;
use super::statement::{Source, client_message, inside_language};
use super::utility::{sets_only_the_session, tag_of};
use crate::audit::buffer;
use crate::core::script::bare;
use crate::error::{Fault, answer};
use crate::operation::{armed, step_record};
use crate::own;
use pgrx::pg_sys::{self, NodeTag};
use std::ffi::{CStr, c_char};

/// A query starts: the client's own must be the next statement of the script. What functions of the statement run is part
/// of it, and what runs while it is planned is not covered.
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn query_starts(query: *mut pg_sys::QueryDesc) {
    // Safe: ExecutorStart gets a complete QueryDesc.
    unsafe {
        if armed::is_entered() || own::running() || !is_clients(query) || calls_disarm() {
            return;
        }
        let plan = (*query).plannedstmt;
        let source = Source::new((*query).sourceText, (*plan).stmt_location, (*plan).stmt_len);
        begin(query as usize, &source);
    }
}

/// Whether a portal runs it that the client has opened: functions run theirs in SPI, or have a text of their own.
unsafe fn is_clients(query: *mut pg_sys::QueryDesc) -> bool {
    // Safe: null or the portal that is being started or run.
    unsafe {
        let portal = pg_sys::ActivePortal;
        !portal.is_null() && std::ptr::eq((*portal).sourceText, (*query).sourceText) && !inside_language()
    }
}

/// The next statement, whose bytes were read with the settings of the armed session: one that the client has prepared
/// before may mean something else.
unsafe fn begin(key: usize, source: &Source<'_>) {
    // Safe: null or the portal that is being started or run; a prepared statement of the session.
    let earlier = unsafe {
        let portal = pg_sys::ActivePortal;
        let named = !portal.is_null() && !(*portal).prepStmtName.is_null();
        named && {
            let prepared = pg_sys::FetchPreparedStatement((*portal).prepStmtName, false);
            prepared.is_null() || (*prepared).prepare_time <= armed::since()
        }
    };
    if earlier {
        armed::refuse("It was prepared before the session was armed").raise();
    }
    answer(armed::begin(key, client_message(), source.bytes()));
}

/// The one call that is none of the script's.
fn calls_disarm() -> bool {
    let message = String::from_utf8_lossy(bare(client_message())).to_lowercase();
    let dense: String = message.split_whitespace().collect();
    dense == "selectsteward.disarm()"
}

/// A command of the client starts. True: it is the next statement, and `command_ends` must hear of it.
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn command_starts(
    statement: *mut pg_sys::PlannedStmt,
    source: *const c_char,
    context: pg_sys::ProcessUtilityContext::Type,
) -> bool {
    // Safe: ProcessUtility gets a complete utility statement.
    unsafe {
        let node = (*statement).utilityStmt;
        let top_level = context == pg_sys::ProcessUtilityContext::PROCESS_UTILITY_TOPLEVEL;
        if armed::is_entered() || own::running() || !top_level || (*node).type_ == NodeTag::T_VariableShowStmt {
            return false;
        }
        // ROLLBACK is never blocked, nor is what hands a session on; but they are none of the script's.
        if (*node).type_ == NodeTag::T_TransactionStmt || sets_only_the_session((*node).type_) {
            let tag = tag_of(node);
            armed::end(&format!("the client has sent {tag}"));
            Fault::wrong_state("the session is armed no more").detail(format!("{tag} is none of the script's.")).warn();
            return false;
        }
        let source = Source::new(source, (*statement).stmt_location, (*statement).stmt_len);
        begin(statement as usize, &source);
        let entered = armed::enter(statement as usize);
        if (*node).type_ == NodeTag::T_AlterSystemStmt {
            keep_setting(&*node.cast());
        }
        entered
    }
}

/// What ALTER SYSTEM is about to replace, where that cannot be a secret: numbers, switches and choices.
unsafe fn keep_setting(alter: &pg_sys::AlterSystemStmt) {
    // Safe: nodes of the parser; no name in RESET ALL.
    let name = unsafe {
        if alter.setstmt.is_null() || (*alter.setstmt).name.is_null() {
            return;
        }
        CStr::from_ptr((*alter.setstmt).name).to_string_lossy().into_owned()
    };
    let value = c"SELECT setting FROM pg_settings WHERE name = lower($1) AND vartype <> 'string'";
    let was = own::latest_rows_of(value, &[&name]).into_iter().next().and_then(|row| row.into_iter().next().flatten());
    let mut record = step_record("SETTING", "");
    record.details = Some(serde_json::json!({ "setting": name, "was": was }).to_string());
    buffer::push(record);
}

/// An armed command has done its work; its transaction has not ended.
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn command_ends(completion: *mut pg_sys::QueryCompletion) {
    // Safe: null or the caller's.
    let rows = unsafe { if completion.is_null() { 0 } else { (*completion).nprocessed } };
    answer(armed::count(rows));
    armed::leave();
    armed::ended(armed::running());
}

/// How many rows a query of the statement may give: one more than is left of those that were approved, so that more are
/// noticed. A client that takes them in portions would do other things in between.
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn most_rows(query: *mut pg_sys::QueryDesc, count: u64, own: bool) -> u64 {
    if own && count != 0 {
        armed::refuse("An armed statement gives its rows at once, not in portions").raise();
    }
    // Safe: the query is running.
    let copies = unsafe { (*(*query).dest).mydest == pg_sys::CommandDest::DestCopyOut };
    match armed::rows_left() {
        Some(left) if count == 0 && (own && reads(query) || copies) => left.saturating_add(1),
        _ => count,
    }
}

fn reads(query: *mut pg_sys::QueryDesc) -> bool {
    // Safe: the query is running.
    unsafe { (*query).operation == pg_sys::CmdType::CMD_SELECT && !(*(*query).plannedstmt).hasModifyingCTE }
}

/// Rows of a query were given to the client: too many of them are an error before the client hears that it is done.
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn query_ran(query: *mut pg_sys::QueryDesc) {
    if reads(query) {
        answer(armed::count(processed(query)));
    }
}

/// Triggers and data-modifying CTEs have run.
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn query_finished(query: *mut pg_sys::QueryDesc) {
    if !reads(query) {
        answer(armed::count(processed(query)));
    }
}

fn processed(query: *mut pg_sys::QueryDesc) -> u64 {
    // Safe: the query has its executor state until ExecutorEnd.
    unsafe { if (*query).estate.is_null() { 0 } else { (*(*query).estate).es_processed } }
}

/// A function is about to run. Outside the statement it may be planned with it; by the fastpath protocol it may not be
/// called at all.
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn function_starts() {
    if !armed::is_entered() && !own::running() && client_message().is_empty() {
        answer(Err(armed::refuse("A function was called by the fastpath protocol")))
    }
}

/// Whether a format option says that data is binary.
pub unsafe fn is_binary(options: *mut pg_sys::List) -> bool {
    // Safe: option nodes of the parser.
    unsafe {
        list::<pg_sys::DefElem>(options).any(|option| {
            let name = CStr::from_ptr((*option).defname);
            name == c"format" && CStr::from_ptr(pg_sys::defGetString(option)) == c"binary"
        })
    }
}
