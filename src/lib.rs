//! MogileFS anew: tracker, storage node and tools of the application-level distributed file system.
//!
//! The layers, from the ground up; a module uses its own folder and what stands above it in this list, never what stands
//! below (`tests/layers.rs` draws the imports and fails on an upward one):
//!
//! 0. [`ids`], [`job_kind`], [`clock`], [`settings`], [`logging`], [`metrics`], [`notices`],
//!    [`service`], [`tls`]: ground
//! 1. [`cluster`], [`policy`], [`protocol`]: knowledge and words; pure, no I/O
//! 2. [`store`], [`node_client`], [`client`], [`memcached`]: the outside world
//! 3. [`jobs`]: what is done, client commands among it
//! 4. [`tracker`], [`node`], [`web`]: services, actors and sockets
//! 5. [`demo`], [`cli`]: roles
//!
//! `docs/ARCHITECTURE.md` walks a request and a file through them.

pub mod clock;
pub mod ids;
pub mod job_kind;
pub mod logging;
pub mod metrics;
pub mod notices;
pub mod service;
pub mod settings;
pub mod tls;

pub mod cluster;
pub mod policy;
pub mod protocol;

pub mod client;
pub mod memcached;
pub mod node_client;
pub mod store;

pub mod jobs;

pub mod node;
pub mod tracker;
pub mod web;

pub mod demo;

pub mod cli;
