//! The hooks of a login, which also see the logins that fail. `ClientAuthentication_hook` hears how authentication ended;
//! that is not yet the login: the role may not exist, nor the database, or there is no room. So a success is told at the
//! first commit of the session, which ends its start-up, and what ends the process before that is a failure.
//! `emit_log_hook` hears what never comes to authentication: a line of pg_hba.conf that rejects, too many clients, a bad
//! start-up packet. A client that leaves when it is asked for a password has tried nothing.
//!
//! Nothing here waits, asks a catalog or runs SQL, and nothing is recorded while a process that has no slot could only
//! wait for memory of others.

use crate::audit::outcome;
use crate::backend::backend_local;
use crate::error::Fault;
use crate::login::attempt::{self, Failure};
use crate::login::{self, Attempt, failures, policy::LoginPolicy, syntax};
use crate::operation::armed;
use crate::{raw, session};
use pgrx::pg_sys;
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

type AuthenticationHook = Option<unsafe extern "C-unwind" fn(*mut pg_sys::Port, c_int)>;

// Not in the bindings.
unsafe extern "C-unwind" {
    static mut ClientAuthentication_hook: AuthenticationHook;
    fn hba_authname(method: c_int) -> *const c_char;
    // Of the server's, where the system has none.
    fn getpeereid(socket: c_int, user: *mut libc::uid_t, group: *mut libc::gid_t) -> c_int;
    #[link_name = "geterrcode"]
    fn core_geterrcode() -> c_int;
}

static mut NEXT_AUTHENTICATION: AuthenticationHook = None;
static mut NEXT_LOG: pg_sys::emit_log_hook_type = None;

/// How far this process's login is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nobody has said who it is; or this is no client's process.
    Connecting,
    /// Authenticated, but the session is not there yet.
    Authenticated,
    /// The session is there, and recorded.
    Established,
    /// Its failure is recorded, or there is nothing to record.
    Over,
}

backend_local! {
    static PHASE: Cell<Phase> = const { Cell::new(Phase::Connecting) };
    /// Who logs in here, from authentication on.
    static SESSION: RefCell<Option<Attempt>> = const { RefCell::new(None) };
    static SINCE: Cell<i64> = const { Cell::new(0) };
    /// SQLSTATE of what ends the start-up, also where `log_min_messages` keeps it from the log.
    static START_ERROR: Cell<i32> = const { Cell::new(0) };
}

static mut START_CONTEXT: pg_sys::ErrorContextCallback = pg_sys::ErrorContextCallback {
    previous: std::ptr::null_mut(),
    callback: Some(on_start_error),
    arg: std::ptr::null_mut(),
};

pub fn init() {
    // Safe: plain hook pointers, set while the postmaster preloads and kept for the chain.
    unsafe {
        NEXT_AUTHENTICATION = ClientAuthentication_hook;
        ClientAuthentication_hook = Some(authentication);
        NEXT_LOG = pg_sys::emit_log_hook;
        pg_sys::emit_log_hook = Some(on_log);
    }
}

unsafe extern "C-unwind" fn authentication(port: *mut pg_sys::Port, status: c_int) {
    // Safe: the server's own arguments; the frame holds nothing to drop, so an ERROR may cross it.
    unsafe {
        if pg_sys::am_walsender {
            super::replication::begin();
        }
        // Before other libraries: one that refuses the login ends the process.
        if login::recorded() || login::enforced() {
            decide(port, status);
        }
        if let Some(next) = NEXT_AUTHENTICATION {
            next(port, status);
        }
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn decide(port: *mut pg_sys::Port, status: c_int) {
    PHASE.set(Phase::Over);
    if status == pg_sys::STATUS_EOF {
        return;
    }
    // Safe: the server passes its own connection.
    let attempt = unsafe { attempt_of(port) };
    // Whether or not the password was right, so that a refused client learns nothing about it.
    if login::enforced() {
        let fault = match LoginPolicy::stored() {
            Some(policy) => refusal(&attempt, &policy),
            // Safe: as above.
            None => without_policy(&attempt, unsafe { is_owner(port) }, status == pg_sys::STATUS_OK as c_int),
        };
        if let Some(fault) = fault {
            fault.end_session();
        }
    }
    if status == pg_sys::STATUS_OK as c_int {
        begin(attempt);
    } else {
        let sqlstate = if attempt.asks_for_password() { "28P01" } else { "28000" };
        attempt.failed(Failure { sqlstate: sqlstate.to_owned(), message: None });
    }
}

/// What the client is told if the policy refuses the login; recorded already.
fn refusal(attempt: &Attempt, policy: &LoginPolicy) -> Option<Fault> {
    // Safe: reads the clock.
    let now = unsafe { raw::GetCurrentTimestamp() };
    if let Some(refusal) = policy.refuses(attempt, now) {
        attempt.refused(refusal.rule, &refusal.message);
        return Some(Fault::login_refused(refusal.message).hint("Ask somebody whose post may configure the policy."));
    }
    let login = attempt.login();
    let until = failures::locked_until(&login, policy)?;
    let seconds = (until - now) / 1_000_000 + 1;
    let message = format!("this login is locked for {seconds} seconds after too many failures");
    attempt.refused("login_failures", &message);
    Some(Fault::login_refused(message).hint("Wait, or have it unlocked: SELECT steward.unlock_login('login');"))
}

/// Nobody knows whom the policy refuses, so everybody is: but for the user whose server it is and whose files these are,
/// or a file that is not written again would lock the last administrator out for ever.
fn without_policy(attempt: &Attempt, owner: bool, succeeds: bool) -> Option<Fault> {
    if owner {
        if succeeds {
            attempt.let_in_without_policy();
        }
        return None;
    }
    let message = "the policy of logins cannot be read: nobody may log in";
    attempt.refused("login_policy", message);
    Some(Fault::login_refused(message).hint(
        "It is written again within seconds. If not, the server's own user may log in over the unix socket, and the server log says why.",
    ))
}

/// Whether the process at the other end of a unix socket is one of the server's own user.
unsafe fn is_owner(port: *mut pg_sys::Port) -> bool {
    // Safe: the server's own connection; fills two numbers.
    unsafe {
        let port = &*port.cast::<Port>();
        let (mut user, mut group) = (libc::uid_t::MAX, libc::gid_t::MAX);
        c_int::from(port.raddr.addr.ss_family) == libc::AF_UNIX
            && getpeereid(port.sock, &mut user, &mut group) == 0
            && user == libc::geteuid()
    }
}

/// Authentication went well: from here on the end of this process is on record.
fn begin(attempt: Attempt) {
    SESSION.with_borrow_mut(|session| *session = Some(attempt));
    PHASE.set(Phase::Authenticated);
    // The commit that ends the start-up is to be heard.
    super::transaction::concern();
    // Safe: one callback for the life of this process, and one static entry below everything that will be on the stack.
    unsafe {
        pg_sys::on_shmem_exit(Some(on_exit), pg_sys::Datum::from(0));
        START_CONTEXT.previous = pg_sys::error_context_stack;
        pg_sys::error_context_stack = &raw mut START_CONTEXT;
    }
}

unsafe extern "C-unwind" fn on_start_error(_argument: *mut c_void) {
    // Safe: an error context callback runs while an error is on PostgreSQL's stack.
    let code = unsafe { core_geterrcode() };
    if PHASE.get() == Phase::Authenticated && code & 0xfff > 2 << 6 {
        START_ERROR.set(code);
    }
}

/// A transaction has committed: the first of a session ends its start-up, and then the login has succeeded.
pub fn committed() {
    if PHASE.get() != Phase::Authenticated {
        return;
    }
    PHASE.set(Phase::Established);
    // Safe: takes the entry off, if nothing lies on it.
    unsafe {
        if pg_sys::error_context_stack == &raw mut START_CONTEXT {
            pg_sys::error_context_stack = START_CONTEXT.previous;
        }
        SINCE.set(raw::GetCurrentTimestamp());
    }
    SESSION.with_borrow(|session| session.iter().for_each(Attempt::succeeded));
}

/// The session was denied what it asked for. `typed`: by the client itself; what somebody else's trigger, function or view
/// tries in a person's name is told, but must not lock the person's login.
pub fn denied(typed: bool) {
    if PHASE.get() == Phase::Established {
        SESSION.with_borrow(|session| {
            session.iter().for_each(|attempt| attempt::permission_denied(attempt, typed));
        });
    }
}

/// The process ends, its transaction is ended, its lane is still its own.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn on_exit(_code: c_int, _argument: pg_sys::Datum) {
    let phase = PHASE.get();
    PHASE.set(Phase::Over);
    armed::end("the session has ended");
    SESSION.with_borrow(|session| {
        let Some(session) = session else { return };
        match phase {
            Phase::Authenticated => {
                // Without an error the client has gone.
                let code = START_ERROR.get();
                let sqlstate = if code == 0 { "08006".to_owned() } else { outcome::sqlstate_of(code) };
                session.failed(Failure { sqlstate, message: None });
            }
            Phase::Established => session.ended(SINCE.get()),
            Phase::Connecting | Phase::Over => (),
        }
    });
}

unsafe extern "C-unwind" fn on_log(error: *mut pg_sys::ErrorData) {
    // Safe: the error that is being reported, ours to change; nothing is looked up.
    unsafe {
        super::code::keep_out_of_log(&mut *error);
        super::replication::on_log(error);
        if concerns(&*error) {
            note(error);
        }
        if let Some(next) = NEXT_LOG {
            next(error);
        }
    }
}

/// The login of this process.
pub(super) fn current() -> Attempt {
    // Safe: the connection of this process; asked where there is one.
    SESSION.with_borrow(Clone::clone).unwrap_or_else(|| unsafe { attempt_of(pg_sys::MyProcPort) })
}

/// Whether a message says that a login failed, that a session was denied something, or that what it sent does not parse. A plain look: it is asked about
/// every message of every process.
unsafe fn concerns(error: &pg_sys::ErrorData) -> bool {
    // Safe: plain globals of this process.
    if error.elevel < pg_sys::PGERROR as c_int
        || unsafe { pg_sys::MyProcPort.is_null() || pg_sys::CritSectionCount > 0 }
    {
        return false;
    }
    match PHASE.get() {
        // A session whose login nobody recorded, because there was no chain yet, is no login that fails.
        // Safe: a plain global.
        Phase::Connecting if unsafe { pg_sys::PostmasterContext.is_null() } => false,
        Phase::Connecting | Phase::Authenticated => error.elevel >= pg_sys::FATAL as c_int,
        Phase::Established => error.sqlerrcode == SYNTAX || error.sqlerrcode == DENIED && !is_ours(error),
        Phase::Over => false,
    }
}

/// SQLSTATE 42601, as PostgreSQL packs it.
const SYNTAX: c_int = pgrx::PgSqlErrorCode::ERRCODE_SYNTAX_ERROR as c_int;

/// SQLSTATE 42501.
const DENIED: c_int = pgrx::PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE as c_int;

/// Denials of our own are counted where they are made, whether or not they reach the log.
fn is_ours(error: &pg_sys::ErrorData) -> bool {
    // Safe: a C string or null.
    !error.funcname.is_null() && unsafe { CStr::from_ptr(error.funcname) } == c"pg_steward"
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn note(error: *mut pg_sys::ErrorData) {
    if PHASE.get() == Phase::Established {
        // Safe: an error of the server. Functions and their languages tell in its context that it happened in them.
        let (typed, code) = unsafe { ((*error).context.is_null(), (*error).sqlerrcode) };
        match code == SYNTAX {
            true if typed => SESSION.with_borrow(|session| session.iter().for_each(syntax::one_more)),
            true => (),
            false => denied(typed),
        }
        return;
    }
    // Whatever comes now, this process is recorded once.
    let authenticated = PHASE.replace(Phase::Over) == Phase::Authenticated;
    // Safe: an error of the server, and the connection of this process.
    let (code, message, attempt) = unsafe {
        let message = (*error).message;
        let message = (!message.is_null()).then(|| CStr::from_ptr(message).to_string_lossy().into_owned());
        (outcome::sqlstate_of((*error).sqlerrcode), message, attempt_of(pg_sys::MyProcPort))
    };
    // 57P01 to 57P03: the server is starting or stopping, and nobody's attempt was judged.
    if login::recorded() && (authenticated || !code.starts_with("57P0")) {
        attempt.failed(Failure { sqlstate: code, message });
    }
}

/// A background worker in a database acts as a role without ever logging in: its first transaction is on record.
pub fn worker_begins() {
    // Safe: plain globals of this process.
    let (worker, kind) = unsafe { (pg_sys::MyBgworkerEntry, pg_sys::MyBackendType) };
    let works = !worker.is_null()
        && kind == pg_sys::BackendType::B_BG_WORKER
        && unsafe { pg_sys::ParallelWorkerNumber < 0 && pg_sys::MyDatabaseId != pg_sys::InvalidOid }
        && !crate::audit::sequencer::is_sequencer();
    if works && login::recorded() {
        // Safe: the worker's registration, with a name that ends; inside a transaction.
        let name = unsafe { CStr::from_ptr((*worker).bgw_name.as_ptr()) }.to_string_lossy().into_owned();
        attempt::worker_started(session::login_name(), session::database(), name);
    }
}

unsafe fn attempt_of(port: *mut pg_sys::Port) -> Attempt {
    // Safe: the start-up packet's strings end with a zero byte; absent ones are null.
    unsafe {
        let text =
            |text: *mut c_char| if text.is_null() { Vec::new() } else { CStr::from_ptr(text).to_bytes().to_vec() };
        let port = &*port.cast::<Port>();
        Attempt {
            user: text(port.user_name),
            // A walsender of physical replication has none.
            database: text(port.database_name),
            application: text(port.application_name),
            address: address(&port.raddr.addr),
            // The lines of pg_hba.conf are the postmaster's memory, which is given back when the start-up is over.
            method: if pg_sys::PostmasterContext.is_null() { "" } else { method(port.hba) },
            tls: port.ssl_in_use,
            replication: pg_sys::am_walsender,
        }
    }
}

/// The client's address; None on a unix socket.
unsafe fn address(storage: *const libc::sockaddr_storage) -> Option<IpAddr> {
    // Safe: the family says which of the structures the storage holds.
    unsafe {
        match c_int::from((*storage.cast::<libc::sockaddr>()).sa_family) {
            libc::AF_INET => {
                let four = &*storage.cast::<libc::sockaddr_in>();
                Some(IpAddr::V4(Ipv4Addr::from(u32::from_be(four.sin_addr.s_addr))))
            }
            libc::AF_INET6 => {
                let six = &*storage.cast::<libc::sockaddr_in6>();
                Some(IpAddr::V6(Ipv6Addr::from(six.sin6_addr.s6_addr)))
            }
            _ => None,
        }
    }
}

/// The beginning of the server's `Port`, of which the bindings know the name only. Another version has another one, and
/// does not compile before it is written here.
#[cfg(feature = "pg15")]
#[repr(C)]
struct Port {
    sock: c_int,
    noblock: bool,
    proto: u32,
    laddr: SockAddr,
    raddr: SockAddr,
    remote_host: *mut c_char,
    remote_hostname: *mut c_char,
    remote_hostname_resolv: c_int,
    remote_hostname_errcode: c_int,
    remote_port: *mut c_char,
    can_accept_connections: c_int,
    database_name: *mut c_char,
    user_name: *mut c_char,
    cmdline_options: *mut c_char,
    guc_options: *mut pg_sys::List,
    application_name: *mut c_char,
    hba: *const HbaLine,
    authn_id: *const c_char,
    keepalives: [c_int; 8],
    gss: *mut c_void,
    ssl_in_use: bool,
}

#[repr(C)]
struct SockAddr {
    addr: libc::sockaddr_storage,
    salen: libc::socklen_t,
}

/// The beginning of a line of pg_hba.conf, as the server keeps it.
#[cfg(feature = "pg15")]
#[repr(C)]
struct HbaLine {
    linenumber: c_int,
    rawline: *mut c_char,
    conntype: c_int,
    databases: *mut pg_sys::List,
    roles: *mut pg_sys::List,
    addr: libc::sockaddr_storage,
    addrlen: c_int,
    mask: libc::sockaddr_storage,
    masklen: c_int,
    ip_cmp_method: c_int,
    hostname: *mut c_char,
    auth_method: c_int,
}

/// The line's method, as pg_hba.conf names it.
unsafe fn method(line: *const HbaLine) -> &'static str {
    // Safe: a line that the server has parsed, or null; names are static.
    unsafe {
        if line.is_null() {
            return "";
        }
        CStr::from_ptr(hba_authname((*line).auth_method)).to_str().unwrap_or("")
    }
}
