/* Connections given away after a 101: what the owner gets, and every way they end. */
#include "tests/unit/lib/http/fixture.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/resource.h>

#define ASK "GET /up HTTP/1.1\r\n" HOST "Connection: keep-alive, Upgrade\r\nUpgrade: thing\r\n\r\n"

/* An owner that echoes what comes, and gives up when the client leaves. */
struct owner {
    struct http_request *req;
    struct http_upgrade *u;
    struct loop_poll *poll;
    int fd;
    bool keep;    /* ignores that the client left */
    bool at_once; /* closes inside on_open */
    unsigned opened, closed, gone;
    bool fd_was_open; /* in on_close */
    struct buf early;
};

static struct fixture fx;
static struct client *cl;
static struct owner own[512];
static unsigned n_own;
static int after_status;
static int64_t after_us;
static unsigned afters;
static bool later; /* the handler does not answer */

static void on_io(void *ctx, int events)
{
    struct owner *o = ctx;
    char block[256];
    ssize_t n = recv(o->fd, block, sizeof(block), 0);
    if (n > 0)
        assert_int_equal(send(o->fd, block, (size_t)n, MSG_NOSIGNAL), n);
    if (n != 0)
        return;
    o->poll = loop_poll_free(o->poll);
    if (!o->keep)
        http_upgrade_close(o->u);
}

static void on_open(void *ctx, struct http_upgrade *u, int fd, struct slice early)
{
    struct owner *o = ctx;
    struct err err;
    o->u = u;
    o->fd = fd;
    o->opened++;
    buf_init(&o->early, KIB(64));
    assert_int_equal(buf_append_slice(&o->early, early), 0);
    if (o->at_once) {
        http_upgrade_close(u);
        http_upgrade_close(u);
        return;
    }
    fx_must(loop_poll_new(&o->poll, fx.loop, fd, on_io, o, &err), &err);
    loop_poll_set(o->poll, LOOP_READ);
}

static void on_gone(void *ctx)
{
    ((struct owner *)ctx)->gone++;
}

static void on_close(void *ctx)
{
    struct owner *o = ctx;
    o->closed++;
    o->fd_was_open = o->opened && fcntl(o->fd, F_GETFD) >= 0;
    o->poll = loop_poll_free(o->poll);
    buf_done(&o->early);
}

static void answer(struct owner *o)
{
    http_set_header(o->req, "Upgrade", "thing");
    http_set_header(o->req, "X-Mine", "1");
    http_answer_upgrade(o->req, on_open, o);
}

static void up(void *ctx, struct http_request *req)
{
    struct owner *o = &own[n_own++];
    o->req = req;
    http_on_gone(req, on_gone, o);
    http_on_close(req, on_close, o);
    if (!later)
        answer(o);
}

static void hello(void *ctx, struct http_request *req)
{
    http_answer_bytes(req, 200, "text/plain", "hello", 5);
}

static void after(void *ctx, struct http_request *req, int status, int64_t duration_us)
{
    after_status = status;
    after_us = duration_us;
    afters++;
}

static const struct http_route routes[] = {
    {.method = "GET", .path = "/up", .handler = up},
    {.method = "GET", .path = "/hello", .handler = hello},
};

static int start(unsigned max_connections)
{
    const struct http_server_cfg cfg = {.routes = routes,
                                        .n_routes = ARRAY_LEN(routes),
                                        .after = after,
                                        .header_deadline_ms = 300,
                                        .body_deadline_ms = 300,
                                        .keepalive_ms = 300,
                                        .max_connections = max_connections};
    memset(own, 0, sizeof(own));
    n_own = afters = 0;
    later = false;
    fx_start(&fx, &cfg);
    cl = cl_open(&fx);
    return 0;
}

static int setup(void **state)
{
    return start(0);
}

static int setup_small(void **state)
{
    return start(3);
}

static int teardown(void **state)
{
    cl_close(cl);
    fx_stop(&fx);
    return 0;
}

static bool is_open(void *ctx)
{
    return ((struct owner *)ctx)->opened > 0;
}

static bool is_closed(void *ctx)
{
    return ((struct owner *)ctx)->closed > 0;
}

static bool is_asked(void *ctx)
{
    return n_own > 0;
}

static bool are_two_asked(void *ctx)
{
    return n_own > 1;
}

static bool is_empty(void *ctx)
{
    return http_server_active(fx.server) == 0;
}

static bool got(void *ctx)
{
    const char *want = ctx;
    return cl->in.len >= strlen(want);
}

static void open_upgrade(void)
{
    struct answer a = {0};
    cl_send(cl, ASK);
    assert_int_equal(cl_answer(cl, &a), 101);
    assert_true(run_until(&fx, 1000, is_open, &own[0]));
    an_done(&a);
}

static void echo(const char *text)
{
    cl_send(cl, text);
    assert_true(run_until(&fx, 1000, got, (void *)(uintptr_t)text));
    assert_memory_equal(cl->in.ptr, text, strlen(text));
    buf_consume(&cl->in, strlen(text));
}

static void headers_and_bytes_both_ways(void **state)
{
    struct answer a = {0};
    cl_send(cl, ASK);
    assert_int_equal(cl_answer(cl, &a), 101);
    assert_string_equal(an_header(&a, "Connection"), "Upgrade");
    assert_string_equal(an_header(&a, "Upgrade"), "thing");
    assert_string_equal(an_header(&a, "X-Mine"), "1");
    assert_non_null(an_header(&a, "X-Request-Id"));
    assert_null(an_header(&a, "Content-Length"));
    assert_null(an_header(&a, "Transfer-Encoding"));
    assert_true(run_until(&fx, 1000, is_open, &own[0]));
    echo("ping");
    echo("GET / HTTP/1.1\r\n\r\n");
    assert_int_equal(http_server_active(fx.server), 1);
    assert_int_equal(own[0].closed, 0);
    an_done(&a);
}

static void socket_is_ready_for_use(void **state)
{
    int on = 0;
    socklen_t len = sizeof(on);
    open_upgrade();
    assert_true(fcntl(own[0].fd, F_GETFL) & O_NONBLOCK);
    assert_int_equal(getsockopt(own[0].fd, IPPROTO_TCP, TCP_NODELAY, &on, &len), 0);
    assert_true(on);
}

static void bytes_behind_the_request(void **state)
{
    cl_send(cl, ASK "early bytes");
    assert_true(run_until(&fx, 1000, is_open, &own[0]));
    assert_int_equal(own[0].early.len, 11);
    assert_memory_equal(own[0].early.ptr, "early bytes", 11);
}

static void owner_closes(void **state)
{
    open_upgrade();
    own[0].poll = loop_poll_free(own[0].poll);
    http_upgrade_close(own[0].u);
    http_upgrade_close(own[0].u);
    assert_int_equal(own[0].closed, 0);
    assert_true(run_until(&fx, 1000, cl_ended, cl));
    assert_int_equal(own[0].closed, 1);
    assert_true(own[0].fd_was_open);
    assert_int_equal(own[0].gone, 0);
    assert_int_equal(afters, 1);
    assert_int_equal(after_status, 101);
    assert_int_equal(http_server_active(fx.server), 0);
}

static void owner_closes_inside_on_open(void **state)
{
    own[0].at_once = true;
    cl_send(cl, ASK);
    assert_true(run_until(&fx, 1000, cl_ended, cl));
    assert_int_equal(own[0].opened, 1);
    assert_int_equal(own[0].closed, 1);
}

static void client_leaves(void **state)
{
    open_upgrade();
    cl_close(cl);
    cl = NULL;
    assert_true(run_until(&fx, 1000, is_closed, &own[0]));
    assert_int_equal(own[0].closed, 1);
    assert_int_equal(own[0].gone, 0);
}

/* Neither the scan for departed clients nor a deadline looks at it. */
static bool is_late(void *ctx)
{
    return false;
}

static void server_leaves_it_alone(void **state)
{
    open_upgrade();
    own[0].keep = true;
    struct client *other = cl_open(&fx);
    struct answer a = {0};
    cl_send(other, ASK);
    assert_int_equal(cl_answer(other, &a), 101);
    cl_close(cl);
    cl = other;
    assert_false(run_until(&fx, 1500, is_late, NULL));
    assert_int_equal(own[0].closed, 0);
    echo("still there");
    an_done(&a);
}

static void after_tells_the_whole_time(void **state)
{
    open_upgrade();
    int64_t start = clk_mono_us();
    echo("x");
    int64_t us = clk_mono_us() - start;
    assert_int_equal(afters, 0);
    cl_close(cl);
    cl = NULL;
    assert_true(run_until(&fx, 1000, is_closed, &own[0]));
    assert_int_equal(afters, 1);
    assert_true(after_us >= us);
}

static void request_outlives_its_headers(void **state)
{
    cl_send(cl, "GET /up?a=b%20c HTTP/1.1\r\n" HOST "X-Request-Id: mine\r\nX-Thing: 1\r\n"
                "Connection: Upgrade\r\nUpgrade: thing\r\n\r\n");
    assert_true(run_until(&fx, 1000, is_open, &own[0]));
    struct answer a = {0};
    assert_int_equal(cl_answer(cl, &a), 101);
    echo("x");
    struct http_request *req = own[0].req;
    assert_string_equal(http_path(req), "/up");
    assert_string_equal(http_query(req, "a"), "b c");
    assert_string_equal(http_request_id(req), "mine");
    assert_string_equal(http_method(req), "GET");
    assert_null(http_header(req, "X-Thing"));
    an_done(&a);
}

static struct client *upgraded(size_t n)
{
    struct answer a = {0};
    struct client *c = cl_open(&fx);
    cl_send(c, ASK);
    assert_int_equal(cl_answer(c, &a), 101);
    assert_true(run_until(&fx, 1000, is_open, &own[n]));
    an_done(&a);
    return c;
}

static void upgraded_connections_count(void **state)
{
    struct answer a = {0};
    struct client *first = upgraded(0), *second = upgraded(1);
    /* cl is the third, and silent: it gives way; they do not. */
    assert_int_equal(ask(&fx, &a, "GET /hello HTTP/1.1\r\n" HOST "\r\n"), 200);
    assert_true(run_until(&fx, 1000, cl_ended, cl));
    struct client *third = upgraded(2);
    assert_int_equal(ask(&fx, &a, "GET /hello HTTP/1.1\r\n" HOST "\r\n"), 0);
    assert_false(cl_ended(first) || cl_ended(second) || cl_ended(third));
    cl_close(first);
    assert_true(run_until(&fx, 1000, is_closed, &own[0]));
    assert_int_equal(ask(&fx, &a, "GET /hello HTTP/1.1\r\n" HOST "\r\n"), 200);
    cl_close(second);
    cl_close(third);
    an_done(&a);
}

/* Without a descriptor for it, the connection ends; the owner is told so. */
static void no_descriptor_is_left(void **state)
{
    struct rlimit old, low;
    later = true;
    cl_send(cl, ASK);
    assert_true(run_until(&fx, 1000, is_asked, NULL));
    int next = fcntl(0, F_DUPFD_CLOEXEC, 3);
    close(next);
    getrlimit(RLIMIT_NOFILE, &old);
    low = (struct rlimit){(rlim_t)next, old.rlim_max};
    setrlimit(RLIMIT_NOFILE, &low);
    answer(&own[0]);
    bool ended = run_until(&fx, 1000, cl_ended, cl);
    setrlimit(RLIMIT_NOFILE, &old);
    assert_true(ended);
    assert_int_equal(own[0].opened, 0);
    assert_int_equal(own[0].closed, 1);
    assert_int_equal(http_server_active(fx.server), 0);
}

static void answered_later(void **state)
{
    later = true;
    cl_send(cl, ASK);
    assert_true(run_until(&fx, 1000, is_asked, NULL));
    answer(&own[0]);
    assert_int_equal(own[0].opened, 0);
    assert_true(run_until(&fx, 1000, is_open, &own[0]));
    struct answer a = {0};
    assert_int_equal(cl_answer(cl, &a), 101);
    echo("late");
    an_done(&a);
}

static void client_leaves_before_the_answer(void **state)
{
    later = true;
    cl_send(cl, ASK);
    assert_true(run_until(&fx, 1000, is_asked, NULL));
    cl_reset(cl);
    cl = NULL;
    assert_true(run_until(&fx, CAESARION_SANITIZED ? 2500 : 1500, is_closed, &own[0]));
    assert_int_equal(own[0].opened, 0);
    assert_int_equal(own[0].gone, 1);
    assert_int_equal(own[0].closed, 1);
}

static void client_leaves_while_it_is_answered(void **state)
{
    later = true;
    cl_send(cl, ASK);
    assert_true(run_until(&fx, 1000, is_asked, NULL));
    cl_reset(cl);
    cl = NULL;
    answer(&own[0]);
    assert_true(run_until(&fx, 1000, is_closed, &own[0]));
    assert_int_equal(own[0].opened, 0);
    assert_int_equal(own[0].closed, 1);
}

static void answer_for_a_client_that_left(void **state)
{
    later = true;
    cl_send(cl, ASK);
    assert_true(run_until(&fx, 1000, is_asked, NULL));
    http_on_gone(own[0].req, (void (*)(void *))answer, &own[0]);
    cl_reset(cl);
    cl = NULL;
    assert_true(run_until(&fx, CAESARION_SANITIZED ? 2500 : 1500, is_closed, &own[0]));
    assert_int_equal(own[0].opened, 0);
}

static void quiesced_server_upgrades_and_keeps(void **state)
{
    struct answer a = {0};
    later = true;
    cl_send(cl, ASK);
    assert_true(run_until(&fx, 1000, is_asked, NULL));
    http_server_quiesce(fx.server);
    answer(&own[0]);
    assert_int_equal(cl_answer(cl, &a), 101);
    assert_string_equal(an_header(&a, "Connection"), "Upgrade");
    assert_true(run_until(&fx, 1000, is_open, &own[0]));
    echo("on");
    http_server_quiesce(fx.server);
    echo("and on");
    assert_int_equal(http_server_active(fx.server), 1);
    an_done(&a);
}

static void upgrade_on_a_kept_connection(void **state)
{
    struct answer a = {0};
    cl_send(cl, "GET /hello HTTP/1.1\r\n" HOST "\r\n" ASK "abc");
    assert_int_equal(cl_answer(cl, &a), 200);
    assert_int_equal(cl_answer(cl, &a), 101);
    assert_true(run_until(&fx, 1000, is_open, &own[0]));
    assert_int_equal(own[0].early.len, 3);
    echo("xyz");
    an_done(&a);
}

static void http_1_0_is_refused(void **state)
{
    struct answer a = {0};
    assert_int_equal(ask(&fx, &a, "GET /up HTTP/1.0\r\n" HOST "Upgrade: thing\r\n\r\n"), 400);
    assert_int_equal(own[0].opened, 0);
    an_done(&a);
}

static void free_with_open_upgrades(void **state)
{
    struct client *others[8];
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        others[i] = cl_open(&fx);
        cl_send(others[i], ASK);
        assert_true(run_until(&fx, 1000, is_open, &own[i]));
    }
    later = true;
    cl_send(cl, ASK);
    fx.server = http_server_free(fx.server);
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        assert_int_equal(own[i].closed, 1);
        assert_true(own[i].fd_was_open);
        cl_close(others[i]);
    }
}

static void free_before_the_answer_was_sent(void **state)
{
    later = true;
    cl_send(cl, ASK);
    assert_true(run_until(&fx, 1000, is_asked, NULL));
    answer(&own[0]);
    fx.server = http_server_free(fx.server);
    assert_int_equal(own[0].opened, 0);
    assert_int_equal(own[0].closed, 1);
}

/* on_close of one wakes another request: libmicrohttpd's lock must not be held meanwhile. */
static void wake_another(void *ctx)
{
    on_close(&own[0]);
    answer(&own[1]);
}

static void end_of_one_answers_another(void **state)
{
    open_upgrade();
    later = true;
    struct client *other = cl_open(&fx);
    struct answer a = {0};
    cl_send(other, ASK);
    assert_true(run_until(&fx, 1000, are_two_asked, NULL));
    http_on_close(own[0].req, wake_another, NULL);
    http_upgrade_close(own[0].u);
    assert_int_equal(cl_answer(other, &a), 101);
    assert_true(run_until(&fx, 1000, is_open, &own[1]));
    cl_close(other);
    assert_true(run_until(&fx, 1000, is_empty, NULL));
    an_done(&a);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(headers_and_bytes_both_ways),
        T(socket_is_ready_for_use),
        T(bytes_behind_the_request),
        T(owner_closes),
        T(owner_closes_inside_on_open),
        T(client_leaves),
        T(server_leaves_it_alone),
        T(after_tells_the_whole_time),
        T(request_outlives_its_headers),
        T(no_descriptor_is_left),
        cmocka_unit_test_setup_teardown(upgraded_connections_count, setup_small, teardown),
        T(answered_later),
        T(client_leaves_before_the_answer),
        T(client_leaves_while_it_is_answered),
        T(answer_for_a_client_that_left),
        T(quiesced_server_upgrades_and_keeps),
        T(upgrade_on_a_kept_connection),
        T(http_1_0_is_refused),
        T(free_with_open_upgrades),
        T(free_before_the_answer_was_sent),
        T(end_of_one_answers_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
