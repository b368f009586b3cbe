/* The statements of get_paths and of an upload, sent by the C clients of the databases, and the commands themselves, sent
 * to a tracker: what the tracker adds. Used by scripts/measure-round-trips; no part of the program.
 *
 *   against_client node PORT BYTES                      a storage node that says of every file that it is there
 *   against_client tracker-get|tracker-pairs SECONDS CONNECTIONS FILES HOST PORT
 *   against_client pg-get|pg-pairs SECONDS CONNECTIONS FILES CONNINFO
 *   against_client my-get|my-pairs SECONDS CONNECTIONS FILES SOCKET USER PASSWORD DATABASE
 *
 * Prints: operations, seconds, own CPU seconds. Every connection has a thread.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <libpq-fe.h>
#include <mysql.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char *mode, **rest;
static double seconds;
static int connections;
static unsigned files;
static double ends_at;

static void die(const char *what, const char *why) {
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static unsigned next_number(unsigned *state) {
    *state = *state * 1664525u + 1013904223u;
    return (*state >> 8) % files;
}

/* ---- lines over TCP ---- */

typedef struct {
    int socket;
    char buffer[65536];
    size_t from, to;
} Wire;

static Wire *wire_connect(const char *host, int port) {
    Wire *w = calloc(1, sizeof *w);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, host, &address.sin_addr);
    w->socket = socket(AF_INET, SOCK_STREAM, 0);
    int one = 1;
    setsockopt(w->socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(w->socket, (struct sockaddr *)&address, sizeof address)) die("connect", host);
    return w;
}

static void wire_send(Wire *w, const char *text, size_t length) {
    while (length > 0) {
        ssize_t sent = write(w->socket, text, length);
        if (sent <= 0) die("send", "closed");
        text += sent, length -= sent;
    }
}

/* A line without its end; NULL at the end of the stream. */
static char *wire_line(Wire *w) {
    for (;;) {
        char *end = memchr(w->buffer + w->from, '\n', w->to - w->from);
        if (end) {
            char *line = w->buffer + w->from;
            w->from = end + 1 - w->buffer;
            if (end > line && end[-1] == '\r') end--;
            *end = 0;
            return line;
        }
        if (w->from > 0) memmove(w->buffer, w->buffer + w->from, w->to - w->from), w->to -= w->from, w->from = 0;
        if (w->to == sizeof w->buffer) die("line", "too long");
        ssize_t got = read(w->socket, w->buffer + w->to, sizeof w->buffer - w->to);
        if (got <= 0) return NULL;
        w->to += got;
    }
}

/* ---- the node ---- */

static long node_bytes;
static char test_body[4096];
static long test_length;
static pthread_mutex_t test_lock = PTHREAD_MUTEX_INITIALIZER;

static void node_reply(Wire *w, const char *status, const char *body, long length, int with_body) {
    char head[256];
    int n = snprintf(head, sizeof head, "HTTP/1.1 %s\r\nContent-Length: %ld\r\n\r\n", status, length);
    wire_send(w, head, n);
    if (with_body) wire_send(w, body, length);
}

static void *node_serve(void *argument) {
    Wire *w = argument;
    char *line;
    while ((line = wire_line(w))) {
        char method[16] = "", path[512] = "";
        if (sscanf(line, "%15s %511s", method, path) != 2) break;
        long length = 0;
        while ((line = wire_line(w)) && *line)
            if (!strncasecmp(line, "content-length:", 15)) length = atol(line + 15);
        char body[4096];
        for (long got = 0; got < length;) {
            if (w->from == w->to) {
                w->from = 0;
                ssize_t more = read(w->socket, w->buffer, sizeof w->buffer);
                if (more <= 0) goto done;
                w->to = more;
            }
            if (got < (long)sizeof body) body[got] = w->buffer[w->from];
            w->from++, got++;
        }
        if (!strcmp(method, "HEAD")) {
            node_reply(w, "200 OK", "", node_bytes, 0);
        } else if (!strcmp(method, "GET") && strstr(path, "/usage")) {
            char usage[256];
            int n = snprintf(usage, sizeof usage,
                             "available: 900000000\ndevice: /dev/x\ndisk: /x\ntotal: 1000000000\nuse: 10%%\n"
                             "used: 100000000\ntime: %ld\n", time(NULL));
            node_reply(w, "200 OK", usage, n, 1);
        } else if (!strcmp(method, "GET")) {
            pthread_mutex_lock(&test_lock);
            node_reply(w, "200 OK", test_body, test_length, 1);
            pthread_mutex_unlock(&test_lock);
        } else {
            if (!strcmp(method, "PUT") && length <= (long)sizeof body) {
                pthread_mutex_lock(&test_lock);
                memcpy(test_body, body, length), test_length = length;
                pthread_mutex_unlock(&test_lock);
            }
            node_reply(w, "201 Created", "", 0, 1);
        }
    }
done:
    close(w->socket);
    free(w);
    return NULL;
}

static void node(int port) {
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1024)) die("node", "bind");
    for (;;) {
        Wire *w = calloc(1, sizeof *w);
        w->socket = accept(listener, NULL, NULL);
        setsockopt(w->socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        pthread_t thread;
        pthread_create(&thread, NULL, node_serve, w);
        pthread_detach(thread);
    }
}

/* ---- commands to a tracker ---- */

static char *ask(Wire *w, const char *request, int length) {
    wire_send(w, request, length);
    char *line = wire_line(w);
    if (!line || strncmp(line, "OK", 2)) die(request, line ? line : "closed");
    return line;
}

static void value_of(const char *line, const char *name, char *value, size_t room) {
    const char *at = line;
    size_t length = strlen(name);
    while ((at = strstr(at, name))) {
        if ((at[-1] == ' ' || at[-1] == '&') && at[length] == '=') break;
        at++;
    }
    if (!at) die(name, line);
    size_t n = strcspn(at + length + 1, "&");
    snprintf(value, room, "%.*s", (int)n, at + length + 1);
}

static long tracker(int number) {
    Wire *w = wire_connect(rest[0], atoi(rest[1]));
    unsigned state = number * 7919 + 1;
    char request[1024], fid[32], devid[32], path[512];
    long done = 0;
    int pairs = strstr(mode, "pairs") != NULL;
    while (now() < ends_at) {
        if (pairs) {
            int n = snprintf(request, sizeof request, "create_open domain=bench&key=up/%d/%ld\r\n", number, done);
            char *line = ask(w, request, n);
            value_of(line, "fid", fid, sizeof fid);
            value_of(line, "devid", devid, sizeof devid);
            value_of(line, "path", path, sizeof path);
            n = snprintf(request, sizeof request,
                         "create_close domain=bench&key=up/%d/%ld&fid=%s&devid=%s&path=%s&size=4096\r\n", number, done,
                         fid, devid, path);
            ask(w, request, n);
        } else {
            int n = snprintf(request, sizeof request, "get_paths domain=bench&key=file/%08u&noverify=1&pathcount=2\r\n",
                             next_number(&state));
            ask(w, request, n);
        }
        done++;
    }
    return done;
}

/* ---- PostgreSQL: the statements as the tracker sends them ---- */

#define NOW_PG "(FLOOR(EXTRACT(EPOCH FROM NOW()))::bigint + $1::bigint)"
static const char *PG_GET =
    "SELECT file.fid, file.dmid, file.dkey, file.length, file.classid, file.devcount, file_on.devid FROM file LEFT JOIN "
    "file_on ON file_on.fid = file.fid WHERE file.dmid = $1::bigint AND file.dkey = $2::text";
static const char *PG_OPEN =
    "INSERT INTO tempfile (createtime, classid, dmid, dkey, devids) VALUES (" NOW_PG
    ", $2::bigint, $3::bigint, $4::text, $5::text) RETURNING fid, EXISTS (SELECT 1 FROM file WHERE file.fid = tempfile.fid)";
static const char *PG_FIND =
    "SELECT tempfile.fid, tempfile.createtime, tempfile.classid, tempfile.dmid, tempfile.dkey, tempfile.devids FROM tempfile "
    "WHERE tempfile.fid = $1::bigint LIMIT $2::bigint";
static const char *PG_CLOSE =
    "WITH held AS (SELECT dmid FROM domain WHERE dmid = $3::bigint FOR SHARE), held_class AS (SELECT classid FROM class "
    "WHERE dmid = $3::bigint AND classid = $4::bigint FOR SHARE), opened AS (DELETE FROM tempfile WHERE fid = $2::bigint AND "
    "EXISTS (SELECT 1 FROM held) AND ($4::bigint = 0 OR EXISTS (SELECT 1 FROM held_class)) AND NOT EXISTS (SELECT 1 FROM "
    "file WHERE file.fid = $2::bigint) AND NOT EXISTS (SELECT 1 FROM server_settings WHERE server_settings.field = "
    "'undelete_window_secs' AND server_settings.value <> '0' AND EXISTS (SELECT 1 FROM file WHERE file.dmid = $3::bigint AND "
    "file.dkey = $5::text)) RETURNING fid), gone AS (DELETE FROM file WHERE dmid = $3::bigint AND dkey = $5::text AND EXISTS "
    "(SELECT 1 FROM opened) RETURNING fid), queued AS (INSERT INTO file_to_delete2 (fid, nexttry) SELECT fid, " NOW_PG
    " FROM gone ON CONFLICT (fid) DO NOTHING), stored AS (INSERT INTO file (fid, dmid, dkey, length, classid, devcount) "
    "SELECT opened.fid, $3::bigint, $5::text, $6::bigint, $4::bigint, 1 FROM opened, (SELECT COUNT(*) FROM gone) AS went "
    "RETURNING fid), located AS (INSERT INTO file_on (fid, devid) SELECT fid, $7::bigint FROM opened ON CONFLICT (fid, devid) "
    "DO NOTHING), wanted AS (INSERT INTO file_to_replicate (fid, nexttry) SELECT fid, 0 FROM opened ON CONFLICT (fid) DO "
    "UPDATE SET failcount = CASE WHEN file_to_replicate.nexttry = 2147483647 THEN 0 ELSE file_to_replicate.failcount END, "
    "nexttry = CASE WHEN file_to_replicate.nexttry > 0 THEN 0 ELSE file_to_replicate.nexttry END) SELECT COUNT(*) FROM stored";

static PGresult *pg_run(PGconn *c, const char *name, int n, const char *const *values) {
    PGresult *r = PQexecPrepared(c, name, n, values, NULL, NULL, 1);
    if (PQresultStatus(r) != PGRES_TUPLES_OK) die(name, PQerrorMessage(c));
    return r;
}

static long pg(int number) {
    PGconn *c = PQconnectdb(rest[0]);
    if (PQstatus(c) != CONNECTION_OK) die("connect", PQerrorMessage(c));
    const char *texts[][2] = {{"get", PG_GET}, {"open", PG_OPEN}, {"find", PG_FIND}, {"close", PG_CLOSE}};
    for (int i = 0; i < 4; i++) PQclear(PQprepare(c, texts[i][0], texts[i][1], 0, NULL));
    unsigned state = number * 7919 + 1;
    long done = 0;
    char key[64], fid[32];
    int pairs = strstr(mode, "pairs") != NULL;
    while (now() < ends_at) {
        if (pairs) {
            snprintf(key, sizeof key, "up/%d/%ld", number, done);
            PGresult *r = pg_run(c, "open", 5, (const char *[]){"0", "0", "1", key, "1"});
            snprintf(fid, sizeof fid, "%u", ntohl(*(unsigned *)PQgetvalue(r, 0, 0)));
            PQclear(r);
            PQclear(pg_run(c, "find", 2, (const char *[]){fid, "1"}));
            r = pg_run(c, "close", 7, (const char *[]){"0", fid, "1", "0", key, "4096", "1"});
            if (PQgetvalue(r, 0, 0)[7] != 1) die("close", "not stored");
            PQclear(r);
        } else {
            snprintf(key, sizeof key, "file/%08u", next_number(&state));
            PGresult *r = pg_run(c, "get", 2, (const char *[]){"1", key});
            if (PQntuples(r) != 2) die("get", key);
            PQclear(r);
        }
        done++;
    }
    PQfinish(c);
    return done;
}

/* ---- MariaDB: the statements as the tracker sends them ---- */

typedef struct {
    MYSQL_STMT *statement;
    int columns;
    long long numbers[8];
    char texts[8][256];
    unsigned long lengths[8];
    MYSQL_BIND in[8], out[8];
    long long out_numbers[8];
    char out_texts[8][256];
    char is_null[8];
} Prepared;

/* Of `out`, a letter for each column: n number, t text. */
static Prepared *my_prepare(MYSQL *c, const char *text, const char *out) {
    Prepared *p = calloc(1, sizeof *p);
    p->statement = mysql_stmt_init(c);
    if (mysql_stmt_prepare(p->statement, text, strlen(text))) die(text, mysql_stmt_error(p->statement));
    p->columns = strlen(out);
    for (int i = 0; i < p->columns; i++) {
        int is_number = out[i] == 'n';
        p->out[i].buffer_type = is_number ? MYSQL_TYPE_LONGLONG : MYSQL_TYPE_STRING;
        p->out[i].buffer = is_number ? (void *)&p->out_numbers[i] : p->out_texts[i];
        p->out[i].buffer_length = is_number ? 8 : 256;
        p->out[i].is_null = &p->is_null[i];
    }
    return p;
}

/* Numbers and texts by the letters of `in`; gives the rows read. */
static int my_run(Prepared *p, const char *in, const long long *numbers, const char *const *texts) {
    for (int i = 0; in[i]; i++) {
        if (in[i] == 'n') {
            p->numbers[i] = numbers[i];
            p->in[i].buffer_type = MYSQL_TYPE_LONGLONG, p->in[i].buffer = &p->numbers[i];
        } else {
            p->lengths[i] = snprintf(p->texts[i], 256, "%s", texts[i]);
            p->in[i].buffer_type = MYSQL_TYPE_STRING, p->in[i].buffer = p->texts[i], p->in[i].length = &p->lengths[i];
        }
    }
    if (*in && mysql_stmt_bind_param(p->statement, p->in)) die("bind", mysql_stmt_error(p->statement));
    if (mysql_stmt_execute(p->statement)) die("execute", mysql_stmt_error(p->statement));
    int rows = 0;
    if (p->columns) {
        mysql_stmt_bind_result(p->statement, p->out);
        while (mysql_stmt_fetch(p->statement) == 0) rows++;
        mysql_stmt_free_result(p->statement);
    }
    return rows;
}

static long my(int number) {
    MYSQL *c = mysql_init(NULL);
    if (!mysql_real_connect(c, NULL, rest[1], rest[2], rest[3], 0, rest[0], CLIENT_FOUND_ROWS))
        die("connect", mysql_error(c));
    mysql_set_character_set(c, "utf8mb4");
    mysql_query(c, "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'");
    Prepared *get = my_prepare(c, "SELECT file.fid, file.dmid, file.dkey, file.length, file.classid, file.devcount, "
        "file_on.devid FROM file LEFT JOIN file_on ON file_on.fid = file.fid WHERE file.dmid = ? AND file.dkey = ?", "nntnnnn");
    Prepared *open = my_prepare(c, "INSERT INTO tempfile (createtime, classid, dmid, dkey, devids) VALUES "
        "((UNIX_TIMESTAMP() + ?), ?, ?, ?, ?)", "");
    Prepared *last = my_prepare(c, "SELECT last_insert_id(), EXISTS (SELECT file.fid, file.dmid, file.dkey, file.length, "
        "file.classid, file.devcount FROM file WHERE file.fid = last_insert_id())", "nn");
    Prepared *find = my_prepare(c, "SELECT fid, createtime, classid, dmid, dkey, devids FROM tempfile WHERE fid = ? LIMIT ?",
                                "nnnntt");
    Prepared *begin = my_prepare(c, "BEGIN", "");
    Prepared *look = my_prepare(c, "SELECT EXISTS (SELECT * FROM tempfile WHERE tempfile.fid = ?), EXISTS (SELECT * FROM file "
        "WHERE file.fid = ?) FROM domain WHERE domain.dmid = ? LOCK IN SHARE MODE", "nn");
    Prepared *end = my_prepare(c, "DELETE FROM tempfile WHERE fid = ?", "");
    Prepared *store = my_prepare(c, "INSERT INTO file (fid, dmid, dkey, length, classid, devcount) VALUES (?, ?, ?, ?, ?, ?)", "");
    Prepared *locate = my_prepare(c, "INSERT INTO file_on (fid, devid) VALUES (?, ?)", "");
    Prepared *want = my_prepare(c, "INSERT INTO file_to_replicate (nexttry, fid) VALUES (0, ?) ON DUPLICATE KEY UPDATE "
        "failcount = CASE WHEN nexttry = 2147483647 THEN 0 ELSE failcount END, "
        "nexttry = CASE WHEN nexttry > 0 THEN 0 ELSE nexttry END", "");
    Prepared *commit = my_prepare(c, "COMMIT", "");
    unsigned state = number * 7919 + 1;
    long done = 0;
    char key[64];
    int pairs = strstr(mode, "pairs") != NULL;
    while (now() < ends_at) {
        if (pairs) {
            snprintf(key, sizeof key, "up/%d/%ld", number, done);
            my_run(open, "nnntt", (long long[]){0, 0, 1}, (const char *[]){0, 0, 0, key, "1"});
            my_run(last, "", NULL, NULL);
            long long fid = last->out_numbers[0];
            my_run(find, "nn", (long long[]){fid, 1}, NULL);
            my_run(begin, "", NULL, NULL);
            if (my_run(look, "nnn", (long long[]){fid, fid, 1}, NULL) != 1) die("look", "no domain");
            my_run(end, "n", (long long[]){fid}, NULL);
            my_run(store, "nntnnn", (long long[]){fid, 1, 0, 4096, 0, 1}, (const char *[]){0, 0, key});
            my_run(locate, "nn", (long long[]){fid, 1}, NULL);
            my_run(want, "n", (long long[]){fid}, NULL);
            my_run(commit, "", NULL, NULL);
        } else {
            snprintf(key, sizeof key, "file/%08u", next_number(&state));
            if (my_run(get, "nt", (long long[]){1}, (const char *[]){0, key}) != 2) die("get", key);
        }
        done++;
    }
    mysql_close(c);
    return done;
}

static void *work(void *number) {
    long (*way)(int) = *mode == 't' ? tracker : *mode == 'p' ? pg : my;
    return (void *)way((int)(long)number);
}

int main(int count, const char **arguments) {
    if (count < 4) die("usage", "see the source");
    mode = arguments[1];
    if (!strcmp(mode, "node")) {
        node_bytes = atol(arguments[3]);
        node(atoi(arguments[2]));
    }
    if (count < 6) die("usage", "see the source");
    seconds = atof(arguments[2]), connections = atoi(arguments[3]), files = atoi(arguments[4]), rest = arguments + 5;
    mysql_library_init(0, NULL, NULL);
    pthread_t threads[1024];
    double begun = now();
    ends_at = begun + seconds;
    for (long i = 0; i < connections; i++) pthread_create(&threads[i], NULL, work, (void *)i);
    long total = 0;
    for (int i = 0; i < connections; i++) {
        void *done;
        pthread_join(threads[i], &done);
        total += (long)done;
    }
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double cpu = usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    printf("%ld %.3f %.3f\n", total, now() - begun, cpu);
    return 0;
}
