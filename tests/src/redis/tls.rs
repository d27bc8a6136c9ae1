//! An authority made for one server, and the server's certificate for `localhost`.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use super::text;

/// Files in PEM, in a folder that goes with this.
#[derive(Debug)]
pub(super) struct Certificates(TempDir);

impl Certificates {
    pub(super) fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("p2p-redis-tls-")
            .tempdir()
            .expect("a temporary folder");
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority =
            CertifiedIssuer::self_signed(authority, KeyPair::generate().expect("a key")).expect("an authority");
        let key = KeyPair::generate().expect("a key");
        let server = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("a name");
        let server = server.signed_by(&key, &authority).expect("a certificate");
        for (name, pem) in [
            ("ca.pem", authority.pem()),
            ("server.pem", server.pem()),
            ("server.key", key.serialize_pem()),
        ] {
            std::fs::write(folder.path().join(name), pem).expect("a file");
        }
        Self(folder)
    }

    pub(super) fn authority(&self) -> PathBuf {
        self.0.path().join("ca.pem")
    }

    pub(super) fn arguments(&self) -> Vec<String> {
        let files = [
            ("--tls-ca-cert-file", "ca.pem"),
            ("--tls-cert-file", "server.pem"),
            ("--tls-key-file", "server.key"),
        ];
        let pair = |(option, file): (&str, &str)| [option.to_owned(), text(self.0.path().join(file))];
        files.into_iter().flat_map(pair).collect()
    }
}
