#pragma once
/*
 * The whole API over a real server, table and pool, with a backend that fakes runners, and a client
 * that asks one or two things at a time. Header-only, because every test is one program of one
 * file.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "controller/auth/auth.h"
#include "controller/auth/hosts.h"
#include "controller/pool/warm_pool.h"
#include "controller/relay/relay.h"
#include "controller/routes/routes.h"
#include "controller/sandbox/sandbox_table.h"
#include "lib/base/log.h"
#include "lib/crypto/crypto.h"
#include "lib/http/http.h"
#include "lib/httpc/httpc.h"
#include "tests/unit/controller/sandbox/fake_backend.h"

#define ANSWERS 2

struct answer {
    struct fixture *f;
    struct buf data;
    int status;
    bool done;
    json_t *json;
    char location[128], allow[128], cors[128], methods[128];
};

struct fixture {
    char dir[64];
    char token_file[96], front_path[96];
    struct loop *loop;
    struct httpc *http, *client;
    struct fake_backend *backend;
    struct auth *auth;
    struct hosts *hosts;
    struct sandbox_table *table;
    struct warm_pool *pool;
    struct relay *relay;
    struct routes *routes;
    struct http_server_cfg server_cfg;
    struct http_server *server;
    struct answer a[ANSWERS];
    unsigned max_sandboxes;
};

static inline void write_tokens(struct fixture *f)
{
    snprintf(f->token_file, sizeof(f->token_file), "%s/tokens", f->dir);
    FILE *out = fopen(f->token_file, "we");
    assert_non_null(out);
    fputs("alice:token-0123456789-a\nbob:token-0123456789-b\nroot:token-0123456789-r:admin\n", out);
    fclose(out);
}

static inline int front_socket(struct fixture *f)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(f->front_path, sizeof(f->front_path), "%s/front", f->dir);
    memcpy(a.sun_path, f->front_path, strlen(f->front_path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(fd, 64), 0);
    return fd;
}

static inline void start_all(struct fixture *f, bool metrics_open)
{
    static const char *const origins[] = {"https://good.example", NULL};
    const struct auth_cfg auth = {.token_file = f->token_file, .allow_origin = origins};
    const struct sandbox_table_cfg table = {
        .backend = &f->backend->base,
        .http = f->http,
        .start_deadline_ms = 5000,
        .defaults = {.exec_timeout_ms = 300000, .idle_timeout_ms = 3600000}};
    const struct warm_pool_cfg pool = {
        .max_sandboxes = f->max_sandboxes, .create_deadline_ms = 5000, .seed = 42};
    const struct relay_cfg relay = {.loop = f->loop, .http = f->http};
    const struct hosts_cfg hosts = {.listen_host = "front"};
    assert_int_equal(auth_new(&f->auth, &auth, NULL), 0);
    assert_int_equal(hosts_new(&f->hosts, &hosts, NULL), 0);
    assert_int_equal(sandbox_table_new(&f->table, f->loop, &table, NULL), 0);
    assert_int_equal(warm_pool_new(&f->pool, f->table, &pool, NULL), 0);
    warm_pool_start(f->pool);
    assert_int_equal(relay_new(&f->relay, &relay, NULL), 0);
    const struct routes_cfg cfg = {.auth = f->auth,
                                   .hosts = f->hosts,
                                   .table = f->table,
                                   .pool = f->pool,
                                   .relay = f->relay,
                                   .metrics_open = metrics_open};
    assert_int_equal(routes_new(&f->routes, &cfg, NULL), 0);
    routes_serve(f->routes, &f->server_cfg);
    assert_int_equal(http_server_new(&f->server, f->loop, front_socket(f), &f->server_cfg, NULL),
                     0);
}

static inline int setup(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    f->max_sandboxes = 3;
    crypto_init(NULL);
    log_init("test", LOG_ERROR);
    snprintf(f->dir, sizeof(f->dir), "/tmp/routes-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    write_tokens(f);
    assert_int_equal(loop_new(&f->loop, NULL), 0);
    assert_int_equal(httpc_new(&f->http, f->loop, 2048, NULL), 0);
    assert_int_equal(httpc_new(&f->client, f->loop, 64, NULL), 0);
    f->backend = fake_backend_new(f->loop);
    for (size_t i = 0; i < ANSWERS; i++) {
        f->a[i].f = f;
        buf_init(&f->a[i].data, MIB(1));
    }
    start_all(f, /* metrics_open= */ false);
    *state = f;
    return 0;
}

static inline void stop_all(struct fixture *f)
{
    http_server_free(f->server);
    routes_free(f->routes);
    relay_free(f->relay);
    warm_pool_free(f->pool);
    sandbox_table_free(f->table);
    auth_free(f->auth);
    hosts_free(f->hosts);
    unlink(f->front_path);
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    httpc_free(f->client);
    stop_all(f);
    httpc_free(f->http);
    sandbox_backend_close(&f->backend->base);
    loop_free(f->loop);
    for (size_t i = 0; i < ANSWERS; i++) {
        buf_done(&f->a[i].data);
        json_decref(f->a[i].json);
    }
    unlink(f->token_file);
    rmdir(f->dir);
    free(f);
    return 0;
}

/* ---- the client ---- */

static inline void put(char *to, size_t size, struct slice name, const char *want,
                       struct slice value)
{
    if (slice_eq_str(name, want))
        snprintf(to, size, "%.*s", (int)value.len, value.ptr);
}

static inline void on_header(void *ctx, struct slice name, struct slice value)
{
    struct answer *a = ctx;
    put(a->location, sizeof(a->location), name, "Location", value);
    put(a->allow, sizeof(a->allow), name, "Allow", value);
    put(a->cors, sizeof(a->cors), name, "Access-Control-Allow-Origin", value);
    put(a->methods, sizeof(a->methods), name, "Access-Control-Allow-Methods", value);
}

static inline void on_headers(void *ctx, int status)
{
    ((struct answer *)ctx)->status = status;
}

static inline bool on_data(void *ctx, const char *p, size_t len)
{
    return buf_append(&((struct answer *)ctx)->data, p, len) == 0;
}

static inline void on_done(void *ctx, const struct err *err)
{
    struct answer *a = ctx;
    a->done = true;
    if (err)
        fail_msg("%s", err->text);
    json_decref(a->json);
    a->json = NULL;
    (void)jsonx_parse(&a->json, buf_slice(&a->data), NULL);
    buf_append_char(&a->data, '\0');
}

struct ask {
    const char *method, *path, *token, *header, *body;
};

static inline void start(struct answer *a, const struct ask *q)
{
    static const struct httpc_callbacks callbacks = {
        .on_header = on_header, .on_headers = on_headers, .on_data = on_data, .on_done = on_done};
    _cleanup_(freep) char *url = mem_printf("http://front%s", q->path);
    _cleanup_(freep) char *bearer =
        mem_printf("Authorization: Bearer token-0123456789-%s", q->token ? q->token : "");
    const char *headers[3] = {NULL};
    size_t n = 0;
    if (q->token)
        headers[n++] = bearer;
    if (q->header)
        headers[n++] = q->header;
    struct httpc_call *call = NULL;
    const struct httpc_request req = {.method = q->method,
                                      .url = url,
                                      .unix_path = a->f->front_path,
                                      .headers = headers,
                                      .body = q->body,
                                      .body_len = q->body ? strlen(q->body) : 0};
    buf_clear(&a->data);
    a->done = false;
    a->status = 0;
    a->location[0] = a->allow[0] = a->cors[0] = a->methods[0] = '\0';
    assert_int_equal(httpc_start(&call, a->f->client, &req, &callbacks, a, NULL), 0);
}

static inline bool all_done(void *ctx)
{
    struct fixture *f = ctx;
    return f->a[0].done && f->a[1].done;
}

/* One request at a time. */
static inline struct answer *ask(struct fixture *f, const char *method, const char *path,
                                 const char *token, const char *header, const char *body)
{
    const struct ask q = {method, path, token, header, body};
    f->a[1].done = true;
    start(&f->a[0], &q);
    assert_true(fake_run_until(f->loop, all_done, f));
    return &f->a[0];
}

static inline const char *text(const struct answer *a, const char *key)
{
    const char *s = json_string_value(json_object_get(a->json, key));
    return s ? s : "";
}

static inline void expect(struct answer *a, int status, const char *code)
{
    if (a->status != status || (code && strcmp(text(a, "code"), code) != 0))
        fail_msg("%d %s", a->status, a->data.ptr);
}

static inline void create(struct fixture *f, const char *token, char id[ID_SANDBOX_SIZE])
{
    struct answer *a = ask(f, "POST", "/api/sandboxes", token, NULL, NULL);
    expect(a, 201, NULL);
    assert_true(id_is_sandbox(text(a, "id")));
    memcpy(id, text(a, "id"), ID_SANDBOX_SIZE);
}

static inline const char *at(const char *id, const char *rest)
{
    static char path[256];
    snprintf(path, sizeof(path), "/api/sandboxes/%s%s", id, rest);
    return path;
}
