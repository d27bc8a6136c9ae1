//! An authority made for one server, and the server's certificate for `localhost` and `127.0.0.1`.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::client::install_crypto;

/// Files in PEM, in a folder that goes with this.
pub struct Certificates {
    folder: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Certificates")
    }
}

impl Default for Certificates {
    fn default() -> Self {
        Self::new()
    }
}

impl Certificates {
    /// A fresh authority and a certificate of it.
    #[must_use]
    pub fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("p2p-certificates-")
            .tempdir()
            .expect("a temporary folder");
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority =
            CertifiedIssuer::self_signed(authority, KeyPair::generate().expect("a key")).expect("an authority");
        std::fs::write(folder.path().join("ca.pem"), authority.pem()).expect("a file");
        let this = Self { folder, authority };
        this.renew(|_| {});
        this
    }

    /// Puts another certificate and key in the place of those that are there; answers the certificate in DER.
    pub fn renew(&self, change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        let mut server = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("a name");
        change(&mut server);
        let server = server.signed_by(&key, &self.authority).expect("a certificate");
        std::fs::write(self.certificate(), server.pem()).expect("a file");
        std::fs::write(self.key(), key.serialize_pem()).expect("a file");
        server.der().to_vec()
    }

    /// The certificate of the authority.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The certificate of the server.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("server.pem")
    }

    /// The private key of the server.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.folder.path().join("server.key")
    }

    /// A connection to a server with a certificate of this authority.
    pub async fn connect(&self, address: &str) -> std::io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").expect("a name");
        TlsConnector::from(self.client()).connect(name, tcp).await
    }

    /// What a client needs that trusts this authority and no other.
    #[must_use]
    pub fn client(&self) -> Arc<ClientConfig> {
        install_crypto();
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_file(self.authority()).expect("a certificate");
        roots.add(authority).expect("an authority");
        let config = ClientConfig::builder().with_root_certificates(roots);
        Arc::new(config.with_no_client_auth())
    }
}
