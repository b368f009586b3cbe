//! Table `checksum`: digests of files, raw (database.md 2.10).

use super::connection::StoreConnection;
use super::error::StoreResult;
use super::schema::checksum;
use super::types::Int;
use crate::ids::Fid;
use diesel::prelude::*;

/// The stored digest: number of the algorithm, and raw bytes.
pub fn find(conn: &mut StoreConnection, fid: Fid) -> StoreResult<Option<(i64, Vec<u8>)>> {
    let query = checksum::table.filter(checksum::fid.eq(fid)).select((checksum::hashtype, checksum::digest));
    Ok(each!(conn, c => query.get_result(c).optional())?)
}

/// Stores or replaces the digest of a file.
pub fn set(conn: &mut StoreConnection, fid: Fid, hashtype: i64, digest: &[u8]) -> StoreResult<()> {
    let values = (checksum::hashtype.eq(Int(hashtype)), checksum::digest.eq(digest));
    upsert!(conn, checksum::table, (checksum::fid.eq(fid), values), checksum::fid, values)?;
    Ok(())
}

/// How many rows there were (0 or 1).
pub fn delete(conn: &mut StoreConnection, fid: Fid) -> StoreResult<usize> {
    Ok(each!(conn, c => diesel::delete(checksum::table.filter(checksum::fid.eq(fid))).execute(c))?)
}
