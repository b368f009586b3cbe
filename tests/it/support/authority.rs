//! An authority of the test's own, and certificates of it in files.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// Signs certificates; its files are gone with it.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

/// A certificate and its key, in files.
#[derive(Clone, Debug)]
pub struct Identity {
    pub certificate_file: PathBuf,
    pub key_file: PathBuf,
}

impl Identity {
    /// Settings of a tracker or node that shows it.
    pub fn settings(&self) -> [String; 2] {
        let (certificate, key) = (self.certificate_file.display(), self.key_file.display());
        [format!("tls.certificate_file={certificate}"), format!("tls.key_file={key}")]
    }
}

impl Authority {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Authority of a test");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed");
        std::fs::write(directory.path().join("ca.pem"), issuer.pem()).expect("written");
        Self { issuer, directory }
    }

    /// The file to believe.
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Somebody with these names and addresses; the same `who` again replaces the files.
    pub fn identity(&self, who: &str, names: &[&str]) -> Identity {
        self.sign(who, names, 2999)
    }

    /// The same, of long ago.
    pub fn expired_identity(&self, who: &str, names: &[&str]) -> Identity {
        self.sign(who, names, 2001)
    }

    fn sign(&self, who: &str, names: &[&str], last_year: i32) -> Identity {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).expect("names");
        (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(last_year, 1, 1));
        params.distinguished_name.push(DnType::CommonName, who);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let file = |kind: &str| self.directory.path().join(format!("{who}.{kind}.pem"));
        let identity = Identity { certificate_file: file("cert"), key_file: file("key") };
        std::fs::write(&identity.certificate_file, certificate.pem()).expect("written");
        std::fs::write(&identity.key_file, key.serialize_pem()).expect("written");
        identity
    }
}

/// A client that talks TLS by the library, not by our own code.
pub struct TlsSession {
    reader: BufReader<StreamOwned<ClientConnection, TcpStream>>,
}

impl TlsSession {
    pub fn connect(address: SocketAddr, ca_file: &Path, identity: Option<&Identity>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca_file).expect("a certificate")).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.expect("versions").with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = CertificateDer::from_pem_file(&identity.certificate_file).expect("a certificate");
                let key = PrivateKeyDer::from_pem_file(&identity.key_file).expect("a key");
                builder.with_client_auth_cert(vec![chain], key).expect("fits")
            }
        };
        let name = ServerName::from(address.ip());
        let connection = ClientConnection::new(Arc::new(config), name).expect("configured");
        let socket = TcpStream::connect(address).expect("accepted");
        socket.set_read_timeout(Some(super::PATIENCE)).expect("socket option");
        socket.set_nodelay(true).expect("socket option");
        Self { reader: BufReader::new(StreamOwned::new(connection, socket)) }
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    /// One line with its end; nothing if the other side has ended in good order.
    pub fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.reader.read_line(&mut line).map(|_count| line)
    }

    pub fn ask(&mut self, request: &str) -> io::Result<String> {
        self.send(format!("{request}\r\n").as_bytes())?;
        self.line()
    }

    /// The certificate that was shown.
    pub fn shown(&self) -> Vec<u8> {
        let certificates = self.reader.get_ref().conn.peer_certificates();
        certificates.and_then(|all| all.first()).map(|certificate| certificate.to_vec()).unwrap_or_default()
    }

    /// One HTTP exchange: status and body.
    pub fn http(&mut self, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: node\r\nContent-Length: {}\r\n\r\n", body.len());
        self.send(head.as_bytes()).expect("taken");
        self.send(body).expect("taken");
        let status = self.line().expect("a status")[9..12].parse().expect("a number");
        let mut length = 0;
        loop {
            let header = self.line().expect("a header").to_lowercase();
            if header == "\r\n" {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a number");
            }
        }
        let mut body = vec![0; if method == "HEAD" { 0 } else { length }];
        self.reader.read_exact(&mut body).expect("whole");
        (status, body)
    }
}
