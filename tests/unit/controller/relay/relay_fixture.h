#pragma once
/*
 * The relay between a real server and a real client, with a runner that is a thread writing raw
 * bytes: each test says exactly what the runner does, and sees exactly what the client gets.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "controller/relay/relay.h"
#include "controller/sandbox/sandbox.h"
#include "lib/base/buf.h"
#include "lib/base/mem.h"
#include "lib/crypto/crypto.h"
#include "lib/http/http.h"
#include "lib/httpc/httpc.h"
#include "lib/loop/loop.h"
#include "tests/unit/controller/exec/log_runner.h"
#include "tests/unit/controller/exec/raw_peer.h"
#include "tests/unit/controller/exec/sandbox_stub.h"

#define ID    "sb-12345678-1234-4234-8234-123456789000"
#define BASE  "/api/sandboxes/" ID
#define TOKEN "the-token-of-the-sandbox"

struct fixture {
    char dir[64];
    char front_path[96];
    struct peer runner;
    struct loop *loop;
    struct httpc *to_runner, *client;
    struct http_server *server;
    struct relay *relay;
    struct sandbox sandbox;
    struct loop_timer *deadline, *later;
    /* what the client saw */
    struct httpc_call *call;
    struct buf data;
    int status;
    char location[256], etag[64], type[64], range[64], length[32];
    unsigned n_done;
    bool failed;
    bool pause;
    size_t want;    /* stop the loop when so many bytes came */
    size_t to_send; /* a streamed body */
};

static inline void on_deadline(void *ctx)
{
    fail_msg("the test did not end in 20 s");
}

static inline void handle(struct fixture *f, struct http_request *req, enum relay_kind kind)
{
    relay_request(f->relay, req, &f->sandbox, kind);
}

static inline void on_plain(void *ctx, struct http_request *req)
{
    handle(ctx, req, RELAY_PLAIN);
}

static inline void on_file(void *ctx, struct http_request *req)
{
    handle(ctx, req, RELAY_FILE);
}

static inline void on_execute(void *ctx, struct http_request *req)
{
    handle(ctx, req, RELAY_EXECUTE);
}

static inline void on_events(void *ctx, struct http_request *req)
{
    handle(ctx, req, RELAY_EVENTS);
}

static const struct http_route routes[] = {
    {"POST", "/api/sandboxes/{id}/execute", HTTP_BODY_STREAM, 0, on_execute},
    {"GET", "/api/sandboxes/{id}/executions/{eid}/events", HTTP_BODY_NONE, 0, on_events},
    {"GET", "/api/sandboxes/{id}/kernels", HTTP_BODY_NONE, 0, on_plain},
    {"POST", "/api/sandboxes/{id}/restart", HTTP_BODY_STREAM, 0, on_plain},
    {"GET", "/api/sandboxes/{id}/files/{path...}", HTTP_BODY_NONE, 0, on_file},
    {"PUT", "/api/sandboxes/{id}/files/{path...}", HTTP_BODY_STREAM, 0, on_file},
};

static inline int setup(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    assert_int_equal(crypto_init(NULL), 0);
    snprintf(f->dir, sizeof(f->dir), "/tmp/relay-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->front_path, sizeof(f->front_path), "%s/front", f->dir);
    snprintf(f->runner.path, sizeof(f->runner.path), "%s/runner", f->dir);
    assert_int_equal(loop_new(&f->loop, NULL), 0);
    assert_int_equal(httpc_new(&f->to_runner, f->loop, 64, NULL), 0);
    assert_int_equal(httpc_new(&f->client, f->loop, 64, NULL), 0);
    const struct relay_cfg cfg = {
        .loop = f->loop, .http = f->to_runner, .deadline_ms = 1000, .patience_ms = 1000};
    assert_int_equal(relay_new(&f->relay, &cfg, NULL), 0);
    const struct http_server_cfg server = {
        .routes = routes, .n_routes = ARRAY_LEN(routes), .ctx = f};
    assert_int_equal(
        http_server_new(&f->server, f->loop, peer_listen(f->front_path), &server, NULL), 0);
    sandbox_stub(&f->sandbox, ID, TOKEN, f->runner.path);
    f->deadline = loop_timer_new(f->loop, on_deadline, f);
    loop_timer_start(f->deadline, 20000, 0);
    buf_init(&f->data, MIB(64));
    *state = f;
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    struct relay_stats stats;
    httpc_free(f->client);
    http_server_free(f->server);
    relay_stats(f->relay, &stats);
    assert_int_equal(stats.open, 0);
    assert_null(f->sandbox.watches);
    relay_free(f->relay);
    httpc_free(f->to_runner);
    peer_join(&f->runner);
    loop_timer_free(f->deadline);
    loop_timer_free(f->later);
    loop_free(f->loop);
    buf_done(&f->data);
    unlink(f->front_path);
    rmdir(f->dir);
    free(f);
    return 0;
}

/* ---- the client ---- */

static inline void put(char *to, size_t size, struct slice value)
{
    snprintf(to, size, "%.*s", (int)value.len, value.ptr);
}

static inline void on_header(void *ctx, struct slice name, struct slice value)
{
    struct fixture *f = ctx;
    if (slice_eq_str(name, "Location"))
        put(f->location, sizeof(f->location), value);
    if (slice_eq_str(name, "ETag"))
        put(f->etag, sizeof(f->etag), value);
    if (slice_eq_str(name, "Content-Type"))
        put(f->type, sizeof(f->type), value);
    if (slice_eq_str(name, "Content-Range"))
        put(f->range, sizeof(f->range), value);
    if (slice_eq_str(name, "Content-Length"))
        put(f->length, sizeof(f->length), value);
    assert_false(slice_eq_str(name, "Set-Cookie"));
}

static inline void on_headers(void *ctx, int status)
{
    ((struct fixture *)ctx)->status = status;
}

static inline bool on_data(void *ctx, const char *p, size_t len)
{
    struct fixture *f = ctx;
    if (f->pause)
        return false;
    assert_int_equal(buf_append(&f->data, p, len), 0);
    if (f->want && f->data.len >= f->want)
        loop_stop(f->loop);
    return true;
}

static inline ssize_t on_send(void *ctx, char *out, size_t max)
{
    struct fixture *f = ctx;
    size_t n = MIN(max, f->to_send);
    memset(out, 'u', n);
    f->to_send -= n;
    return n ? (ssize_t)n : HTTPC_SEND_END;
}

static inline void on_done(void *ctx, const struct err *err)
{
    struct fixture *f = ctx;
    f->call = NULL;
    f->n_done++;
    f->failed = err != NULL;
    loop_stop(f->loop);
}

static inline void start(struct fixture *f, const char *method, const char *path,
                         const char *const *headers, const char *body)
{
    static const struct httpc_callbacks callbacks = {.on_header = on_header,
                                                     .on_headers = on_headers,
                                                     .on_data = on_data,
                                                     .on_send = on_send,
                                                     .on_done = on_done};
    _cleanup_(freep) char *url = mem_printf("http://front%s", path);
    struct httpc_request req = {.method = method,
                                .url = url,
                                .unix_path = f->front_path,
                                .headers = headers,
                                .body = body,
                                .body_len = body ? strlen(body) : 0};
    if (f->to_send) {
        req.send_streams = true;
        req.send_length = (int64_t)f->to_send;
    }
    buf_clear(&f->data);
    f->status = 0;
    f->location[0] = f->etag[0] = f->type[0] = f->range[0] = f->length[0] = '\0';
    assert_int_equal(httpc_start(&f->call, f->client, &req, &callbacks, f, NULL), 0);
}

static inline void ask(struct fixture *f, const char *method, const char *path,
                       const char *const *headers, const char *body)
{
    start(f, method, path, headers, body);
    loop_run(f->loop);
}

static inline void assert_data(struct fixture *f, const char *want)
{
    buf_append_char(&f->data, '\0');
    assert_string_equal(f->data.ptr, want);
}

static inline void assert_has(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" is not in: %s", part, text);
}

static inline void assert_problem(struct fixture *f, int status, const char *code)
{
    _cleanup_(freep) char *want = mem_printf("\"code\":\"%s\"", code);
    assert_false(f->failed);
    assert_int_equal(f->status, status);
    assert_string_equal(f->type, "application/problem+json");
    buf_append_char(&f->data, '\0');
    assert_has(f->data.ptr, want);
}

static inline void execution_id_of(const struct fixture *f, unsigned n, char out[80])
{
    const char *at = strstr(f->runner.request[n], "\r\nX-Execution-Id: ");
    assert_non_null(at);
    assert_int_equal(sscanf(at + 18, "%79[^\r]", out), 1);
    assert_true(id_is_exec(out));
}

/* ---- the runner's words ---- */

#define LINE1 "{\"seq\":1,\"type\":\"started\"}\n"
#define LINE2 "{\"seq\":2,\"type\":\"done\",\"status\":\"ok\"}\n"
#define LOST                                                                                       \
    "\"type\":\"done\",\"status\":\"sandbox_lost\",\"execution_count\":null,\"duration_ms\":null," \
    "\"generation\":null,\"truncated_bytes\":0,\"error\":{\"ename\":\"SandboxLost\",\"evalue\":\""

static inline void end_sandbox(void *ctx)
{
    struct fixture *f = ctx;
    sandbox_stub_end(&f->sandbox, ERR_SANDBOX_LOST, "its node has \"left\"");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
