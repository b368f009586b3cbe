//! Operations of the store that other suites see only through jobs, by the numbers of the conformance statements.

use crate::support::{Database, on_each};
#[cfg(any(feature = "mysql", feature = "postgres"))]
use diesel::connection::SimpleConnection as _;
use md5::Digest as _;
use mogilefs::ids::{ClassId, DevId, Dmid, Fid};
use mogilefs::store::file_on::{self, Page};
use mogilefs::store::fsck_inject::{self, FsckScope};
use mogilefs::store::queues::todo::{self, NewMove};
use mogilefs::store::tempfiles::{self, NewTempfile};
use mogilefs::store::{Backend, Session, Store, StoreConnection, StoreResult, db_unixtime, fsck_batch};
use std::time::Duration;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").block_on(future)
}

/// A database with the tables in it, and a tracker's session.
struct Open<'a> {
    database: &'a Database,
    store: Store,
    session: Session,
}

impl<'a> Open<'a> {
    fn set_up(database: &'a Database) -> Self {
        Store::setup(&database.settings()).expect("set up");
        Self::again(database)
    }

    fn again(database: &'a Database) -> Self {
        let store = Store::open(&database.settings(), slog::Logger::root(slog::Discard, slog::o!())).expect("opens");
        let session = store.session().expect("a session");
        Self { database, store, session }
    }

    fn get<T>(&self, body: impl FnMut(&mut StoreConnection) -> StoreResult<T>) -> T {
        self.session.read(body).expect("the database answers")
    }

    fn write<T: Send + 'static>(&self, body: impl FnMut(&mut StoreConnection) -> StoreResult<T> + Send + 'static) -> T {
        block_on(self.session.write(body)).expect("the change is stored")
    }

    fn takes(&self, lock: &str) -> bool {
        let guard = block_on(self.session.try_lock(lock, Duration::ZERO)).expect("asked");
        guard.is_some_and(|guard| block_on(guard.release()))
    }

    fn end(self) {
        drop(self.session);
        self.store.close();
    }
}

fn add_files(database: &Database, fids: std::ops::RangeInclusive<i64>) {
    let rows: Vec<String> = fids.map(|fid| format!("({fid}, 1, 'k{fid}', 1, 0, 1)")).collect();
    let rows = rows.join(", ");
    database.execute(&format!("INSERT INTO file (fid, dmid, dkey, length, classid, devcount) VALUES {rows}"));
}

/// Old versions of InnoDB forget the counter when they are restarted while the table is empty.
#[test]
fn c17_a_counter_that_the_server_forgot() {
    on_each(|database| {
        let open = Open::set_up(database);
        add_files(database, 700..=705);
        open.end();
        database.execute(match database.backend {
            Backend::Sqlite => "DELETE FROM sqlite_sequence",
            Backend::Mysql => "ALTER TABLE tempfile AUTO_INCREMENT = 1",
            Backend::Postgres => "ALTER SEQUENCE tempfile_fid_seq RESTART",
        });
        let open = Open::again(database);
        let new =
            NewTempfile { fid: None, dmid: Dmid(1), dkey: "new".into(), classid: ClassId(0), devids: vec![DevId(1)] };
        let fid = open.write(move |conn| tempfiles::register(conn, &new));
        assert!(fid > Fid(705), "{fid}");
        open.end();
    });
}

#[test]
fn c42_files_between_two() {
    on_each(|database| {
        let open = Open::set_up(database);
        add_files(database, 1000..=1020);
        let scope = FsckScope::default();
        let queued = |after: i64, upto: i64| {
            database.execute("DELETE FROM file_to_queue");
            let scope = scope.clone();
            let count = open.write(move |conn| fsck_inject::enqueue_between(conn, &scope, Fid(after), Fid(upto)));
            let fids = format!("SELECT {} AS t FROM file_to_queue ORDER BY fid", as_text(database, "fid"));
            let fids = database.texts(&fids);
            assert_eq!(fids.len(), count);
            fids
        };
        assert_eq!(queued(1003, 1006), ["1004", "1005", "1006"]);
        assert_eq!(queued(1003, 0), [""; 0], "no upper bound");
        assert_eq!(queued(1019, 9999), ["1020"]);
        let third = open.get(|conn| fsck_inject::nth_after(conn, &scope, Fid(1003), Fid(1020), 3));
        assert_eq!(third, Some(Fid(1006)));
        assert_eq!(open.get(|conn| fsck_inject::nth_after(conn, &scope, Fid(1003), Fid(1005), 3)), None);
        open.end();
    });
}

fn as_text(database: &Database, column: &str) -> String {
    match database.backend {
        Backend::Mysql => format!("CAST({column} AS CHAR)"),
        _ => format!("CAST({column} AS VARCHAR(20))"),
    }
}

#[test]
fn c54_locations_of_several_files() {
    on_each(|database| {
        let open = Open::set_up(database);
        add_files(database, 1..=3);
        database.execute("INSERT INTO file_on (fid, devid) VALUES (1, 5), (1, 6), (2, 5), (9, 5)");
        let of_fids = |fids: &[Fid]| {
            let files = open.get(|conn| fsck_batch::load(conn, fids));
            files.into_iter().map(|file| (file.file.fid.0, file.devids.len())).collect::<Vec<_>>()
        };
        assert_eq!(of_fids(&[Fid(1), Fid(2), Fid(3)]), [(1, 2), (2, 1), (3, 0)]);
        // No question at all: not even of a table that is not there.
        database.execute("DROP TABLE file_on");
        assert_eq!(of_fids(&[]), []);
        open.end();
    });
}

#[test]
fn c55_pages_of_a_device_both_ways() {
    on_each(|database| {
        let open = Open::set_up(database);
        add_files(database, 10..=20);
        database.execute("INSERT INTO file_on (fid, devid) SELECT fid, 3 FROM file");
        database.execute("INSERT INTO file_on (fid, devid) VALUES (14, 4), (30, 4)");
        let page = |page: Page, limit: i64| {
            let files = open.get(|conn| file_on::of_device(conn, DevId(3), page, limit));
            files.into_iter().map(|file| file.fid.0).collect::<Vec<_>>()
        };
        assert_eq!(page(Page::Above(Fid(12)), 3), [13, 14, 15]);
        assert_eq!(page(Page::Below(Fid(18)), 2), [17, 16]);
        // Gaps, and the ends.
        database.execute("DELETE FROM file_on WHERE fid IN (14, 17)");
        assert_eq!(page(Page::Above(Fid(12)), 3), [13, 15, 16]);
        assert_eq!(page(Page::Below(Fid(18)), 2), [16, 15]);
        assert_eq!((page(Page::Above(Fid(20)), 3), page(Page::Below(Fid(10)), 3)), (vec![], vec![]));
        open.end();
    });
}

/// What is queued for rebalance is due from now, on MySQL too (D14); what is queued for fsck already stays (C72).
#[test]
fn c71_c72_rows_of_the_todo_queue() {
    on_each(|database| {
        let open = Open::set_up(database);
        add_files(database, 11..=12);
        database.execute(
            "INSERT INTO file_to_queue (fid, devid, type, nexttry, failcount, flags, arg) VALUES (11, NULL, 1, 5, 3, 0, 'x')",
        );
        let now = open.get(db_unixtime);
        let moves = vec![NewMove { fid: Fid(11), arg: "4,5".to_owned() }];
        assert_eq!(open.write(move |conn| todo::enqueue_moves(conn, DevId(3), &moves)), 1);
        let row = open.get(|conn| todo::find(conn, Fid(11), todo::REBALANCE)).expect("a row");
        assert!((row.nexttry - now).abs() <= 2 && row.devid == Some(DevId(3)), "{row:?}");

        let scope = FsckScope::default();
        assert_eq!(open.write(move |conn| fsck_inject::enqueue_between(conn, &scope, Fid(0), Fid(99))), 1);
        let kept = "SELECT COUNT(*) AS n FROM file_to_queue WHERE fid = 11 AND type = 1 AND nexttry = 5 AND failcount = 3 \
                    AND arg = 'x' AND devid IS NULL";
        assert_eq!(database.number(kept), 1);
        open.end();
    });
}

/// The number of a lock, as database.md 2.3 has it.
fn number(name: &str) -> u32 {
    let digest = md5::Md5::digest(name.as_bytes());
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]) & 0x7FFF_FFFF
}

/// Names of locks are the server's on MySQL, where other tests are.
fn lock_name(database: &Database) -> String {
    format!("mgfs:fid:{}:replicate", number(&database.url))
}

/// Somebody's session on the server, in which statements are run.
enum Stranger {
    #[cfg(feature = "mysql")]
    Mysql(diesel::MysqlConnection),
    #[cfg(feature = "postgres")]
    Postgres(diesel::PgConnection),
    Nobody,
}

impl Stranger {
    fn connect(database: &Database) -> Self {
        match database.backend {
            #[cfg(feature = "mysql")]
            Backend::Mysql => Self::Mysql(diesel::Connection::establish(&database.url).expect("connects")),
            #[cfg(feature = "postgres")]
            Backend::Postgres => Self::Postgres(diesel::Connection::establish(&database.url).expect("connects")),
            _ => Self::Nobody,
        }
    }

    fn run(&mut self, statement: &str) {
        let _ = statement;
        match self {
            #[cfg(feature = "mysql")]
            Self::Mysql(conn) => conn.batch_execute(statement).expect("done"),
            #[cfg(feature = "postgres")]
            Self::Postgres(conn) => conn.batch_execute(statement).expect("done"),
            Self::Nobody => {}
        }
    }
}

/// A lock held as a tracker of 2.73 on this host holds it: by name, by the pair of host and name, or by a row.
#[test]
fn c96_a_lock_of_the_reference_is_respected() {
    on_each(|database| {
        let open = Open::set_up(database);
        let name = lock_name(database);
        assert!(open.takes(&name));
        let host = gethostname::gethostname().to_string_lossy().into_owned();
        let (first, second) = (number(&host), number(&name));
        let mut tracker = Stranger::connect(database);
        match database.backend {
            Backend::Mysql => tracker.run(&format!("DO GET_LOCK('{name}', 0)")),
            Backend::Postgres => tracker.run(&format!("SELECT pg_advisory_lock({first}, {second})")),
            Backend::Sqlite => {
                let (now, pid) = (open.get(db_unixtime), std::os::unix::process::parent_id());
                database.execute(&format!(
                    "INSERT INTO lock (lockid, hostname, pid, acquiredat) VALUES ({second}, '{host}', {pid}, {now})"
                ));
            }
        }
        assert!(!open.takes(&name));
        match database.backend {
            Backend::Mysql => tracker.run(&format!("DO RELEASE_LOCK('{name}')")),
            Backend::Postgres => tracker.run(&format!("SELECT pg_advisory_unlock({first}, {second})")),
            Backend::Sqlite => database.execute("DELETE FROM lock"),
        }
        assert!(open.takes(&name));
        open.end();
    });
}

/// A tracker of ours on another host: what it takes on PostgreSQL names no host, as well as its own (D13).
#[test]
fn c99_trackers_on_other_hosts_exclude_each_other() {
    on_each(|database| {
        if database.backend != Backend::Postgres {
            return;
        }
        let open = Open::set_up(database);
        let name = lock_name(database);
        let mut elsewhere = Stranger::connect(database);
        let pairs = [(0, number(&name)), (number("elsewhere"), number(&name))];
        for (first, second) in pairs {
            elsewhere.run(&format!("SELECT pg_advisory_lock({first}, {second})"));
        }
        assert!(!open.takes(&name));
        for (first, second) in pairs {
            elsewhere.run(&format!("SELECT pg_advisory_unlock({first}, {second})"));
        }

        let guard = block_on(open.session.try_lock(&name, Duration::ZERO)).expect("asked").expect("free");
        let held = format!(
            "SELECT COUNT(*) AS n FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid = 0 AND objid = {} \
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            number(&name)
        );
        assert_eq!(open.database.number(&held), 1, "what the other would ask for is taken");
        assert!(block_on(guard.release()));
        assert_eq!(open.database.number(&held), 0);
        open.end();
    });
}
