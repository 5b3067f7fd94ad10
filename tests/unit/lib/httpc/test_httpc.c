/*
 * The HTTP client against a server that writes raw bytes: a thread with blocking sockets that runs
 * one scenario, so that each test says exactly what the peer does.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>

#include "lib/base/buf.h"
#include "lib/base/macros.h"
#include "lib/base/mem.h"
#include "lib/httpc/httpc.h"
#include "lib/loop/loop.h"

/* ---- the peer ---- */

struct peer {
    char dir[64];
    char path[96];
    int listen_fd;
    pthread_t thread;
    void (*scenario)(struct peer *p);
    unsigned accepted;
    char request[65536]; /* the last request's head, and body bytes read with it */
};

static int peer_accept(struct peer *p)
{
    int fd = accept4(p->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
        p->accepted++;
    return fd;
}

static void say(int fd, const char *text, size_t len)
{
    while (len) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        text += n;
        len -= (size_t)n;
    }
}

static void says(int fd, const char *text)
{
    say(fd, text, strlen(text));
}

/* Reads one head (and what came with it); false at the end of the connection. */
static bool hear(struct peer *p, int fd)
{
    size_t len = 0;
    while (len < sizeof(p->request) - 1) {
        ssize_t n = recv(fd, p->request + len, sizeof(p->request) - 1 - len, 0);
        if (n <= 0)
            return false;
        len += (size_t)n;
        p->request[len] = '\0';
        if (strstr(p->request, "\r\n\r\n"))
            return true;
    }
    return false;
}

static void *peer_main(void *ctx)
{
    struct peer *p = ctx;
    p->scenario(p);
    return NULL;
}

struct fixture {
    struct peer peer;
    struct loop *loop;
    struct httpc *client;
    struct loop_timer *deadline;
    bool running;
    /* what the call under test saw */
    struct httpc_call *call;
    struct buf data;
    int status;
    unsigned n_headers, n_done;
    struct err err;
    bool failed;
    char etag[64];
    bool pause;
    struct loop_timer *later;
    unsigned left;
    size_t to_send;
    bool sleepy;
};

static void on_deadline(void *ctx)
{
    fail_msg("the test did not end in 20 s");
}

static int setup(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    snprintf(f->peer.dir, sizeof(f->peer.dir), "/tmp/httpc-test-XXXXXX");
    assert_non_null(mkdtemp(f->peer.dir));
    snprintf(f->peer.path, sizeof(f->peer.path), "%s/s", f->peer.dir);
    assert_int_equal(loop_new(&f->loop, NULL), 0);
    assert_int_equal(httpc_new(&f->client, f->loop, 64, NULL), 0);
    f->deadline = loop_timer_new(f->loop, on_deadline, f);
    loop_timer_start(f->deadline, 20000, 0);
    buf_init(&f->data, MIB(64));
    *state = f;
    return 0;
}

static void serve(struct fixture *f, void (*scenario)(struct peer *p))
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof(a.sun_path), "%s", f->peer.path);
    f->peer.listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(f->peer.listen_fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(f->peer.listen_fd, 64), 0);
    f->peer.scenario = scenario;
    f->running = true;
    assert_int_equal(pthread_create(&f->peer.thread, NULL, peer_main, &f->peer), 0);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    httpc_free(f->client);
    if (f->running) {
        shutdown(f->peer.listen_fd, SHUT_RDWR);
        pthread_join(f->peer.thread, NULL);
        close(f->peer.listen_fd);
        unlink(f->peer.path);
    }
    rmdir(f->peer.dir);
    loop_timer_free(f->deadline);
    loop_timer_free(f->later);
    loop_free(f->loop);
    buf_done(&f->data);
    free(f);
    return 0;
}

/* ---- callbacks that record ---- */

static void rec_headers(void *ctx, int status)
{
    struct fixture *f = ctx;
    f->status = status;
    f->n_headers++;
}

static void rec_header(void *ctx, struct slice name, struct slice value)
{
    struct fixture *f = ctx;
    if (slice_eq_str(name, "ETag"))
        snprintf(f->etag, sizeof(f->etag), "%.*s", (int)value.len, value.ptr);
}

static bool rec_data(void *ctx, const char *p, size_t len)
{
    struct fixture *f = ctx;
    assert_true(len <= KIB(64));
    if (f->pause)
        return false;
    assert_int_equal(buf_append(&f->data, p, len), 0);
    return true;
}

static void rec_done(void *ctx, const struct err *err)
{
    struct fixture *f = ctx;
    f->n_done++;
    f->failed = err != NULL;
    if (err)
        f->err = *err;
    f->call = NULL;
    loop_stop(f->loop);
}

static const struct httpc_callbacks recording = {
    .on_headers = rec_headers, .on_header = rec_header, .on_data = rec_data, .on_done = rec_done};

static struct httpc_request get(struct fixture *f)
{
    return (struct httpc_request){
        .method = "GET", .url = "http://sandbox/x", .unix_path = f->peer.path};
}

static void start(struct fixture *f, const struct httpc_request *req,
                  const struct httpc_callbacks *cb)
{
    struct err err = {0};
    f->n_done = f->n_headers = 0;
    f->failed = false;
    if (httpc_start(&f->call, f->client, req, cb, f, &err) < 0)
        fail_msg("%s", err.text);
}

static void assert_data(struct fixture *f, const char *want)
{
    assert_int_equal(f->data.len, strlen(want));
    assert_memory_equal(f->data.ptr, want, f->data.len);
}

/* ---- plain answers ---- */

static void answer_hello(struct peer *p)
{
    int fd = peer_accept(p);
    if (hear(p, fd))
        says(fd, "HTTP/1.1 103 Early Hints\r\nETag: early\r\n\r\n"
                 "HTTP/1.1 203 Fine\r\nETag:  \"a b\" \r\nContent-Length: 5\r\n\r\nhello");
    close(fd);
}

static void whole_answer_with_headers(void **state)
{
    struct fixture *f = *state;
    serve(f, answer_hello);
    const char *headers[] = {"X-A: 1", "Accept: text/plain", NULL};
    struct httpc_request req = get(f);
    req.url = "http://sandbox/a/../b%2e%20c?x=%00&y";
    req.headers = headers;
    start(f, &req, &recording);
    assert_int_equal(f->n_done, 0);
    loop_run(f->loop);
    assert_false(f->failed);
    assert_int_equal(f->status, 203);
    assert_int_equal(f->n_headers, 1);
    assert_string_equal(f->etag, "\"a b\"");
    assert_data(f, "hello");
    assert_non_null(strstr(f->peer.request, "GET /a/../b%2e%20c?x=%00&y HTTP/1.1\r\n"));
    assert_non_null(strstr(f->peer.request, "\r\nX-A: 1\r\n"));
    assert_non_null(strstr(f->peer.request, "\r\nAccept: text/plain\r\n"));
    assert_null(strstr(f->peer.request, "Expect"));
    assert_null(strstr(f->peer.request, "User-Agent"));
}

static void answer_redirect(struct peer *p)
{
    int fd = peer_accept(p);
    if (hear(p, fd))
        says(fd, "HTTP/1.1 302 Found\r\nLocation: /y\r\nContent-Length: 0\r\n\r\n");
    close(fd);
}

static void redirects_are_not_followed(void **state)
{
    struct fixture *f = *state;
    serve(f, answer_redirect);
    struct httpc_request req = get(f);
    req.method = "DELETE";
    start(f, &req, &recording);
    loop_run(f->loop);
    assert_false(f->failed);
    assert_int_equal(f->status, 302);
    assert_non_null(strstr(f->peer.request, "DELETE /x HTTP/1.1\r\n"));
}

static void answer_head(struct peer *p)
{
    int fd = peer_accept(p);
    if (hear(p, fd))
        says(fd, "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n");
    if (hear(p, fd))
        says(fd, "HTTP/1.1 204 None\r\n\r\n");
    close(fd);
}

static void head_and_empty_answers_end_at_once(void **state)
{
    struct fixture *f = *state;
    serve(f, answer_head);
    struct httpc_request req = get(f);
    req.method = "HEAD";
    start(f, &req, &recording);
    loop_run(f->loop);
    assert_false(f->failed);
    assert_int_equal(f->data.len, 0);
    req.method = "PUT";
    req.body = "";
    start(f, &req, &recording);
    loop_run(f->loop);
    assert_false(f->failed);
    assert_int_equal(f->status, 204);
    assert_int_equal(f->peer.accepted, 1);
    assert_non_null(strstr(f->peer.request, "PUT /x HTTP/1.1\r\n"));
    assert_non_null(strstr(f->peer.request, "Content-Length: 0\r\n"));
    assert_null(strstr(f->peer.request, "Content-Type"));
}

/* ---- back-pressure ---- */

#define BIG MIB(8)

static void answer_big(struct peer *p)
{
    int fd = peer_accept(p);
    char chunk[KIB(8) + 1];
    if (hear(p, fd)) {
        says(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for (size_t i = 0; i < BIG / KIB(8); i++) {
            memset(chunk, 'a' + (int)(i % 26), KIB(8));
            says(fd, "2000\r\n");
            say(fd, chunk, KIB(8));
            says(fd, "\r\n");
        }
        says(fd, "0\r\nX-Trailer: 1\r\n\r\n");
    }
    close(fd);
}

static void unpause(void *ctx)
{
    struct fixture *f = ctx;
    f->pause = false;
    httpc_resume_recv(f->call);
}

/* Takes one piece in two, and asks for more half a millisecond or a turn later. */
static bool stuttering_data(void *ctx, const char *p, size_t len)
{
    struct fixture *f = ctx;
    f->pause = !f->pause;
    if (!f->pause)
        return buf_append(&f->data, p, len) == 0;
    loop_timer_start(f->later, 0, 0);
    return false;
}

static void resume_only(void *ctx)
{
    httpc_resume_recv(((struct fixture *)ctx)->call);
}

static void paused_bytes_come_again_in_order(void **state)
{
    struct fixture *f = *state;
    serve(f, answer_big);
    f->later = loop_timer_new(f->loop, resume_only, f);
    struct httpc_callbacks cb = recording;
    cb.on_data = stuttering_data;
    struct httpc_request req = get(f);
    start(f, &req, &cb);
    loop_run(f->loop);
    assert_false(f->failed);
    assert_int_equal(f->data.len, BIG);
    for (size_t i = 0; i < BIG; i++)
        if (f->data.ptr[i] != 'a' + (int)(i / KIB(8) % 26))
            fail_msg("byte %zu is wrong", i);
}

static void answer_until_full(struct peer *p)
{
    int fd = peer_accept(p);
    static char chunk[KIB(64)];
    size_t sent = 0;
    if (hear(p, fd)) {
        says(fd, "HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n");
        /* Counts what a paused reader lets through. */
        for (struct pollfd pf = {.fd = fd, .events = POLLOUT}; poll(&pf, 1, 300) == 1;) {
            ssize_t n = send(fd, chunk, sizeof(chunk), MSG_NOSIGNAL | MSG_DONTWAIT);
            if (n <= 0)
                break;
            sent += (size_t)n;
        }
    }
    snprintf(p->request, sizeof(p->request), "%zu", sent);
    close(fd);
}

static void a_paused_call_stops_the_sender(void **state)
{
    struct fixture *f = *state;
    serve(f, answer_until_full);
    f->pause = true;
    f->later = loop_timer_new(f->loop, unpause, f);
    loop_timer_start(f->later, 600, 0);
    struct httpc_request req = get(f);
    start(f, &req, &recording);
    loop_run(f->loop);
    /* The peer gave up in the middle: an error, after everything that came. */
    assert_true(f->failed);
    assert_int_equal(f->err.code, ERR_SANDBOX_LOST);
    size_t sent = (size_t)strtoull(f->peer.request, NULL, 10);
    assert_true(sent < MIB(2));
    assert_int_equal(f->data.len, sent);
}

static void take_body(struct peer *p)
{
    int fd = peer_accept(p);
    size_t got = 0;
    char block[4096];
    if (hear(p, fd)) {
        const char *body = strstr(p->request, "\r\n\r\n") + 4;
        got = strlen(body);
        while (got < BIG) {
            ssize_t n = recv(fd, block, sizeof(block), 0);
            if (n <= 0)
                break;
            got += (size_t)n;
        }
        says(fd, "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
    }
    close(fd);
}

static void resume_send_later(void *ctx)
{
    httpc_resume_send(((struct fixture *)ctx)->call);
}

static ssize_t sleepy_send(void *ctx, char *out, size_t max)
{
    struct fixture *f = ctx;
    if (f->to_send == 0)
        return HTTPC_SEND_END;
    f->sleepy = !f->sleepy;
    if (f->sleepy) {
        loop_timer_start(f->later, 0, 0);
        return 0;
    }
    size_t n = MIN(max, f->to_send);
    memset(out, 'u', n);
    f->to_send -= n;
    return (ssize_t)n;
}

static void body_streams_with_pauses(void **state)
{
    struct fixture *f = *state;
    serve(f, take_body);
    f->later = loop_timer_new(f->loop, resume_send_later, f);
    f->to_send = BIG;
    struct httpc_callbacks cb = recording;
    cb.on_send = sleepy_send;
    struct httpc_request req = get(f);
    req.method = "PUT";
    req.send_streams = true;
    req.send_length = (int64_t)BIG;
    start(f, &req, &cb);
    loop_run(f->loop);
    assert_false(f->failed);
    assert_int_equal(f->status, 201);
    assert_non_null(strstr(f->peer.request, "Content-Length: 8388608\r\n"));
}

static void take_chunked(struct peer *p)
{
    int fd = peer_accept(p);
    if (hear(p, fd)) {
        size_t len = strlen(p->request);
        while (!strstr(p->request, "\r\n0\r\n\r\n") && len < sizeof(p->request) - 1) {
            ssize_t n = recv(fd, p->request + len, sizeof(p->request) - 1 - len, 0);
            if (n <= 0)
                break;
            len += (size_t)n;
            p->request[len] = '\0';
        }
        says(fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    }
    close(fd);
}

static void body_of_unknown_length_is_chunked(void **state)
{
    struct fixture *f = *state;
    serve(f, take_chunked);
    f->later = loop_timer_new(f->loop, resume_send_later, f);
    f->to_send = 5;
    struct httpc_callbacks cb = recording;
    cb.on_send = sleepy_send;
    struct httpc_request req = get(f);
    req.method = "POST";
    req.send_streams = true;
    req.send_length = -1;
    start(f, &req, &cb);
    loop_run(f->loop);
    assert_false(f->failed);
    assert_int_equal(f->status, 200);
    assert_non_null(strstr(f->peer.request, "Transfer-Encoding: chunked\r\n"));
    assert_non_null(strstr(f->peer.request, "\r\n5\r\nuuuuu\r\n0\r\n"));
}

static ssize_t send_abort(void *ctx, char *out, size_t max)
{
    return HTTPC_SEND_ABORT;
}

static void body_aborted_by_the_sender(void **state)
{
    struct fixture *f = *state;
    serve(f, take_body);
    struct httpc_callbacks cb = recording;
    cb.on_send = send_abort;
    struct httpc_request req = get(f);
    req.method = "PUT";
    req.send_streams = true;
    req.send_length = 10;
    start(f, &req, &cb);
    loop_run(f->loop);
    assert_true(f->failed);
    assert_int_equal(f->err.code, ERR_INVALID);
}

/* ---- cancelling ---- */

static void cancel_header(void *ctx, struct slice name, struct slice value)
{
    struct fixture *f = ctx;
    f->call = httpc_cancel(f->call);
    loop_stop(f->loop);
}

static void cancel_headers(void *ctx, int status)
{
    cancel_header(ctx, slice_str(""), slice_str(""));
}

static bool cancel_data(void *ctx, const char *p, size_t len)
{
    cancel_header(ctx, slice_str(""), slice_str(""));
    return false;
}

static ssize_t cancel_send(void *ctx, char *out, size_t max)
{
    cancel_header(ctx, slice_str(""), slice_str(""));
    return 0;
}

static void cancel_done(void *ctx, const struct err *err)
{
    struct fixture *f = ctx;
    httpc_cancel(f->call); /* too late: without effect */
    rec_done(ctx, err);
}

static void hello_forever(struct peer *p)
{
    for (int fd = peer_accept(p); fd >= 0; fd = peer_accept(p)) {
        while (hear(p, fd))
            says(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        close(fd);
    }
}

static void cancel_from_every_callback(void **state)
{
    struct fixture *f = *state;
    serve(f, hello_forever);
    for (int where = 0; where < 5; where++) {
        struct httpc_callbacks cb = recording;
        struct httpc_request req = get(f);
        if (where == 0)
            cb.on_header = cancel_header;
        if (where == 1)
            cb.on_headers = cancel_headers;
        if (where == 2)
            cb.on_data = cancel_data;
        if (where == 3) {
            cb.on_send = cancel_send;
            req.method = "PUT";
            req.send_streams = true;
            req.send_length = 5;
        }
        if (where == 4)
            cb.on_done = cancel_done;
        start(f, &req, &cb);
        loop_run(f->loop);
        assert_null(f->call);
        assert_int_equal(f->n_done, where == 4);
    }
    /* Before anything happened, and while it is paused. */
    struct httpc_request req = get(f);
    start(f, &req, &recording);
    f->call = httpc_cancel(f->call);
    assert_null(httpc_cancel(NULL));
    start(f, &req, &recording);
    loop_run(f->loop);
    assert_false(f->failed);
}

static void start_again(void *ctx)
{
    struct fixture *f = ctx;
    f->pause = false;
    httpc_resume_recv(f->call);
    f->call = httpc_cancel(f->call);
    loop_stop(f->loop);
}

static void cancel_while_paused(void **state)
{
    struct fixture *f = *state;
    serve(f, answer_big);
    f->pause = true;
    f->later = loop_timer_new(f->loop, start_again, f);
    loop_timer_start(f->later, 50, 0);
    struct httpc_request req = get(f);
    start(f, &req, &recording);
    loop_run(f->loop);
    assert_int_equal(f->n_done, 0);
    assert_int_equal(f->data.len, 0);
}

static bool start_another_in_data(void *ctx, const char *p, size_t len)
{
    struct fixture *f = ctx;
    struct httpc_request req = get(f);
    f->call = httpc_cancel(f->call);
    start(f, &req, &recording);
    return true;
}

static void start_from_inside_a_callback(void **state)
{
    struct fixture *f = *state;
    serve(f, hello_forever);
    struct httpc_callbacks cb = recording;
    cb.on_data = start_another_in_data;
    struct httpc_request req = get(f);
    start(f, &req, &cb);
    loop_run(f->loop);
    assert_int_equal(f->n_done, 1);
    assert_data(f, "hello");
}

static void free_with_open_calls(void **state)
{
    struct fixture *f = *state;
    serve(f, answer_big);
    struct httpc_request req = get(f);
    f->pause = true;
    f->later = loop_timer_new(f->loop, (loop_fn)loop_stop, f->loop);
    loop_timer_start(f->later, 30, 0);
    start(f, &req, &recording);
    loop_run(f->loop);
    start(f, &req, &recording);
    f->client = httpc_free(f->client);
    assert_int_equal(f->n_done, 0);
}

/* ---- what goes wrong ---- */

static void answer_truncated_length(struct peer *p)
{
    int fd = peer_accept(p);
    if (hear(p, fd))
        says(fd, "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello");
    close(fd);
}

static void answer_truncated_chunks(struct peer *p)
{
    int fd = peer_accept(p);
    if (hear(p, fd))
        says(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    close(fd);
}

static void answer_nothing(struct peer *p)
{
    int fd = peer_accept(p);
    hear(p, fd);
    close(fd);
}

static void answer_garbage(struct peer *p)
{
    int fd = peer_accept(p);
    if (hear(p, fd))
        says(fd, "EHLO friend\r\n\r\n");
    close(fd);
}

static void expect_lost(void **state, void (*scenario)(struct peer *p), const char *data)
{
    struct fixture *f = *state;
    serve(f, scenario);
    struct httpc_request req = get(f);
    start(f, &req, &recording);
    loop_run(f->loop);
    assert_true(f->failed);
    assert_int_equal(f->err.code, ERR_SANDBOX_LOST);
    assert_true(f->err.text[0]);
    assert_data(f, data);
}

static void truncated_body_of_known_length(void **state)
{
    expect_lost(state, answer_truncated_length, "hello");
}

static void truncated_chunked_body(void **state)
{
    expect_lost(state, answer_truncated_chunks, "hello");
}

static void answer_truncated_head(struct peer *p)
{
    int fd = peer_accept(p);
    if (hear(p, fd))
        says(fd, "HTTP/1.1 200 OK\r\nETag: a\r\nContent-");
    close(fd);
}

static void truncated_head(void **state)
{
    expect_lost(state, answer_truncated_head, "");
}

static void no_answer_at_all(void **state)
{
    expect_lost(state, answer_nothing, "");
}

static void not_http(void **state)
{
    expect_lost(state, answer_garbage, "");
}

static void refused_is_unavailable(void **state)
{
    struct fixture *f = *state;
    struct httpc_request req = get(f); /* nobody listens */
    start(f, &req, &recording);
    loop_run(f->loop);
    assert_true(f->failed);
    assert_int_equal(f->err.code, ERR_UNAVAILABLE);
    req.unix_path = NULL;
    req.url = "http://127.0.0.1:1/";
    start(f, &req, &recording);
    loop_run(f->loop);
    assert_true(f->failed);
    assert_int_equal(f->err.code, ERR_UNAVAILABLE);
}

static void answer_slowly(struct peer *p)
{
    int fd = peer_accept(p);
    char c;
    if (hear(p, fd))
        recv(fd, &c, 1, 0); /* until the client has gone */
    close(fd);
}

static void total_timeout(void **state)
{
    struct fixture *f = *state;
    serve(f, answer_slowly);
    struct httpc_request req = get(f);
    req.total_timeout_ms = 80;
    start(f, &req, &recording);
    loop_run(f->loop);
    assert_true(f->failed);
    assert_int_equal(f->err.code, ERR_TIMEOUT);
}

static void too_many_calls(void **state)
{
    struct fixture *f = *state;
    struct httpc *small = NULL;
    struct httpc_call *call = NULL, *second = NULL;
    struct err err = {0};
    assert_int_equal(httpc_new(&small, f->loop, 1, NULL), 0);
    struct httpc_request req = get(f);
    assert_int_equal(httpc_start(&call, small, &req, &recording, f, &err), 0);
    assert_int_equal(httpc_start(&second, small, &req, &recording, f, &err), -ERR_UNAVAILABLE);
    httpc_free(small);
}

/* ---- connections ---- */

static void next_of_many(void *ctx, int status, struct slice body, const struct err *err)
{
    struct fixture *f = ctx;
    if (err)
        fail_msg("%s", err->text);
    assert_int_equal(status, 200);
    assert_true(slice_eq_str(body, "hello"));
    assert_int_equal(body.ptr[body.len], 0);
    f->n_done++;
    if (--f->left == 0) {
        loop_stop(f->loop);
        return;
    }
    struct httpc_request req = get(f);
    req.method = "POST";
    req.body = "{}";
    req.body_len = 2;
    req.repeatable = true;
    assert_int_equal(httpc_exchange(NULL, f->client, &req, 100, next_of_many, f, NULL), 0);
}

static void a_thousand_requests_use_one_connection(void **state)
{
    struct fixture *f = *state;
    serve(f, hello_forever);
    f->left = 1000;
    struct httpc_request req = get(f);
    assert_int_equal(httpc_exchange(NULL, f->client, &req, 100, next_of_many, f, NULL), 0);
    loop_run(f->loop);
    assert_int_equal(f->n_done, 1000);
    assert_int_equal(f->peer.accepted, 1);
}

/* Closes the kept-alive connection when the second request has already come. */
static void close_after_second(struct peer *p)
{
    int fd = peer_accept(p);
    if (hear(p, fd))
        says(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    hear(p, fd);
    close(fd);
    fd = peer_accept(p);
    if (hear(p, fd))
        says(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    close(fd);
}

static void stale_connection_is_retried(void **state)
{
    struct fixture *f = *state;
    serve(f, close_after_second);
    f->left = 2;
    struct httpc_request req = get(f);
    assert_int_equal(httpc_exchange(NULL, f->client, &req, 100, next_of_many, f, NULL), 0);
    loop_run(f->loop);
    assert_int_equal(f->n_done, 2);
    assert_int_equal(f->peer.accepted, 2);
}

/* The same server; what came on its second connection is acted upon, and not answered. */
static void close_after_acting(struct peer *p)
{
    int fd = peer_accept(p);
    if (hear(p, fd))
        says(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    for (int next = peer_accept(p); next >= 0; next = peer_accept(p)) {
        hear(p, next);
        close(next);
    }
    close(fd);
}

static void what_is_not_repeatable_goes_once(void **state)
{
    static const char *const methods[] = {"POST", "PATCH", "DELETE"};
    struct fixture *f = *state;
    serve(f, close_after_acting);
    struct httpc_request req = get(f);
    start(f, &req, &recording);
    loop_run(f->loop);
    assert_false(f->failed);
    for (unsigned i = 0; i < ARRAY_LEN(methods); i++) {
        req.method = methods[i];
        req.body = "{}";
        req.body_len = 2;
        start(f, &req, &recording);
        loop_run(f->loop);
        assert_true(f->failed);
        assert_int_equal(f->err.code, ERR_SANDBOX_LOST);
        assert_int_equal(f->peer.accepted, 2 + i);
    }
}

static void too_large_reply(void *ctx, int status, struct slice body, const struct err *err)
{
    struct fixture *f = ctx;
    f->n_done++;
    assert_non_null(err);
    assert_int_equal(err->code, ERR_TOO_LARGE);
    loop_stop(f->loop);
}

static void exchange_has_a_ceiling(void **state)
{
    struct fixture *f = *state;
    serve(f, hello_forever);
    struct httpc_request req = get(f);
    f->left = 1;
    assert_int_equal(httpc_exchange(NULL, f->client, &req, 5, next_of_many, f, NULL), 0);
    loop_run(f->loop);
    assert_int_equal(httpc_exchange(NULL, f->client, &req, 4, too_large_reply, f, NULL), 0);
    loop_run(f->loop);
    assert_int_equal(f->n_done, 2);
    struct httpc_call *call = NULL;
    assert_int_equal(httpc_exchange(&call, f->client, &req, 4, too_large_reply, f, NULL), 0);
    httpc_cancel(call);
    assert_int_equal(f->n_done, 2);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(whole_answer_with_headers),
        T(redirects_are_not_followed),
        T(head_and_empty_answers_end_at_once),
        T(paused_bytes_come_again_in_order),
        T(a_paused_call_stops_the_sender),
        T(body_streams_with_pauses),
        T(body_of_unknown_length_is_chunked),
        T(body_aborted_by_the_sender),
        T(cancel_from_every_callback),
        T(cancel_while_paused),
        T(start_from_inside_a_callback),
        T(free_with_open_calls),
        T(truncated_body_of_known_length),
        T(truncated_chunked_body),
        T(truncated_head),
        T(no_answer_at_all),
        T(not_http),
        T(refused_is_unavailable),
        T(total_timeout),
        T(too_many_calls),
        T(a_thousand_requests_use_one_connection),
        T(stale_connection_is_retried),
        T(what_is_not_repeatable_goes_once),
        T(exchange_has_a_ceiling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
