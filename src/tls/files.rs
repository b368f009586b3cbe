//! PEM files: chains of certificates, keys, authorities.

use crate::service::absolute;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};

/// A file that cannot be used, and where its name was said.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{}: {problem} ({named_by})", path.display())]
pub struct TlsError {
    pub path: PathBuf,
    pub problem: String,
    /// A setting's key or a command line's option.
    pub named_by: &'static str,
}

/// A file and where its name was said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<'a> {
    pub path: &'a Path,
    pub by: &'static str,
}

impl Named<'_> {
    pub fn wrong(self, problem: impl Into<String>) -> TlsError {
        TlsError { path: self.path.to_owned(), problem: problem.into(), named_by: self.by }
    }

    fn bytes(self) -> Result<Vec<u8>, TlsError> {
        if self.path.as_os_str().is_empty() {
            return Err(self.wrong("no file is named"));
        }
        std::fs::read(absolute(self.path)).map_err(|error| self.wrong(format!("cannot be read: {error}")))
    }

    /// At least one certificate.
    pub fn certificates(self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.bytes()?).collect();
        match found {
            Ok(certificates) if certificates.is_empty() => Err(self.wrong("has no certificate (PEM)")),
            Ok(certificates) => Ok(certificates),
            Err(error) => Err(self.wrong(format!("is no PEM file: {error}"))),
        }
    }

    pub fn private_key(self) -> Result<PrivateKeyDer<'static>, TlsError> {
        use rustls::pki_types::pem::Error;
        PrivateKeyDer::from_pem_slice(&self.bytes()?).map_err(|error| match error {
            Error::NoItemsFound => self.wrong("has no private key (PEM, without a password)"),
            error => self.wrong(format!("is no PEM file: {error}")),
        })
    }

    /// Authorities that are believed.
    pub fn authorities(self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates()? {
            roots.add(certificate).map_err(|error| self.wrong(format!("cannot be an authority: {error}")))?;
        }
        Ok(roots)
    }
}
