//! Statements that diesel cannot write, or would have prepared anew each time: written out, and prepared once for each
//! connection. Nothing is decided here; what the statements are for stands where they are used.

#[cfg(feature = "postgres")]
use super::files::CloseUpload;
#[cfg(feature = "postgres")]
use super::types::KeyText;
use super::types::{AnyInt, Key, NOW, NowPlus};
use crate::ids::{ClassId, Dmid};
use diesel::RunQueryDsl;
use diesel::backend::Backend as DieselBackend;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::serialize::ToSql;
#[cfg(feature = "postgres")]
use diesel::sql_types::{Array, BigInt, Binary};
use diesel::sql_types::{Bool, HasSqlType, Text};

/// A statement that is prepared once, under a type of its own; the parameters after the name may differ.
macro_rules! prepared_once {
    ($name:ident, $id:ident) => {
        /// The name of the statement in caches.
        #[derive(Clone, Copy, Debug)]
        pub struct $id;

        impl QueryId for $name {
            type QueryId = $id;
            const HAS_STATIC_QUERY_ID: bool = true;
        }

        impl<Conn> RunQueryDsl<Conn> for $name {}
    };
}

/// Opens an upload; gives its fid, and whether that is a file already.
#[derive(Debug)]
pub(super) struct OpenUpload {
    pub dmid: Dmid,
    pub dkey: Key,
    pub classid: ClassId,
    pub devids: String,
}

prepared_once!(OpenUpload, OpenUploadId);

impl Query for OpenUpload {
    type SqlType = (AnyInt, Bool);
}

impl<DB> QueryFragment<DB> for OpenUpload
where
    DB: DieselBackend + HasSqlType<AnyInt> + HasSqlType<Text>,
    Dmid: ToSql<AnyInt, DB>,
    ClassId: ToSql<AnyInt, DB>,
    String: ToSql<Text, DB>,
    Key: QueryFragment<DB>,
    NowPlus: QueryFragment<DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        out.push_sql("INSERT INTO tempfile (createtime, classid, dmid, dkey, devids) VALUES (");
        NOW.walk_ast(out.reborrow())?;
        out.push_sql(", ");
        out.push_bind_param::<AnyInt, _>(&self.classid)?;
        out.push_sql(", ");
        out.push_bind_param::<AnyInt, _>(&self.dmid)?;
        out.push_sql(", ");
        self.dkey.walk_ast(out.reborrow())?;
        out.push_sql(", ");
        out.push_bind_param::<Text, _>(&self.devids)?;
        out.push_sql(") RETURNING fid, EXISTS (SELECT 1 FROM file WHERE file.fid = tempfile.fid)");
        Ok(())
    }
}

/// PostgreSQL: the files of many keys, each with the list of its devices.
///
/// Written so that the server looks up one key after the other, and plans that once. A join of sets it would plan anew each
/// time for the keys given; and where it knows little about the tables, as after many rows came in, it would read all of a
/// table for the sake of a few keys.
#[cfg(feature = "postgres")]
#[derive(Debug)]
pub(super) struct LocateMany {
    pub dmid: Dmid,
    pub dkeys: Vec<String>,
}

#[cfg(feature = "postgres")]
prepared_once!(LocateMany, LocateManyId);

#[cfg(feature = "postgres")]
impl Query for LocateMany {
    type SqlType = ((AnyInt, AnyInt, KeyText, AnyInt, AnyInt, AnyInt), Array<BigInt>);
}

#[cfg(feature = "postgres")]
impl QueryFragment<diesel::pg::Pg> for LocateMany {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, diesel::pg::Pg>) -> QueryResult<()> {
        out.push_sql(
            "SELECT found.fid, found.dmid, found.dkey, found.length, found.classid, found.devcount, \
             ARRAY (SELECT CAST(devid AS bigint) FROM file_on WHERE file_on.fid = found.fid) FROM unnest((SELECT ",
        );
        out.push_bind_param::<Array<Text>, _>(&self.dkeys)?;
        out.push_sql(")) AS asked (dkey) CROSS JOIN LATERAL (SELECT * FROM file WHERE file.dmid = ");
        out.push_bind_param::<AnyInt, _>(&self.dmid)?;
        out.push_sql(" AND file.dkey = asked.dkey OFFSET 0) AS found");
        Ok(())
    }
}

/// PostgreSQL: gives the file of a key another key; gives its fid.
#[cfg(feature = "postgres")]
#[derive(Debug)]
pub(super) struct Rename {
    pub dmid: Dmid,
    pub from: Key,
    pub to: Key,
}

#[cfg(feature = "postgres")]
prepared_once!(Rename, RenameId);

#[cfg(feature = "postgres")]
impl Query for Rename {
    type SqlType = AnyInt;
}

#[cfg(feature = "postgres")]
impl QueryFragment<diesel::pg::Pg> for Rename {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, diesel::pg::Pg>) -> QueryResult<()> {
        out.push_sql("UPDATE file SET dkey = ");
        self.to.walk_ast(out.reborrow())?;
        out.push_sql(" WHERE dmid = ");
        out.push_bind_param::<AnyInt, _>(&self.dmid)?;
        out.push_sql(" AND dkey = ");
        self.from.walk_ast(out.reborrow())?;
        out.push_sql(" RETURNING fid");
        Ok(())
    }
}

/// Verbs of transactions, which MariaDB (10.6.2 and later) prepares like any statement.
#[cfg(feature = "mysql")]
#[derive(Clone, Copy, Debug)]
pub(super) struct Begin;

#[cfg(feature = "mysql")]
prepared_once!(Begin, BeginId);

#[cfg(feature = "mysql")]
impl QueryFragment<diesel::mysql::Mysql> for Begin {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, diesel::mysql::Mysql>) -> QueryResult<()> {
        out.push_sql("BEGIN");
        Ok(())
    }
}

/// See [`Begin`].
#[cfg(feature = "mysql")]
#[derive(Clone, Copy, Debug)]
pub(super) struct Commit;

#[cfg(feature = "mysql")]
prepared_once!(Commit, CommitId);

#[cfg(feature = "mysql")]
impl QueryFragment<diesel::mysql::Mysql> for Commit {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, diesel::mysql::Mysql>) -> QueryResult<()> {
        out.push_sql("COMMIT");
        Ok(())
    }
}

/// Are undeleted files to be kept? Then the transaction has to do it. `0` is the only value that surely means no.
#[cfg(feature = "postgres")]
const KEEPS_DELETED: &str =
    "server_settings WHERE server_settings.field = 'undelete_window_secs' AND server_settings.value <> '0'";

/// PostgreSQL: the whole of `files::close_upload` for an upload that is open and a fid that is no file; gives how many
/// files were stored, and changes nothing if that is none.
///
/// All parts see the database as it was at the beginning, and happen in no order but that of their needs. `opened` is the
/// one that decides: everything else takes its row from there. The new row waits for the count of those that went, because
/// a key has one owner; an owner that came meanwhile is not seen, and the unique key refuses the whole.
#[cfg(feature = "postgres")]
#[derive(Debug)]
pub(super) struct Close<'a, const HAS_CHECKSUM: bool> {
    pub close: &'a CloseUpload,
    pub dkey: Key,
}

/// The name of the statement in caches.
#[cfg(feature = "postgres")]
#[derive(Clone, Copy, Debug)]
pub struct CloseId<const HAS_CHECKSUM: bool>;

#[cfg(feature = "postgres")]
impl<const HAS_CHECKSUM: bool> QueryId for Close<'_, HAS_CHECKSUM> {
    type QueryId = CloseId<HAS_CHECKSUM>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

#[cfg(feature = "postgres")]
impl<Conn, const HAS_CHECKSUM: bool> RunQueryDsl<Conn> for Close<'_, HAS_CHECKSUM> {}

#[cfg(feature = "postgres")]
impl<const HAS_CHECKSUM: bool> Query for Close<'_, HAS_CHECKSUM> {
    type SqlType = BigInt;
}

#[cfg(feature = "postgres")]
impl<const HAS_CHECKSUM: bool> QueryFragment<diesel::pg::Pg> for Close<'_, HAS_CHECKSUM> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, diesel::pg::Pg>) -> QueryResult<()> {
        let CloseUpload { fid, dmid, classid, length, devid, checksum, .. } = self.close;
        // Whoever deletes the domain or the class waits, or was waited for and is seen (D26).
        out.push_sql("WITH held AS (SELECT dmid FROM domain WHERE dmid = ");
        out.push_bind_param::<AnyInt, _>(dmid)?;
        out.push_sql(" FOR SHARE), held_class AS (SELECT classid FROM class WHERE dmid = ");
        out.push_bind_param::<AnyInt, _>(dmid)?;
        out.push_sql(" AND classid = ");
        out.push_bind_param::<AnyInt, _>(classid)?;
        out.push_sql(" FOR SHARE), opened AS (DELETE FROM tempfile WHERE fid = ");
        out.push_bind_param::<AnyInt, _>(fid)?;
        out.push_sql(" AND EXISTS (SELECT 1 FROM held) AND (");
        out.push_bind_param::<AnyInt, _>(classid)?;
        out.push_sql(" = 0 OR EXISTS (SELECT 1 FROM held_class)) AND NOT EXISTS (SELECT 1 FROM file WHERE file.fid = ");
        out.push_bind_param::<AnyInt, _>(fid)?;
        out.push_sql(") AND NOT EXISTS (SELECT 1 FROM ");
        out.push_sql(KEEPS_DELETED);
        out.push_sql(" AND EXISTS (SELECT 1 FROM file WHERE file.dmid = ");
        out.push_bind_param::<AnyInt, _>(dmid)?;
        out.push_sql(" AND file.dkey = ");
        self.dkey.walk_ast(out.reborrow())?;
        out.push_sql(")) RETURNING fid), gone AS (DELETE FROM file WHERE dmid = ");
        out.push_bind_param::<AnyInt, _>(dmid)?;
        out.push_sql(" AND dkey = ");
        self.dkey.walk_ast(out.reborrow())?;
        out.push_sql(" AND EXISTS (SELECT 1 FROM opened) RETURNING fid), ");
        out.push_sql("queued AS (INSERT INTO file_to_delete2 (fid, nexttry) SELECT fid, ");
        NOW.walk_ast(out.reborrow())?;
        out.push_sql(" FROM gone ON CONFLICT (fid) DO NOTHING), ");
        out.push_sql("stored AS (INSERT INTO file (fid, dmid, dkey, length, classid, devcount) SELECT opened.fid, ");
        out.push_bind_param::<AnyInt, _>(dmid)?;
        out.push_sql(", ");
        self.dkey.walk_ast(out.reborrow())?;
        out.push_sql(", ");
        out.push_bind_param::<AnyInt, _>(length)?;
        out.push_sql(", ");
        out.push_bind_param::<AnyInt, _>(classid)?;
        out.push_sql(", 1 FROM opened, (SELECT COUNT(*) FROM gone) AS went RETURNING fid), ");
        out.push_sql("located AS (INSERT INTO file_on (fid, devid) SELECT fid, ");
        out.push_bind_param::<AnyInt, _>(devid)?;
        out.push_sql(" FROM opened ON CONFLICT (fid, devid) DO NOTHING), ");
        out.push_sql("wanted AS (INSERT INTO file_to_replicate (fid, nexttry) SELECT fid, 0 FROM opened");
        out.push_sql(super::queues::replicate::OR_URGENT);
        if HAS_CHECKSUM && let Some((hashtype, digest)) = checksum {
            out.push_sql("), summed AS (INSERT INTO checksum (fid, hashtype, checksum) SELECT fid, ");
            out.push_bind_param::<AnyInt, _>(hashtype)?;
            out.push_sql(", ");
            out.push_bind_param::<Binary, _>(digest)?;
            out.push_sql(" FROM opened ON CONFLICT (fid) DO UPDATE SET ");
            out.push_sql("hashtype = excluded.hashtype, checksum = excluded.checksum");
        }
        out.push_sql(") SELECT COUNT(*) FROM stored");
        Ok(())
    }
}

/// PostgreSQL: the whole of `files::delete_by_key` where deleted files are not kept; gives the fids.
#[cfg(feature = "postgres")]
#[derive(Debug)]
pub(super) struct Delete {
    pub dmid: Dmid,
    pub dkey: Key,
}

#[cfg(feature = "postgres")]
prepared_once!(Delete, DeleteId);

#[cfg(feature = "postgres")]
impl Query for Delete {
    type SqlType = AnyInt;
}

#[cfg(feature = "postgres")]
impl QueryFragment<diesel::pg::Pg> for Delete {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, diesel::pg::Pg>) -> QueryResult<()> {
        out.push_sql("WITH gone AS (DELETE FROM file WHERE dmid = ");
        out.push_bind_param::<AnyInt, _>(&self.dmid)?;
        out.push_sql(" AND dkey = ");
        self.dkey.walk_ast(out.reborrow())?;
        out.push_sql(" AND NOT EXISTS (SELECT 1 FROM ");
        out.push_sql(KEEPS_DELETED);
        out.push_sql(") RETURNING fid), queued AS (INSERT INTO file_to_delete2 (fid, nexttry) SELECT fid, ");
        NOW.walk_ast(out.reborrow())?;
        out.push_sql(" FROM gone ON CONFLICT (fid) DO NOTHING) SELECT fid FROM gone");
        Ok(())
    }
}
