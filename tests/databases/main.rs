//! Databases from the operator's side, on each kind there is: addresses, setup, upgrades of old schemas, `db check`, `db copy`;
//! and what no other suite tests of the store.
//!
//! SQLite always; MySQL/MariaDB and PostgreSQL if this was built with their features and `MOGILEFS_TEST_MYSQL_URL` or
//! `MOGILEFS_TEST_POSTGRES_URL` names a database of a server on which test databases may be created.

mod addresses;
mod checking;
mod copying;
mod keys;
mod mogdbsetup;
mod operations;
mod reference_schema;
mod support;
mod upgrade;
