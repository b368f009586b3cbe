//! All integration tests in one binary: lines in, lines out, on real sockets, real databases and real files.
//!
//! `support` has the world (databases, trackers and nodes as processes of their own); the modules speak to it as users do.

mod support;

mod additions;
mod admin;
mod bad_input;
mod checksums;
mod conformance;
mod copy_steps;
mod database_away;
mod database_load;
mod defects;
mod deletion;
mod explain;
mod extensions;
mod fsck;
#[cfg(feature = "mysql")]
mod galera;
mod handbook;
mod island;
mod joint_look_ups;
mod maintenance;
mod memcached;
mod metrics;
mod monitor;
mod moves;
mod nginx;
mod placement;
mod policies;
mod random_requests;
mod reaper;
mod rebalance;
mod recovery;
mod replicas;
mod replicate_job;
mod replication;
mod security;
mod service;
mod statements;
mod tls;
mod tokens;
mod tools;
mod traffic;
mod undelete;
mod watching;
mod web_page;
