//! The policy's rows that concern logins, where the hook finds them: in a file of the data directory, which the sequencer
//! writes anew, durably and as a whole, when one of the rows has changed, and at its start. A login reads the file, which
//! is small, and so sees one whole policy whatever is being written; nobody waits for anybody.
//!
//! While the policy is enforced there is a file, or nobody knows who is to be refused: then everybody is, but for the
//! server's own user on this machine (`watch::login`), until the sequencer has written the file again, which it looks after
//! every second. Failures are counted all the same, in rows of five.

use crate::core::login::{Limit, NAME_CHARACTERS, Network, shown};
use crate::error::{Fault, Outcome};
use crate::own;
use crate::state_file;
use pgrx::pg_sys;
use pgrx::spi::SpiClient;
use serde_json::{Value, json};
use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::c_int;
use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use super::attempt::Attempt;
use crate::backend::backend_local;

const FILE: &str = "logins";
/// What holds before there is a row.
const INSTALLED: Limit = Limit { failures: 5, within: 15 * 60 * 1_000_000, lock: None };

/// What a role demands of its logins.
struct Demand {
    addresses: Option<Vec<Network>>,
    tls: bool,
    /// No demand but a licence: it may replicate.
    replication: bool,
}

/// A login that can administer the policy.
pub struct Administrator {
    pub login: String,
    pub until: i64,
    pub superuser: bool,
}

/// The policy as a login sees it.
pub struct LoginPolicy {
    /// How many failures are too many; None: they are not counted.
    pub limit: Option<Limit>,
    /// None: not known.
    administrators: Option<Vec<Administrator>>,
    /// Logins of persons of the post `service`.
    services: Vec<String>,
    /// What the roles of a login demand.
    demands: HashMap<String, Vec<Demand>>,
    /// Networks, until when they are refused, and why.
    blocked: Vec<(Network, i64, String)>,
}

/// Why a login is refused: the rule's name, and what the client is told.
pub struct Refusal {
    pub rule: &'static str,
    pub message: String,
}

impl LoginPolicy {
    /// By which failures are counted: the stored one or, where there is none, what holds before there is a row.
    pub fn read() -> LoginPolicy {
        LoginPolicy::stored().unwrap_or(LoginPolicy {
            limit: Some(INSTALLED),
            administrators: None,
            services: Vec::new(),
            demands: HashMap::new(),
            blocked: Vec::new(),
        })
    }

    /// What the file says; None: it is missing, torn, or not the server's own.
    pub fn stored() -> Option<LoginPolicy> {
        LoginPolicy::parse(&stored_text()?)
    }

    /// The policy of this text, which was just made.
    pub fn of(text: &str) -> Outcome<LoginPolicy> {
        LoginPolicy::parse(text).ok_or_else(|| Fault::internal("the policy of logins does not read back"))
    }

    fn parse(text: &str) -> Option<LoginPolicy> {
        let file: Value = serde_json::from_str(text).ok()?;
        let names = |list: &Value| -> Option<Vec<String>> {
            list.as_array()?.iter().map(|name| name.as_str().map(str::to_owned)).collect()
        };
        let limit = match file.get("limit")? {
            Value::Null => None,
            limit => Some(Limit {
                failures: u32::try_from(limit.get("failures")?.as_u64()?).ok()?,
                within: limit.get("within")?.as_i64()?,
                lock: limit.get("lock")?.as_i64(),
            }),
        };
        let mut demands: HashMap<String, Vec<Demand>> = HashMap::new();
        for row in file.get("demands")?.as_array()? {
            let addresses = match row.get("addresses")? {
                Value::Null => None,
                list => Some(list.as_array()?.iter().map(|one| Network::parse(one.as_str()?)).collect::<Option<_>>()?),
            };
            // A file of a version before this licence gives none.
            let replication = row.get("replication").and_then(Value::as_bool).unwrap_or(false);
            let demand = Demand { addresses, tls: row.get("tls")?.as_bool()?, replication };
            demands.entry(row.get("login")?.as_str()?.to_owned()).or_default().push(demand);
        }
        let blocked = file.get("blocked")?.as_array()?.iter().map(|row| {
            let network = Network::parse(row.get("address")?.as_str()?)?;
            Some((network, row.get("until")?.as_i64().unwrap_or(i64::MAX), row.get("reason")?.as_str()?.to_owned()))
        });
        let administrators = file.get("administrators")?.as_array()?.iter().map(|row| {
            let until = row.get("until")?.as_i64().unwrap_or(i64::MAX);
            // A file of a version before this says nothing of it.
            let superuser = row.get("superuser").and_then(Value::as_bool).unwrap_or(false);
            Some(Administrator { login: row.get("login")?.as_str()?.to_owned(), until, superuser })
        });
        Some(LoginPolicy {
            limit,
            administrators: Some(administrators.collect::<Option<_>>()?),
            services: names(file.get("services")?)?,
            demands,
            blocked: blocked.collect::<Option<_>>()?,
        })
    }

    /// Whether a login is an application's: an attacker must not be able to lock it out.
    pub fn serves(&self, login: &str) -> bool {
        self.services.iter().any(|service| service == login)
    }

    /// Whether a login may replicate.
    pub fn lets_replicate(&self, login: &str) -> bool {
        self.demands.get(login).is_some_and(|demands| demands.iter().any(|demand| demand.replication))
    }

    /// The logins that can administer the policy at a moment; None: not known.
    pub fn administrators(&self, now: i64) -> Option<impl Iterator<Item = &Administrator> + Clone> {
        let administrators = self.administrators.as_ref()?;
        Some(administrators.iter().filter(move |one| one.until > now))
    }

    /// What the policy says to an attempt, the lock apart.
    pub fn refuses(&self, attempt: &Attempt, now: i64) -> Option<Refusal> {
        // A unix socket is this machine.
        let address = attempt.address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        if self
            .blocked
            .iter()
            .any(|(network, until, _)| attempt.address.is_some() && *until > now && network.contains(address))
        {
            let message = format!("address {address} is blocked by the policy");
            return Some(Refusal { rule: "blocked_address", message });
        }
        let login = attempt.login();
        let name = shown(&attempt.user, NAME_CHARACTERS).0;
        for demand in self.demands.get(&login).into_iter().flatten() {
            if demand.addresses.as_ref().is_some_and(|list| !list.iter().any(|network| network.contains(address))) {
                let message = format!("role \"{name}\" may not log in from {address}");
                return Some(Refusal { rule: "login_address", message });
            }
            if demand.tls && attempt.address.is_some() && !attempt.tls {
                let message = format!("role \"{name}\" may log in over TLS only");
                return Some(Refusal { rule: "login_tls", message });
            }
        }
        None
    }
}

/// The file's text, if nobody but the server's user can have written it. What is checked is what was opened.
fn stored_text() -> Option<String> {
    let path = format!("pg_steward/{FILE}");
    let mut file = File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path).ok()?;
    let metadata = file.metadata().ok()?;
    // Safe: plain system call.
    if !metadata.is_file() || metadata.uid() != unsafe { libc::geteuid() } || metadata.mode() & 0o022 != 0 {
        return None;
    }
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    Some(text)
}

/// Before the policy is enforced: there is a file, though the sequencer may not have come to it yet.
pub fn ensure(client: &mut SpiClient<'_>) -> Outcome<()> {
    if LoginPolicy::stored().is_some() {
        return Ok(());
    }
    let text = text(client)?;
    write(&text).map_err(|error| Fault::io(format!("the policy of logins cannot be written: {error}")))
}

/// Whether the file still is what was written.
pub fn stands(written: &str) -> bool {
    stored_text().is_some_and(|text| text == written)
}

backend_local! {
    /// A row that the file is made from may have changed.
    static CHANGED: Cell<bool> = const { Cell::new(true) };
}

/// Registers what tells the sequencer that the file is old. Once, while preloading.
pub fn init() {
    use pg_sys::SysCacheIdentifier::{AUTHMEMROLEMEM, AUTHOID};
    // Safe: plain registration; backends inherit it, and only the sequencer looks at the flag.
    unsafe {
        pg_sys::CacheRegisterSyscacheCallback(AUTHOID as c_int, Some(on_role_change), pg_sys::Datum::from(0));
        pg_sys::CacheRegisterSyscacheCallback(AUTHMEMROLEMEM as c_int, Some(on_role_change), pg_sys::Datum::from(0));
    }
}

/// Runs inside invalidation processing: only flags.
unsafe extern "C-unwind" fn on_role_change(_argument: pg_sys::Datum, _cache: c_int, _hash: u32) {
    CHANGED.set(true);
}

/// The policy changed, says the cache. Runs inside invalidation processing.
pub fn policy_changed() {
    CHANGED.set(true);
}

/// Whether the file must be written; asked between two transactions.
pub fn is_old() -> bool {
    CHANGED.get()
}

/// The file's text, as the tables stand in this transaction.
pub fn text(client: &mut SpiClient<'_>) -> Outcome<String> {
    CHANGED.set(false);
    let row = own::select(client, POLICY, &[])?.first();
    let text = if row.is_empty() { None } else { row.get_one::<String>()? };
    text.ok_or_else(|| Fault::internal("the policy of logins does not read back"))
}

/// Every role that can log in.
pub fn logins(client: &mut SpiClient<'_>) -> Outcome<Vec<String>> {
    let mut logins = Vec::new();
    for row in own::select(client, "SELECT rolname::text FROM pg_roles WHERE rolcanlogin", &[])? {
        logins.extend(row.get::<String>(1)?);
    }
    Ok(logins)
}

/// The files are to be written again.
pub fn set_old() {
    CHANGED.set(true);
}

/// Replaces the file.
pub fn write(text: &str) -> std::io::Result<()> {
    state_file::replace(FILE, text.as_bytes()).inspect_err(|_| set_old())
}

/// The file's text where there is no policy.
pub fn nothing() -> String {
    CHANGED.set(false);
    json!({ "limit": null, "administrators": [], "services": [], "demands": [], "blocked": [] }).to_string()
}

/// Times are microseconds since 2000-01-01 UTC. Who is suspended, or nobody registered, administers nothing. A role demands what it does of every login that is a member of it.
const POLICY: &str = "WITH RECURSIVE up(login, ancestor) AS (
        SELECT oid, oid FROM pg_roles WHERE rolcanlogin
        UNION SELECT u.login, m.roleid FROM up u JOIN pg_auth_members m ON m.member = u.ancestor),
    standing AS (SELECT r.rolname, r.rolsuper, p.post, o.capabilities,
            least(coalesce(r.rolvaliduntil, 'infinity'), coalesce(p.valid_until, 'infinity')) AS until FROM pg_roles r
        JOIN steward.person_login l ON l.role::oid = r.oid
        JOIN steward.person p ON p.name = l.person AND p.suspended_at IS NULL
        JOIN steward.post o ON o.name = p.post
        WHERE r.rolcanlogin)
    SELECT json_build_object(
        'limit', (SELECT json_build_object('failures', failures,
                'within', (CASE WHEN within IS NOT NULL THEN least(extract(epoch FROM within), 1e9) END * 1000000)::int8,
                'lock', (CASE WHEN lock_for IS NOT NULL THEN least(extract(epoch FROM lock_for), 1e9) END * 1000000)::int8)
            FROM steward.login_limit WHERE failures IS NOT NULL),
        'administrators', (SELECT coalesce(json_agg(json_build_object('login', rolname, 'superuser', rolsuper,
                'until', (extract(epoch FROM nullif(until, 'infinity') - '2000-01-01 00:00:00+00'::timestamptz) * 1000000)::int8)), '[]')
            FROM standing WHERE until > '2000-01-01' AND (rolsuper OR 'configure' = ANY (capabilities))),
        'services', (SELECT coalesce(json_agg(rolname), '[]') FROM standing WHERE post = 'service'),
        'demands', (SELECT coalesce(json_agg(json_build_object('login', r.rolname,
                'addresses', p.addresses::text[], 'tls', p.tls, 'replication', p.replication)), '[]')
            FROM steward.login_policy p JOIN up u ON u.ancestor = p.role::oid JOIN pg_roles r ON r.oid = u.login),
        'blocked', (SELECT coalesce(json_agg(json_build_object('address', address::text, 'reason', reason,
                'until', (extract(epoch FROM nullif(until, 'infinity') - '2000-01-01 00:00:00+00'::timestamptz) * 1000000)::int8)), '[]')
            FROM steward.blocked_address WHERE until IS NULL OR until > now()))::text";
