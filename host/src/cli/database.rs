//! `migrate`, `backup` and `restore`: what is done to the database beside the service. Prints what storage says; decides nothing.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use secrecy::ExposeSecret as _;

use super::progress::Progress;
use super::{BAD_SETTINGS, FAILED, answer, fail, settings, wait};
use crate::boot;
use crate::config::{Config, DatabaseUrl, Mode, Source};
use crate::storage::sqlite::copy::{self, Copied, CopyStep};
use crate::storage::{Schema, postgres, sqlite};

/// Arguments of `migrate`.
#[derive(Debug, Args)]
pub struct Migrate {
    /// Only say what would be done. Exit status 1 when there is something to do.
    #[arg(long)]
    check: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Migrate {
    pub(super) fn run(&self, source: &Source) -> ExitCode {
        let config = match settings::load(source, Mode::Check) {
            Ok(config) => config,
            Err(status) => return status,
        };
        let done = wait(async {
            let before = look(&config).await?;
            if !self.check {
                let mut progress = Progress::new(!self.json);
                progress.step("bringing the schema up to date");
                boot::open_storage(&config).await?.health.close().await;
            }
            anyhow::Ok((before, look(&config).await?))
        });
        match done {
            Ok((before, after)) => self.tell(before.as_ref(), after.as_ref()),
            Err(error) => fail(FAILED, &format!("{error:#}")),
        }
    }

    fn tell(&self, before: Option<&Schema>, after: Option<&Schema>) -> ExitCode {
        let had = before.map(|schema| schema.applied.clone()).unwrap_or_default();
        let ran: Vec<i64> = after.map_or_else(Vec::new, |schema| {
            let applied = schema.applied.iter();
            applied.filter(|version| !had.contains(version)).copied().collect()
        });
        let newer = before.is_some_and(|schema| !schema.unknown.is_empty());
        // Without a file there is everything to do.
        let pending = after.is_none_or(|schema| !schema.pending.is_empty());
        let good = !newer && !pending;
        let text = || match after {
            None => "There is no database yet: a start makes it, or this command without --check.".to_owned(),
            Some(schema) => {
                let mut text = format!("{}: schema {}", schema.server, list(&schema.applied));
                if !ran.is_empty() {
                    text.push_str(&format!(", of which {} ran now", list(&ran)));
                }
                if !schema.pending.is_empty() {
                    text.push_str(&format!("; to run: {}", list(&schema.pending)));
                }
                if newer {
                    text.push_str(&format!(
                        "; {} of a newer program: start that one",
                        list(&schema.unknown)
                    ));
                }
                text
            }
        };
        let json = self
            .json
            .then(|| serde_json::json!({ "schema": after, "ran": ran, "up_to_date": good }));
        answer(json, text, good)
    }
}

fn list(versions: &[i64]) -> String {
    if versions.is_empty() {
        return "none".to_owned();
    }
    versions.iter().map(i64::to_string).collect::<Vec<_>>().join(", ")
}

/// The schema of the configured database; none when its file is not there yet.
///
/// # Errors
/// It cannot be looked at; the text says what to do.
pub(super) async fn look(config: &Config) -> anyhow::Result<Option<Schema>> {
    let looked = match &config.database.url {
        DatabaseUrl::Sqlite(path) => sqlite::schema::look(path).await,
        DatabaseUrl::Postgres(url) => {
            let looked = postgres::schema::look(url.expose_secret(), config.database.statement_timeout).await;
            looked.map(Some)
        }
    };
    looked.map_err(|error| anyhow::anyhow!("DATABASE_URL: {error:#}"))
}

/// Arguments of `backup`.
#[derive(Debug, Args)]
pub struct Backup {
    /// The file to write. Without it, coordinator-YYYYMMDD-HHMMSS.db in the working folder.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file when it is there.
    #[arg(long)]
    force: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Backup {
    pub(super) fn run(&self, source: &Source) -> ExitCode {
        let path = match database(source, "pg_dump", ">") {
            Ok(path) => path,
            Err(status) => return status,
        };
        let name = || PathBuf::from(format!("coordinator-{}.db", copy::stamp()));
        let file = self.output.clone().unwrap_or_else(name);
        let copied = {
            let mut progress = Progress::new(!self.json);
            let mut watch = |step| show(&mut progress, step);
            wait(async { Ok(copy::backup(&path, &file, self.force, &mut watch).await?) })
        };
        tell(copied, self.json, "written and checked")
    }
}

/// Arguments of `restore`.
#[derive(Debug, Args)]
pub struct Restore {
    /// A file that `backup` has written.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Restore over a database that is there. It stays, under another name.
    #[arg(long)]
    force: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Restore {
    pub(super) fn run(&self, source: &Source) -> ExitCode {
        let path = match database(source, "psql -v ON_ERROR_STOP=1 --single-transaction", "<") {
            Ok(path) => path,
            Err(status) => return status,
        };
        let copied = {
            let mut progress = Progress::new(!self.json);
            let mut watch = |step| show(&mut progress, step);
            wait(async { Ok(copy::restore(&self.file, &path, self.force, &mut watch).await?) })
        };
        tell(copied, self.json, "restored")
    }
}

/// The file of the embedded database. PostgreSQL has programs of its own for this, which are named.
fn database(source: &Source, program: &str, direction: &str) -> Result<PathBuf, ExitCode> {
    let config = settings::load(source, Mode::Check)?;
    match config.database.url {
        DatabaseUrl::Sqlite(path) => Ok(path),
        DatabaseUrl::Postgres(url) => {
            let arguments = postgres::schema::arguments(url.expose_secret());
            let arguments = arguments.map_err(|error| fail(BAD_SETTINGS, &format!("{error:#}")))?;
            Err(fail(
                FAILED,
                &format!(
                    "DATABASE_URL names PostgreSQL, which has its own program for this:\n  {program} {arguments} {direction} backup.sql"
                ),
            ))
        }
    }
}

fn show(progress: &mut Progress, step: CopyStep) {
    match step {
        CopyStep::Writing { bytes, of } => progress.bytes("writing the copy", bytes, of),
        CopyStep::Checking => progress.step("checking the copy"),
    }
}

fn tell(copied: anyhow::Result<Copied>, json: bool, verb: &str) -> ExitCode {
    match copied {
        Ok(copied) => {
            let text = || {
                let mut text = format!("{} is {verb}: {} bytes", copied.file.display(), copied.bytes);
                if let Some(kept) = &copied.kept {
                    text.push_str(&format!("; what was there before is {}", kept.display()));
                }
                text
            };
            answer(json.then(|| serde_json::json!(copied)), text, true)
        }
        Err(error) => fail(FAILED, &error.to_string()),
    }
}
