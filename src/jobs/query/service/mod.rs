//! Commands about the service itself: server settings, cache, diagnostics.

pub mod diagnostics;
pub mod settings;
