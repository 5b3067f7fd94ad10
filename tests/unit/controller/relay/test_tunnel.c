/*
 * Tunnels between a real server and a real client, with a runner that is a thread writing raw
 * bytes: what crosses at the opening, how the pace of one side is the other's, and every end.
 */
#include <errno.h>
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
#include "lib/httpc/httpc_tunnel.h"
#include "lib/loop/loop.h"
#include "tests/unit/controller/exec/raw_peer.h"
#include "tests/unit/controller/exec/sandbox_stub.h"

#define ID     "sb-12345678-1234-4234-8234-123456789000"
#define BOX    "/api/sandboxes/" ID "/jupyter/api/kernels/k/channels"
#define ALL    "/jupyter/api/kernels/k/channels"
#define TOKEN  "the-token-of-the-sandbox"
#define SWITCH "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
#define BULK   MIB(8)

struct fixture {
    char dir[64];
    char front_path[96];
    struct peer runner;
    struct loop *loop;
    struct httpc *http;
    struct http_server *server;
    struct relay *relay;
    struct sandbox sandbox;
    struct loop_timer *deadline, *later;
    struct httpc_tunnel *client;
    struct buf data, body;
    size_t want;
    unsigned n_open, n_refused, n_end;
    int status;
    bool upgrades;
};

static atomic_size_t said; /* by a runner that says much */

static void on_deadline(void *ctx)
{
    fail_msg("the test did not end in 20 s");
}

static void on_channels(void *ctx, struct http_request *req)
{
    struct fixture *f = ctx;
    relay_tunnel(f->relay, req, &f->sandbox);
}

static const struct http_route routes[] = {
    {"GET", "/api/sandboxes/{id}/jupyter/api/kernels/{kid}/channels", HTTP_BODY_NONE, 0,
     on_channels},
    {"GET", ALL, HTTP_BODY_NONE, 0, on_channels},
};

static int setup(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    assert_int_equal(crypto_init(NULL), 0);
    snprintf(f->dir, sizeof(f->dir), "/tmp/tunnel-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->front_path, sizeof(f->front_path), "%s/front", f->dir);
    snprintf(f->runner.path, sizeof(f->runner.path), "%s/runner", f->dir);
    assert_int_equal(loop_new(&f->loop, NULL), 0);
    assert_int_equal(httpc_new(&f->http, f->loop, 64, NULL), 0);
    const struct relay_cfg cfg = {.loop = f->loop, .http = f->http};
    assert_int_equal(relay_new(&f->relay, &cfg, NULL), 0);
    const struct http_server_cfg server = {
        .routes = routes, .n_routes = ARRAY_LEN(routes), .ctx = f};
    assert_int_equal(
        http_server_new(&f->server, f->loop, peer_listen(f->front_path), &server, NULL), 0);
    sandbox_stub(&f->sandbox, ID, TOKEN, f->runner.path);
    f->deadline = loop_timer_new(f->loop, on_deadline, f);
    loop_timer_start(f->deadline, 20000, 0);
    buf_init(&f->data, MIB(64));
    buf_init(&f->body, MIB(1));
    f->upgrades = true;
    said = 0;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    struct relay_stats stats;
    httpc_tunnel_free(f->client);
    http_server_free(f->server);
    relay_stats(f->relay, &stats);
    assert_int_equal(stats.open, 0);
    assert_int_equal(stats.tunnels, 0);
    assert_null(f->sandbox.watches);
    relay_free(f->relay);
    peer_join(&f->runner);
    httpc_free(f->http);
    loop_timer_free(f->deadline);
    loop_timer_free(f->later);
    loop_free(f->loop);
    buf_done(&f->data);
    buf_done(&f->body);
    unlink(f->front_path);
    rmdir(f->dir);
    free(f);
    return 0;
}

/* ---- the client ---- */

static void on_open(void *ctx)
{
    struct fixture *f = ctx;
    f->n_open++;
    loop_stop(f->loop);
}

static void on_refused(void *ctx, int status, struct slice body, const struct err *err)
{
    struct fixture *f = ctx;
    f->n_refused++;
    f->status = status;
    buf_append_slice(&f->body, body);
    buf_append_char(&f->body, '\0');
    loop_stop(f->loop);
}

static void on_ready(void *ctx, int events)
{
    struct fixture *f = ctx;
    static char block[65536];
    ssize_t n = httpc_tunnel_recv(f->client, block, sizeof(block));
    if (n > 0)
        buf_append(&f->data, block, (size_t)n);
    if (n == 0 || (n < 0 && errno != EAGAIN)) {
        f->n_end++;
        httpc_tunnel_want(f->client, 0);
        loop_stop(f->loop);
    }
    if (f->want && f->data.len >= f->want)
        loop_stop(f->loop);
}

static void ask(struct fixture *f, const char *path)
{
    static const char *const plain[] = {"X-A: b", NULL};
    static const char *const headers[] = {"Upgrade: WebSocket",
                                          "Connection: keep-alive, Upgrade",
                                          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
                                          "Sec-WebSocket-Version: 13",
                                          "Sec-WebSocket-Protocol: v1.kernel.websocket.jupyter.org",
                                          "Sec-WebSocket-Extensions: permessage-deflate",
                                          "User-Agent: test",
                                          "Cookie: secret=1",
                                          "Authorization: token of-the-caller",
                                          NULL};
    _cleanup_(freep) char *url = mem_printf("http://front%s", path);
    const struct httpc_tunnel_cfg cfg = {.url = url,
                                         .unix_path = f->front_path,
                                         .headers = f->upgrades ? headers : plain,
                                         .on_open = on_open,
                                         .on_refused = on_refused,
                                         .on_ready = on_ready,
                                         .ctx = f};
    assert_int_equal(httpc_tunnel_open(&f->client, f->http, &cfg, NULL), 0);
    loop_run(f->loop);
}

static void ask_open(struct fixture *f)
{
    ask(f, BOX);
    assert_int_equal(f->n_open, 1);
}

static void read_until(struct fixture *f, size_t want)
{
    f->want = want;
    httpc_tunnel_want(f->client, LOOP_READ);
    loop_run(f->loop);
}

static void assert_data(struct fixture *f, const char *want)
{
    buf_append_char(&f->data, '\0');
    assert_string_equal(f->data.ptr, want);
}

static void assert_refused(struct fixture *f, int status, const char *part)
{
    assert_int_equal(f->n_open, 0);
    assert_int_equal(f->n_refused, 1);
    assert_int_equal(f->status, status);
    if (!strstr(f->body.ptr, part))
        fail_msg("\"%s\" is not in: %s", part, f->body.ptr);
}

static void stop_loop(void *ctx)
{
    loop_stop(((struct fixture *)ctx)->loop);
}

/* Runs the loop until the runner's thread has got that far. */
static bool stop_at(struct fixture *f, bool (*ok)(struct fixture *f))
{
    for (int i = 0; i < 2000 && !ok(f); i++) {
        f->later = f->later ? f->later : loop_timer_new(f->loop, stop_loop, f);
        loop_timer_start(f->later, 5, 0);
        loop_run(f->loop);
    }
    return ok(f);
}

/* ---- opening ---- */

static void echo_scenario(struct peer *p)
{
    char block[256];
    ssize_t n;
    int fd = peer_accept(p);
    hear(p, fd);
    says(fd, SWITCH "Sec-WebSocket-Accept: abc=\r\n"
                    "Sec-WebSocket-Protocol: v1.kernel.websocket.jupyter.org\r\n"
                    "Set-Cookie: a=b\r\nX-Request-Id: other\r\n\r\nhello ");
    while ((n = recv(fd, block, sizeof(block), 0)) > 0)
        say(fd, block, (size_t)n);
    close(fd);
}

static void what_crosses(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->runner, echo_scenario);
    ask(f, BOX "?session_id=s&token=t");
    assert_int_equal(f->n_open, 1);
    const char *head = f->runner.request[0];
    static const char *const has[] = {
        "GET /jupyter/api/kernels/k/channels?session_id=s HTTP/1.1\r\n",
        "Authorization: Bearer " TOKEN "\r\n",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        "Sec-WebSocket-Version: 13\r\n",
        "Sec-WebSocket-Protocol: v1.kernel.websocket.jupyter.org\r\n",
        "User-Agent: test\r\n",
        "Upgrade: websocket\r\n",
        "X-Request-Id: "};
    for (size_t i = 0; i < ARRAY_LEN(has); i++)
        if (!strstr(head, has[i]))
            fail_msg("%s is not in %s", has[i], head);
    static const char *const hasnt[] = {"Cookie", "of-the-caller", "token=t", "Extensions",
                                        "Scope"};
    for (size_t i = 0; i < ARRAY_LEN(hasnt); i++)
        if (strstr(head, hasnt[i]))
            fail_msg("%s is in %s", hasnt[i], head);
    assert_string_equal(httpc_tunnel_header(f->client, "Sec-WebSocket-Accept"), "abc=");
    assert_string_equal(httpc_tunnel_header(f->client, "Sec-WebSocket-Protocol"),
                        "v1.kernel.websocket.jupyter.org");
    assert_null(httpc_tunnel_header(f->client, "Set-Cookie"));
    assert_string_not_equal(httpc_tunnel_header(f->client, "X-Request-Id"), "other");
    assert_int_equal(httpc_tunnel_send(f->client, "there", 5), 5);
    read_until(f, 11);
    assert_data(f, "hello there");
    struct relay_stats stats;
    relay_stats(f->relay, &stats);
    assert_int_equal(stats.tunnels, 1);
    assert_int_equal(stats.bytes_up, 5);
    assert_int_equal(stats.bytes_down, 11);
}

static void below_jupyter_the_runner_is_told(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->runner, echo_scenario);
    ask(f, ALL);
    assert_int_equal(f->n_open, 1);
    assert_non_null(strstr(f->runner.request[0], "GET " ALL " HTTP/1.1\r\n"));
    assert_non_null(strstr(f->runner.request[0], "X-Caesarion-Scope: all\r\n"));
}

static void without_upgrade(void **state)
{
    struct fixture *f = *state;
    f->upgrades = false;
    ask(f, BOX);
    assert_refused(f, 400, "Upgrade: websocket");
}

static void refuse_scenario(struct peer *p)
{
    int fd = peer_accept(p);
    hear(p, fd);
    says(fd, "HTTP/1.1 404 Not Found\r\nContent-Type: application/problem+json\r\n"
             "Content-Length: 9\r\n\r\n{\"a\":\"b\"}");
    wait_closed(fd);
    close(fd);
}

static void another_answer_is_given_back(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->runner, refuse_scenario);
    ask(f, BOX);
    assert_refused(f, 404, "{\"a\":\"b\"}");
    assert_string_equal(httpc_tunnel_header(f->client, "Content-Type"), "application/problem+json");
}

static void unauthorized_scenario(struct peer *p)
{
    int fd = peer_accept(p);
    hear(p, fd);
    says(fd, "HTTP/1.1 401 x\r\nContent-Length: 0\r\n\r\n");
    wait_closed(fd);
    close(fd);
}

static void the_runners_401_is_not_the_callers(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->runner, unauthorized_scenario);
    ask(f, BOX);
    assert_refused(f, 500, "key");
}

static void nobody_there(void **state)
{
    struct fixture *f = *state;
    ask(f, BOX);
    assert_refused(f, 503, "try again");
}

static void not_ready(void **state)
{
    struct fixture *f = *state;
    f->sandbox.state = SANDBOX_CREATING;
    ask(f, BOX);
    assert_refused(f, 503, "started");
}

static void silent_scenario(struct peer *p)
{
    int fd = peer_accept(p);
    hear(p, fd);
    peer_wait(p);
    close(fd);
}

static bool is_asked(struct fixture *f)
{
    return f->runner.n_requests > 0;
}

static void on_later_gone(void *ctx)
{
    struct fixture *f = ctx;
    if (f->runner.n_requests > 0)
        sandbox_stub_end(&f->sandbox, ERR_SANDBOX_LOST, "it ended");
    else
        loop_timer_start(f->later, 5, 0);
}

static void the_sandbox_ends_before_the_answer(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->runner, silent_scenario);
    f->later = loop_timer_new(f->loop, on_later_gone, f);
    loop_timer_start(f->later, 5, 0);
    ask(f, BOX);
    assert_refused(f, 502, "it ended");
}

/* ---- bytes ---- */

static void flood_scenario(struct peer *p)
{
    static char block[65536];
    int fd = peer_accept(p);
    hear(p, fd);
    says(fd, SWITCH "\r\n");
    while (said < BULK) {
        say(fd, block, sizeof(block));
        said += sizeof(block);
    }
    close(fd);
}

static bool has_stalled(struct fixture *f)
{
    static size_t before;
    static int same;
    same = said == before ? same + 1 : 0;
    before = said;
    return same > 20;
}

static void a_client_that_does_not_read_stops_the_runner(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->runner, flood_scenario);
    ask_open(f);
    assert_true(stop_at(f, has_stalled));
    assert_true(said < MIB(2)); /* sockets' buffers, and 64 KiB here */
    read_until(f, 0);
    assert_int_equal(f->n_end, 1);
    assert_true(f->data.len >= BULK); /* and a close frame */
}

static void deaf_scenario(struct peer *p)
{
    static char block[65536];
    size_t got = 0;
    ssize_t n = 1;
    int fd = peer_accept(p);
    hear(p, fd);
    says(fd, SWITCH "\r\n");
    peer_wait(p);
    while (got < BULK && (n = recv(fd, block, sizeof(block), 0)) > 0)
        got += (size_t)n;
    said = got;
    close(fd);
}

static void a_runner_that_does_not_read_stops_the_client(void **state)
{
    static char block[65536];
    struct fixture *f = *state;
    size_t sent = 0;
    peer_start(&f->runner, deaf_scenario);
    ask_open(f);
    bool freed = false;
    for (int idle = 0; sent < BULK;) {
        ssize_t n = httpc_tunnel_send(f->client, block, MIN(sizeof(block), BULK - sent));
        sent += n > 0 ? (size_t)n : 0;
        idle = n > 0 ? 0 : idle + 1;
        f->later = f->later ? f->later : loop_timer_new(f->loop, stop_loop, f);
        loop_timer_start(f->later, 1, 0);
        loop_run(f->loop);
        if (idle == 30 && !freed) {
            assert_true(sent < MIB(2));
            freed = true;
            peer_go(&f->runner);
        }
    }
    assert_true(freed);
    read_until(f, 0);
    assert_int_equal(said, BULK);
}

/* ---- ends ---- */

static void last_words_scenario(struct peer *p)
{
    int fd = peer_accept(p);
    hear(p, fd);
    says(fd, SWITCH "\r\nlast words");
    close(fd);
}

#define HELLO   "\x81\x05hello"
#define AGAIN   "\x88\x34\x03\xf4the connection to the sandbox broke: connect again"
#define STOPS   "\x88\x25\x03\xf4the controller stops: connect again"
#define IS_GONE "\x88\x15\x03\xe9the sandbox is gone"
#define BYE     "\x88\x02\x03\xe8"

static const char *words; /* of the runner before it breaks */

static void breaks_scenario(struct peer *p)
{
    int fd = peer_accept(p);
    hear(p, fd);
    says(fd, SWITCH "\r\n");
    says(fd, words);
    peer_wait(p);
    close(fd);
}

static void a_connection_that_breaks_says_connect_again(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *words, *want;
    } cases[] = {
        {HELLO, HELLO AGAIN},
        {HELLO "\x81\x05hell", HELLO "\x81\x05hell"}, /* no place for it */
        {HELLO BYE, HELLO BYE},                       /* the runner's own */
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        words = cases[i].words;
        f->runner.n_requests = 0;
        peer_start(&f->runner, breaks_scenario);
        f->n_open = f->n_end = 0;
        ask_open(f);
        read_until(f, strlen(words));
        peer_go(&f->runner);
        read_until(f, 0);
        assert_int_equal(f->n_end, 1);
        assert_data(f, cases[i].want);
        f->client = httpc_tunnel_free(f->client);
        buf_clear(&f->data);
        peer_join(&f->runner);
    }
}

static void a_sandbox_that_ends_says_it_is_gone(void **state)
{
    struct fixture *f = *state;
    words = HELLO;
    peer_start(&f->runner, breaks_scenario);
    ask_open(f);
    read_until(f, strlen(HELLO));
    sandbox_stub_end(&f->sandbox, ERR_SANDBOX_LOST, "it ended");
    peer_go(&f->runner);
    read_until(f, 0);
    assert_int_equal(f->n_end, 1);
    assert_data(f, HELLO IS_GONE);
}

static void end_it(void *ctx)
{
    struct fixture *f = ctx;
    sandbox_stub_end(&f->sandbox, ERR_SANDBOX_LOST, "it ended");
}

static void its_end_may_be_told_after_its_connection_broke(void **state)
{
    struct fixture *f = *state;
    words = HELLO;
    peer_start(&f->runner, breaks_scenario);
    ask_open(f);
    read_until(f, strlen(HELLO));
    peer_go(&f->runner);
    peer_join(&f->runner);
    f->later = loop_timer_new(f->loop, end_it, f);
    loop_timer_start(f->later, 20, 0);
    read_until(f, 0);
    assert_int_equal(f->n_end, 1);
    assert_data(f, HELLO IS_GONE);
}

static void the_runner_closes(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->runner, last_words_scenario);
    ask_open(f);
    read_until(f, 0);
    assert_int_equal(f->n_end, 1);
    assert_data(f, "last words");
}

static void until_closed_scenario(struct peer *p)
{
    char c;
    int fd = peer_accept(p);
    hear(p, fd);
    says(fd, SWITCH "\r\n");
    said = recv(fd, &c, 1, 0) == 0 ? 1 : 2;
    close(fd);
}

static bool has_said(struct fixture *f)
{
    return said != 0;
}

static void the_client_closes(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->runner, until_closed_scenario);
    ask_open(f);
    f->client = httpc_tunnel_free(f->client);
    assert_true(stop_at(f, has_said));
    assert_int_equal(said, 1);
}

static void silent_end_scenario(struct peer *p)
{
    int fd = peer_accept(p);
    hear(p, fd);
    says(fd, SWITCH "\r\nsomething");
    peer_wait(p);
    close(fd);
}

static void the_sandbox_ends(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->runner, silent_end_scenario);
    ask_open(f);
    read_until(f, 9);
    sandbox_stub_end(&f->sandbox, ERR_SANDBOX_LOST, "it ended");
    read_until(f, 0); /* its connection stays open: bounded */
    assert_int_equal(f->n_end, 1);
    assert_data(f, "something");
}

static void stopping_closes_all(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->runner, until_closed_scenario);
    ask_open(f);
    relay_drain_tunnels(f->relay);
    read_until(f, 0);
    assert_int_equal(f->n_end, 1);
    assert_data(f, STOPS);
    assert_true(stop_at(f, has_said));
    f->client = httpc_tunnel_free(f->client);
    f->n_open = 0;
    ask(f, BOX);
    assert_refused(f, 503, "stopping");
}

static void stopping_refuses_what_opens(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->runner, silent_scenario);
    static const char *const headers[] = {"Upgrade: websocket", "Connection: Upgrade", NULL};
    const struct httpc_tunnel_cfg cfg = {.url = "http://front" BOX,
                                         .unix_path = f->front_path,
                                         .headers = headers,
                                         .on_open = on_open,
                                         .on_refused = on_refused,
                                         .on_ready = on_ready,
                                         .ctx = f};
    assert_int_equal(httpc_tunnel_open(&f->client, f->http, &cfg, NULL), 0);
    assert_true(stop_at(f, is_asked));
    relay_drain_tunnels(f->relay);
    loop_run(f->loop);
    assert_refused(f, 503, "stopping");
}

static void the_server_is_freed(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->runner, until_closed_scenario);
    ask_open(f);
    /* teardown() frees the server with the tunnel open. */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(what_crosses),
        TEST(below_jupyter_the_runner_is_told),
        TEST(without_upgrade),
        TEST(another_answer_is_given_back),
        TEST(the_runners_401_is_not_the_callers),
        TEST(nobody_there),
        TEST(not_ready),
        TEST(the_sandbox_ends_before_the_answer),
        TEST(a_client_that_does_not_read_stops_the_runner),
        TEST(a_runner_that_does_not_read_stops_the_client),
        TEST(a_connection_that_breaks_says_connect_again),
        TEST(a_sandbox_that_ends_says_it_is_gone),
        TEST(its_end_may_be_told_after_its_connection_broke),
        TEST(the_runner_closes),
        TEST(the_client_closes),
        TEST(the_sandbox_ends),
        TEST(stopping_closes_all),
        TEST(stopping_refuses_what_opens),
        TEST(the_server_is_freed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
