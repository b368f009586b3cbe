//! What operators see over HTTP.

pub mod page;
