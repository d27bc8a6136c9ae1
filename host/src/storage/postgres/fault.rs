//! What an error of PostgreSQL or of the way to it means for the caller, by SQLSTATE. Nothing else reads error codes.

use crate::ports::storage::StorageError;

/// Classes that a later attempt may not meet: connection (08), resources (53), an operator's or the server's own intervention,
/// which includes a statement that took too long (57), and the system below it (58).
const PASSING_CLASSES: [&str; 4] = ["08", "53", "57", "58"];

/// Single codes of the same kind: an idle transaction was ended; the server became a read-only standby; serialisation; deadlock;
/// a lock that was not to be had in time.
const PASSING_CODES: [&str; 5] = ["25P03", "25006", "40001", "40P01", "55P03"];

/// Maps an error of the driver by what the caller can do about it.
pub(super) fn failed(error: sqlx::Error) -> StorageError {
    let passing = is_dead(&error)
        || match &error {
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => true,
            sqlx::Error::Database(_) => {
                let code = code(&error);
                PASSING_CODES.contains(&&*code) || PASSING_CLASSES.iter().any(|class| code.starts_with(class))
            }
            _ => false,
        };
    if passing {
        StorageError::Unavailable(error.into())
    } else {
        StorageError::Internal(error.into())
    }
}

/// The transaction lost against another one and left no trace: the same again may go through.
pub(super) fn is_conflict(error: &sqlx::Error) -> bool {
    matches!(&*code(error), "40001" | "40P01")
}

/// The connection is gone, as every one is after a restart of the server; another one may do.
pub(super) fn is_dead(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::WorkerCrashed | sqlx::Error::BeginFailed => true,
        sqlx::Error::Database(_) => {
            let code = code(error);
            code.starts_with("08") || matches!(&*code, "57P01" | "57P02" | "57P03" | "57P05" | "25P03")
        }
        _ => false,
    }
}

/// The SQLSTATE, empty when the server did not say one.
pub(super) fn code(error: &sqlx::Error) -> String {
    error
        .as_database_error()
        .and_then(|database| database.code())
        .map(|code| code.into_owned())
        .unwrap_or_default()
}
