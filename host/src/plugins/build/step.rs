//! One command of a build, with a time that it may take. Knows nothing of languages.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How often a running command is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Bytes of a failed command's output that are shown, from its end.
const SHOWN: u64 = 8 << 10;

/// Why a command gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    #[error("{program} is not installed or cannot be started: {error}")]
    NoProgram { program: String, error: std::io::Error },
    #[error("{program} took longer than {seconds} s and was ended")]
    TimedOut { program: String, seconds: u64 },
    #[error("{program} ended with {status}{said}")]
    Failed {
        program: String,
        status: ExitStatus,
        /// Its last words, after a line break; empty when they were printed as they came.
        said: String,
    },
    #[error("a temporary file for the output of {program}: {error}")]
    Output { program: String, error: std::io::Error },
}

/// Runs a command whose messages go to standard error as they come.
///
/// # Errors
///
/// When it does not start, takes longer than `most`, or fails.
pub fn watched(command: &mut Command, most: Duration) -> Result<(), StepError> {
    let program = name(command);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let status = finished(command, &program, most)?;
    succeeded(program, status, String::new())
}

/// Runs a command and answers what it prints. What it says beside that is shown only when it fails.
///
/// # Errors
///
/// When it does not start, takes longer than `most`, or fails.
pub fn answer(command: &mut Command, most: Duration) -> Result<String, StepError> {
    let program = name(command);
    let no_file = |error| StepError::Output {
        program: program.clone(),
        error,
    };
    // Files, not pipes: a full pipe would stop a command that nobody reads from.
    let mut out = tempfile::tempfile().map_err(no_file)?;
    let mut words = tempfile::tempfile().map_err(no_file)?;
    command
        .stdin(Stdio::null())
        .stdout(out.try_clone().map_err(no_file)?)
        .stderr(words.try_clone().map_err(no_file)?);
    let status = finished(command, &program, most)?;
    let mut printed = tail(&mut out, u64::MAX).map_err(no_file)?;
    if !status.success() {
        printed = format!(
            "{}{}",
            tail(&mut out, SHOWN).map_err(no_file)?,
            tail(&mut words, SHOWN).map_err(no_file)?
        );
    }
    let said = format!(":\n{}", printed.trim());
    succeeded(program, status, said)?;
    Ok(printed)
}

fn succeeded(program: String, status: ExitStatus, said: String) -> Result<(), StepError> {
    if status.success() {
        Ok(())
    } else {
        Err(StepError::Failed { program, status, said })
    }
}

fn finished(command: &mut Command, program: &str, most: Duration) -> Result<ExitStatus, StepError> {
    let no_program = |error| StepError::NoProgram {
        program: program.to_owned(),
        error,
    };
    let mut child = command.spawn().map_err(no_program)?;
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(no_program)? {
            return Ok(status);
        }
        if started.elapsed() >= most {
            end(&mut child);
            return Err(StepError::TimedOut {
                program: program.to_owned(),
                seconds: most.as_secs(),
            });
        }
        std::thread::sleep(LOOK);
    }
}

fn end(child: &mut Child) {
    // It may have ended by itself in the meantime.
    let _ = child.kill();
    let _ = child.wait();
}

fn tail(file: &mut std::fs::File, most: u64) -> std::io::Result<String> {
    let from = file.metadata()?.len().saturating_sub(most);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The command's first words, for messages.
fn name(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let program = program.file_name().unwrap_or_default().to_string_lossy();
    match command.get_args().next() {
        Some(verb) if !verb.to_string_lossy().contains('/') => format!("`{program} {}`", verb.to_string_lossy()),
        _ => format!("`{program}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_secs(20);

    #[test]
    fn an_answer_is_what_the_command_prints() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo words >&2; echo printed"]);
        assert_eq!(answer(&mut command, MOST).unwrap(), "printed\n");
    }

    #[test]
    fn a_failure_shows_what_the_command_said() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo it is broken >&2; exit 3"]);
        let error = answer(&mut command, MOST).unwrap_err().to_string();
        assert!(error.contains("it is broken") && error.contains('3'), "{error}");
    }

    #[test]
    fn a_command_that_takes_too_long_is_ended() {
        let mut command = Command::new("sleep");
        command.arg("600");
        let error = watched(&mut command, Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, StepError::TimedOut { .. }), "{error}");
    }

    #[test]
    fn a_command_that_is_not_there_is_named() {
        let error = watched(&mut Command::new("no-such-program"), MOST).unwrap_err();
        assert!(error.to_string().contains("no-such-program"), "{error}");
    }
}
