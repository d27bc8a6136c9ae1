//! Why a file of the embedded database could not be opened, in one line for the operator: the cause, and what to do about it.

use std::io::ErrorKind;
use std::path::Path;

use sqlx::migrate::MigrateError;

/// Error of the driver, of the schema or of the file system, with the mend.
pub(super) fn explain(error: &anyhow::Error, path: &Path) -> anyhow::Error {
    let place = path.display();
    let cause = if let Some(io) = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>()) {
        format!("{io}; {}", file(io.kind()))
    } else if let Some(schema) = error.chain().find_map(|cause| cause.downcast_ref::<MigrateError>()) {
        migration(schema)
    } else if let Some(driver) = error.chain().find_map(|cause| cause.downcast_ref::<sqlx::Error>()) {
        opening(driver)
    } else {
        format!("{error:#}")
    };
    anyhow::anyhow!("cannot open the database {place}: {cause}")
}

fn file(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::StorageFull => "free some space on that disk",
        _ => "name a file in a folder this user may write to, in DATABASE_URL or DATA_DIR",
    }
}

fn opening(error: &sqlx::Error) -> String {
    let code = code(error);
    let said = error
        .as_database_error()
        .map_or_else(|| error.to_string(), |said| said.message().to_owned());
    // https://www.sqlite.org/rescode.html
    let mend = match code {
        5 | 6 => "another program holds it: end that one",
        8 | 14 => "give this user the right to write the file and its folder",
        10 => "look at the disk and at the log of the system",
        11 => "the file is damaged: put a backup in its place",
        13 => "free some space on that disk",
        26 => "name another file, or put a backup in its place",
        _ => "look at the file and its disk",
    };
    format!("{said}; {mend}")
}

fn migration(error: &MigrateError) -> String {
    match error {
        MigrateError::VersionMissing(version) => {
            format!("its schema ({version}) is newer than this program; start a newer version")
        }
        MigrateError::VersionMismatch(version) => {
            format!("its schema ({version}) is not the one that this program made; name another file")
        }
        MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _) if code(cause) == 1 => {
            format!(
                "its schema cannot be brought up to date ({cause}): it may hold tables of another program; name another file"
            )
        }
        MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _) => opening(cause),
        other => format!("its schema cannot be brought up to date: {other}"),
    }
}

/// SQLite's primary result code, 0 when there is none.
fn code(error: &sqlx::Error) -> i32 {
    let code = error.as_database_error().and_then(|database| database.code());
    code.and_then(|code| code.parse::<i32>().ok()).unwrap_or_default() & 0xff
}
