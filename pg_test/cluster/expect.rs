//! What a test says about an answer of the server.

use postgres::error::{DbError, SqlState};

/// The statement must fail with this SQLSTATE; DETAIL and HINT must contain these words (empty:
/// anything goes). Returns the error for further questions.
#[track_caller]
pub fn expect_error<T>(result: Result<T, postgres::Error>, code: &SqlState, detail: &str, hint: &str) -> DbError {
    let error = db_error(result);
    assert_eq!(error.code(), code, "{error:?}");
    assert!(error.detail().unwrap_or("").contains(detail), "no {detail:?} in the DETAIL: {error:?}");
    assert!(error.hint().unwrap_or("").contains(hint), "no {hint:?} in the HINT: {error:?}");
    error
}

/// The statement must be refused for want of an approved operation.
#[track_caller]
pub fn expect_refused<T>(result: Result<T, postgres::Error>) -> DbError {
    let error = expect_error(result, &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    assert!(error.message().contains("refused"), "{error:?}");
    error
}

/// The statement must be refused as the 50th row of this table.
#[track_caller]
pub fn expect_bulk_refused<T>(result: Result<T, postgres::Error>, table: &str) -> DbError {
    let error = expect_refused(result);
    let detail = error.detail().unwrap_or("");
    for words in [table, "50 rows", "bulk_write"] {
        assert!(detail.contains(words), "no {words:?} in the DETAIL: {error:?}");
    }
    error
}

/// The statement must fail in the server; the connection must hold.
#[track_caller]
pub fn db_error<T>(result: Result<T, postgres::Error>) -> DbError {
    let error = match result {
        Ok(_) => panic!("the statement succeeded, but it must fail"),
        Err(error) => error,
    };
    match error.as_db_error() {
        Some(db_error) => db_error.clone(),
        None => panic!("the connection failed: {error:?}"),
    }
}

/// This SQLSTATE and this message.
#[track_caller]
pub fn expect_message<T>(result: Result<T, postgres::Error>, code: &SqlState, message: &str) -> DbError {
    let error = db_error(result);
    assert_eq!((error.code(), error.message()), (code, message), "{error:?}");
    error
}
