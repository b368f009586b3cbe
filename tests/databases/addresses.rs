//! Connecting by each form of address (C100).

#[cfg(feature = "mysql")]
use crate::support::NumberRow;
use crate::support::{Database, on_each};
use mogilefs::settings::{DatabaseSettings, Secret};
use mogilefs::store::{Backend, SetupOutcome, Store, StoreError};

fn discard_log() -> slog::Logger {
    slog::Logger::root(slog::Discard, slog::o!())
}

/// The address as old configuration files have it, with the account apart.
fn dbi(database: &Database, further: &str) -> DatabaseSettings {
    if database.backend == Backend::Sqlite {
        let path = database.url.strip_prefix("sqlite:").expect("a path");
        return DatabaseSettings { url: format!("DBI:SQLite:{path}"), ..database.settings() };
    }
    let [user, password, host, port, name] = database.parts();
    let url = match database.backend {
        Backend::Postgres => format!("DBI:Pg:dbname={name};host={host};port={port}{further}"),
        _ => format!("DBI:mysql:{name};host={host};port={port}{further}"),
    };
    DatabaseSettings { url, user, password: Secret::from(password.as_str()), ..database.settings() }
}

#[test]
fn c100_dbi_strings_connect() {
    on_each(|database| {
        let settings = dbi(database, "");
        assert_eq!(Store::setup(&settings), Ok(SetupOutcome::Created));
        let store = Store::open(&settings, discard_log()).expect("opens");
        assert_eq!(store.backend(), database.backend);
        store.close();
        // The very database that was meant.
        database.execute("INSERT INTO domain (dmid, namespace) VALUES (1, 'd')");
        assert_eq!(database.number("SELECT COUNT(*) AS n FROM domain"), 1);
    });
}

#[test]
fn the_account_wins_over_the_address() {
    on_each(|database| {
        if database.backend == Backend::Sqlite {
            return;
        }
        let [user, password, host, port, name] = database.parts();
        let url = format!("{}://nobody:wrong@{host}:{port}/{name}", database.backend.name());
        let right = DatabaseSettings { url, user, password: Secret::from(password.as_str()), ..database.settings() };
        assert_eq!(Store::setup(&right), Ok(SetupOutcome::Created));

        let wrong = DatabaseSettings { password: Secret::from("sesame"), ..right };
        match Store::setup(&wrong) {
            Err(StoreError::Unavailable(text)) => assert!(!text.contains("sesame"), "{text}"),
            other => panic!("{other:?}"),
        }
    });
}

/// The environment keeps the password from command lines; one of digits stays as it is.
#[test]
fn the_password_may_come_from_the_environment() {
    on_each(|database| {
        if database.backend == Backend::Sqlite {
            return;
        }
        let [user, password, host, port, name] = database.parts();
        let url = format!("{}://{user}@{host}:{port}/{name}", database.backend.name());
        let set_up = |password: &str| {
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_mogilefs"));
            command.args(["db", "setup", "--db", &url]).env("MOGILEFS__DATABASE__PASSWORD", password);
            command.output().expect("the program runs")
        };
        assert_eq!(set_up("0077").status.code(), Some(5));
        assert_eq!(set_up(&password).status.code(), Some(0));

        // Accounts are the server's: another run may be on it too.
        let digits = format!("d{name}");
        let account = match database.backend {
            Backend::Mysql => [
                format!("CREATE USER {digits}@'%' IDENTIFIED BY '0077'"),
                format!("GRANT SELECT ON *.* TO {digits}@'%'"),
            ],
            _ => [
                format!("CREATE ROLE {digits} LOGIN PASSWORD '0077'"),
                format!("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {digits}"),
            ],
        };
        account.iter().for_each(|statement| database.execute(statement));
        let checked = std::process::Command::new(env!("CARGO_BIN_EXE_mogilefs"))
            .args(["db", "check", "--db", &url])
            .env("MOGILEFS__DATABASE__USER", &digits)
            .env("MOGILEFS__DATABASE__PASSWORD", "0077")
            .output()
            .expect("the program runs");
        match database.backend {
            Backend::Mysql => database.execute(&format!("DROP USER {digits}@'%'")),
            _ => database.execute(&format!("DROP OWNED BY {digits}; DROP ROLE {digits}")),
        }
        assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    });
}

/// The test server offers no TLS: what was demanded must not end in plain text.
#[test]
fn tls_that_is_demanded_is_there_or_nothing_is() {
    on_each(|database| {
        let (dbi_option, url_option) = match database.backend {
            Backend::Sqlite => return,
            Backend::Mysql => (";mysql_ssl=1", "?ssl_mode=required"),
            Backend::Postgres => (";sslmode=require", "?sslmode=require"),
        };
        let url = format!("{}{url_option}", database.url);
        for settings in [dbi(database, dbi_option), DatabaseSettings { url, ..database.settings() }] {
            match Store::setup(&settings) {
                Err(StoreError::Unavailable(text)) => assert!(text.contains("TLS") || text.contains("SSL"), "{text}"),
                other => panic!("{other:?}"),
            }
        }
    });
}

#[cfg(feature = "mysql")]
#[test]
fn mysql_by_its_socket_and_with_a_first_statement() {
    on_each(|database| {
        if database.backend != Backend::Mysql {
            return;
        }
        let directory = database.texts("SELECT @@datadir AS t").concat();
        let socket = std::path::Path::new(&directory).join(database.texts("SELECT @@socket AS t").concat());
        // A server elsewhere has its socket elsewhere; the name of a socket cannot be longer.
        if !socket.exists() || socket.as_os_str().len() > 100 {
            eprintln!("no socket at {}", socket.display());
            return;
        }
        let [user, password, _, _, name] = database.parts();
        let first = "SET SESSION max_statement_time = 77";
        let url = format!("DBI:mysql:{name};mysql_socket={};mysql_init_command={first}", socket.display());
        let settings = DatabaseSettings { url, user, password: Secret::from(password.as_str()), ..database.settings() };
        assert_eq!(Store::setup(&settings), Ok(SetupOutcome::Created));
        let store = Store::open(&settings, discard_log()).expect("opens");
        let session = store.session().expect("a session");
        let statement = "SELECT COUNT(*) AS n FROM information_schema.tables WHERE @@max_statement_time = 77 LIMIT 1";
        let seen = session.read(|conn| {
            use diesel::RunQueryDsl as _;
            Ok(diesel::sql_query(statement).get_result::<NumberRow>(conn)?.n)
        });
        assert!(seen.expect("an answer") > 0, "the first statement was not carried out");
        store.close();
    });
}
