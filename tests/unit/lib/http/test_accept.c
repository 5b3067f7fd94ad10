/* Who gives way to whom when all connections, or all descriptors, are taken. */
#include "tests/unit/lib/http/fixture.h"

#include <sys/resource.h>

#define LIMIT 8

static struct http_request *pending[2 * LIMIT];
static size_t n_pending;
static unsigned reports;
static struct http_shortage reported;

static void hello(void *ctx, struct http_request *req)
{
    http_answer_bytes(req, 200, "text/plain", "hello", 5);
}

static void later(void *ctx, struct http_request *req)
{
    pending[n_pending++] = req;
}

static const struct http_route routes[] = {
    {"GET", "/hello", HTTP_BODY_NONE, 0, hello, 0},
    {"GET", "/later", HTTP_BODY_NONE, 0, later, 0},
    {"POST", "/body", HTTP_BODY_BUFFER, 1000, hello, 0},
};

static int before(void *ctx, struct http_request *req, const struct http_route *route,
                  struct err *err)
{
    if (http_header(req, "X-Refuse"))
        return err_set(err, ERR_UNAUTHORIZED, "no");
    return 0;
}

static void shortage(void *ctx, const struct http_shortage *since)
{
    reports++;
    reported.gave_way += since->gave_way;
    reported.refused += since->refused;
    reported.no_descriptor += since->no_descriptor;
}

static struct fixture fx;
static struct answer an;
static struct client *cl[2 * LIMIT]; /* closed by teardown, so that a failed test ends */

static int setup(void **state)
{
    const struct http_server_cfg cfg = {.routes = routes,
                                        .n_routes = ARRAY_LEN(routes),
                                        .before = before,
                                        .shortage = shortage,
                                        .shortage_ms = 200,
                                        .max_connections = LIMIT};
    n_pending = reports = 0;
    reported = (struct http_shortage){0};
    fx_start(&fx, &cfg);
    return 0;
}

static int teardown(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(cl); i++) {
        cl_close(cl[i]);
        cl[i] = NULL;
    }
    fx_stop(&fx);
    an_done(&an);
    return 0;
}

static int hello_on(struct client *c)
{
    cl_send(c, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
    return cl_answer(c, &an);
}

static bool never(void *ctx)
{
    return false;
}

/* What is under way has been seen by the server. */
static void settle(void)
{
    run_until(&fx, 50, never, NULL);
}

static bool lives(size_t i)
{
    return !cl_ended(cl[i]);
}

static void open_silent(size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        cl[i] = cl_open(&fx);
        settle(); /* so that it is known which is the oldest */
    }
}

static bool all_pending(void *ctx)
{
    return n_pending == *(size_t *)ctx;
}

static void open_pending(size_t from, size_t to)
{
    size_t wanted = n_pending + to - from;
    for (size_t i = from; i < to; i++) {
        cl[i] = cl_open(&fx);
        cl_send(cl[i], "GET /later HTTP/1.1\r\n" HOST "\r\n");
    }
    assert_true(run_until(&fx, 5000, all_pending, &wanted));
}

static void open_idle(size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        cl[i] = cl_open(&fx);
        assert_int_equal(hello_on(cl[i]), 200);
    }
}

static void expect_ended(size_t i)
{
    if (!run_until(&fx, 5000, cl_ended, cl[i]))
        fail_msg("connection %zu still lives", i);
}

static void the_oldest_without_a_whole_head_gives_way(void **state)
{
    open_silent(0, LIMIT);
    cl_send(cl[1], "GET /hello HTTP/1.1\r\nHost");
    assert_int_equal(ask(&fx, &an, "GET /hello HTTP/1.1\r\n" HOST "\r\n"), 200);
    expect_ended(0);
    for (size_t i = 1; i < LIMIT; i++)
        assert_true(lives(i));
    cl[LIMIT] = cl_open(&fx); /* takes the place of the one that asked */
    cl[LIMIT + 1] = cl_open(&fx);
    expect_ended(1); /* half a head is none */
    assert_int_equal(hello_on(cl[2]), 200);
    assert_int_equal(hello_on(cl[LIMIT + 1]), 200);
}

static void a_flood_of_silent_ones_shuts_out_nobody(void **state)
{
    for (size_t i = 0; i < 50 * LIMIT; i++) {
        cl_close(cl[i % (2 * LIMIT)]);
        cl[i % (2 * LIMIT)] = cl_open(&fx);
        if (i % LIMIT == 0)
            assert_int_equal(ask(&fx, &an, "GET /hello HTTP/1.1\r\n" HOST "\r\n"), 200);
    }
}

static void idle_ones_are_next(void **state)
{
    open_idle(0, 2);
    open_pending(2, LIMIT - 1);
    open_silent(LIMIT - 1, LIMIT);
    open_silent(LIMIT, LIMIT + 1);
    expect_ended(LIMIT - 1); /* though the idle ones are older */
    assert_true(lives(0) && lives(1));
    assert_int_equal(hello_on(cl[LIMIT]), 200);
    open_idle(LIMIT + 1, LIMIT + 2);
    expect_ended(0);
    assert_true(lives(1) && lives(LIMIT) && lives(LIMIT + 1));
    assert_int_equal(http_server_active(fx.server), LIMIT - 3);
}

static void those_watched_for_a_slow_request_are_the_older_idle_ones(void **state)
{
    open_idle(0, 1);
    run_until(&fx, 1200, never, NULL);
    open_idle(1, LIMIT);
    open_silent(LIMIT, LIMIT + 1);
    expect_ended(0);
    for (size_t i = 1; i <= LIMIT; i++)
        assert_true(lives(i));
}

static bool all_refused(void *ctx)
{
    return reported.refused == 3 && reported.gave_way == 1;
}

static void a_request_under_way_never_gives_way(void **state)
{
    open_pending(0, LIMIT);
    open_silent(LIMIT, LIMIT + 3);
    for (size_t i = LIMIT; i < LIMIT + 3; i++)
        expect_ended(i);
    for (size_t i = 0; i < LIMIT; i++)
        assert_true(lives(i));
    http_answer_bytes(pending[0], 200, "text/plain", "now", 3);
    assert_int_equal(cl_answer(cl[0], &an), 200);
    open_idle(LIMIT + 3, LIMIT + 4); /* the answered one is idle, so it goes */
    expect_ended(0);
    for (size_t i = 1; i < LIMIT; i++)
        http_answer_bytes(pending[i], 200, "text/plain", "now", 3);
    for (size_t i = 1; i < LIMIT; i++)
        assert_int_equal(cl_answer(cl[i], &an), 200);
    assert_true(run_until(&fx, 5000, all_refused, NULL));
}

static void a_body_that_is_wanted_keeps_its_connection_and_a_refused_one_does_not(void **state)
{
    open_pending(0, LIMIT - 2);
    cl[LIMIT - 2] = cl_open(&fx);
    cl_send(cl[LIMIT - 2], "POST /body HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhe");
    settle();
    cl[LIMIT - 1] = cl_open(&fx);
    cl_send(cl[LIMIT - 1],
            "POST /body HTTP/1.1\r\n" HOST "X-Refuse: 1\r\nContent-Length: 5\r\n\r\nhe");
    settle();
    open_silent(LIMIT, LIMIT + 1);
    expect_ended(LIMIT - 1);
    cl_send(cl[LIMIT - 2], "llo");
    assert_int_equal(cl_answer(cl[LIMIT - 2], &an), 200);
}

static void a_body_that_nobody_takes_keeps_no_connection(void **state)
{
    open_pending(0, LIMIT - 1);
    cl[LIMIT - 1] = cl_open(&fx);
    cl_send(cl[LIMIT - 1], "GET /hello HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhe");
    settle();
    open_silent(LIMIT, LIMIT + 1);
    expect_ended(LIMIT - 1);
    for (size_t i = 0; i < LIMIT - 1; i++)
        assert_true(lives(i));
}

static bool reported_all(void *ctx)
{
    return reported.gave_way == 20;
}

static void it_is_reported_at_once_and_then_once_in_a_while(void **state)
{
    open_silent(0, LIMIT);
    int64_t start = clk_mono_ms();
    for (size_t i = 0; i < 20; i++) {
        size_t at = i % LIMIT;
        cl_close(cl[LIMIT + at]);
        cl[LIMIT + at] = cl_open(&fx);
    }
    assert_true(run_until(&fx, 5000, reported_all, NULL) || reported.gave_way > 0);
    /* At most one a period, of which the machine may make this test take several. */
    assert_in_range(reports, 1, 2 + (clk_mono_ms() - start) / 200);
    assert_int_equal(reported.refused, 0);
    assert_int_equal(reported.no_descriptor, 0);
    char text[200];
    http_shortage_text(&reported, text, sizeof(text));
    assert_non_null(strstr(text, "gave way"));
}

/* ---- no descriptor ---- */

#define FDS 64

static int fillers[FDS];
static size_t n_fillers;
static struct rlimit files;

static int socket_of_client(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    return fd;
}

static void fill(void)
{
    struct rlimit few;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
    few = (struct rlimit){FDS, files.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    int fd;
    while (n_fillers < FDS && (fd = fcntl(0, F_DUPFD_CLOEXEC, 0)) >= 0)
        fillers[n_fillers++] = fd;
    assert_int_equal(errno, EMFILE);
}

static int teardown_filled(void **state)
{
    while (n_fillers > 0)
        close(fillers[--n_fillers]);
    setrlimit(RLIMIT_NOFILE, &files);
    return teardown(state);
}

static void connect_now(size_t i, int fd)
{
    assert_int_equal(connect(fd, (struct sockaddr *)&fx.addr, sizeof(fx.addr)), 0);
    cl[i] = cl_adopt(&fx, fd);
}

static void without_a_descriptor_a_silent_one_gives_way(void **state)
{
    open_silent(0, 2);
    int fd = socket_of_client();
    fill();
    connect_now(2, fd);
    assert_int_equal(hello_on(cl[2]), 200);
    expect_ended(0);
    assert_true(lives(1));
    assert_true(reported.no_descriptor > 0);
}

static unsigned turns;

static void count_turn(void *ctx)
{
    turns++;
}

static void without_a_descriptor_and_nobody_to_give_way_it_waits_without_spinning(void **state)
{
    open_pending(0, 1);
    int fd = socket_of_client();
    fill();
    connect_now(1, fd);
    cl_send(cl[1], "GET /hello HTTP/1.1\r\n" HOST "\r\n");
    turns = 0;
    struct loop_hook *hook = loop_hook_new(fx.loop, count_turn, NULL);
    run_until(&fx, 500, never, NULL);
    loop_hook_free(hook);
    assert_in_range(turns, 1, 40);
    assert_int_equal(cl[1]->received, 0);
    assert_true(lives(1));
    close(fillers[--n_fillers]);
    assert_int_equal(cl_answer(cl[1], &an), 200);
    http_answer_bytes(pending[0], 200, "text/plain", "now", 3);
    assert_int_equal(cl_answer(cl[0], &an), 200);
}

static void with_nobody_connected_it_does_not_spin_either(void **state)
{
    int fd = socket_of_client();
    fill();
    connect_now(0, fd);
    cl_send(cl[0], "GET /hello HTTP/1.1\r\n" HOST "\r\n");
    turns = 0;
    struct loop_hook *hook = loop_hook_new(fx.loop, count_turn, NULL);
    run_until(&fx, 500, never, NULL);
    loop_hook_free(hook);
    assert_in_range(turns, 1, 40);
    close(fillers[--n_fillers]);
    assert_int_equal(cl_answer(cl[0], &an), 200);
    assert_true(reports <= 4 && reported.no_descriptor > 1);
}

static void a_quiesced_server_takes_nobody(void **state)
{
    open_pending(0, 1);
    open_idle(1, 2);
    http_server_quiesce(fx.server);
    expect_ended(1);
    int fd = socket_of_client();
    assert_int_equal(connect(fd, (struct sockaddr *)&fx.addr, sizeof(fx.addr)), -1);
    close(fd);
    http_answer_bytes(pending[0], 200, "text/plain", "now", 3);
    assert_int_equal(cl_answer(cl[0], &an), 200);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
#define F(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown_filled)
    const struct CMUnitTest tests[] = {
        T(the_oldest_without_a_whole_head_gives_way),
        T(a_flood_of_silent_ones_shuts_out_nobody),
        T(idle_ones_are_next),
        T(those_watched_for_a_slow_request_are_the_older_idle_ones),
        T(a_request_under_way_never_gives_way),
        T(a_body_that_is_wanted_keeps_its_connection_and_a_refused_one_does_not),
        T(a_body_that_nobody_takes_keeps_no_connection),
        T(it_is_reported_at_once_and_then_once_in_a_while),
        T(a_quiesced_server_takes_nobody),
        F(without_a_descriptor_a_silent_one_gives_way),
        F(without_a_descriptor_and_nobody_to_give_way_it_waits_without_spinning),
        F(with_nobody_connected_it_does_not_spin_either),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
