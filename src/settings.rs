//! Every setting of the extension, and the only place that reads them.
//!
//! None can be set in a session or by ALTER ROLE/DATABASE: they are POSTMASTER or SIGHUP, so that no policy
//! decision depends on something its subject can change (prior_art: SUSET is how audit extensions are switched off).
//! Bulk rows, terms and limits are rows of the policy, never settings.

use pgrx::guc::{GucContext, GucEnum, GucFlags, GucRegistry, GucSetting, PostgresGucEnum};
use pgrx::pg_sys;
use std::ffi::{CStr, CString, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::OnceLock;

/// What the extension does with a statement that the policy does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PostgresGucEnum)]
pub enum Mode {
    /// Nothing is decided and nothing recorded.
    #[name = c"off"]
    Off,
    /// Recorded with the verdict; nothing is refused.
    #[name = c"observe"]
    Observe,
    /// As `observe`, and the session gets a WARNING.
    #[name = c"warn"]
    Warn,
    /// Refused.
    #[name = c"enforce"]
    Enforce,
}

/// How a read's record reaches the disk. Denials and critical work are always flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PostgresGucEnum)]
pub enum ReadDurability {
    /// `write(2)`: survives a crash of PostgreSQL, not of the machine.
    #[name = c"buffered"]
    Buffered,
    /// `fdatasync(2)` at each transaction.
    #[name = c"flushed"]
    Flushed,
}

/// What happens to reads of protected tables on a standby whose spool is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PostgresGucEnum)]
pub enum StandbySpool {
    /// They are refused: what cannot be recorded does not happen.
    #[name = c"refuse"]
    Refuse,
    /// They pass; only their number is recorded, as LOST.
    #[name = c"count"]
    Count,
}

static DATABASE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c"postgres"));
static MODE: GucSetting<Mode> = GucSetting::<Mode>::new(Mode::Enforce);
static TIME_ZONE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c"Asia/Shanghai"));
static KEY_FILE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static SEQUENCER_INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(200);
static CHECKPOINT_INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(300);
static READ_DURABILITY: GucSetting<ReadDurability> = GucSetting::<ReadDurability>::new(ReadDurability::Buffered);
static HEARTBEAT_INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(60);
static DENY_ROLE_SWITCH: GucSetting<bool> = GucSetting::<bool>::new(false);
static STANDBY_SPOOL_LIMIT: GucSetting<i32> = GucSetting::<i32>::new(1_024);
static STANDBY_SPOOL_POLICY: GucSetting<StandbySpool> = GucSetting::<StandbySpool>::new(StandbySpool::Refuse);

/// The governed database of this cluster.
pub fn database() -> String {
    DATABASE.get().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The configured mode; `shared::mode()` is what holds (leaving `enforce` needs a restart).
pub fn configured_mode() -> Mode {
    choice(&MODE)
}

/// A choice as it stands, for what is asked at each statement: the bindings' own getter asks which thread it runs in.
fn choice<T: GucEnum>(setting: &GucSetting<T>) -> T {
    // Safe: a number of this process's only thread, which the server has checked when it was set.
    T::from_ordinal(unsafe { *setting.as_ptr() })
}

/// Bytes that a piece of maintenance may take before it writes to temporary files.
pub fn maintenance_memory() -> usize {
    // Safe: a number of this process's only thread, in kB, 1024 at least.
    unsafe { pg_sys::maintenance_work_mem.max(0) as usize * 1024 }
}

/// `dynamic_library_path` as it was when the server loaded its libraries: a session may set another one.
static LIBRARY_PATH: OnceLock<String> = OnceLock::new();

/// What the server was started with.
pub struct Preloaded {
    pub libraries: String,
    /// Where they were looked for.
    pub path: String,
    /// What `$libdir` stands for.
    pub home: String,
}

pub fn preloaded() -> Preloaded {
    // Safe: strings of the server, which nobody changes while it runs.
    unsafe {
        Preloaded {
            libraries: string(pg_sys::shared_preload_libraries_string),
            path: LIBRARY_PATH.get().cloned().unwrap_or_default(),
            home: string((&raw const pg_sys::pkglib_path).cast()),
        }
    }
}

/// A string of the server; empty for none.
unsafe fn string(text: *const c_char) -> String {
    // Safe: null, or a C string.
    if text.is_null() { String::new() } else { unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned() }
}

/// The zone of operation numbers and of rules about hours; never the session's.
pub fn time_zone() -> String {
    TIME_ZONE.get().map(|name| name.to_string_lossy().into_owned()).unwrap_or_else(|| "UTC".into())
}

/// The file with the key of the second factor's secrets; None: there is none.
pub fn key_file() -> Option<PathBuf> {
    let name = KEY_FILE.get().map(|name| PathBuf::from(OsStr::from_bytes(name.to_bytes())));
    name.filter(|name| !name.as_os_str().is_empty())
}

/// Pause between two rounds of the sequencer, milliseconds.
pub fn sequencer_interval_ms() -> i64 {
    i64::from(SEQUENCER_INTERVAL.get())
}

/// Seconds between two chain heads in the server log.
pub fn checkpoint_interval_s() -> i64 {
    i64::from(CHECKPOINT_INTERVAL.get())
}

pub fn read_durability() -> ReadDurability {
    choice(&READ_DURABILITY)
}

/// Seconds without any record after which a heartbeat is chained; 0: never.
pub fn heartbeat_interval_s() -> i64 {
    i64::from(HEARTBEAT_INTERVAL.get())
}

/// Whether a cursor that one role has opened is closed to roles with other masks.
pub fn deny_role_switch() -> bool {
    DENY_ROLE_SWITCH.get()
}

/// How large the spool of a standby may grow, megabytes; None: without limit.
pub fn standby_spool_limit_mb() -> Option<u64> {
    u64::try_from(STANDBY_SPOOL_LIMIT.get()).ok()
}

pub fn standby_spool_policy() -> StandbySpool {
    STANDBY_SPOOL_POLICY.get()
}

/// Defines the settings. Called once from `_PG_init`; outside preloading POSTMASTER settings cannot be defined,
/// and nothing reads them then.
pub fn register() {
    // Safe: set by the server before it loads libraries.
    LIBRARY_PATH.get_or_init(|| unsafe { string(pg_sys::Dynamic_library_path) });
    let sighup = || GucContext::Sighup;
    let none = GucFlags::default();
    GucRegistry::define_string_guc(
        c"steward.database",
        c"The governed database of this cluster.",
        c"Roles, settings and files belong to the whole cluster; their rules live in this database and hold in every one.",
        &DATABASE,
        GucContext::Postmaster,
        none,
    );
    GucRegistry::define_enum_guc(
        c"steward.mode",
        c"What happens to statements that the policy does not allow: off, observe, warn or enforce.",
        c"Acts as observe before steward.activate(). Leaving enforce needs a restart.",
        &MODE,
        sighup(),
        none,
    );
    GucRegistry::define_string_guc(
        c"steward.time_zone",
        c"Zone of operation numbers and of rules about hours.",
        c"Never the session's TimeZone.",
        &TIME_ZONE,
        sighup(),
        none,
    );
    GucRegistry::define_string_guc(
        c"steward.key_file",
        c"The file with the key of the second factor's secrets.",
        c"64 hexadecimal digits; absolute, outside the data directory, the server's own and closed to everybody else.",
        &KEY_FILE,
        GucContext::Postmaster,
        GucFlags::SUPERUSER_ONLY,
    );
    GucRegistry::define_int_guc(
        c"steward.sequencer_interval",
        c"Time from the beginning of one round of the sequencer to the next.",
        c"A statement that waits for its record wakes the sequencer at once.",
        &SEQUENCER_INTERVAL,
        10,
        60_000,
        sighup(),
        GucFlags::UNIT_MS,
    );
    GucRegistry::define_int_guc(
        c"steward.checkpoint_interval",
        c"Time between two chain heads in the server log.",
        c"Idle intervals are published too, so that a stopped sequencer shows.",
        &CHECKPOINT_INTERVAL,
        1,
        86_400,
        sighup(),
        GucFlags::UNIT_S,
    );
    GucRegistry::define_enum_guc(
        c"steward.read_durability",
        c"How records of reads reach the disk: buffered or flushed.",
        c"Records of denials and of critical work are always flushed.",
        &READ_DURABILITY,
        sighup(),
        none,
    );
    GucRegistry::define_int_guc(
        c"steward.heartbeat_interval",
        c"Time without any record after which a heartbeat is chained.",
        c"0 chains none. A longer gap in the chain means that the sequencer did not run.",
        &HEARTBEAT_INTERVAL,
        0,
        86_400,
        sighup(),
        GucFlags::UNIT_S,
    );
    GucRegistry::define_bool_guc(
        c"steward.deny_role_switch",
        c"Whether a cursor that one role has opened is closed to roles with other masks.",
        c"Cursors of SECURITY DEFINER functions and cursors that were open before SET ROLE are refused to them.",
        &DENY_ROLE_SWITCH,
        sighup(),
        none,
    );
    GucRegistry::define_int_guc(
        c"steward.standby_spool_limit",
        c"How large the spool of a hot standby may grow.",
        c"Reads on a standby wait there for its promotion. -1 sets no limit.",
        &STANDBY_SPOOL_LIMIT,
        -1,
        i32::MAX,
        sighup(),
        GucFlags::UNIT_MB,
    );
    GucRegistry::define_enum_guc(
        c"steward.standby_spool_policy",
        c"What happens to reads of protected tables on a standby whose spool is full: refuse or count.",
        c"count lets them pass and records only how many there were.",
        &STANDBY_SPOOL_POLICY,
        sighup(),
        none,
    );
    pin_server_settings();
    reserve(c"steward");
}

/// Settings of the server that no session may choose for itself. Rows are counted by the server's own counters, and no
/// policy decision may depend on what its subject can switch off. A library that a session loads at its start could put
/// its hooks before ours.
const PINNED: [&CStr; 3] = [c"track_counts", c"session_preload_libraries", c"local_preload_libraries"];

/// Takes them out of sessions' hands (connection options, ALTER ROLE and ALTER DATABASE too): they stay settings of
/// postgresql.conf.
fn pin_server_settings() {
    // Safe: the server's table of settings, complete while libraries are preloaded, before any backend starts.
    unsafe {
        let settings = std::slice::from_raw_parts(pg_sys::get_guc_variables(), pg_sys::GetNumConfigOptions() as usize);
        for setting in settings {
            if PINNED.contains(&CStr::from_ptr((**setting).name)) {
                (**setting).context = pg_sys::GucContext::PGC_SIGHUP;
            }
        }
    }
}

/// Misspelt settings under our prefix are errors, not silent placeholders.
fn reserve(prefix: &CStr) {
    // Safe: the prefix outlives the call, which copies it; while preloading.
    unsafe { pg_sys::MarkGUCPrefixReserved(prefix.as_ptr()) }
}
