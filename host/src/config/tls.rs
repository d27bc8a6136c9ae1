//! The service's own certificate: the files are read, checked and made ready for handshakes. Knows no socket.

use std::sync::Arc;
use std::time::Duration;

use rustls::CertificateError::{ExpiredContext, NotValidYetContext};
use rustls::crypto::ring::{self, Ticketer};
use rustls::server::ParsedCertificate;
use rustls::{InconsistentKeys, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use sha2::{Digest as _, Sha256};

use super::reader::Reader;
use crate::domain::clock::Timestamp;

const CERT: &str = "TLS_CERT_FILE";
const KEY: &str = "TLS_KEY_FILE";
/// How long before its end a certificate is warned about. Programs that renew them do so 30 days before.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// What `TLS_CERT_FILE` and `TLS_KEY_FILE` hold.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// What handshakes are made with: TLS 1.2 and 1.3, for HTTP/1.1.
    pub server: Arc<ServerConfig>,
    /// Of the content of both files.
    digest: [u8; 32],
}

impl TlsConfig {
    /// Whether the files held the same.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.digest == other.digest
    }

    /// None when neither is set, or when something is wrong, which the reader then knows.
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let (cert, key) = match (reader.given(CERT), reader.given(KEY)) {
            (Some(cert), Some(key)) => (cert, key),
            (None, None) => return None,
            (Some(_), None) => {
                reader.refuse(
                    KEY,
                    format!("{CERT} needs its private key: name the file, or remove {CERT}"),
                );
                return None;
            }
            (None, Some(_)) => {
                reader.refuse(
                    CERT,
                    format!("{KEY} needs its certificate: name the file, or remove {KEY}"),
                );
                return None;
            }
        };
        let (cert, key) = (content(reader, CERT, cert), content(reader, KEY, key));
        let (chain, private) = (
            cert.as_deref().and_then(|pem| certificates(reader, pem)),
            key.as_deref().and_then(|pem| private_key(reader, pem)),
        );
        let server = server(reader, chain?, private?)?;
        let mut digest = Sha256::new();
        for part in [cert?, key?] {
            digest.update(part.len().to_le_bytes());
            digest.update(part);
        }
        Some(Self {
            server: Arc::new(server),
            digest: digest.finalize().into(),
        })
    }
}

fn content(reader: &mut Reader<'_>, name: &str, path: &str) -> Option<Vec<u8>> {
    let read = std::fs::read(path);
    read.map_err(|error| {
        let text =
            format!("cannot be read ({error}); name a file in PEM that this user may read, in folders it may enter");
        reader.refuse(name, text);
    })
    .ok()
}

/// The certificates of a file, the first one good for now or with a warning.
fn certificates(reader: &mut Reader<'_>, pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = match chain {
        Ok(chain) => chain,
        Err(error) => {
            reader.refuse(CERT, format!("is no PEM ({error}); name the file with the whole chain"));
            return None;
        }
    };
    let Some(own) = chain.first() else {
        let text =
            "has no certificate; it must be PEM (-----BEGIN CERTIFICATE-----), the service's own certificate first";
        reader.refuse(CERT, text);
        return None;
    };
    for (index, certificate) in chain.iter().enumerate() {
        if let Err(error) = ParsedCertificate::try_from(certificate) {
            let text = format!(
                "certificate {} in it is broken ({error}); get the file again",
                index + 1
            );
            reader.refuse(CERT, text);
            return None;
        }
    }
    if let Some(warning) = validity(own, UnixTime::now()) {
        reader.warnings.push(format!("{CERT}: {warning}"));
    }
    Some(chain)
}

fn private_key(reader: &mut Reader<'_>, pem: &[u8]) -> Option<PrivateKeyDer<'static>> {
    let key = PrivateKeyDer::from_pem_slice(pem);
    key.map_err(|error| {
        let text = format!(
            "has no private key ({error}); it must be PEM with PKCS#8, PKCS#1 or SEC1 (-----BEGIN PRIVATE KEY-----), \
             without a password"
        );
        reader.refuse(KEY, text);
    })
    .ok()
}

fn server(
    reader: &mut Reader<'_>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Option<ServerConfig> {
    let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
    let provider = Arc::new(ring::default_provider());
    let made = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .and_then(|server| Ok((server, Ticketer::new()?)));
    match made {
        Ok((mut server, ticketer)) => {
            server.alpn_protocols = vec![b"http/1.1".to_vec()];
            server.ticketer = ticketer;
            Some(server)
        }
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            let text = format!(
                "is not the key of the first certificate in {CERT}; name the key it was made for, and put the service's own \
                 certificate before those of authorities"
            );
            reader.refuse(KEY, text);
            None
        }
        Err(error) => {
            let text =
                format!("cannot be used ({error}); make an ECDSA key (P-256 or P-384), an Ed25519 or an RSA key");
            reader.refuse(KEY, text);
            None
        }
    }
}

/// What is odd about the time in which a certificate is good, with the mend.
fn validity(certificate: &CertificateDer<'_>, now: UnixTime) -> Option<String> {
    let soon = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()) + SOON);
    let day = |time: UnixTime| {
        let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        let text = Timestamp(0).plus_seconds(seconds).rfc3339();
        text.split('T').next().unwrap_or_default().to_owned()
    };
    match (time_error(certificate, now), time_error(certificate, soon)) {
        (Some(ExpiredContext { not_after, .. }), _) => Some(format!(
            "the certificate expired on {}, and clients refuse it; renew it and reload",
            day(not_after)
        )),
        (Some(NotValidYetContext { not_before, .. }), _) => Some(format!(
            "the certificate is not good before {}; check the clock of this machine",
            day(not_before)
        )),
        (_, Some(ExpiredContext { not_after, .. })) => Some(format!(
            "the certificate expires on {}; renew it and reload",
            day(not_after)
        )),
        _ => None,
    }
}

/// The first thing that a verification looks at is the time; without any authority it never succeeds.
fn time_error(certificate: &CertificateDer<'_>, time: UnixTime) -> Option<rustls::CertificateError> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    let algorithms = ring::default_provider().signature_verification_algorithms.all;
    let roots = RootCertStore::empty();
    match rustls::client::verify_server_cert_signed_by_trust_anchor(&parsed, &roots, &[], time, algorithms) {
        Err(rustls::Error::InvalidCertificate(error)) => Some(error),
        _ => None,
    }
}
