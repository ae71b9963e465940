//! Who is at the other end of this connection. Persons are compared by the *authenticated* login, never by what SET ROLE
//! or SET SESSION AUTHORIZATION made of it.

use crate::backend::backend_local;
use crate::break_glass::window;
use crate::cache::{self, Person, Policy};
use crate::core::record::{Draft, Kind, Outcome, Part, Record};
use crate::raw;
use pgrx::{direct_function_call_as_datum, pg_sys};
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString};
use std::rc::Rc;

/// What the side was made from.
struct Who {
    login: pg_sys::Oid,
    current: pg_sys::Oid,
    application: CString,
    person: Option<String>,
    part: Rc<Part>,
}

backend_local! {
    static RENAMED: Cell<bool> = const { Cell::new(false) };
    static WHO: RefCell<Option<Who>> = const { RefCell::new(None) };
    static NAMES: RefCell<Vec<(pg_sys::Oid, Rc<str>)>> = const { RefCell::new(Vec::new()) };
    static ADDRESS: RefCell<Option<Option<String>>> = const { RefCell::new(None) };
    static DATABASE: RefCell<Option<Rc<str>>> = const { RefCell::new(None) };
}

/// Registers the callback that forgets names when a role changes. Once, while preloading.
pub fn init() {
    // Safe: plain registration.
    unsafe {
        let roles = pg_sys::SysCacheIdentifier::AUTHOID as std::ffi::c_int;
        pg_sys::CacheRegisterSyscacheCallback(roles, Some(on_role_change), pg_sys::Datum::from(0));
    }
}

/// Runs inside invalidation processing: only flags.
unsafe extern "C-unwind" fn on_role_change(_argument: pg_sys::Datum, _cache: std::ffi::c_int, _hash: u32) {
    RENAMED.set(true);
}

/// Names are looked up anew after a role was renamed.
fn forget_old_names() {
    if RENAMED.get() {
        RENAMED.set(false);
        NAMES.with_borrow_mut(Vec::clear);
        WHO.with_borrow_mut(|who| *who = None);
    }
}

/// The login that authenticated (a parallel worker's is its leader's); in another background worker the role it runs as.
pub fn login() -> pg_sys::Oid {
    // Safe: plain getters of backend state.
    unsafe {
        let authenticated = raw::GetAuthenticatedUserId();
        let has_client = !pg_sys::MyProcPort.is_null() || crate::watch::parallel::is_worker();
        if authenticated != pg_sys::InvalidOid && has_client { authenticated } else { raw::GetSessionUserId() }
    }
}

/// A role's name. Needs a transaction; never raises for a role that is gone.
pub fn role_name(role: pg_sys::Oid) -> Rc<str> {
    if let Some(name) =
        NAMES.with_borrow(|names| names.iter().find(|(known, _)| *known == role).map(|(_, name)| name.clone()))
    {
        return name;
    }
    // Safe: syscache look-up with missing_ok; the name is copied.
    let name: Rc<str> = unsafe {
        let name = pg_sys::GetUserNameFromId(role, true);
        if name.is_null() { role.to_u32().to_string().into() } else { CStr::from_ptr(name).to_string_lossy().into() }
    };
    NAMES.with_borrow_mut(|names| names.push((role, name.clone())));
    name
}

pub fn login_name() -> String {
    // Here and not at each name: who acts is put together from names of one moment, or made anew at the next look.
    forget_old_names();
    role_name(login()).to_string()
}

/// The person behind the login, as the policy knows it.
pub fn person() -> Option<Rc<Person>> {
    cache::policy().person(login())
}

/// Whether the session stands behind a role: its login, its current role, or a membership of one of them. Being a
/// superuser makes nobody a member: no role is exempt.
pub fn has_role(role: u32) -> bool {
    let role = pg_sys::Oid::from(role);
    // Safe: membership look-ups in the role cache.
    unsafe {
        let current = raw::GetUserId();
        pg_sys::is_member_of_role_nosuper(login(), role) || pg_sys::is_member_of_role_nosuper(current, role)
    }
}

/// Whether the authenticated login itself is a role or a member of it.
pub fn is_role(role: u32) -> bool {
    // Safe: as above.
    unsafe { pg_sys::is_member_of_role_nosuper(login(), pg_sys::Oid::from(role)) }
}

/// Client address without port; None on a unix socket and in workers.
fn address() -> Option<String> {
    ADDRESS.with_borrow_mut(|address| {
        address
            .get_or_insert_with(|| {
                // Safe: the server's own functions behind SQL's inet_client_addr(); the text is copied.
                unsafe {
                    let inet = direct_function_call_as_datum(pg_sys::inet_client_addr, &[])?;
                    let text = direct_function_call_as_datum(pg_sys::inet_out, &[Some(inet)])?;
                    Some(CStr::from_ptr(text.cast_mut_ptr()).to_string_lossy().into_owned())
                }
            })
            .clone()
    })
}

/// The name of this session's database. Needs a transaction.
pub fn database() -> Option<String> {
    DATABASE.with_borrow_mut(|database| {
        if database.is_none() {
            // Safe: inside a transaction; copied.
            unsafe {
                let name = pg_sys::get_database_name(pg_sys::MyDatabaseId);
                if !name.is_null() {
                    *database = Some(CStr::from_ptr(name).to_string_lossy().into());
                }
            }
        }
        database.as_ref().map(|name| name.to_string())
    })
}

/// Who acts now, as a side of records; made anew only when something of it changes. Needs a transaction.
fn who(policy: &Policy) -> Rc<Part> {
    forget_old_names();
    // Safe: plain getters; application_name is never null after start-up.
    let (current, application) = unsafe { (raw::GetUserId(), CStr::from_ptr(pg_sys::application_name)) };
    let login = login();
    let person = policy.person(login);
    let name = person.as_ref().map(|person| person.name.as_str());
    let same = |known: &&Who| {
        (known.login, known.current) == (login, current)
            && known.application.as_c_str() == application
            && known.person.as_deref() == name
    };
    if let Some(part) = WHO.with_borrow(|known| known.as_ref().filter(same).map(|known| known.part.clone())) {
        return part;
    }
    // Names are looked up outside the borrow: that may hear of a renamed role, which empties what is borrowed here.
    let mut record = Record::new(Kind::Statement, "");
    stamp_who(&mut record);
    let part = Rc::new(Part::who(&record));
    let (application, person) = (application.to_owned(), name.map(str::to_owned));
    let known = Who { login, current, application, person, part: part.clone() };
    WHO.with_borrow_mut(|who| *who = Some(known));
    part
}

/// Fills in who, where and when. Needs a transaction.
pub fn stamp(record: &mut Record) {
    // Safe: reads the clock and this process's id.
    unsafe {
        record.time = raw::GetCurrentTimestamp();
        record.backend = Some(i64::from(pg_sys::MyProcPid));
    }
    stamp_who(record);
    if let Some(cover) = crate::operation::cover::current() {
        record.op_no.get_or_insert_with(|| cover.op_no.clone());
        // Whoever started the operation answers for it, even if its script changes roles.
        record.person.get_or_insert_with(|| cover.person.clone());
    } else if record.op_no.is_none() {
        record.op_no = window::op_no().map(|op_no| op_no.to_string());
    }
}

/// A draft of a statement's record as it begins now. Needs a transaction.
pub fn draft(policy: &Policy, what: Rc<Part>) -> Draft {
    let cover = crate::operation::cover::current();
    let who = match &cover {
        None => who(policy),
        Some(_) => {
            let mut record = Record::new(Kind::Statement, "");
            stamp(&mut record);
            Rc::new(Part::who(&record))
        }
    };
    // Safe: reads the clock and this process's id.
    let (time, backend) = unsafe { (raw::GetCurrentTimestamp(), i64::from(pg_sys::MyProcPid)) };
    Draft {
        kind: Kind::Statement,
        time,
        who,
        what,
        op_no: cover.map(|cover| Rc::from(cover.op_no.as_str())).or_else(window::op_no),
        outcome: Outcome::Success,
        sqlstate: None,
        rows: None,
        repeats: None,
        duration_us: None,
        details: None,
        xid: None,
        backend: Some(backend),
    }
}

fn stamp_who(record: &mut Record) {
    // Safe: plain getters; application_name is never null after start-up.
    unsafe {
        let current = raw::GetUserId();
        record.user_id = login_name();
        record.effective_user = (current != login()).then(|| role_name(current).to_string());
        let application = pg_sys::application_name;
        if !application.is_null() && *application != 0 {
            record.application_name = Some(CStr::from_ptr(application).to_string_lossy().into_owned());
        }
    }
    record.person = person().map(|person| person.name.clone());
    record.client_ip = address();
    record.database = database();
}
