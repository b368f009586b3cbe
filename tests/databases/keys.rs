//! Keys in the forms that sites have them: character sets of connections and columns, collations, both ways of PostgreSQL
//! (C33, C34, C37, C38, D11).

use crate::support::{Database, backends};
use bstr::{BStr, BString};
use mogilefs::ids::{ClassId, DevId, Dmid, Fid};
use mogilefs::settings::{DatabaseSettings, MysqlCharset, PostgresKeys};
use mogilefs::store::files::{CloseOutcome, CloseUpload};
use mogilefs::store::tempfiles::NewTempfile;
use mogilefs::store::{Backend, Session, Severity, Store, StoreError, StoreResult, files, tempfiles};
use std::fmt;
use std::process::Command;
use std::sync::{Arc, Mutex};

/// The form of keys is one for a whole process, so each of these tests has one of its own, whatever runs it.
fn in_a_process_of_its_own(test: &str, body: impl FnOnce()) {
    const VARIABLE: &str = "MOGILEFS_TEST_KEYS_CHILD";
    if std::env::var_os(VARIABLE).is_some() {
        return body();
    }
    let program = std::env::current_exe().expect("the test program");
    let name = format!("keys::{test}");
    let done = Command::new(program).args([name.as_str(), "--exact", "--nocapture"]).env(VARIABLE, "1").output();
    let done = done.expect("the test program runs");
    let told = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && told.contains("1 passed"), "{told}");
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").block_on(future)
}

/// A site: a database, and trackers that are set to work with it.
struct Site {
    database: Database,
    settings: DatabaseSettings,
    store: Store,
    session: Session,
}

impl Site {
    /// A new one, or `None` if there is no such server here.
    fn new(backend: Backend, further: &str, set: impl FnOnce(&mut DatabaseSettings)) -> Option<Self> {
        if !backends().contains(&backend) {
            return None;
        }
        let database = Database::create_with(backend, further);
        Store::setup(&database.settings()).expect("set up");
        Some(Self::on(database, set))
    }

    fn on(database: Database, set: impl FnOnce(&mut DatabaseSettings)) -> Self {
        database.execute("INSERT INTO domain (dmid, namespace) VALUES (1, 'd')");
        let mut settings = database.settings();
        set(&mut settings);
        let store = Store::open(&settings, slog::Logger::root(slog::Discard, slog::o!())).expect("opens");
        let session = store.session().expect("a session");
        Self { database, settings, store, session }
    }

    fn mysql(further: &str, charset: MysqlCharset) -> Option<Self> {
        Self::new(Backend::Mysql, further, |settings| settings.mysql_charset = charset)
    }

    /// Uploads a file under this key.
    fn store_file(&self, key: &[u8]) -> StoreResult<Fid> {
        let dkey = BString::from(key);
        let new =
            NewTempfile { fid: None, dmid: Dmid(1), dkey: dkey.clone(), classid: ClassId(0), devids: vec![DevId(1)] };
        let fid = block_on(self.session.write(move |conn| tempfiles::register(conn, &new)))?;
        let close =
            CloseUpload { fid, dmid: Dmid(1), dkey, classid: ClassId(0), length: 1, devid: DevId(1), checksum: None };
        let closed = block_on(self.session.write(move |conn| files::close_upload(conn, &close)))?;
        assert_eq!(closed, CloseOutcome::Stored);
        Ok(fid)
    }

    fn find(&self, key: &[u8]) -> StoreResult<Option<(Fid, BString)>> {
        let found = self.session.read(|conn| files::find_by_key(conn, Dmid(1), BStr::new(key)))?;
        Ok(found.map(|row| (row.fid, row.dkey)))
    }

    fn list(&self, prefix: &[u8], is_case_sensitive: bool) -> Vec<BString> {
        let list =
            |conn: &mut _| files::list_keys(conn, Dmid(1), BStr::new(prefix), BStr::new(""), 100, is_case_sensitive);
        self.session.read(list).expect("a list")
    }

    /// Stored, found, listed and renamed under exactly these bytes.
    fn serves(&self, key: &[u8]) {
        let fid = self.store_file(key).unwrap_or_else(|error| panic!("{}: {error}", BStr::new(key)));
        assert_eq!(self.find(key), Ok(Some((fid, BString::from(key)))));
        let many = self.session.read(|conn| files::locate_many(conn, Dmid(1), &[BStr::new("none"), BStr::new(key)]));
        let many = many.expect("looked up");
        assert!(
            many[0].is_none() && many[1].as_ref().is_some_and(|(row, devids)| row.fid == fid && devids == &[DevId(1)])
        );
        for is_case_sensitive in [false, true] {
            assert_eq!(self.list(key, is_case_sensitive), [BString::from(key)]);
        }
        let (from, to) = (BString::from(key), BString::from([key, b"2"].concat()));
        let renamed = block_on(self.session.write({
            let to = to.clone();
            move |conn| files::rename(conn, Dmid(1), from.as_ref(), to.as_ref())
        }));
        assert_eq!(renamed, Ok(files::RenameOutcome::Renamed(fid)));
        assert_eq!(self.find(&to), Ok(Some((fid, to))));
        assert_eq!(self.find(key), Ok(None));
    }

    fn refuses(&self, key: &[u8]) {
        let refused = self.store_file(key);
        assert!(matches!(refused, Err(StoreError::InvalidValue(_))), "{}: {refused:?}", BStr::new(key));
    }

    /// What is in the column of the last key, in hex, without what a rename has added.
    fn stored(&self) -> String {
        let hex = self.database.texts("SELECT HEX(dkey) AS t FROM file ORDER BY fid DESC LIMIT 1").concat();
        hex.strip_suffix("32").expect("a renamed key").to_owned()
    }

    /// Warnings about keys, with other settings.
    fn warnings(&self, set: impl FnOnce(&mut DatabaseSettings)) -> Vec<String> {
        let mut settings = self.settings.clone();
        set(&mut settings);
        let report = Store::check(&settings).expect("a report");
        let warnings = report.findings.into_iter().filter(|found| found.severity == Severity::Warning);
        warnings.filter(|found| found.place == "file.dkey").map(|found| found.text).collect()
    }

    fn end(self) {
        drop(self.session);
        self.store.close();
    }
}

/// Old client libraries on a server of their time: the column has the client's bytes, whatever they are.
#[test]
fn c33_latin1_columns_over_latin1_connections() {
    in_a_process_of_its_own("c33_latin1_columns_over_latin1_connections", || {
        let Some(site) = Site::mysql("CHARACTER SET latin1", MysqlCharset::Latin1) else { return };
        for key in ["größe/中文".as_bytes(), b"\xFF\xFE \x81\x8D\x90", "🦀_%|\\'".as_bytes()] {
            site.serves(key);
            let bytes: String = key.iter().map(|byte| format!("{byte:02X}")).collect();
            assert_eq!(site.stored(), bytes);
        }
        site.refuses(&[b'x'; 256]);
        // As a tracker of 2.73 has stored it.
        site.database.execute(
            "INSERT INTO file (fid, dmid, dkey, length, classid, devcount) VALUES (1000, 1, _latin1 X'C3A9C3A0', 1, 0, 1)",
        );
        assert_eq!(site.find("éà".as_bytes()), Ok(Some((Fid(1000), "éà".into()))));
        // By that collation the two characters of é and of É differ in case only.
        assert!(site.warnings(|_| {}).iter().all(|text| text.contains("may be one")), "{:?}", site.warnings(|_| {}));
        let misread = site.warnings(|settings| settings.mysql_charset = MysqlCharset::Utf8mb4);
        assert!(misread.iter().any(|text| text.contains("mysql_charset = latin1")), "{misread:?}");
        assert!(misread.iter().any(|text| text.contains("does not hold all")), "{misread:?}");
        site.end();
    });
}

/// The same client libraries on a server with another default: each byte is a character.
#[test]
fn c33_utf8mb4_columns_over_latin1_connections() {
    in_a_process_of_its_own("c33_utf8mb4_columns_over_latin1_connections", || {
        let further = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";
        let Some(site) = Site::mysql(further, MysqlCharset::Latin1) else { return };
        site.serves("é".as_bytes());
        assert_eq!(site.stored(), "C383C2A9");
        site.serves(b"\xFF\x80");
        site.serves("größe".as_bytes());
        assert_eq!(site.warnings(|_| {}), [""; 0]);
        let misread = site.warnings(|settings| settings.mysql_charset = MysqlCharset::Utf8mb4);
        assert!(misread.iter().any(|text| text.contains("mysql_charset = latin1")), "{misread:?}");
        site.end();
    });
}

/// New client libraries on an old server's columns: what these cannot hold is refused, and found nowhere.
#[test]
fn c33_latin1_columns_over_utf8mb4_connections() {
    in_a_process_of_its_own("c33_latin1_columns_over_utf8mb4_connections", || {
        let Some(site) = Site::mysql("CHARACTER SET latin1", MysqlCharset::Utf8mb4) else { return };
        site.serves("é€".as_bytes());
        assert_eq!(site.stored(), "E980");
        site.refuses("中".as_bytes());
        site.refuses(b"\xFF");
        assert!(!matches!(site.find("中".as_bytes()), Ok(Some(_))));
        // C37: the column's collation says what is one.
        let fid = site.store_file("ÉTÉ".as_bytes()).expect("stored");
        assert_eq!(site.find(b"ete  "), Ok(Some((fid, "ÉTÉ".into()))));
        let misread = site.warnings(|settings| settings.mysql_charset = MysqlCharset::Latin1);
        assert!(misread.iter().any(|text| text.contains("mysql_charset = utf8mb4")), "{misread:?}");
        site.end();
    });
}

/// C38, and what such a collation still takes for equal.
#[test]
fn c38_binary_collations() {
    in_a_process_of_its_own("c38_binary_collations", || {
        let further = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";
        let Some(site) = Site::mysql(further, MysqlCharset::Utf8mb4) else { return };
        let lower = site.store_file(b"foo").expect("stored");
        assert_eq!(site.find(b"FOO"), Ok(None));
        let upper = site.store_file(b"Foo").expect("stored");
        assert_eq!(site.database.number("SELECT COUNT(*) AS n FROM file"), 2);
        assert_eq!(site.list(b"f", false), [BString::from("foo")]);
        assert_eq!(site.find(b"foo"), Ok(Some((lower, "foo".into()))));
        assert_eq!(site.find(b"Foo  "), Ok(Some((upper, "Foo".into()))), "blanks at the end do not count there");
        site.serves("größe/中文/🦀".as_bytes());
        assert_eq!(site.warnings(|_| {}), [""; 0]);

        site.database.execute("ALTER TABLE file MODIFY dkey VARBINARY(255)");
        assert_eq!(site.find(b"Foo  "), Ok(None));
        site.serves("länge/中文/🦀".as_bytes());
        assert_eq!(site.warnings(|_| {}), [""; 0]);
        site.end();
    });
}

/// C37 and D11: by these collations they are one, and the start of a tracker and `db check` say so.
#[test]
fn c37_folding_collations_are_said() {
    in_a_process_of_its_own("c37_folding_collations_are_said", || {
        if !backends().contains(&Backend::Mysql) {
            return;
        }
        for further in [
            "CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci",
            "CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_520_ci",
            "CHARACTER SET utf8mb4 COLLATE utf8mb4_general_nopad_ci",
        ] {
            let database = Database::create_with(Backend::Mysql, further);
            Store::setup(&database.settings()).expect("set up");
            let log = Collected::default();
            let store = Store::open(&database.settings(), slog::Logger::root(log.clone(), slog::o!())).expect("opens");
            store.close();
            for place in ["file.dkey", "domain.namespace", "class.classname"] {
                assert!(log.has(&format!("{place} has the collation")), "{further}: {place}");
            }
            let site = Site::on(database, |_| {});
            let first = site.store_file(b"foo").expect("stored");
            let second = site.store_file(b"Foo").expect("stored");
            assert_eq!(site.find(b"FOO"), Ok(Some((second, "Foo".into()))), "{further}");
            assert_eq!(site.database.number("SELECT COUNT(*) AS n FROM file"), 1);
            assert_eq!(
                site.database.number(&format!("SELECT COUNT(*) AS n FROM file_to_delete2 WHERE fid = {first}")),
                1
            );
            // Asked for by another spelling among others, too.
            let keys = [BStr::new("fOO"), BStr::new("Foo"), BStr::new("bar")];
            let many = site.session.read(|conn| files::locate_many(conn, Dmid(1), &keys)).expect("looked up");
            let fids: Vec<_> = many.into_iter().map(|found| found.map(|(row, _)| row.fid)).collect();
            assert_eq!(fids, [Some(second), Some(second), None]);
            site.end();
        }
    });
}

/// The character set `utf8` has no characters of four bytes, `binary` has bytes.
#[test]
fn c33_utf8_of_three_bytes() {
    in_a_process_of_its_own("c33_utf8_of_three_bytes", || {
        let Some(site) = Site::mysql("CHARACTER SET utf8", MysqlCharset::Utf8) else { return };
        site.serves("é中".as_bytes());
        assert_eq!(site.stored(), "C3A9E4B8AD");
        site.refuses("🦀".as_bytes());
        site.refuses(b"\xFF");
        site.end();
    });
}

#[test]
fn c33_connections_of_bytes() {
    in_a_process_of_its_own("c33_connections_of_bytes", || {
        let further = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";
        let Some(site) = Site::mysql(further, MysqlCharset::Binary) else { return };
        site.serves("é🦀".as_bytes());
        assert_eq!(site.stored(), "C3A9F09FA680");
        site.refuses(b"\xFF");
        site.end();
    });
}

/// DBD::Pg before 3.0 stored the client's bytes as they were (C33); later ones a character for each (C34).
#[test]
fn c33_plain_keys_on_postgres() {
    in_a_process_of_its_own("c33_plain_keys_on_postgres", || {
        let plain = |settings: &mut DatabaseSettings| settings.postgres_keys = PostgresKeys::Utf8;
        let by_bytes = |settings: &mut DatabaseSettings| settings.postgres_keys = PostgresKeys::Latin1;
        let Some(site) = Site::new(Backend::Postgres, "", plain) else { return };
        site.serves("größe/中文/🦀".as_bytes());
        assert_eq!(site.database.texts("SELECT dkey AS t FROM file"), ["größe/中文/🦀2"]);
        site.refuses(b"\xFF");
        site.refuses(b"a\0b");
        site.serves("é".repeat(254).as_bytes());
        assert_eq!(site.warnings(plain), [""; 0]);
        let misread = site.warnings(by_bytes);
        assert!(misread.iter().any(|text| text.contains("postgres_keys = utf8")), "{misread:?}");

        site.database.execute("DELETE FROM file WHERE fid = (SELECT MIN(fid) FROM file)");
        site.database.execute("UPDATE file SET dkey = 'Ã©'");
        assert_eq!(site.warnings(by_bytes), [""; 0]);
        let misread = site.warnings(plain);
        assert!(misread.iter().any(|text| text.contains("postgres_keys = latin1")), "{misread:?}");
        site.end();
    });
}

/// Two forms in one process would mix up keys: the second is refused.
#[test]
fn one_process_has_one_form() {
    in_a_process_of_its_own("one_process_has_one_form", || {
        let Some(site) = Site::mysql("", MysqlCharset::Utf8mb4) else { return };
        let other = DatabaseSettings { mysql_charset: MysqlCharset::Latin1, ..site.settings.clone() };
        let refused = Store::open(&other, slog::Logger::root(slog::Discard, slog::o!())).map(drop);
        assert!(matches!(refused, Err(StoreError::InvalidValue(_))), "{refused:?}");
        site.end();
    });
}

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Collected(Arc<Mutex<String>>);

impl Collected {
    fn has(&self, text: &str) -> bool {
        self.0.lock().expect("not poisoned").contains(text)
    }
}

impl slog::Drain for Collected {
    type Ok = ();
    type Err = slog::Never;

    fn log(&self, record: &slog::Record<'_>, _: &slog::OwnedKVList) -> Result<(), slog::Never> {
        fmt::Write::write_fmt(&mut *self.0.lock().expect("not poisoned"), format_args!("{}\n", record.msg()))
            .expect("written");
        Ok(())
    }
}
