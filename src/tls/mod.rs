//! TLS: certificates out of files, what our listeners show and our clients ask for, the sentences when it fails.
//!
//! Knows nothing of what is said inside. One library (rustls with ring) and its defaults: TLS 1.2 and 1.3, no old ciphers.

mod access;
pub mod client;
mod files;
pub mod nodes;
pub mod server;
mod validity;

pub use access::NodeAccess;
pub use client::{ClientTls, ClientTlsFiles, Transport};
pub use files::TlsError;
pub use nodes::NodeTls;
pub use server::ServerTls;

use rustls::crypto::CryptoProvider;
use std::sync::Arc;

/// The one implementation of cryptography: named everywhere, so that none has to be installed for the process.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
