//! The counter that new fids come from. It must be above everything that may still name a fid: a number that is given
//! out twice costs a file (database.md 3.1, D4).

use super::connection::StoreConnection;
#[cfg(feature = "postgres")]
use super::error::StoreError;
use super::error::StoreResult;
use super::schema::{
    file, file_on, file_to_delete, file_to_delete_later, file_to_delete2, file_to_queue, file_to_replicate, tempfile,
};
use super::types::{Int, NOW};
use crate::ids::Fid;
use diesel::prelude::*;

/// The highest value of the fid column of each table, 0 if all are empty.
macro_rules! highest_of {
    ($conn:expr, $($table:ident),+) => {{
        let mut highest = Fid(0);
        $(
            let top: Option<Fid> = each!(&mut *$conn, c => $table::table
                .select($table::fid)
                .order($table::fid.desc())
                .limit(1)
                .first::<Fid>(c)
                .optional())?;
            highest = highest.max(top.unwrap_or_default());
        )+
        highest
    }};
}

/// The highest fid that anything refers to.
fn highest_fid(conn: &mut StoreConnection) -> StoreResult<Fid> {
    Ok(highest_of!(
        conn,
        file,
        tempfile,
        file_on,
        file_to_delete2,
        file_to_delete,
        file_to_delete_later,
        file_to_replicate,
        file_to_queue
    ))
}

/// Moves the counter above every fid that anything refers to, in one step and without leaving a row (C15–C18). To be
/// run inside a transaction.
pub(super) fn raise(conn: &mut StoreConnection) -> StoreResult<()> {
    let highest = highest_fid(conn)?;
    if highest == Fid(0) {
        return Ok(());
    }
    match conn {
        #[cfg(feature = "postgres")]
        StoreConnection::Postgres(c) => raise_sequence(c, highest),
        other => raise_by_row(other, highest),
    }
}

/// An explicit number moves the counters of SQLite and MySQL, and they stay when the row goes.
fn raise_by_row(conn: &mut StoreConnection, highest: Fid) -> StoreResult<()> {
    let key = conn.key("".into())?;
    let row = (
        tempfile::fid.eq(highest),
        tempfile::createtime.eq(NOW),
        tempfile::classid.eq(Int(0)),
        tempfile::dmid.eq(Int(0)),
        tempfile::dkey.eq(key),
    );
    if insert_new!(&mut *conn, tempfile::table, row)? == 0 {
        return Ok(());
    }
    each!(conn, c => diesel::delete(tempfile::table.filter(tempfile::fid.eq(highest))).execute(c))?;
    Ok(())
}

/// The sequence is four bytes wide (D30): beyond that new files are impossible, which is worth saying at once.
#[cfg(feature = "postgres")]
fn raise_sequence(conn: &mut diesel::PgConnection, highest: Fid) -> StoreResult<()> {
    if highest.0 >= i64::from(i32::MAX) {
        return Err(StoreError::Schema(format!(
            "fid {highest} is in use, but tempfile.fid is a four-byte column: no number is left for new files"
        )));
    }
    diesel::sql_query(
        "SELECT setval(pg_get_serial_sequence('tempfile', 'fid'), $1) FROM tempfile_fid_seq \
         WHERE last_value < $1 OR (last_value = $1 AND NOT is_called)",
    )
    .bind::<diesel::sql_types::BigInt, _>(highest.0)
    .execute(conn)
    .map(|_| ())
    .map_err(StoreError::from)
}
