//! A client of memcached: what a cache may know, never what only it knows.
//!
//! It speaks the text protocol (`gets`, `add`, `cas`, `set`), which every memcached and every proxy understands. Each
//! worker has a [`Client`] with one connection per server, on which the requests of many of its clients are under way at
//! once; what is known of a server's health is shared by all workers ([`Servers`]).
//!
//! An error here is never an error of a command: readers take it for a miss. A connection on which an answer is late is
//! closed, so that a late answer is never taken for that of another request. Values that must not be served any more are
//! covered by a marker ([`Client::forget`]); one that could not be brought to its server is kept and tried again, and the
//! key is not read meanwhile.

mod client;
mod connection;
mod server;
pub mod wire;

pub use client::{Client, Found, Unavailable};
pub use server::{Servers, parse_addresses};
pub use wire::WireKey;
