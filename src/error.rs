//! The only place that raises. One constructor per kind of failure: SQLSTATE, message, detail and a hint that is
//! the next command to type. Never put a value of a protected column, a password or a code in any of them.

use pgrx::pg_sys::{self, panic::ErrorReport};
use pgrx::{PgLogLevel, PgSqlErrorCode};
use std::ffi::CStr;

/// A failure on its way to the client.
pub struct Fault {
    code: PgSqlErrorCode,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
}

impl Fault {
    fn new(code: PgSqlErrorCode, message: impl Into<String>) -> Self {
        Fault { code, message: message.into(), detail: None, hint: None }
    }
    /// 42501: the policy or the caller's capabilities do not allow it.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE, message)
    }
    /// 28000: the policy does not let this login in.
    pub fn login_refused(message: impl Into<String>) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION, message)
    }
    /// 57P01: the session ends on the policy's command.
    pub fn idle_session(message: impl Into<String>) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_ADMIN_SHUTDOWN, message)
    }
    /// 00000: nothing is wrong, and yet it should be known.
    pub fn remark(message: impl Into<String>) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION, message)
    }
    /// 55000: right caller, wrong moment (not preloaded, wrong status, something missing).
    pub fn wrong_state(message: impl Into<String>) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, message)
    }
    /// 25001: not in a transaction like this one.
    pub fn wrong_transaction(message: impl Into<String>) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_ACTIVE_SQL_TRANSACTION, message)
    }
    /// 22023: bad argument.
    pub fn bad_argument(message: impl Into<String>) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message)
    }
    /// 42809: the relation is of a kind that cannot be governed.
    pub fn wrong_object(message: impl Into<String>) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE, message)
    }
    /// 42703: no such column.
    pub fn no_column(message: impl Into<String>) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN, message)
    }
    /// 0A000: said plainly instead of half done.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED, message)
    }
    /// 42704: no such rule, person, operation.
    pub fn unknown(message: impl Into<String>) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT, message)
    }
    /// 58030: a record cannot be written, so the work it should record is refused.
    pub fn io(message: impl Into<String>) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_IO_ERROR, message)
    }
    /// 53100: there is no room for a record, so what it should record is refused.
    pub fn no_space(message: impl Into<String>) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_DISK_FULL, message)
    }
    /// XX001: stored records do not read back.
    pub fn corrupted(message: impl Into<String>) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_DATA_CORRUPTED, message)
    }
    /// XX000: a broken invariant of this extension.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, message)
            .hint("This is a bug in pg_steward; please report it.")
    }
    /// 08006: the client has gone.
    pub fn connection_lost(message: impl Into<String>) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_CONNECTION_FAILURE, message)
    }
    /// 08P01: the client sends what does not belong here.
    pub fn protocol_violated(message: impl Into<String>) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_PROTOCOL_VIOLATION, message)
    }
    /// 57014: the client has given up.
    pub fn cancelled(message: impl Into<String>) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_QUERY_CANCELED, message)
    }
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
    pub fn message(&self) -> &str {
        &self.message
    }
    /// Its DETAIL and its HINT, for another message.
    pub fn advice(&self) -> (&str, &str) {
        (self.detail.as_deref().unwrap_or(&self.message), self.hint.as_deref().unwrap_or_default())
    }
    /// The five characters of its SQLSTATE.
    pub fn sqlstate(&self) -> String {
        sqlstate(self.code)
    }
    /// Raises as ERROR; does not return.
    pub fn raise(self) -> ! {
        self.report(PgLogLevel::ERROR);
        unreachable!("an ERROR does not return")
    }
    /// Raises as FATAL: the session ends; does not return, and nothing that was begun is dropped.
    pub fn end_session(self) -> ! {
        self.report(PgLogLevel::FATAL);
        unreachable!("a FATAL does not return")
    }
    /// Tells the session without stopping it (mode `warn`).
    pub fn warn(self) {
        self.report(PgLogLevel::WARNING)
    }
    /// Tells the session by the way.
    pub fn notice(self) {
        self.report(PgLogLevel::NOTICE)
    }
    fn report(self, level: PgLogLevel) {
        let mut report = ErrorReport::new(self.code, self.message, "pg_steward");
        if let Some(detail) = self.detail {
            report = report.set_detail(detail);
        }
        if let Some(hint) = self.hint {
            report = report.set_hint(hint);
        }
        report.report(level)
    }
}

/// The five characters of a code.
pub fn sqlstate(code: PgSqlErrorCode) -> String {
    // Safe: fills a static buffer of the server, copied here.
    unsafe { CStr::from_ptr(pg_sys::unpack_sql_state(code as i32)) }.to_string_lossy().into_owned()
}

/// `Result<T, Fault>` is what everything below the SQL surface returns.
pub type Outcome<T> = Result<T, Fault>;

/// Ends a SQL function: its value, or the error.
pub fn answer<T>(outcome: Outcome<T>) -> T {
    outcome.unwrap_or_else(|fault| fault.raise())
}

impl From<pgrx::spi::Error> for Fault {
    fn from(error: pgrx::spi::Error) -> Self {
        Fault::internal(format!("own query failed: {error}"))
    }
}
