//! Starts that cannot work, each mistake of the troubleshooting page once: the process ends within five seconds, with one
//! message that names the setting, the cause and the mend, and shows no secret.

use std::time::{Duration, Instant};

use p2p_coordinator_tests::postgres::{PASSWORD, Postgres};
use p2p_coordinator_tests::{Options, Redis};

const SECRET: &str = "wr0ng-s3cret";
/// Settings alone are refused with this status, what they point at with the other.
const SETTINGS: i32 = 2;
const START: i32 = 1;

/// What the refused start said: one message, without the notices before it.
fn refusal(options: &Options, status: i32) -> String {
    let begin = Instant::now();
    let (ended, said) = options.run(&[]);
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}: {said}");
    assert_eq!(ended.code(), Some(status), "{said}");
    assert!(!said.contains(SECRET) && !said.contains(PASSWORD), "{said}");
    let notices = [" INFO ", " WARN ", "\"INFO\"", "\"WARN\""];
    let notice = |line: &&str| notices.iter().any(|word| line.contains(word));
    let told: Vec<&str> = said.lines().filter(|line| !notice(line)).collect();
    let heads = told.iter().filter(|line| !line.starts_with("  ")).count();
    assert_eq!(heads, 1, "one message: {said}");
    told.join("\n")
}

#[track_caller]
fn expect(options: &Options, status: i32, words: &[&str]) {
    let told = refusal(options, status);
    for word in words {
        assert!(told.contains(word), "{word:?} is missing in: {told}");
    }
}

fn database(url: &str) -> Options {
    Options::default().env("DATABASE_URL", url)
}

fn redis(url: &str) -> Options {
    Options::default().env("REDIS_URL", url)
}

fn production() -> Options {
    Options::default().env("ENVIRONMENT", "production")
}

#[test]
fn a_database_that_does_not_let_us_in() {
    let server = Postgres::start();
    let wrong = server.url_of("postgres", SECRET, "postgres");
    expect(
        &database(&wrong),
        START,
        &["DATABASE_URL", "the password is wrong", "correct it"],
    );
    let unknown = server.url_of("nobody-here", SECRET, "postgres");
    expect(
        &database(&unknown),
        START,
        &["DATABASE_URL", "nobody-here", "ALTER USER"],
    );
    let absent = server.url_of("postgres", PASSWORD, "absent");
    expect(
        &database(&absent),
        START,
        &["DATABASE_URL", "does not exist", "CREATE DATABASE \"absent\""],
    );
    server.sql("CREATE USER guest PASSWORD 'wr0ng-s3cret'");
    server.sql("CREATE DATABASE closed");
    let closed = server.url_of("guest", SECRET, "closed");
    expect(
        &database(&closed),
        START,
        &["DATABASE_URL", "GRANT CREATE ON SCHEMA public TO \"guest\""],
    );
}

#[test]
fn a_database_that_is_not_there() {
    let server = Postgres::start_with("", &[]);
    let url = server.url_of("postgres", PASSWORD, "postgres");
    server.pause();
    expect(
        &database(&url),
        START,
        &["DATABASE_URL", "no answer in time", "the firewall"],
    );
    server.resume();
    server.stop();
    expect(
        &database(&url),
        START,
        &["DATABASE_URL", "nothing listens there", "start PostgreSQL"],
    );
    let nowhere = database("postgresql://u:wr0ng-s3cret@no-such-host.invalid/d");
    expect(
        &nowhere,
        START,
        &["DATABASE_URL", "no-such-host.invalid", "check the host name"],
    );
}

#[test]
fn a_database_without_a_connection_left() {
    let server = Postgres::start_with("max_connections = 1\nsuperuser_reserved_connections = 0\n", &[]);
    let url = server.url_of("postgres", PASSWORD, "postgres");
    let mut busy = std::process::Command::new("psql")
        .args(["-X", "-q", "-A", "-t", &url])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = busy.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, b"SELECT 'here';\n").unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(busy.stdout.take().unwrap()), &mut line).unwrap();
    assert_eq!(line, "here\n");
    expect(
        &database(&url),
        START,
        &["DATABASE_URL", "no connection left", "raise max_connections"],
    );
    drop(input);
    busy.wait().unwrap();
}

#[test]
fn no_redis() {
    let mut server = Redis::start();
    let url = format!("redis://:{SECRET}@127.0.0.1:{}/0", server.port());
    server.cli(&["CONFIG", "SET", "requirepass", "another-one"]);
    expect(&redis(&url), START, &["REDIS_URL", "correct user and password"]);
    expect(
        &redis(&server.url()),
        START,
        &["REDIS_URL", "correct user and password"],
    );
    server.pause();
    expect(&redis(&url), START, &["REDIS_URL", "timed out", "start Redis there"]);
    server.resume();
    server.terminate();
    expect(&redis(&url), START, &["REDIS_URL", "refused", "start Redis there"]);
    expect(
        &redis("redis://no-such-host.invalid"),
        START,
        &["REDIS_URL", "correct the host name"],
    );
}

#[test]
fn a_redis_that_is_none_or_takes_no_writes() {
    let postgres = Postgres::start();
    let url = format!("redis://127.0.0.1:{}/0", postgres.port());
    expect(&redis(&url), START, &["REDIS_URL", "correct"]);
    let (master, replica) = (Redis::start(), Redis::start());
    replica.cli(&["REPLICAOF", "127.0.0.1", &master.port().to_string()]);
    expect(
        &redis(&replica.url()),
        START,
        &["REDIS_URL", "takes no writes", "name the master"],
    );
}

#[test]
fn database_and_redis_are_told_in_one_message() {
    let both = database("postgresql://u:wr0ng-s3cret@127.0.0.1:1/d").env("REDIS_URL", "redis://127.0.0.1:1");
    expect(
        &both,
        START,
        &["DATABASE_URL", "start PostgreSQL", "REDIS_URL", "start Redis there"],
    );
}

#[test]
fn a_port_in_use_or_an_address_of_another_machine() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let taken = Options::default().env("PORT", port);
    expect(
        &taken,
        START,
        &["in use", &format!("PORT (now {port})"), "ss -ltnp", "end that one"],
    );
    expect(
        &Options::default().env("HOST", "192.0.2.1"),
        START,
        &["set HOST to an address of this machine"],
    );
}

#[test]
fn weak_secrets_in_production() {
    let words = ["JWT_SECRET_KEY", "openssl rand -hex 32"];
    expect(&production().without("JWT_SECRET_KEY"), SETTINGS, &words);
    expect(
        &production().env("JWT_SECRET_KEY", SECRET),
        SETTINGS,
        &["JWT_SECRET_KEY", "32 characters or more, it has 12"],
    );
    expect(
        &production().env("COORDINATOR_API_KEY", "a".repeat(40)),
        SETTINGS,
        &["COORDINATOR_API_KEY", "placeholder"],
    );
    expect(
        &production().env("CORS_ORIGINS", "*"),
        SETTINGS,
        &["CORS_ORIGINS", "exact origins"],
    );
    let guide = "postgresql+asyncpg://ai_world_user:ai_world_pass_2025@localhost:5432/ai_world_memory";
    expect(
        &production().env("DATABASE_URL", guide),
        SETTINGS,
        &["DATABASE_URL", "set one of your own"],
    );
}

#[test]
fn files_and_folders_that_cannot_be_used() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("file");
    std::fs::write(
        &file,
        "no database, no folder, and long enough to be looked at as either of them",
    )
    .unwrap();
    let below = file.join("below");
    let options = |name: &str, path: &std::path::Path| Options::default().env(name, path.display());
    expect(
        &options("DATA_DIR", &file),
        START,
        &["DATA_DIR", "this user may write to"],
    );
    expect(
        &options("LOG_FILE", &below),
        START,
        &["LOG_FILE", "this user may write to"],
    );
    expect(
        &options("PLUGIN_DIR", &file),
        START,
        &["PLUGIN_DIR", "this user may make"],
    );
    let url = |path: &std::path::Path| format!("sqlite:{}", path.display());
    expect(
        &database(&url(&file)),
        START,
        &["DATABASE_URL", "not a database", "name another file"],
    );
    expect(
        &database(&url(&below)),
        START,
        &["DATABASE_URL", "this user may write to"],
    );
    let (ended, said) = Options::default().run(&["--env-file", "no-such.env"]);
    assert_eq!(ended.code(), Some(SETTINGS), "{said}");
    assert!(said.contains("no-such.env"), "{said}");
}

#[test]
fn a_failed_start_is_in_the_log_file_and_told_to_systemd() {
    let home = tempfile::tempdir().unwrap();
    let socket = std::os::unix::net::UnixDatagram::bind(home.path().join("notify")).unwrap();
    let options = redis("redis://127.0.0.1:1")
        .env("LOG_FILE", home.path().join("service.log").display())
        .env("LOG_FORMAT", "json")
        .env("NOTIFY_SOCKET", home.path().join("notify").display());
    let told = refusal(&options, START);
    assert!(told.starts_with('{') && told.contains("start Redis there"), "{told}");
    let mut said = [0; 4096];
    let length = socket.recv(&mut said).unwrap();
    let status = String::from_utf8_lossy(&said[..length]).into_owned();
    assert!(status.starts_with("STATUS=cannot start: REDIS_URL"), "{status}");
    let logs = std::fs::read_dir(home.path()).unwrap().flatten();
    let log = logs
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().contains("service.log"))
        .unwrap();
    assert!(std::fs::read_to_string(log).unwrap().contains("start Redis there"));
}
