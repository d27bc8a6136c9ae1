//! TLS, against a server with a certificate of an authority of its own.

use std::path::Path;
use std::process::Command;

use p2p_coordinator_tests::postgres::{PASSWORD, Postgres};

use super::{LIMITS, open};

fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(folder)
        .output()
        .expect("openssl is missing: apt-get install openssl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// An authority `ca.crt`, a certificate of it for `localhost` alone, and a stranger `other.crt`.
fn certificates(folder: &Path) {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    for name in ["ca", "other"] {
        openssl(
            folder,
            &format!("req -x509 {key} -keyout {name}.key -out {name}.crt -days 2 -subj /CN={name}"),
        );
    }
    openssl(
        folder,
        &format!("req {key} -keyout server.key -out server.csr -subj /CN=localhost"),
    );
    std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost\n").unwrap();
    openssl(
        folder,
        "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.crt",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_checked_as_far_as_sslmode_says() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    let (certificate, key) = (read("server.crt"), read("server.key"));
    let settings = "ssl = on\nssl_cert_file = '../server.crt'\nssl_key_file = '../server.key'\n";
    let server = Postgres::start_with(settings, &[("server.crt", &certificate), ("server.key", &key)]);
    let database = server.database();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (ca, other) = (file("ca.crt"), file("other.crt"));
    let url = |host: &str, options: &str| {
        let port = server.port();
        format!(
            "postgresql://postgres:{PASSWORD}@{host}:{port}/{}?{options}",
            database.name()
        )
    };
    const ENCRYPTED: &str = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
        WHERE ssl AND application_name = 'p2p-coordinator'";

    for (host, options, encrypted) in [
        ("localhost", "sslmode=disable".to_owned(), false),
        ("localhost", "sslmode=prefer".to_owned(), true),
        ("localhost", "sslmode=require".to_owned(), true),
        ("localhost", format!("sslmode=verify-full&sslrootcert={ca}"), true),
        ("127.0.0.1", format!("sslmode=verify-ca&sslrootcert={ca}"), true),
        ("127.0.0.1", format!("sslmode=require&sslrootcert={ca}"), true),
    ] {
        let store = open(&url(host, &options), LIMITS)
            .await
            .unwrap_or_else(|e| panic!("{options}: {e:#}"));
        store.health.ping().await.unwrap();
        assert_eq!(server.sql(ENCRYPTED) != "0", encrypted, "{options}");
        store.health.close().await;
    }
    for (host, options) in [
        ("127.0.0.1", format!("sslmode=verify-full&sslrootcert={ca}")),
        ("localhost", format!("sslmode=verify-full&sslrootcert={other}")),
        ("localhost", format!("sslmode=verify-ca&sslrootcert={other}")),
        ("localhost", format!("sslmode=require&sslrootcert={other}")),
        ("localhost", "sslmode=verify-full".to_owned()),
        ("localhost", "sslmode=verify-ca".to_owned()),
    ] {
        let error = open(&url(host, &options), LIMITS).await.err();
        let text = format!("{:#}", error.unwrap_or_else(|| panic!("{host} {options} opened")));
        assert!(text.contains("TLS failed") && text.contains("certificate"), "{text}");
    }
}
