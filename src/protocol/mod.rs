//! Bytes and words of the tracker protocol; pure, shared by the tracker, the client and the tests.
//!
//! A session is a sequence of lines. A request line is `command arguments`, its reply `OK pairs` or `ERR code text`
//! (protocol.md 2–4). Lines that begin with `!` are for the console (admin-console.md). Nothing here does I/O, and
//! nothing takes the bytes of a client for text.

pub mod admin;
pub mod args;
pub mod error_code;
pub mod line;
pub mod request;
pub mod response;
