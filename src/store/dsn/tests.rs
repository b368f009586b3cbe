//! Tables of addresses: those of the reference's documentation, of old configuration files, and mistakes.

use super::*;

const NOBODY: Account<'_> = Account { user: "", password: "" };
const MOGGY: Account<'_> = Account { user: "mog gy", password: "p@ss:w/%rd" };

fn refusal(address: &str) -> String {
    match Location::parse(address, MOGGY) {
        Err(StoreError::InvalidValue(text)) => text,
        other => panic!("{address}: {other:?}"),
    }
}

#[test]
fn sqlite() {
    for (address, path) in [
        ("sqlite:/a/b.db", "/a/b.db"),
        ("sqlite:///a/b.db", "/a/b.db"),
        ("SQLite:b.db", "b.db"),
        ("DBI:SQLite:/a/b.db", "/a/b.db"),
        ("dbi:sqlite:dbname=/a/b.db", "/a/b.db"),
        ("DBI:SQLite:db=b.db", "b.db"),
        ("DBI:SQLite:database=b.db;", "b.db"),
        ("DBI:SQLite:uri=file:/a/b.db", "/a/b.db"),
    ] {
        assert_eq!(Location::parse(address, MOGGY), Ok(Location::Sqlite(path.into())), "{address}");
    }
}

/// What is built in decides whether they are accepted, not how they are read.
fn mysql_url(address: &str, account: Account<'_>) -> String {
    match address.split_once(':').expect("a scheme") {
        ("mysql", rest) => MysqlAddress::from_url(rest.strip_prefix("//").expect("//"), account),
        (_, rest) => MysqlAddress::from_dbi(rest.split_once(':').expect("a driver").1, account),
    }
    .unwrap_or_else(|error| panic!("{address}: {error}"))
    .url()
}

#[test]
fn mysql_dbi() {
    for (address, url) in [
        ("DBI:mysql:mogilefs", "mysql://mogile@localhost/mogilefs"),
        ("DBI:mysql:mogilefs:db1:3306", "mysql://mogile@db1:3306/mogilefs"),
        ("DBI:mysql:mogilefs;host=db1;port=3306", "mysql://mogile@db1:3306/mogilefs"),
        ("DBI:mysql:mogilefs;host=db1;port=3306;", "mysql://mogile@db1:3306/mogilefs"),
        ("DBI:mysql:mogilefs:host=127.0.0.1", "mysql://mogile@127.0.0.1/mogilefs"),
        ("DBI:mysql:database=mogilefs;host=db1", "mysql://mogile@db1/mogilefs"),
        ("DBI:mysql:host=db1;mogilefs", "mysql://mogile@db1/mogilefs"),
        ("DBI:mysql:dbname=mogilefs;hostname=db1", "mysql://mogile@db1/mogilefs"),
        ("DBI:mysql:mogilefs;host=[::1];port=3307", "mysql://mogile@[::1]:3307/mogilefs"),
        (
            "DBI:mysql:mogilefs;mysql_socket=/run/my sql.sock",
            "mysql://mogile@localhost/mogilefs?unix_socket=%2Frun%2Fmy%20sql.sock",
        ),
        ("DBI:mysql:mogilefs;mysql_ssl=1", "mysql://mogile@localhost/mogilefs?ssl_mode=required"),
        ("DBI:mysql:mogilefs;mysql_ssl=0", "mysql://mogile@localhost/mogilefs?ssl_mode=disabled"),
        ("DBI:mysql:mogilefs;mysql_ssl_optional=1;mysql_ssl=1", "mysql://mogile@localhost/mogilefs"),
        (
            "DBI:mysql:mogilefs;mysql_ssl=1;mysql_ssl_ca_file=/ca.pem;mysql_ssl_client_cert=/c;mysql_ssl_client_key=/k",
            "mysql://mogile@localhost/mogilefs?ssl_mode=required&ssl_ca=%2Fca.pem&ssl_cert=%2Fc&ssl_key=%2Fk",
        ),
        ("DBI:mysql:mogilefs;mysql_auto_reconnect=1;mysql_enable_utf8=1", "mysql://mogile@localhost/mogilefs"),
        ("DBI:mysql:mogilefs;user=u;password=p", "mysql://u:p@localhost/mogilefs"),
    ] {
        assert_eq!(mysql_url(address, NOBODY), url, "{address}");
    }
    assert_eq!(mysql_url("DBI:mysql:mogilefs;host=db1", MOGGY), "mysql://mog%20gy:p%40ss%3Aw%2F%25rd@db1/mogilefs");
}

#[test]
fn mysql_urls() {
    for (address, url) in [
        ("mysql://u:p@db1:3306/mog", "mysql://u:p@db1:3306/mog"),
        ("mysql://u:p%40x@db1/mog", "mysql://u:p%40x@db1/mog"),
        // An @ in a password need not be written as %40: the last one ends it.
        ("mysql://u:p@x@db1/mog", "mysql://u:p%40x@db1/mog"),
        ("mysql://u@[::1]:3307/mog", "mysql://u@[::1]:3307/mog"),
        ("mysql://u@/mog?unix_socket=/run/x.sock", "mysql://u@localhost/mog?unix_socket=%2Frun%2Fx.sock"),
        ("mysql://u@h/mog?ssl_mode=REQUIRED&ssl_ca=/ca", "mysql://u@h/mog?ssl_mode=required&ssl_ca=%2Fca"),
        ("mysql://u@h/mog?ssl_mode=preferred", "mysql://u@h/mog"),
    ] {
        assert_eq!(mysql_url(address, NOBODY), url, "{address}");
    }
    assert_eq!(mysql_url("mysql://u:p@db1/mog", MOGGY), "mysql://mog%20gy:p%40ss%3Aw%2F%25rd@db1/mog");
}

#[test]
fn mysql_extras() {
    let read = |options| MysqlAddress::from_dbi(options, NOBODY).expect(options);
    let address = read("mog;mysql_init_command=SET a=1;mysql_connect_timeout=3;mysql_ssl=1");
    assert_eq!((address.init_command.as_str(), address.connect_timeout_ms), ("SET a=1", Some(3000)));
    assert!(address.requires_tls());
    assert!(!read("mog;mysql_ssl=1;mysql_ssl_optional=1").requires_tls());
    assert!(!read("mog").requires_tls());
}

#[cfg(feature = "postgres")]
#[test]
fn limits_that_the_operator_did_not_set_are_added() {
    let limits = [("tcp_user_timeout", 30_000), ("keepalives_idle", 10)];
    let with = |url: &str| match Location::parse(url, NOBODY) {
        Ok(Location::Postgres(address)) => address.conninfo_with(&limits),
        other => panic!("{other:?}"),
    };
    assert_eq!(with("postgres://h/mog"), "postgres://h/mog?tcp_user_timeout=30000&keepalives_idle=10");
    assert_eq!(with("postgres://h/mog?keepalives_idle=5"), "postgres://h/mog?keepalives_idle=5&tcp_user_timeout=30000");
    let quoted = with("DBI:Pg:dbname=mog;host=h;tcp_user_timeout=1");
    assert!(quoted.ends_with("tcp_user_timeout='1' user='mogile' keepalives_idle=10"), "{quoted}");
    let odd = with("postgres://u:what?@h");
    assert_eq!(odd, "postgres://u:what?@h?tcp_user_timeout=30000&keepalives_idle=10");
}

#[test]
fn postgres() {
    let dbi = |options| PostgresAddress::from_dbi(options, NOBODY).expect(options).conninfo;
    for (options, conninfo) in [
        ("dbname=mog;host=db1;port=5433", "dbname='mog' host='db1' port='5433' user='mogile'"),
        ("db=mog", "dbname='mog' user='mogile'"),
        (
            "database=mog;sslmode=verify-full;sslrootcert=/ca",
            "dbname='mog' sslmode='verify-full' sslrootcert='/ca' user='mogile'",
        ),
        (
            "dbname=mog;host=/run/postgresql;user=u;password=p",
            "dbname='mog' host='/run/postgresql' user='u' password='p'",
        ),
        ("service=mog", "service='mog'"),
        ("dbname=it's \\ here", "dbname='it\\'s \\\\ here' user='mogile'"),
    ] {
        assert_eq!(dbi(options), conninfo, "{options}");
    }
    let with_account = PostgresAddress::from_dbi("dbname=mog;user=u", MOGGY).expect("read").conninfo;
    assert_eq!(with_account, "dbname='mog' user='u' user='mog gy' password='p@ss:w/%rd'");

    let url = |text, account| PostgresAddress::from_url(text, account).conninfo;
    assert_eq!(url("u:p@a:1,b:2/mog?sslmode=require", NOBODY), "postgres://u:p@a:1,b:2/mog?sslmode=require");
    assert_eq!(url("h/mog", NOBODY), "postgres://h/mog");
    assert_eq!(url("h/mog", MOGGY), "postgres://mog%20gy:p%40ss%3Aw%2F%25rd@h/mog");
    assert_eq!(url("u:old@h/mog", MOGGY), "postgres://mog%20gy:p%40ss%3Aw%2F%25rd@h/mog");
}

#[test]
fn mistakes_are_named() {
    for (address, word) in [
        ("", "must start with"),
        ("oracle://x", "`oracle:`"),
        ("sqlite:", "path"),
        ("sqlite::memory:", "path"),
        ("mysql:u@h/d", "mysql://"),
        ("DBI:mysql", "driver"),
        ("DBI:Oracle:x", "`oracle`"),
        ("dbi:mysql(RaiseError=>1):x", "parentheses"),
        ("DBI:SQLite:dbname=x;sqlite_unicode=1", "`sqlite_unicode`"),
        ("DBI:mysql:", "name of a database"),
        ("DBI:mysql:mog;prot=3306", "`prot`"),
        ("DBI:mysql:mog;port=many", "`port`"),
        ("DBI:mysql:mog:h:1:2", "more than"),
        ("DBI:mysql:mog;mysql_compression=1", "`mysql_compression`"),
        ("DBI:mysql:mog;mysql_read_default_file=/etc/my.cnf", "`mysql_read_default_file`"),
        ("DBI:mysql:mog;mysql_ssl_cipher=X", "`mysql_ssl_cipher`"),
        ("DBI:mysql:mog;mysql_ssl_verify_server_cert=1", "`mysql_ssl_verify_server_cert`"),
        ("DBI:mysql:a/b", "name of a database"),
        ("mysql://u@h/mog?sll_mode=required", "`sll_mode`"),
        ("mysql://u@h/mog?ssl_mode=verify_ca", "`ssl_mode`"),
        ("mysql://u@h/", "name of a database"),
        ("mysql://u%zz@h/mog", "%25"),
        ("DBI:Pg:dbname=mog;hots=h", "`hots`"),
        ("DBI:Pg:host=h", "dbname"),
    ] {
        let text = refusal(address);
        assert!(text.contains(word), "{address}: {text}");
        assert!(text.contains("database.url"), "{address}: {text}");
    }
}

#[test]
fn passwords_are_not_shown() {
    for address in ["mysql://u:sesame@h/m?x=sesame", "DBI:mysql:m;password=sesame;sesame open=1", "sesame open:x"] {
        assert!(!refusal(address).contains("sesame"), "{address}");
    }
    let shown = format!("{:?}", MysqlAddress::from_url("u:sesame@h/m", MOGGY).expect("read"));
    assert!(!shown.contains("sesame") && !shown.contains("p@ss") && shown.contains("\"h\""), "{shown}");
    let shown = format!("{:?}", PostgresAddress::from_url("u:sesame@h/m", MOGGY));
    assert!(!shown.contains("sesame") && !shown.contains("p@ss"), "{shown}");
}

#[test]
fn what_is_not_built_in_is_refused() {
    assert_eq!(Location::parse("DBI:mysql:d", NOBODY).is_ok(), cfg!(feature = "mysql"));
    assert_eq!(Location::parse("postgres://u@h/d", NOBODY).is_ok(), cfg!(feature = "postgres"));
}
