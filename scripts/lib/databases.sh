# Sourced by the scripts beside it: finds database programs and client libraries, and starts private, throwaway servers.
# Never touches a server or data directory that it did not make.
# shellcheck shell=bash

has_mysql_library() {
    [[ -n ${MYSQLCLIENT_LIB_DIR:-} ]] || pkg-config --exists libmariadb 2>/dev/null \
        || pkg-config --exists mysqlclient 2>/dev/null
}

has_postgres_library() {
    [[ -n ${PQ_LIB_DIR:-} ]] || pkg-config --exists libpq 2>/dev/null
}

# Prints the cargo features that can be built here, separated by commas.
buildable_features() {
    local features=()
    if has_mysql_library; then features+=(mysql); fi
    if has_postgres_library; then features+=(postgres); fi
    local IFS=,
    echo "${features[*]-}"
}

# Debian keeps servers in sbin directories that an ordinary user's PATH lacks.
find_program() {
    local name
    for name in "$@"; do
        PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin" command -v "$name" && return 0
    done
    return 1
}

find_mariadb_server() {
    find_program mariadbd && find_program mariadb-install-db >/dev/null
}

# The library that makes a cluster of MariaDB servers.
find_galera() {
    [[ -e /usr/lib/galera/libgalera_smm.so || -e /usr/lib64/galera-4/libgalera_smm.so ]]
}

find_mariadb_client() {
    find_program mariadb mysql
}

# Prints the directory that holds initdb and postgres: the newest of Debian's, else where the PATH finds them.
find_postgres_bin() {
    local newest link
    newest=$(find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -n 1)
    if [[ -n $newest && -x $newest/initdb && -x $newest/postgres ]]; then
        echo "$newest"
    elif link=$(command -v initdb) && [[ -x $(dirname "$(readlink -f "$link")")/postgres ]]; then
        dirname "$(readlink -f "$link")"
    else
        return 1
    fi
}

# Prints the first of the given users that exists.
first_user() {
    local user
    for user in "$@"; do
        if id -u "$user" >/dev/null 2>&1; then
            echo "$user"
            return 0
        fi
    done
    return 1
}

# A random TCP port of loopback on which nothing listens, below the range that the kernel hands out itself. It may be
# taken before the server binds it: the server then ends and the caller tries another.
free_port() {
    local port
    for _ in {1..50}; do
        port=$((15000 + RANDOM % 15000))
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$port"
            return 0
        fi
    done
    return 1
}

random_password() {
    od -An -N16 -tx1 /dev/urandom | tr -d ' \n'
}

# Sets `as_user` to the words that run a program as the given user and, where setpriv can, have the kernel stop it with
# the given signal should this script be killed outright. Servers refuse to run as root.
set_as_user() {
    local user=$1 signal=$2
    as_user=()
    if setpriv --help 2>/dev/null | grep -q -- --pdeathsig; then
        as_user=(setpriv --pdeathsig "$signal")
    fi
    if [[ $EUID -eq 0 ]]; then
        [[ ${#as_user[@]} -gt 0 ]] || return 1
        as_user+=(--reuid "$user" --regid "$(id -g "$user")" --clear-groups --)
    fi
}

# The directory of one server, owned by the user it runs as.
make_server_directory() {
    local directory=$1 user=$2
    mkdir -m 700 "$directory"
    if [[ $EUID -eq 0 ]]; then
        chown "$user:$(id -g "$user")" "$directory"
    fi
}

# Runs the command in the background, in a process group of its own, so that a ctrl-C in the terminal reaches it through
# clean-up alone and its children can be ended with it. Sets background_pid, which is also the group's.
start_in_group() {
    set -m
    "$@" &
    background_pid=$!
    set +m
}

# Waits until a process, or with a minus in front a group, is gone; fails after so many seconds. Polls: bash's `wait` can
# hang for ever in a trap that interrupted another `wait`.
wait_gone() {
    local deadline=$((SECONDS + $2))
    while kill -0 -- "$1" 2>/dev/null; do
        [[ $SECONDS -lt $deadline ]] || return 1
        sleep 0.05
    done
}

# Ends a process or group of ours: the polite signal, then KILL after so many seconds.
stop_process() {
    local target=$1 signal=$2 patience_secs=$3
    kill -s "$signal" -- "$target" 2>/dev/null || return 0
    if ! wait_gone "$target" "$patience_secs"; then
        kill -s KILL -- "$target" 2>/dev/null || true
        wait_gone "$target" 1 || true
    fi
}

# Waits until the command given after the pid succeeds; fails when the process ends first or a minute has gone.
wait_until_ready() {
    local pid=$1 deadline=$((SECONDS + 60))
    shift
    while kill -0 "$pid" 2>/dev/null && [[ $SECONDS -lt $deadline ]]; do
        if "$@" >/dev/null 2>&1; then
            return 0
        fi
        sleep 0.1
    done
    return 1
}

last_log_line() {
    local line
    line=$(grep -E -i 'error|fatal' "$1" 2>/dev/null | tail -n 1)
    echo "${line:-no reason in its log}"
}

# Prepares MariaDB's data directory under $1. Slow; may run in the background.
prepare_mariadb() {
    local directory=$1/mariadb user
    user=$(mariadb_user)
    make_server_directory "$directory" "$user"
    set_as_user "$user" TERM
    "${as_user[@]}" "$(find_program mariadb-install-db)" --no-defaults --datadir="$directory/data" \
        --skip-test-db --auth-root-authentication-method=normal >"$directory/install.log" 2>&1 </dev/null
}

mariadb_user() {
    if [[ $EUID -eq 0 ]]; then first_user mysql nobody; else id -un; fi
}

# The server listens on loopback, which every user of the machine reaches: only an account with a password gets in.
mariadb_init_sql() {
    local password=$1
    cat <<SQL
DELETE FROM mysql.global_priv WHERE User IN ('', 'root');
FLUSH PRIVILEGES;
CREATE OR REPLACE USER 'mogtest'@'127.0.0.1' IDENTIFIED BY '$password';
CREATE OR REPLACE USER 'mogtest'@'localhost' IDENTIFIED BY '$password';
GRANT ALL PRIVILEGES ON *.* TO 'mogtest'@'127.0.0.1' WITH GRANT OPTION;
GRANT ALL PRIVILEGES ON *.* TO 'mogtest'@'localhost' WITH GRANT OPTION;
SQL
}

# Asks over the socket in our own directory, which is opened last: another server on the port cannot answer for ours.
ask_mariadb() (
    cd "$1" && MYSQL_PWD=$2 "$(find_mariadb_client)" --no-defaults --protocol=socket --socket=mysql.sock \
        --user=mogtest --execute='SELECT 1'
)

# Starts a prepared MariaDB under $1. Sets server_pid and server_url. Durability is off: the data is thrown away. With
# server_is_durable=1 what was acknowledged survives that the server is killed. server_port and server_password may be set.
start_mariadb() {
    local directory=$1/mariadb port password flush=0
    password=${server_password:-$(random_password)}
    # To the system at each commit; the machine itself is not going to fail.
    if [[ -n ${server_is_durable:-} ]]; then flush=2; fi
    mariadb_init_sql "$password" >"$directory/init.sql"
    chmod 644 "$directory/init.sql"
    set_as_user "$(mariadb_user)" TERM
    for _ in {1..5}; do
        port=${server_port:-$(free_port)} || return 1
        # The socket's name is relative to the data directory: an absolute one may be longer than a socket's name can be.
        start_in_group "${as_user[@]}" "$(find_mariadb_server)" --no-defaults --datadir="$directory/data" \
            --init-file="$directory/init.sql" --bind-address=127.0.0.1 --port="$port" --socket=mysql.sock \
            --pid-file="$directory/mariadb.pid" --skip-name-resolve --skip-log-bin --max-connections=300 \
            --character-set-server=utf8mb4 --collation-server=utf8mb4_general_ci \
            --performance-schema=OFF --innodb-flush-log-at-trx-commit="$flush" --innodb-doublewrite=OFF \
            --innodb-buffer-pool-size=64M --innodb-fast-shutdown=2 \
            >"$directory/server.log" 2>&1 </dev/null
        server_pid=$background_pid
        if wait_until_ready "$server_pid" ask_mariadb "$directory/data" "$password"; then
            server_url="mysql://mogtest:$password@127.0.0.1:$port/mysql"
            return 0
        fi
        stop_process "$server_pid" TERM 10
        server_pid=
        grep -q "Can't start server: Bind" "$directory/server.log" || return 1
    done
    return 1
}

postgres_user() {
    if [[ $EUID -eq 0 ]]; then first_user postgres nobody; else id -un; fi
}

# Prepares PostgreSQL's data directory under $1. Slow; may run in the background.
prepare_postgres() {
    local directory=$1/postgres user
    user=$(postgres_user)
    make_server_directory "$directory" "$user"
    random_password >"$directory/password"
    chmod 644 "$directory/password"
    set_as_user "$user" INT
    "${as_user[@]}" "$(find_postgres_bin)/initdb" --pgdata="$directory/data" --username=mogtest --no-sync \
        --encoding=UTF8 --locale=C --auth=scram-sha-256 --pwfile="$directory/password" \
        >"$directory/install.log" 2>&1 </dev/null
}

postgres_is_ready() {
    [[ $(sed -n 8p "$1/postmaster.pid" 2>/dev/null) == ready* ]]
}

# Starts a prepared PostgreSQL under $1, as start_mariadb does.
start_postgres() {
    local directory=$1/postgres port synchronous=off
    if [[ -n ${server_is_durable:-} ]]; then synchronous=on; fi
    set_as_user "$(postgres_user)" INT
    for _ in {1..5}; do
        port=${server_port:-$(free_port)} || return 1
        start_in_group "${as_user[@]}" "$(find_postgres_bin)/postgres" -D "$directory/data" -c "port=$port" \
            -c listen_addresses=127.0.0.1 -c unix_socket_directories="${postgres_socket_directory:-}" -c max_connections=200 \
            -c fsync=off -c synchronous_commit="$synchronous" -c full_page_writes=off \
            >"$directory/server.log" 2>&1 </dev/null
        server_pid=$background_pid
        if wait_until_ready "$server_pid" postgres_is_ready "$directory/data"; then
            server_url="postgres://mogtest:$(<"$directory/password")@127.0.0.1:$port/postgres"
            return 0
        fi
        stop_process "$server_pid" INT 10
        server_pid=
        grep -q 'could not bind' "$directory/server.log" || return 1
    done
    return 1
}
