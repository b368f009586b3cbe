//! `mogdbsetup`: the reference's program by its name, with its options.

use crate::support::{Database, on_each};
use mogilefs::store::Backend;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};

fn mogdbsetup(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mogilefs"));
    command.arg0("/usr/bin/mogdbsetup").args(args).stdin(Stdio::null()).output().expect("the program runs")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What leads to a server, without account and database.
fn server(database: &Database) -> Vec<String> {
    let kind = match database.backend {
        Backend::Sqlite => "SQLite",
        Backend::Mysql => "MySQL",
        Backend::Postgres => "Postgres",
    };
    let mut args = vec![format!("--type={kind}")];
    if database.backend != Backend::Sqlite {
        let [_, _, host, port, _] = database.parts();
        args.extend([format!("--dbhost={host}"), format!("--dbport={port}")]);
    }
    args
}

fn run(server: &[String], further: &[&str]) -> Output {
    let args: Vec<&str> = server.iter().map(String::as_str).chain(further.iter().copied()).collect();
    mogdbsetup(&args)
}

/// With an account that is allowed to, all comes from nothing; the second time nothing is done.
#[test]
fn a_database_and_its_account_from_nothing() {
    on_each(|database| {
        if database.backend == Backend::Sqlite {
            let path = database.url.strip_prefix("sqlite:").expect("a path");
            let made = run(&server(database), &["--dbname", path, "--yes", "--verbose"]);
            assert_eq!(made.status.code(), Some(0), "{}", said(&made));
            assert!(said(&made).contains("created the tables") && said(&made).contains("Done."), "{}", said(&made));
            return;
        }
        let [root, root_password, _, _, name] = database.parts();
        let (new, user) = (format!("{name}_new"), format!("u{name}"));
        // A _ in a name is any character to GRANT, unless it is told otherwise.
        let account = ["--dbname", new.as_str(), "--dbuser", user.as_str(), "--dbpass", "it's \\ se'same", "--yes"];
        let by_root = ["--dbrootuser", root.as_str(), "--dbrootpass", root_password.as_str()];

        let made = run(&server(database), &[&account[..], &by_root[..]].concat());
        let again = run(&server(database), &account);
        if database.backend == Backend::Mysql {
            database.execute(&format!("DROP DATABASE {new}"));
            database.execute(&format!("DROP USER '{user}'@'%'; DROP USER '{user}'@'localhost'"));
        } else {
            database.execute(&format!("DROP DATABASE {new} WITH (FORCE)"));
            database.execute(&format!("DROP ROLE {user}"));
        }
        assert_eq!(made.status.code(), Some(0), "{}", said(&made));
        assert!(said(&made).contains("created the tables"), "{}", said(&made));
        assert_eq!(again.status.code(), Some(0), "{}", said(&again));
        assert!(said(&again).contains("already up to date"), "{}", said(&again));
        assert!(!said(&made).contains("same") && !said(&made).contains(&root_password), "{}", said(&made));
    });
}

#[test]
fn versions_and_numbers_that_stay() {
    on_each(|database| {
        let account = match database.backend {
            Backend::Sqlite => {
                vec!["--dbname".to_owned(), database.url.strip_prefix("sqlite:").expect("a path").to_owned()]
            }
            _ => {
                let [user, password, _, _, name] = database.parts();
                vec![format!("--dbname={name}"), format!("--dbuser={user}"), format!("--dbpassword={password}")]
            }
        };
        let account: Vec<&str> = account.iter().map(String::as_str).collect();
        let with = |further: &[&str]| run(&server(database), &[&account[..], further].concat());
        let version = "SELECT COUNT(*) AS n FROM server_settings WHERE field = 'schema_version' AND value = ";

        assert_eq!(with(&["--yes"]).status.code(), Some(0));
        database.execute("UPDATE server_settings SET value = '12' WHERE field = 'schema_version'");
        let kept = with(&["--yes", "--noschemabump"]);
        assert_eq!(kept.status.code(), Some(0), "{}", said(&kept));
        assert_eq!(database.number(&format!("{version}'12'")), 1);
        let upgraded = with(&["--yes"]);
        assert!(said(&upgraded).contains("upgraded from schema version 12"), "{}", said(&upgraded));
        assert_eq!(database.number(&format!("{version}'17'")), 1);

        database.execute("UPDATE server_settings SET value = '18' WHERE field = 'schema_version'");
        let refused = with(&["--yes"]);
        assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    });
}

/// Nobody is there to answer, and it does not wait for anybody.
#[test]
fn questions_need_somebody_or_a_yes() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("x.db");
    let path = path.to_str().expect("UTF-8");
    let asked = mogdbsetup(&["--type=SQLite", "--dbname", path]);
    assert_eq!(asked.status.code(), Some(255));
    assert!(said(&asked).contains("--yes"), "{}", said(&asked));
    assert!(!std::path::Path::new(path).exists());
    for wrong in [&["--help"][..], &["--no-such-option"], &["--type=Oracle"]] {
        let output = mogdbsetup(wrong);
        assert_eq!(output.status.code(), Some(255), "{wrong:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{wrong:?}");
    }
}
