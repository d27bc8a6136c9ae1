//! Starts processes that end with this one, even when it is killed: the system sends them a signal when the thread that
//! started them ends. Test threads come and go, so one thread that stays starts them all.

use std::io;
use std::process::{Child, Command};
use std::sync::mpsc::{Sender, channel};
use std::sync::{LazyLock, Mutex, PoisonError};

type Order = (Command, Sender<io::Result<Child>>);

static STARTER: LazyLock<Mutex<Sender<Order>>> = LazyLock::new(|| {
    let (sender, orders) = channel::<Order>();
    std::thread::spawn(move || {
        for (mut command, answer) in orders {
            answer.send(command.spawn()).ok();
        }
    });
    Mutex::new(sender)
});

/// Starts `command`. A missing `program` is a failure that names the Debian package.
pub fn spawn(command: Command, program: &str, package: &str) -> Child {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()));
    assert!(
        found,
        "{program} is missing: install Debian's package {package} (apt-get install {package})"
    );
    let mut guarded = Command::new("setpriv");
    guarded
        .args(["--pdeathsig", "KILL", "--"])
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    let (answer, started) = channel();
    let starter = STARTER.lock().unwrap_or_else(PoisonError::into_inner);
    starter
        .send((guarded, answer))
        .expect("the starter lives as long as the process");
    drop(starter);
    let started = started.recv().expect("the starter answers");
    started.expect("setpriv of Debian's package util-linux runs")
}
