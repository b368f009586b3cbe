//! Reaper: takes the locations on dead devices out of the database, so that replication replaces what was lost
//! (jobs.md 9).
//!
//! Never deletes bytes, and never believes a snapshot: each batch asks the database, in its own transaction and under
//! the lock `mgfs:reaper`, whether the device is still dead. A file whose only known copies are on dead devices keeps
//! them on record: nothing can be copied from anywhere else, and the device may come back.
//!
//! No cache of paths is told: readers leave out dead devices by their status, and the bytes of a fid never change. An
//! entry that still names a device which came to life again leads to the right bytes, or to a 404 and the next copy.

mod batches;
mod limits;
mod schedule;

pub use batches::Reaper;
