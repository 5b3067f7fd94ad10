/*
 * Upgraded connections against a server that writes raw bytes: a thread that runs one scenario.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/base/buf.h"
#include "lib/base/mem.h"
#include "lib/httpc/httpc.h"
#include "lib/httpc/httpc_tunnel.h"
#include "lib/loop/loop.h"
#include "tests/unit/controller/exec/raw_peer.h"

#define SWITCH "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"

enum free_in { FREE_NEVER, FREE_IN_OPEN, FREE_IN_REFUSED, FREE_IN_READY };

struct fixture {
    char dir[64];
    struct peer peer;
    struct loop *loop;
    struct httpc *client;
    struct loop_timer *deadline;
    struct httpc_tunnel *tunnel;
    enum free_in free_in;
    struct buf data, body;
    size_t want; /* stop when so many bytes came */
    size_t block;
    unsigned n_open, n_refused, n_end;
    int status;
    struct err err;
    size_t to_send;
};

static void on_deadline(void *ctx)
{
    fail_msg("the test did not end in 20 s");
}

static int setup(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    snprintf(f->dir, sizeof(f->dir), "/tmp/tunnel-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->peer.path, sizeof(f->peer.path), "%s/s", f->dir);
    assert_int_equal(loop_new(&f->loop, NULL), 0);
    assert_int_equal(httpc_new(&f->client, f->loop, 64, NULL), 0);
    f->deadline = loop_timer_new(f->loop, on_deadline, f);
    loop_timer_start(f->deadline, 20000, 0);
    buf_init(&f->data, MIB(64));
    buf_init(&f->body, MIB(1));
    f->block = KIB(64);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    httpc_tunnel_free(f->tunnel);
    httpc_free(f->client);
    peer_join(&f->peer);
    loop_timer_free(f->deadline);
    loop_free(f->loop);
    buf_done(&f->data);
    buf_done(&f->body);
    rmdir(f->dir);
    free(f);
    return 0;
}

/* ---- the client ---- */

static void maybe_free(struct fixture *f, enum free_in where)
{
    if (f->free_in == where)
        f->tunnel = httpc_tunnel_free(f->tunnel);
    loop_stop(f->loop);
}

static void on_open(void *ctx)
{
    struct fixture *f = ctx;
    f->n_open++;
    maybe_free(f, FREE_IN_OPEN);
}

static void on_refused(void *ctx, int status, struct slice body, const struct err *err)
{
    struct fixture *f = ctx;
    f->n_refused++;
    f->status = status;
    if (err)
        f->err = *err;
    buf_append_slice(&f->body, body);
    maybe_free(f, FREE_IN_REFUSED);
}

static void read_some(struct fixture *f)
{
    _cleanup_(freep) char *block = mem_alloc(f->block);
    ssize_t n = httpc_tunnel_recv(f->tunnel, block, f->block);
    if (n > 0)
        buf_append(&f->data, block, (size_t)n);
    if (n == 0 || (n < 0 && errno != EAGAIN)) {
        f->n_end++;
        httpc_tunnel_want(f->tunnel, 0);
        loop_stop(f->loop);
    }
    if (f->want && f->data.len >= f->want)
        loop_stop(f->loop);
}

static void write_some(struct fixture *f)
{
    static char block[65536];
    memset(block, 'u', sizeof(block));
    ssize_t n = httpc_tunnel_send(f->tunnel, block, MIN(sizeof(block), f->to_send));
    if (n > 0)
        f->to_send -= (size_t)n;
    if (f->to_send == 0)
        httpc_tunnel_want(f->tunnel, LOOP_READ);
}

static void on_ready(void *ctx, int events)
{
    struct fixture *f = ctx;
    assert_true(events & (LOOP_READ | LOOP_WRITE));
    if (f->free_in == FREE_IN_READY) {
        maybe_free(f, FREE_IN_READY);
        return;
    }
    if (events & LOOP_WRITE)
        write_some(f);
    if (events & LOOP_READ)
        read_some(f);
}

static int start_at(struct fixture *f, const char *url, const char *unix_path, int64_t timeout_ms,
                    struct err *err)
{
    static const char *const headers[] = {"Upgrade: websocket", "Connection: Upgrade", NULL};
    const struct httpc_tunnel_cfg cfg = {.url = url,
                                         .unix_path = unix_path,
                                         .headers = headers,
                                         .timeout_ms = timeout_ms,
                                         .on_open = on_open,
                                         .on_refused = on_refused,
                                         .on_ready = on_ready,
                                         .ctx = f};
    return httpc_tunnel_open(&f->tunnel, f->client, &cfg, err);
}

static void open_tunnel(struct fixture *f, int64_t timeout_ms)
{
    assert_int_equal(start_at(f, "http://sandbox/a%20b/../c?x=%2F", f->peer.path, timeout_ms, NULL),
                     0);
    assert_int_equal(f->n_open + f->n_refused, 0);
    loop_run(f->loop);
}

static void read_until(struct fixture *f, size_t want)
{
    f->want = want;
    httpc_tunnel_want(f->tunnel, LOOP_READ);
    loop_run(f->loop);
}

static void assert_refused(struct fixture *f, int status, enum err_code code)
{
    assert_int_equal(f->n_open, 0);
    assert_int_equal(f->n_refused, 1);
    assert_int_equal(f->status, status);
    if (f->err.code != code)
        fail_msg("%d, not %d: %s", f->err.code, code, f->err.text);
}

static void assert_text(struct buf *b, const char *want)
{
    buf_append_char(b, '\0');
    assert_string_equal(b->ptr, want);
}

/* ---- it opens ---- */

static void early_scenario(struct peer *p)
{
    int fd = peer_accept(p);
    hear(p, fd);
    says(fd, SWITCH "X-Name:  a value \r\n\r\nearly bytes");
    peer_wait(p);
    says(fd, ", later bytes");
    close(fd);
}

static void early_bytes_come_first(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->peer, early_scenario);
    open_tunnel(f, 0);
    assert_int_equal(f->n_open, 1);
    assert_string_equal(httpc_tunnel_header(f->tunnel, "x-name"), "a value");
    assert_null(httpc_tunnel_header(f->tunnel, "X-Nam"));
    const char *head = "GET /a%20b/../c?x=%2F HTTP/1.1\r\nHost: sandbox\r\n"
                       "Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    assert_string_equal(f->peer.request[0], head);
    f->block = 4;
    read_until(f, 11);
    peer_go(&f->peer);
    f->want = 0;
    loop_run(f->loop); /* to the end */
    assert_int_equal(f->n_end, 1);
    assert_text(&f->data, "early bytes, later bytes");
}

static void interim_scenario(struct peer *p)
{
    int fd = peer_accept(p);
    hear(p, fd);
    says(fd,
         "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" SWITCH "\r\nx");
    wait_closed(fd);
    close(fd);
}

static void interim_answers_are_skipped(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->peer, interim_scenario);
    open_tunnel(f, 0);
    assert_int_equal(f->n_open, 1);
    assert_null(httpc_tunnel_header(f->tunnel, "Link"));
    read_until(f, 1);
    assert_text(&f->data, "x");
}

static void drip_scenario(struct peer *p)
{
    static const char text[] = SWITCH "A: b\r\n\r\nz";
    int fd = peer_accept(p);
    hear(p, fd);
    for (size_t i = 0; i < sizeof(text) - 1; i++)
        say(fd, text + i, 1);
    wait_closed(fd);
    close(fd);
}

static void a_head_in_pieces(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->peer, drip_scenario);
    open_tunnel(f, 0);
    assert_int_equal(f->n_open, 1);
    assert_string_equal(httpc_tunnel_header(f->tunnel, "A"), "b");
    read_until(f, 1);
    assert_text(&f->data, "z");
}

/* A head of exactly `len` bytes. */
static void say_head(int fd, size_t len)
{
    static const char begin[] = SWITCH "X: ";
    _cleanup_(freep) char *text = mem_alloc(len);
    memset(text, 'y', len);
    memcpy(text, begin, sizeof(begin) - 1);
    memcpy(text + len - 4, "\r\n\r\n", 4);
    say(fd, text, len);
}

static void limit_scenario(struct peer *p)
{
    int fd = peer_accept(p);
    hear(p, fd);
    say_head(fd, HTTPC_TUNNEL_HEAD_MAX);
    says(fd, "z");
    wait_closed(fd);
    close(fd);
}

static void above_limit_scenario(struct peer *p)
{
    int fd = peer_accept(p);
    hear(p, fd);
    say_head(fd, HTTPC_TUNNEL_HEAD_MAX + 1);
    wait_closed(fd);
    close(fd);
}

static void a_head_at_its_limit(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->peer, limit_scenario);
    open_tunnel(f, 0);
    assert_int_equal(f->n_open, 1);
    read_until(f, 1);
    assert_text(&f->data, "z");
}

static void a_head_above_its_limit(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->peer, above_limit_scenario);
    open_tunnel(f, 0);
    assert_refused(f, 0, ERR_SANDBOX_LOST);
}

#define BULK MIB(8)

static void echo_scenario(struct peer *p)
{
    static char block[65536];
    int fd = peer_accept(p);
    hear(p, fd);
    says(fd, SWITCH "\r\n");
    size_t got = 0;
    while (got < BULK) {
        ssize_t n = recv(fd, block, sizeof(block), 0);
        if (n <= 0)
            break;
        got += (size_t)n;
    }
    for (size_t sent = 0; sent < got; sent += sizeof(block))
        say(fd, block, MIN(sizeof(block), got - sent));
    close(fd);
}

static void bytes_both_ways_over_tcp(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    char url[64];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(fd, 4), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    peer_start_on(&f->peer, fd, echo_scenario);
    snprintf(url, sizeof(url), "http://127.0.0.1:%d/", ntohs(a.sin_port));
    assert_int_equal(start_at(f, url, NULL, 0, NULL), 0);
    loop_run(f->loop);
    assert_int_equal(f->n_open, 1);
    f->to_send = BULK;
    httpc_tunnel_want(f->tunnel, LOOP_READ | LOOP_WRITE);
    loop_run(f->loop);
    assert_int_equal(f->n_end, 1);
    assert_int_equal(f->data.len, BULK);
}

/* ---- it does not open ---- */

static void refuse_scenario(struct peer *p)
{
    int fd = peer_accept(p);
    hear(p, fd);
    says(fd, "HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\nX-A: 1\r\n\r\nno");
    says(fd, "ne.and more");
    wait_closed(fd);
    close(fd);
}

static void another_answer_and_its_body(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->peer, refuse_scenario);
    open_tunnel(f, 0);
    assert_refused(f, 404, ERR_OK);
    assert_text(&f->body, "none.");
    assert_string_equal(httpc_tunnel_header(f->tunnel, "X-A"), "1");
}

static void chunked_scenario(struct peer *p)
{
    int fd = peer_accept(p);
    hear(p, fd);
    says(fd, "HTTP/1.1 503 x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r");
    says(fd, "\nA;x=y\r\n0123456789\r\n0\r\n\r\n");
    wait_closed(fd);
    close(fd);
}

static void a_chunked_body(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->peer, chunked_scenario);
    open_tunnel(f, 0);
    assert_refused(f, 503, ERR_OK);
    assert_text(&f->body, "abc0123456789");
}

static void to_the_end_scenario(struct peer *p)
{
    int fd = peer_accept(p);
    hear(p, fd);
    says(fd, "HTTP/1.1 200 OK\r\n\r\nold style");
    close(fd);
}

static void a_body_to_the_end(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->peer, to_the_end_scenario);
    open_tunnel(f, 0);
    assert_refused(f, 200, ERR_OK);
    assert_text(&f->body, "old style");
}

static void say_body(struct peer *p, size_t len, bool with_length)
{
    _cleanup_(freep) char *text = mem_alloc(len);
    char head[96];
    int fd = peer_accept(p);
    hear(p, fd);
    memset(text, 'b', len);
    snprintf(head, sizeof(head), "HTTP/1.1 400 x\r\nContent-Length: %zu\r\n\r\n", len);
    says(fd, with_length ? head : "HTTP/1.1 400 x\r\n\r\n");
    say(fd, text, len);
    close(fd);
}

static void body_limit_scenario(struct peer *p)
{
    say_body(p, HTTPC_TUNNEL_BODY_MAX, true);
}

static void body_above_scenario(struct peer *p)
{
    say_body(p, HTTPC_TUNNEL_BODY_MAX + 1, true);
}

static void body_above_unsaid_scenario(struct peer *p)
{
    say_body(p, HTTPC_TUNNEL_BODY_MAX + 1, false);
}

static void a_body_at_its_limit(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->peer, body_limit_scenario);
    open_tunnel(f, 0);
    assert_refused(f, 400, ERR_OK);
    assert_int_equal(f->body.len, HTTPC_TUNNEL_BODY_MAX);
}

static void a_body_above_its_limit(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->peer, body_above_scenario);
    open_tunnel(f, 0);
    assert_refused(f, 0, ERR_TOO_LARGE);
}

static void an_endless_body(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->peer, body_above_unsaid_scenario);
    open_tunnel(f, 0);
    assert_refused(f, 0, ERR_TOO_LARGE);
}

static void slow_scenario(struct peer *p)
{
    int fd = peer_accept(p);
    hear(p, fd);
    says(fd, "HTTP/1.1 101 Switching");
    wait_closed(fd);
    close(fd);
}

static void a_head_that_does_not_end(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->peer, slow_scenario);
    open_tunnel(f, 150);
    assert_refused(f, 0, ERR_TIMEOUT);
}

static const char *garbage;

static void garbage_scenario(struct peer *p)
{
    int fd = peer_accept(p);
    hear(p, fd);
    says(fd, garbage);
    close(fd);
}

static void garbage_is_refused(void **state)
{
    static const char *const texts[] = {
        "SSH-2.0-x\r\n\r\n",
        "HTTP/2 101 x\r\n\r\n",
        "HTTP/1.1 1x1 x\r\n\r\n",
        "HTTP/1.1 099 x\r\n\r\n",
        "HTTP/1.1 1010\r\n\r\n",
        "HTTP/1.1 101 x\r\nno colon\r\n\r\n",
        "HTTP/1.1 101 x\r\n: no name\r\n\r\n",
        "HTTP/1.1 101 x\r\nA B: c\r\n\r\n",
        "HTTP/1.1 101 x\r\nA: b\n\r\n\r\n",
        "HTTP/1.1 101",
        "",
        "\r\n\r\n",
        "HTTP/1.1 404 x\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 404 x\r\nContent-Length: 5\r\n\r\nfour",
        "HTTP/1.1 404 x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\n",
        "HTTP/1.1 404 x\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
        "HTTP/1.1 404 x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfour",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        if (i > 0)
            setup(state);
        struct fixture *f = *state;
        garbage = texts[i];
        peer_start(&f->peer, garbage_scenario);
        open_tunnel(f, 0);
        assert_refused(f, 0, ERR_SANDBOX_LOST);
        if (i + 1 < ARRAY_LEN(texts))
            teardown(state);
    }
}

static void nobody_listens(void **state)
{
    struct fixture *f = *state;
    open_tunnel(f, 0);
    assert_refused(f, 0, ERR_UNAVAILABLE);
}

static void bad_addresses(void **state)
{
    static const char *const urls[] = {"", "ftp://host/", "http://host/a b", "http://", "x"};
    struct fixture *f = *state;
    for (size_t i = 0; i + 1 < ARRAY_LEN(urls); i++) {
        struct err err = {0};
        assert_int_equal(start_at(f, urls[i], NULL, 0, &err), -ERR_INVALID);
        assert_null(f->tunnel);
    }
}

/* ---- it is freed at any time ---- */

static void free_in_open(void **state)
{
    struct fixture *f = *state;
    f->free_in = FREE_IN_OPEN;
    peer_start(&f->peer, early_scenario);
    open_tunnel(f, 0);
    assert_int_equal(f->n_open, 1);
    assert_null(f->tunnel);
}

static void free_in_refused(void **state)
{
    void (*const scenarios[])(struct peer *) = {refuse_scenario, slow_scenario, NULL};
    for (size_t i = 0; i < ARRAY_LEN(scenarios); i++) {
        if (i > 0)
            setup(state);
        struct fixture *f = *state;
        f->free_in = FREE_IN_REFUSED;
        if (scenarios[i])
            peer_start(&f->peer, scenarios[i]);
        open_tunnel(f, 150);
        assert_int_equal(f->n_refused, 1);
        assert_null(f->tunnel);
        if (i + 1 < ARRAY_LEN(scenarios))
            teardown(state);
    }
}

static void free_in_ready(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->peer, early_scenario);
    open_tunnel(f, 0);
    f->free_in = FREE_IN_READY;
    httpc_tunnel_want(f->tunnel, LOOP_READ | LOOP_WRITE);
    loop_run(f->loop);
    assert_null(f->tunnel);
}

static void free_before_anything(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->peer, slow_scenario);
    assert_int_equal(start_at(f, "http://sandbox/", f->peer.path, 0, NULL), 0);
    f->tunnel = httpc_tunnel_free(f->tunnel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(early_bytes_come_first),
        TEST(interim_answers_are_skipped),
        TEST(a_head_in_pieces),
        TEST(a_head_at_its_limit),
        TEST(a_head_above_its_limit),
        TEST(bytes_both_ways_over_tcp),
        TEST(another_answer_and_its_body),
        TEST(a_chunked_body),
        TEST(a_body_to_the_end),
        TEST(a_body_at_its_limit),
        TEST(a_body_above_its_limit),
        TEST(an_endless_body),
        TEST(a_head_that_does_not_end),
        TEST(garbage_is_refused),
        TEST(nobody_listens),
        TEST(bad_addresses),
        TEST(free_in_open),
        TEST(free_in_refused),
        TEST(free_in_ready),
        TEST(free_before_anything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
