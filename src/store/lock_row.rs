//! What is particular to each database about locks: names, keys, and on SQLite the row with its holder
//! (database.md 2.3).

use super::connection::StoreConnection;
use super::error::{StoreError, StoreResult};
use super::schema::lock;
use super::types::{Int, NOW, NowPlus};
use diesel::prelude::*;
use md5::Digest as _;

/// After so many seconds a row is stolen, whoever holds it.
pub(super) const HELD_SECS_MAX: i64 = 3600;

/// The number of a lock name, as the reference makes it: the first four bytes of its MD5, without the sign.
pub(super) fn lock_number(name: &str) -> i64 {
    let digest = md5::Md5::digest(name.as_bytes());
    let number = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    i64::from(number & 0x7FFF_FFFF)
}

/// Who asks for a lock: this process on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) hostname: String,
    pub(super) pid: i64,
}

impl Holder {
    pub(super) fn this_process() -> Self {
        Self { hostname: gethostname::gethostname().to_string_lossy().into_owned(), pid: i64::from(std::process::id()) }
    }
}

/// Takes the lock on the session's connection if it is free; SQLite's row is taken by [`take_row`].
pub(super) fn try_on_connection(conn: &mut StoreConnection, name: &str, hostname: &str) -> StoreResult<bool> {
    match conn {
        StoreConnection::Sqlite(_) => {
            let _ = (name, hostname);
            Err(StoreError::Other("SQLite has no locks of connections".to_owned()))
        }
        #[cfg(feature = "mysql")]
        StoreConnection::Mysql(c) => {
            let taken = diesel::select(mysql_lock::get_lock(name, 0)).get_result::<Option<i64>>(c)?;
            Ok(taken == Some(1))
        }
        #[cfg(feature = "postgres")]
        StoreConnection::Postgres(c) => postgres_lock::try_both(c, lock_number(name), lock_number(hostname)),
    }
}

/// Gives back what [`try_on_connection`] took.
pub(super) fn release_on_connection(conn: &mut StoreConnection, name: &str, hostname: &str) -> StoreResult<()> {
    match conn {
        StoreConnection::Sqlite(_) => {
            let _ = (name, hostname);
            Ok(())
        }
        #[cfg(feature = "mysql")]
        StoreConnection::Mysql(c) => {
            diesel::select(mysql_lock::release_lock(name)).get_result::<Option<i64>>(c)?;
            Ok(())
        }
        #[cfg(feature = "postgres")]
        StoreConnection::Postgres(c) => postgres_lock::release_both(c, lock_number(name), lock_number(hostname)),
    }
}

#[cfg(feature = "mysql")]
mod mysql_lock {
    use diesel::sql_types::{BigInt, Text};

    diesel::define_sql_function! {
        /// Takes a named lock of the server: 1 taken, 0 timed out.
        fn get_lock(name: Text, timeout_secs: BigInt) -> Nullable<BigInt>;
    }
    diesel::define_sql_function! {
        /// Gives it back.
        fn release_lock(name: Text) -> Nullable<BigInt>;
    }
}

#[cfg(feature = "postgres")]
mod postgres_lock {
    use super::super::error::{StoreError, StoreResult};
    use diesel::PgConnection;
    use diesel::prelude::*;
    use diesel::sql_types::Integer;

    diesel::define_sql_function! {
        fn pg_try_advisory_lock(first: Integer, second: Integer) -> Bool;
    }
    diesel::define_sql_function! {
        fn pg_advisory_unlock(first: Integer, second: Integer) -> Bool;
    }

    /// First key of the pair that excludes our trackers on all hosts; the reference's pair knows its own host only (D13).
    const ALL_HOSTS: i64 = 0;

    pub(super) fn try_both(conn: &mut PgConnection, name: i64, host: i64) -> StoreResult<bool> {
        if !try_one(conn, ALL_HOSTS, name)? {
            return Ok(false);
        }
        if try_one(conn, host, name)? {
            return Ok(true);
        }
        release_one(conn, ALL_HOSTS, name)?;
        Ok(false)
    }

    pub(super) fn release_both(conn: &mut PgConnection, name: i64, host: i64) -> StoreResult<()> {
        release_one(conn, host, name)?;
        release_one(conn, ALL_HOSTS, name)
    }

    fn try_one(conn: &mut PgConnection, first: i64, second: i64) -> StoreResult<bool> {
        Ok(diesel::select(pg_try_advisory_lock(key(first)?, key(second)?)).get_result(conn)?)
    }

    fn release_one(conn: &mut PgConnection, first: i64, second: i64) -> StoreResult<()> {
        diesel::select(pg_advisory_unlock(key(first)?, key(second)?)).get_result::<bool>(conn)?;
        Ok(())
    }

    fn key(number: i64) -> StoreResult<i32> {
        i32::try_from(number).map_err(|_| StoreError::Other("a lock number is too large".to_owned()))
    }
}

/// A row of table `lock`.
#[derive(Clone, Debug, Queryable)]
struct LockRow {
    hostname: String,
    pid: i64,
    acquiredat: i64,
}

/// Takes the row if it is free or its holder is gone. Runs inside a write. Own rows are stale here: the caller has asked
/// the lock table of this process first.
pub(super) fn take_row(conn: &mut StoreConnection, name: &str, holder: &Holder) -> StoreResult<bool> {
    let number = Int(lock_number(name));
    if insert_row(conn, number, holder)? {
        return Ok(true);
    }
    let Some(row) = find_row(conn, number)? else { return insert_row(conn, number, holder) };
    if is_held(&row, holder, super::db_unixtime(conn)?, process_exists) {
        return Ok(false);
    }
    delete_row(conn, number, &Holder { hostname: row.hostname, pid: row.pid })?;
    insert_row(conn, number, holder)
}

/// Would [`take_row`] fail now? Only reads: waiting costs no write.
pub(super) fn row_is_held(conn: &mut StoreConnection, name: &str, holder: &Holder) -> StoreResult<bool> {
    let Some(row) = find_row(conn, Int(lock_number(name)))? else { return Ok(false) };
    Ok(is_held(&row, holder, super::db_unixtime(conn)?, process_exists))
}

/// Is the row there, of this holder, and too young to be stolen?
pub(super) fn row_is_own(conn: &mut StoreConnection, name: &str, holder: &Holder) -> StoreResult<bool> {
    let row = lock::table
        .filter(lock::lockid.eq(Int(lock_number(name))))
        .filter(lock::hostname.eq(&holder.hostname))
        .filter(lock::pid.eq(Int(holder.pid)))
        .filter(lock::acquiredat.ge(NowPlus(-HELD_SECS_MAX)));
    Ok(each!(conn, c => diesel::select(diesel::dsl::exists(row)).get_result(c))?)
}

/// Gives the row back; nothing happens if somebody else has it by now.
pub(super) fn release_row(conn: &mut StoreConnection, name: &str, holder: &Holder) -> StoreResult<bool> {
    delete_row(conn, Int(lock_number(name)), holder)
}

/// The rules for a row that is there. A process of another host cannot be looked at: it counts as alive until the row
/// is old (D21).
fn is_held(row: &LockRow, asking: &Holder, now: i64, exists: impl Fn(i64) -> bool) -> bool {
    if now - row.acquiredat > HELD_SECS_MAX {
        return false;
    }
    if row.hostname != asking.hostname {
        return true;
    }
    row.pid != asking.pid && exists(row.pid)
}

/// "Permission denied" means that there is such a process (D21).
fn process_exists(pid: i64) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    match pid.map(rustix::process::test_kill_process) {
        Some(Ok(()) | Err(rustix::io::Errno::PERM)) => true,
        Some(Err(_)) | None => false,
    }
}

fn find_row(conn: &mut StoreConnection, number: Int) -> StoreResult<Option<LockRow>> {
    Ok(each!(conn, c => lock::table
        .filter(lock::lockid.eq(number))
        .select((lock::hostname, lock::pid, lock::acquiredat))
        .get_result::<LockRow>(c)
        .optional())?)
}

fn insert_row(conn: &mut StoreConnection, number: Int, holder: &Holder) -> StoreResult<bool> {
    let row = (
        lock::lockid.eq(number),
        lock::hostname.eq(&holder.hostname),
        lock::pid.eq(Int(holder.pid)),
        lock::acquiredat.eq(NOW),
    );
    Ok(insert_new!(conn, lock::table, row)? == 1)
}

fn delete_row(conn: &mut StoreConnection, number: Int, holder: &Holder) -> StoreResult<bool> {
    let deleted = each!(conn, c => diesel::delete(
        lock::table
            .filter(lock::lockid.eq(number))
            .filter(lock::pid.eq(Int(holder.pid)))
            .filter(lock::hostname.eq(&holder.hostname))
    )
    .execute(c))?;
    Ok(deleted > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of database.md 2.3: other trackers must arrive at the same numbers.
    #[test]
    fn lock_numbers_are_those_of_the_reference() {
        for (name, number) in [
            ("vm", 1_751_941_658),
            ("mgfs:reaper", 2_048_622_148),
            ("mgfs:tempfiles", 1_303_874_143),
            ("mgfs:device_update", 2_065_055_674),
            ("mgfs:fscksum", 534_093_149),
            ("mgfs:fid:5:replicate", 1_311_711_612),
            ("test-lock", 880_850_639),
        ] {
            assert_eq!(lock_number(name), number, "{name}");
        }
    }

    /// C95, C98, D21.
    #[test]
    fn a_row_is_held_as_long_as_its_holder_may_live() {
        let me = Holder { hostname: "here".to_owned(), pid: 10 };
        let row = |hostname: &str, pid, acquiredat| LockRow { hostname: hostname.to_owned(), pid, acquiredat };
        let now = 10_000;
        assert!(is_held(&row("here", 11, now - 5), &me, now, |_| true), "a living process of this host");
        assert!(!is_held(&row("here", 11, now - 5), &me, now, |_| false), "a dead process of this host");
        assert!(!is_held(&row("here", 10, now - 5), &me, now, |_| true), "an earlier process of our number");
        assert!(is_held(&row("there", 11, now - 10), &me, now, |_| false), "another host");
        assert!(is_held(&row("there", 11, now - 3600), &me, now, |_| false), "another host, an hour ago");
        assert!(!is_held(&row("there", 11, now - 3601), &me, now, |_| false), "another host, more than an hour ago");
        assert!(!is_held(&row("here", 11, now - 3601), &me, now, |_| true), "too old");
    }

    #[test]
    fn processes_are_recognised() {
        assert!(process_exists(i64::from(std::process::id())));
        assert!(!process_exists(0));
        assert!(!process_exists(i64::MAX));
    }
}
