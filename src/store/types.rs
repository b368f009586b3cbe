//! SQL types of our own: one integer for every width, and text that is bytes (database.md 1.6 and 1.7).
//!
//! Keys are never compared here: equality and order are the database's.

use super::error::{StoreError, StoreResult};
#[cfg(feature = "postgres")]
use super::key_form::KeyForm;
use crate::ids::{ClassId, DevId, Dmid, Fid, HostId};
use bstr::{BStr, BString};
use diesel::backend::Backend as DieselBackend;
use diesel::deserialize::{self, FromSql, Queryable};
use diesel::expression::{AppearsOnTable, AsExpression, Expression, SelectableExpression, ValidGrouping, is_aggregate};
use diesel::internal::derives::as_expression::Bound;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::serialize::{self, Output, ToSql};
#[cfg(any(feature = "mysql", feature = "postgres"))]
use diesel::sql_types::Text;
use diesel::sql_types::{BigInt, Binary, Nullable, SqlType};
use diesel::sqlite::Sqlite;

#[cfg(feature = "mysql")]
use diesel::mysql::Mysql;
#[cfg(feature = "postgres")]
use diesel::pg::Pg;

/// An integer column, whatever its width in the database.
#[derive(Clone, Copy, Debug, Default, SqlType, QueryId)]
#[diesel(sqlite_type(name = "Long"))]
#[cfg_attr(feature = "mysql", diesel(mysql_type(name = "LongLong")))]
#[cfg_attr(feature = "postgres", diesel(postgres_type(oid = 20, array_oid = 1016)))]
pub struct AnyInt;

/// A text column that holds bytes which clients chose: `dkey`, `namespace`, `classname`.
#[derive(Clone, Copy, Debug, Default, SqlType, QueryId)]
#[diesel(sqlite_type(name = "Binary"))]
#[cfg_attr(feature = "mysql", diesel(mysql_type(name = "String")))]
#[cfg_attr(feature = "postgres", diesel(postgres_type(oid = 25, array_oid = 1009)))]
pub struct KeyText;

diesel::infix_operator!(Plus, " + ", AnyInt);

/// `left + right`, both integers.
pub fn plus<L, R: AsExpression<AnyInt>>(left: L, right: R) -> Plus<L, R::Expression> {
    Plus::new(left, right.as_expression())
}

/// A plain number as a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Int(pub i64);

impl<DB> ToSql<AnyInt, DB> for i64
where
    DB: DieselBackend,
    i64: ToSql<BigInt, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        <i64 as ToSql<BigInt, DB>>::to_sql(self, out)
    }
}

impl FromSql<AnyInt, Sqlite> for i64 {
    fn from_sql(value: <Sqlite as DieselBackend>::RawValue<'_>) -> deserialize::Result<Self> {
        <i64 as FromSql<BigInt, Sqlite>>::from_sql(value)
    }
}

#[cfg(feature = "mysql")]
impl FromSql<AnyInt, Mysql> for i64 {
    fn from_sql(value: <Mysql as DieselBackend>::RawValue<'_>) -> deserialize::Result<Self> {
        <i64 as FromSql<BigInt, Mysql>>::from_sql(value)
    }
}

/// PostgreSQL sends a column in its own width.
#[cfg(feature = "postgres")]
impl FromSql<AnyInt, Pg> for i64 {
    fn from_sql(value: <Pg as DieselBackend>::RawValue<'_>) -> deserialize::Result<Self> {
        let bytes = value.as_bytes();
        if let Ok(wide) = bytes.try_into() {
            Ok(i64::from_be_bytes(wide))
        } else if let Ok(middle) = bytes.try_into() {
            Ok(i64::from(i32::from_be_bytes(middle)))
        } else if let Ok(narrow) = bytes.try_into() {
            Ok(i64::from(i16::from_be_bytes(narrow)))
        } else {
            Err(format!("an integer of {} bytes", bytes.len()).into())
        }
    }
}

/// Lets a wrapper around `i64` be a parameter and a result of an [`AnyInt`] column.
macro_rules! integer_column {
    ($($name:ident),*) => {$(
        impl<DB> ToSql<AnyInt, DB> for $name
        where
            DB: DieselBackend,
            i64: ToSql<BigInt, DB>,
        {
            fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
                <i64 as ToSql<BigInt, DB>>::to_sql(&self.0, out)
            }
        }

        impl<DB> FromSql<AnyInt, DB> for $name
        where
            DB: DieselBackend,
            i64: FromSql<AnyInt, DB>,
        {
            fn from_sql(value: DB::RawValue<'_>) -> deserialize::Result<Self> {
                i64::from_sql(value).map(Self)
            }
        }

        impl<DB> Queryable<AnyInt, DB> for $name
        where
            DB: DieselBackend,
            Self: FromSql<AnyInt, DB>,
        {
            type Row = Self;

            fn build(row: Self) -> deserialize::Result<Self> {
                Ok(row)
            }
        }

        impl AsExpression<AnyInt> for $name {
            type Expression = Bound<AnyInt, Self>;

            fn as_expression(self) -> Self::Expression {
                Bound::new(self)
            }
        }

        impl AsExpression<Nullable<AnyInt>> for $name {
            type Expression = Bound<Nullable<AnyInt>, Self>;

            fn as_expression(self) -> Self::Expression {
                Bound::new(self)
            }
        }

        impl<'e> AsExpression<AnyInt> for &'e $name {
            type Expression = Bound<AnyInt, Self>;

            fn as_expression(self) -> Self::Expression {
                Bound::new(self)
            }
        }

        impl<'e> AsExpression<Nullable<AnyInt>> for &'e $name {
            type Expression = Bound<Nullable<AnyInt>, Self>;

            fn as_expression(self) -> Self::Expression {
                Bound::new(self)
            }
        }

        impl<DB> ToSql<Nullable<AnyInt>, DB> for $name
        where
            DB: DieselBackend,
            Self: ToSql<AnyInt, DB>,
        {
            fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
                <Self as ToSql<AnyInt, DB>>::to_sql(self, out)
            }
        }
    )*};
}

integer_column!(Int, Fid, Dmid, ClassId, HostId, DevId);

impl FromSql<KeyText, Sqlite> for BString {
    fn from_sql(value: <Sqlite as DieselBackend>::RawValue<'_>) -> deserialize::Result<Self> {
        <Vec<u8> as FromSql<Binary, Sqlite>>::from_sql(value).map(BString::from)
    }

    fn from_nullable_sql(value: Option<<Sqlite as DieselBackend>::RawValue<'_>>) -> deserialize::Result<Self> {
        value.map_or_else(|| Ok(Self::default()), <Self as FromSql<KeyText, Sqlite>>::from_sql)
    }
}

#[cfg(feature = "mysql")]
impl FromSql<KeyText, Mysql> for BString {
    fn from_sql(value: <Mysql as DieselBackend>::RawValue<'_>) -> deserialize::Result<Self> {
        Ok(BString::from(value.as_bytes()))
    }

    fn from_nullable_sql(value: Option<<Mysql as DieselBackend>::RawValue<'_>>) -> deserialize::Result<Self> {
        value.map_or_else(|| Ok(Self::default()), <Self as FromSql<KeyText, Mysql>>::from_sql)
    }
}

#[cfg(feature = "postgres")]
impl FromSql<KeyText, Pg> for BString {
    fn from_sql(value: <Pg as DieselBackend>::RawValue<'_>) -> deserialize::Result<Self> {
        match KeyForm::of_trackers(super::Backend::Postgres) {
            KeyForm::Latin1 => Ok(bytes_of_latin1(std::str::from_utf8(value.as_bytes())?)),
            _ => Ok(BString::from(value.as_bytes())),
        }
    }

    fn from_nullable_sql(value: Option<<Pg as DieselBackend>::RawValue<'_>>) -> deserialize::Result<Self> {
        value.map_or_else(|| Ok(Self::default()), <Self as FromSql<KeyText, Pg>>::from_sql)
    }
}

impl<DB> Queryable<KeyText, DB> for BString
where
    DB: DieselBackend,
    Self: FromSql<KeyText, DB>,
{
    type Row = Self;

    fn build(row: Self) -> deserialize::Result<Self> {
        Ok(row)
    }
}

/// Text as it is on the wire: nothing is made of it here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WireText(pub Vec<u8>);

impl FromSql<KeyText, Sqlite> for WireText {
    fn from_sql(value: <Sqlite as DieselBackend>::RawValue<'_>) -> deserialize::Result<Self> {
        <Vec<u8> as FromSql<Binary, Sqlite>>::from_sql(value).map(Self)
    }
}

#[cfg(feature = "mysql")]
impl FromSql<KeyText, Mysql> for WireText {
    fn from_sql(value: <Mysql as DieselBackend>::RawValue<'_>) -> deserialize::Result<Self> {
        Ok(Self(value.as_bytes().to_vec()))
    }
}

#[cfg(feature = "postgres")]
impl FromSql<KeyText, Pg> for WireText {
    fn from_sql(value: <Pg as DieselBackend>::RawValue<'_>) -> deserialize::Result<Self> {
        Ok(Self(value.as_bytes().to_vec()))
    }
}

impl<DB> ToSql<KeyText, DB> for WireText
where
    DB: DieselBackend,
    Vec<u8>: ToSql<Binary, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        <Vec<u8> as ToSql<Binary, DB>>::to_sql(&self.0, out)
    }
}

/// Longest key, in characters, where the column has a length.
const KEY_CHARACTERS_MAX: usize = 255;

/// A key as a parameter, in the form of one kind of database. Made by `StoreConnection::key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// The bytes themselves: on SQLite, and on MySQL where the connection has a character set of single bytes.
    Raw(WireText),
    /// MySQL: text as it is; PostgreSQL: that, or a character for each byte.
    Text(String),
}

impl Key {
    pub(super) fn raw(bytes: &BStr) -> Self {
        Self::Raw(WireText(bytes.to_vec()))
    }

    /// The characters, of a key that has them.
    #[cfg(feature = "postgres")]
    pub(super) fn into_text(self) -> StoreResult<String> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Raw(_) => Err(wrong_key_form().into()),
        }
    }

    /// For MySQL: valid UTF-8 of at most 255 characters; a longer key would be cut by servers that are not strict (D12).
    #[cfg_attr(not(feature = "mysql"), allow(dead_code))]
    pub(super) fn of_utf8(bytes: &BStr) -> StoreResult<Self> {
        let text = std::str::from_utf8(bytes)
            .map_err(|_| StoreError::InvalidValue(format!("not UTF-8, which this database needs: {bytes}")))?;
        check_length(text.chars().count())?;
        Ok(Self::Text(text.to_owned()))
    }

    /// For MySQL's `utf8`, which has no characters of four bytes.
    #[cfg_attr(not(feature = "mysql"), allow(dead_code))]
    pub(super) fn of_utf8_of_three_bytes(bytes: &BStr) -> StoreResult<Self> {
        if bytes.iter().any(|&byte| byte >= 0xF0) {
            return Err(StoreError::InvalidValue(format!(
                "characters that utf8 of three bytes does not have: {bytes}"
            )));
        }
        Self::of_utf8(bytes)
    }

    /// For MySQL, on connections whose character set has a character for each byte.
    #[cfg_attr(not(feature = "mysql"), allow(dead_code))]
    pub(super) fn of_single_bytes(bytes: &BStr) -> StoreResult<Self> {
        check_length(bytes.len())?;
        Ok(Self::raw(bytes))
    }

    /// For PostgreSQL with keys as they are (DBD::Pg before 3.0).
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    pub(super) fn of_utf8_without_zero(bytes: &BStr) -> StoreResult<Self> {
        check_zero(bytes)?;
        Self::of_utf8(bytes)
    }

    /// For PostgreSQL: each byte becomes the character of the same number (database.md 1.6).
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    pub(super) fn of_bytes(bytes: &BStr) -> StoreResult<Self> {
        check_length(bytes.len())?;
        check_zero(bytes)?;
        Ok(Self::Text(bytes.iter().map(|&byte| char::from(byte)).collect()))
    }
}

#[cfg_attr(not(feature = "postgres"), allow(dead_code))]
fn check_zero(bytes: &BStr) -> StoreResult<()> {
    if bytes.contains(&0) {
        return Err(StoreError::InvalidValue("a zero byte, which this database cannot hold".to_owned()));
    }
    Ok(())
}

fn check_length(characters: usize) -> StoreResult<()> {
    if characters > KEY_CHARACTERS_MAX {
        return Err(StoreError::InvalidValue(format!(
            "{characters} characters where {KEY_CHARACTERS_MAX} are the most"
        )));
    }
    Ok(())
}

/// The bytes that [`Key::of_bytes`] was made of. Text that was not made so keeps its UTF-8 form.
#[cfg_attr(not(feature = "postgres"), allow(dead_code))]
pub(super) fn bytes_of_latin1(text: &str) -> BString {
    let bytes: Result<Vec<u8>, _> = text.chars().map(|character| u8::try_from(u32::from(character))).collect();
    bytes.map_or_else(|_| BString::from(text), BString::from)
}

/// Makes a type usable as an expression anywhere, without looking at tables.
macro_rules! free_expression {
    ($name:ident, $sql_type:ty) => {
        impl Expression for $name {
            type SqlType = $sql_type;
        }

        impl<QS> AppearsOnTable<QS> for $name {}

        impl<QS> SelectableExpression<QS> for $name {}

        impl<GB> ValidGrouping<GB> for $name {
            type IsAggregate = is_aggregate::Never;
        }

        impl QueryId for $name {
            type QueryId = $name;
            const HAS_STATIC_QUERY_ID: bool = true;
        }
    };
}

free_expression!(Key, KeyText);

fn wrong_key_form() -> diesel::result::Error {
    diesel::result::Error::SerializationError("a key in the form of another database".into())
}

/// Without the cast a byte parameter never equals text (database.md 1.6).
impl QueryFragment<Sqlite> for Key {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        let Key::Raw(bytes) = self else { return Err(wrong_key_form()) };
        out.push_sql("CAST(");
        out.push_bind_param::<Binary, _>(&bytes.0)?;
        out.push_sql(" AS TEXT)");
        Ok(())
    }
}

#[cfg(feature = "mysql")]
impl QueryFragment<Mysql> for Key {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Mysql>) -> QueryResult<()> {
        match self {
            Key::Text(text) => out.push_bind_param::<Text, _>(text),
            Key::Raw(bytes) => out.push_bind_param::<KeyText, _>(bytes),
        }
    }
}

#[cfg(feature = "postgres")]
impl QueryFragment<Pg> for Key {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let Key::Text(text) = self else { return Err(wrong_key_form()) };
        out.push_bind_param::<Text, _>(text)
    }
}

/// The database's own time plus so many seconds (database.md 3.5).
#[derive(Clone, Copy, Debug)]
pub struct NowPlus(pub i64);

free_expression!(NowPlus, AnyInt);

/// The database's own time.
pub const NOW: NowPlus = NowPlus(0);

impl QueryFragment<Sqlite> for NowPlus {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql("(CAST(strftime('%s','now') AS INTEGER) + ");
        out.push_bind_param::<AnyInt, _>(&self.0)?;
        out.push_sql(")");
        Ok(())
    }
}

#[cfg(feature = "mysql")]
impl QueryFragment<Mysql> for NowPlus {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Mysql>) -> QueryResult<()> {
        out.push_sql("(UNIX_TIMESTAMP() + ");
        out.push_bind_param::<AnyInt, _>(&self.0)?;
        out.push_sql(")");
        Ok(())
    }
}

#[cfg(feature = "postgres")]
impl QueryFragment<Pg> for NowPlus {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("(FLOOR(EXTRACT(EPOCH FROM NOW()))::bigint + ");
        out.push_bind_param::<AnyInt, _>(&self.0)?;
        out.push_sql(")");
        Ok(())
    }
}

/// `file.dkey LIKE pattern ESCAPE '|'`, by the database's idea of case, or byte by byte.
#[derive(Clone, Debug)]
pub struct KeyLike {
    pub pattern: Key,
}

free_expression!(KeyLike, diesel::sql_types::Bool);

/// [`KeyLike`] for the deleted files: `mogilefs_deleted_file.dkey LIKE …`.
#[derive(Clone, Debug)]
pub struct DeletedKeyLike {
    pub pattern: Key,
}

free_expression!(DeletedKeyLike, diesel::sql_types::Bool);

/// Defines the fragments once per database; the texts are the same but the key is written differently.
macro_rules! key_like_fragment {
    ($backend:ty) => {
        key_like_fragment!($backend, KeyLike, "file");
        key_like_fragment!($backend, DeletedKeyLike, "mogilefs_deleted_file");
    };
    ($backend:ty, $name:ident, $table:literal) => {
        impl QueryFragment<$backend> for $name {
            fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, $backend>) -> QueryResult<()> {
                out.push_identifier($table)?;
                out.push_sql(".");
                out.push_identifier("dkey")?;
                out.push_sql(" LIKE ");
                self.pattern.walk_ast(out.reborrow())?;
                out.push_sql(" ESCAPE '|'");
                Ok(())
            }
        }
    };
}

key_like_fragment!(Sqlite);
#[cfg(feature = "mysql")]
key_like_fragment!(Mysql);
#[cfg(feature = "postgres")]
key_like_fragment!(Pg);

/// MySQL: `file.dkey IN (…)`. At least one key, or the database refuses it.
///
/// Up to [`KEYS_PREPARED_MAX`] keys the statement is prepared, once for each power of two: the last key fills it up.
#[cfg(feature = "mysql")]
#[derive(Clone, Debug)]
pub struct KeyIn {
    pub keys: Vec<Key>,
}

/// Longer lists come seldom, and their statements would fill the cache.
#[cfg(feature = "mysql")]
const KEYS_PREPARED_MAX: usize = 64;

#[cfg(feature = "mysql")]
impl Expression for KeyIn {
    type SqlType = diesel::sql_types::Bool;
}

#[cfg(feature = "mysql")]
impl<QS> AppearsOnTable<QS> for KeyIn {}

#[cfg(feature = "mysql")]
impl<QS> SelectableExpression<QS> for KeyIn {}

#[cfg(feature = "mysql")]
impl<GB> ValidGrouping<GB> for KeyIn {
    type IsAggregate = is_aggregate::Never;
}

/// Each number of keys is another statement.
#[cfg(feature = "mysql")]
impl QueryId for KeyIn {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

#[cfg(feature = "mysql")]
impl QueryFragment<Mysql> for KeyIn {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Mysql>) -> QueryResult<()> {
        let mut places = self.keys.len().next_power_of_two();
        if places > KEYS_PREPARED_MAX {
            places = self.keys.len();
            out.unsafe_to_cache_prepared();
        }
        out.push_identifier("file")?;
        out.push_sql(".");
        out.push_identifier("dkey")?;
        let last = self.keys.iter().rev().take(1).cycle();
        for (n, key) in self.keys.iter().chain(last).take(places).enumerate() {
            out.push_sql(if n == 0 { " IN (" } else { ", " });
            key.walk_ast(out.reborrow())?;
        }
        out.push_sql(")");
        Ok(())
    }
}

/// The number of locations of a file, as a subquery.
#[derive(Clone, Copy, Debug)]
pub struct CopyCount(pub Fid);

free_expression!(CopyCount, AnyInt);

impl<DB> QueryFragment<DB> for CopyCount
where
    DB: DieselBackend + diesel::sql_types::HasSqlType<AnyInt>,
    Fid: ToSql<AnyInt, DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        out.push_sql("(SELECT COUNT(*) FROM file_on WHERE file_on.fid = ");
        out.push_bind_param::<AnyInt, _>(&self.0)?;
        out.push_sql(")");
        Ok(())
    }
}

/// MySQL: the same comparison byte by byte.
#[cfg(feature = "mysql")]
#[derive(Clone, Debug)]
pub struct KeyLikeBinary {
    pub pattern: Key,
}

#[cfg(feature = "mysql")]
free_expression!(KeyLikeBinary, diesel::sql_types::Bool);

#[cfg(feature = "mysql")]
impl QueryFragment<Mysql> for KeyLikeBinary {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Mysql>) -> QueryResult<()> {
        out.push_sql("CONVERT(`file`.`dkey` USING utf8mb4) LIKE ");
        // The pattern is in the connection's character set, which need not have that collation.
        out.push_sql("CONVERT(");
        self.pattern.walk_ast(out.reborrow())?;
        out.push_sql(" USING utf8mb4) COLLATE utf8mb4_bin ESCAPE '|'");
        Ok(())
    }
}

/// MySQL and MariaDB: a query whose rows others may lock likewise but not change until the transaction ends. diesel's
/// `FOR SHARE` is MySQL 8 only.
#[cfg(feature = "mysql")]
#[derive(Clone, Copy, Debug, QueryId)]
pub struct LockInShareMode<Q>(pub Q);

#[cfg(feature = "mysql")]
impl<Q: diesel::query_builder::Query> diesel::query_builder::Query for LockInShareMode<Q> {
    type SqlType = Q::SqlType;
}

#[cfg(feature = "mysql")]
impl<Q> diesel::RunQueryDsl<diesel::MysqlConnection> for LockInShareMode<Q> {}

#[cfg(feature = "mysql")]
impl<Q: QueryFragment<Mysql>> QueryFragment<Mysql> for LockInShareMode<Q> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Mysql>) -> QueryResult<()> {
        self.0.walk_ast(out.reborrow())?;
        out.push_sql(" LOCK IN SHARE MODE");
        Ok(())
    }
}

/// The `LIKE` pattern of all keys that start so, `|` being the escape character.
pub fn prefix_pattern(prefix: &BStr) -> BString {
    let mut pattern = Vec::with_capacity(prefix.len() + 1);
    for &byte in prefix.iter() {
        if matches!(byte, b'%' | b'_' | b'|') {
            pattern.push(b'|');
        }
        pattern.push(byte);
    }
    pattern.push(b'%');
    BString::from(pattern)
}

/// The smallest byte string above all that start with the prefix; `None` if there is none.
pub fn above_prefix(prefix: &BStr) -> Option<BString> {
    let last = prefix.iter().rposition(|&byte| byte != 0xFF)?;
    let mut above = prefix[..=last].to_vec();
    above[last] += 1;
    Some(BString::from(above))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// C34: on PostgreSQL a byte is the character of the same number, both ways.
    #[test]
    fn bytes_and_latin1_are_inverse() {
        let bytes = BString::from((1..=255_u8).collect::<Vec<_>>());
        let Ok(Key::Text(text)) = Key::of_bytes(bytes.as_ref()) else { panic!("255 bytes fit") };
        assert_eq!(bytes_of_latin1(&text), bytes);
        assert!(matches!(Key::of_bytes(BStr::new(b"a\0b")), Err(StoreError::InvalidValue(_))));
    }

    /// C39: 256 characters are refused, 255 are not.
    #[test]
    fn length_is_checked() {
        let longest = "é".repeat(255);
        assert!(Key::of_utf8(BStr::new(&longest)).is_ok());
        assert!(Key::of_utf8(BStr::new(&"a".repeat(256))).is_err());
        assert!(Key::of_bytes(BStr::new(&"a".repeat(256))).is_err());
        assert!(Key::of_utf8(BStr::new(b"\xFF")).is_err());
    }

    #[test]
    fn patterns_and_bounds() {
        assert_eq!(prefix_pattern(BStr::new("a_%|\\")), "a|_|%||\\%");
        assert_eq!(above_prefix(BStr::new("ab")), Some(BString::from("ac")));
        assert_eq!(above_prefix(BStr::new(b"a\xFF")), Some(BString::from("b")));
        assert_eq!(above_prefix(BStr::new(b"\xFF\xFF")), None);
        assert_eq!(above_prefix(BStr::new("")), None);
    }
}
