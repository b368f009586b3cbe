//! All integration tests in one binary: lines in, lines out, on real sockets, real databases and real files.
//!
//! `support` has the world (databases, trackers and nodes as processes of their own); the modules speak to it as users do.

mod support;

mod additions;
mod admin;
mod bad_input;
mod conformance;
mod defects;
mod explain;
mod extensions;
mod maintenance;
mod memcached;
mod nginx;
mod random_requests;
mod rebalance;
mod recovery;
mod replication;
mod statements;
mod traffic;
mod undelete;
mod watching;
