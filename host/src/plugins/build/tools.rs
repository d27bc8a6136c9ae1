//! The programs that turn JavaScript and Python into components. Uses those of the project where it has them, else those
//! in a cache folder, where they are installed once, in the versions named here. Builds nothing itself.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::step::{self, StepError};
use super::{BuildStep, Watch};

/// The version of npm's `@bytecodealliance/jco`.
pub const JCO: &str = "1.35.0";
/// The version of npm's `componentize-qjs`, which jco calls.
pub const COMPONENTIZE_QJS: &str = "0.4.5";
/// The version of PyPI's `componentize-py`.
pub const COMPONENTIZE_PY: &str = "0.25.1";
/// The oldest Node.js that runs jco.
pub const NODE: u32 = 20;

/// How long an installation may take.
const INSTALL: Duration = Duration::from_secs(600);
/// How long a program may take to say its version.
const VERSION: Duration = Duration::from_secs(30);
/// How often a lock is tried.
const LOOK: Duration = Duration::from_millis(100);
/// Says that an installation is whole.
const WHOLE: &str = ".whole";

/// Why a program is not there.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    #[error(
        "JavaScript policies need Node.js {NODE} or newer with npm: apt-get install nodejs npm, or https://nodejs.org ({0})"
    )]
    NoNode(String),
    #[error("Python policies need Python 3.10 or newer with venv: apt-get install python3 python3-venv ({0})")]
    NoPython(String),
    #[error("{tool} cannot be installed into {}. Is the registry in reach? {error}", dir.display())]
    Install {
        tool: String,
        dir: PathBuf,
        error: StepError,
    },
    #[error("no folder for tools: set HOME, XDG_CACHE_HOME or PLUGIN_TOOLS_DIR")]
    NoFolder,
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: std::io::Error },
    #[error("another build has been installing {0} for longer than {seconds} s", seconds = INSTALL.as_secs())]
    Busy(String),
}

/// Where the programs are kept.
#[derive(Clone, Debug, Default)]
pub struct Tools {
    /// The cache folder. None: `p2p-coordinator` in the user's own cache folder.
    pub folder: Option<PathBuf>,
}

impl Tools {
    /// Tools in `folder`, or in the user's cache folder.
    #[must_use]
    pub const fn new(folder: Option<PathBuf>) -> Self {
        Self { folder }
    }

    /// `jco`, for the project in `dir`.
    ///
    /// # Errors
    ///
    /// Says what to install.
    pub fn jco(&self, dir: &Path, watch: Watch<'_>) -> Result<Command, ToolError> {
        let mut node = Command::new("node");
        let version =
            step::answer(node.arg("--version"), VERSION).map_err(|error| ToolError::NoNode(error.to_string()))?;
        let major = version.trim().trim_start_matches('v').split('.').next().unwrap_or("");
        if major.parse::<u32>().map_or(true, |major| major < NODE) {
            return Err(ToolError::NoNode(format!("this is {}", version.trim())));
        }
        let own = dir
            .ancestors()
            .map(|folder| folder.join("node_modules/.bin/jco"))
            .find(|path| path.is_file());
        let jco = match own {
            Some(jco) => jco,
            None => self
                .installed(&format!("jco-{JCO}-{COMPONENTIZE_QJS}"), install_jco, watch)?
                .join("node_modules/.bin/jco"),
        };
        Ok(Command::new(jco))
    }

    /// `componentize-py`, for the project in `dir`.
    ///
    /// # Errors
    ///
    /// Says what to install.
    pub fn componentize_py(&self, dir: &Path, watch: Watch<'_>) -> Result<Command, ToolError> {
        let active = std::env::var_os("VIRTUAL_ENV").map(PathBuf::from);
        let own = active
            .into_iter()
            .chain([dir.join(".venv")])
            .map(|venv| venv.join("bin/componentize-py"))
            .find(|path| path.is_file());
        let program = match own {
            Some(program) => program,
            None => self
                .installed(
                    &format!("componentize-py-{COMPONENTIZE_PY}"),
                    install_componentize_py,
                    watch,
                )?
                .join("bin/componentize-py"),
        };
        Ok(Command::new(program))
    }

    /// The folder of one installation, made when it is not there. Builds that start together install once.
    fn installed(
        &self,
        name: &str,
        install: fn(&Path) -> Result<(), ToolError>,
        watch: Watch<'_>,
    ) -> Result<PathBuf, ToolError> {
        let folder = self.folder()?;
        let (dir, lock) = (folder.join(name), folder.join(format!("{name}.lock")));
        let wrong = |path: &Path| {
            let path = path.to_owned();
            move |error| ToolError::File { path, error }
        };
        fs::create_dir_all(&folder).map_err(wrong(&folder))?;
        // Given back when the file is closed, also by the end of the process.
        let lock_file = File::create(&lock).map_err(wrong(&lock))?;
        let started = Instant::now();
        loop {
            match lock_file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if started.elapsed() < INSTALL => std::thread::sleep(LOOK),
                Err(TryLockError::WouldBlock) => return Err(ToolError::Busy(name.to_owned())),
                Err(TryLockError::Error(error)) => return Err(wrong(&lock)(error)),
            }
        }
        if !dir.join(WHOLE).is_file() {
            if dir.exists() {
                fs::remove_dir_all(&dir).map_err(wrong(&dir))?;
            }
            fs::create_dir_all(&dir).map_err(wrong(&dir))?;
            watch(BuildStep::Installing {
                tool: name.to_owned(),
                dir: dir.clone(),
            });
            install(&dir)?;
            fs::write(dir.join(WHOLE), "").map_err(wrong(&dir))?;
        }
        Ok(dir)
    }

    /// The cache folder, whether it is there or not.
    ///
    /// # Errors
    ///
    /// When the environment names none.
    pub fn folder(&self) -> Result<PathBuf, ToolError> {
        if let Some(folder) = &self.folder {
            return std::path::absolute(folder).map_err(|error| ToolError::File {
                path: folder.clone(),
                error,
            });
        }
        let set = |name| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
        let cache = set("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".cache")));
        Ok(cache.ok_or(ToolError::NoFolder)?.join("p2p-coordinator"))
    }
}

fn install_jco(dir: &Path) -> Result<(), ToolError> {
    let package = format!(
        r#"{{"private": true, "dependencies": {{"@bytecodealliance/jco": "{JCO}", "componentize-qjs": "{COMPONENTIZE_QJS}"}}}}"#
    );
    let path = dir.join("package.json");
    fs::write(&path, package).map_err(|error| ToolError::File { path, error })?;
    let mut npm = Command::new("npm");
    npm.args([
        "install",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        "--loglevel=error",
    ])
    .current_dir(dir);
    match step::answer(&mut npm, INSTALL) {
        Ok(_) => Ok(()),
        Err(error @ StepError::NoProgram { .. }) => Err(ToolError::NoNode(error.to_string())),
        Err(error) => Err(ToolError::Install {
            tool: format!("npm's @bytecodealliance/jco {JCO}"),
            dir: dir.to_owned(),
            error,
        }),
    }
}

fn install_componentize_py(dir: &Path) -> Result<(), ToolError> {
    let mut python = Command::new("python3");
    python.args(["-m", "venv"]).arg(dir);
    step::answer(&mut python, INSTALL).map_err(|error| ToolError::NoPython(error.to_string()))?;
    let mut pip = Command::new(dir.join("bin/python"));
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--only-binary=:all:",
    ])
    .arg(format!("componentize-py=={COMPONENTIZE_PY}"));
    step::answer(&mut pip, INSTALL).map_err(|error| ToolError::Install {
        tool: format!("PyPI's componentize-py {COMPONENTIZE_PY}"),
        dir: dir.to_owned(),
        error,
    })?;
    Ok(())
}
