//! Which files a fsck looks at, and how they get into its queue (jobs.md 10.2).

use super::connection::StoreConnection;
use super::error::{StoreError, StoreResult};
#[cfg(any(feature = "mysql", feature = "postgres"))]
use super::files::pattern_key;
use super::queues::todo::FSCK;
use super::schema::{file, file_on, file_to_queue};
use super::types::{AnyInt, Int, Key, KeyLike, NOW, above_prefix};
use crate::ids::{ClassId, DevId, Dmid, Fid};
use bstr::BString;
use diesel::dsl::{exists, not};
use diesel::prelude::*;

/// The files that a fsck is limited to: those for which every given part holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FsckScope {
    pub dmid: Option<Dmid>,
    /// Of the domain; says nothing without it.
    pub classid: Option<ClassId>,
    /// The start of their keys; empty for all.
    pub key_prefix: BString,
    /// A device that has a copy of them, by its rows.
    pub devid: Option<DevId>,
}

impl FsckScope {
    /// Does it leave nothing out?
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }
}

/// Files of the scope with numbers above `$after` up to and with `$upto`, as a boxed query of the connection's kind.
macro_rules! files_between {
    ($backend:ty, $prefix:ident, $scope:expr, $after:expr, $upto:expr) => {{
        let mut files = file::table.filter(file::fid.gt($after)).filter(file::fid.le($upto)).into_boxed::<$backend>();
        if let Some(dmid) = $scope.dmid {
            files = files.filter(file::dmid.eq(dmid));
            if let Some(classid) = $scope.classid {
                files = files.filter(file::classid.eq(classid));
            }
        }
        if let Some(devid) = $scope.devid {
            let copies = file_on::table.filter(file_on::fid.eq(file::fid)).filter(file_on::devid.eq(devid));
            files = files.filter(exists(copies));
        }
        match &$prefix {
            None => {}
            // SQLite orders keys by their bytes; its `LIKE` takes no notice of case.
            Some(Prefix::Range { from, below }) => {
                files = files.filter(file::dkey.ge(from.clone()));
                if let Some(below) = below {
                    files = files.filter(file::dkey.lt(below.clone()));
                }
            }
            Some(Prefix::Like(like)) => files = files.filter(like.clone()),
        }
        files
    }};
}

/// A key prefix in the form of one kind of database.
enum Prefix {
    Range {
        from: Key,
        below: Option<Key>,
    },
    #[cfg_attr(not(any(feature = "mysql", feature = "postgres")), expect(dead_code))]
    Like(KeyLike),
}

fn prefix_of(conn: &StoreConnection, scope: &FsckScope) -> StoreResult<Option<Prefix>> {
    let prefix = scope.key_prefix.as_ref();
    if scope.key_prefix.is_empty() {
        return Ok(None);
    }
    Ok(Some(match conn {
        StoreConnection::Sqlite(_) => {
            let below = above_prefix(prefix).map(|above| Key::raw(above.as_ref()));
            Prefix::Range { from: Key::raw(prefix), below }
        }
        #[cfg(any(feature = "mysql", feature = "postgres"))]
        _ => Prefix::Like(KeyLike { pattern: pattern_key(conn, prefix)? }),
    }))
}

/// Runs one body for the connection, with the boxed query of its kind.
macro_rules! on_files_between {
    ($conn:expr, $scope:expr, $after:expr, $upto:expr, $c:ident, $files:ident => $body:expr) => {{
        let prefix = prefix_of($conn, $scope)?;
        match $conn {
            StoreConnection::Sqlite($c) => {
                let $files = files_between!(diesel::sqlite::Sqlite, prefix, $scope, $after, $upto);
                $body
            }
            #[cfg(feature = "mysql")]
            StoreConnection::Mysql($c) => {
                let $files = files_between!(diesel::mysql::Mysql, prefix, $scope, $after, $upto);
                $body
            }
            #[cfg(feature = "postgres")]
            StoreConnection::Postgres($c) => {
                let $files = files_between!(diesel::pg::Pg, prefix, $scope, $after, $upto);
                $body
            }
        }
    }};
}

/// The number of the `count`th file of the scope above `after`, up to and with `upto`; `None` if there are not so many.
pub fn nth_after(
    conn: &mut StoreConnection,
    scope: &FsckScope,
    after: Fid,
    upto: Fid,
    count: i64,
) -> StoreResult<Option<Fid>> {
    on_files_between!(conn, scope, after, upto, c, files => {
        Ok(files.select(file::fid).order(file::fid).offset(count.max(1) - 1).limit(1).first(c).optional()?)
    })
}

/// Queues the files of the scope above `after`, up to and with `upto`, due at once; those that are queued already stay as
/// they are. How many are new. One statement.
///
/// # Errors
/// [`StoreError::Deadlock`] when somebody else queued one of them at the same moment: to be tried again.
pub fn enqueue_between(conn: &mut StoreConnection, scope: &FsckScope, after: Fid, upto: Fid) -> StoreResult<usize> {
    let zero = || Int(0).into_sql::<AnyInt>();
    let columns = (
        file_to_queue::fid,
        file_to_queue::kind,
        file_to_queue::nexttry,
        file_to_queue::failcount,
        file_to_queue::flags,
    );
    let inserted = on_files_between!(conn, scope, after, upto, c, files => {
        let queued = file_to_queue::table
            .filter(file_to_queue::fid.eq(file::fid))
            .filter(file_to_queue::kind.eq(Int(FSCK)));
        files
            .filter(not(exists(queued)))
            .select((file::fid, Int(FSCK).into_sql::<AnyInt>(), NOW, zero(), zero()))
            .insert_into(file_to_queue::table)
            .into_columns(columns)
            .execute(c)
    });
    match inserted.map_err(StoreError::from) {
        Err(StoreError::Duplicate) => Err(StoreError::Deadlock),
        other => other,
    }
}
