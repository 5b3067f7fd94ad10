/* Streamed answers: pulls, wakes, back-pressure, departed clients, and the end of the server. */
#include "tests/unit/lib/http/fixture.h"

/* A second, and what a loaded machine adds. */
#define GONE_MS (CAESARION_SANITIZED ? 2500 : 1500)

struct source {
    struct http_request *req;
    struct http_stream *stream;
    size_t have;  /* bytes that may be pulled now */
    size_t total; /* pulled so far */
    int then;     /* returned when `have` is used up */
    unsigned pulls, gone, closed;
};

static struct source src[512];
static unsigned n_src;
static int64_t length;

static ssize_t pull(void *ctx, char *out, size_t max)
{
    struct source *s = ctx;
    s->pulls++;
    size_t n = MIN(max, s->have);
    if (n == 0)
        return s->then;
    static char pattern[KIB(64) + 23];
    for (size_t i = 0; !pattern[sizeof(pattern) - 1] && i < sizeof(pattern); i++)
        pattern[i] = (char)('a' + i % 23);
    n = MIN(n, KIB(64));
    memcpy(out, pattern + s->total % 23, n);
    s->have -= n;
    s->total += n;
    return (ssize_t)n;
}

static void on_gone(void *ctx)
{
    ((struct source *)ctx)->gone++;
}

static void on_close(void *ctx)
{
    ((struct source *)ctx)->closed++;
}

static struct source *track(struct http_request *req)
{
    struct source *s = &src[n_src++];
    s->req = req;
    http_on_gone(req, on_gone, s);
    http_on_close(req, on_close, s);
    return s;
}

static void stream(void *ctx, struct http_request *req)
{
    struct source *s = track(req);
    s->stream = http_answer_stream(req, 200, "text/plain", length, pull, s);
}

static void later(void *ctx, struct http_request *req)
{
    track(req);
}

static const struct http_route routes[] = {
    {"GET", "/stream", HTTP_BODY_NONE, 0, stream, 0},
    {"GET", "/later", HTTP_BODY_NONE, 0, later, 0},
    {"POST", "/buffer", HTTP_BODY_BUFFER, 1000, later, 0},
    {"POST", "/upload", HTTP_BODY_STREAM, 0, later, 0},
};

static struct fixture fx;
static struct answer an;
static struct client *cl;

static int setup(void **state)
{
    const struct http_server_cfg cfg = {.routes = routes, .n_routes = ARRAY_LEN(routes)};
    memset(src, 0, sizeof(src));
    n_src = 0;
    length = -1;
    fx_start(&fx, &cfg);
    cl = cl_open(&fx);
    return 0;
}

static int teardown(void **state)
{
    cl_close(cl);
    fx_stop(&fx);
    an_done(&an);
    return 0;
}

static void get(const char *path)
{
    char text[128];
    snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\n" HOST "\r\n", path);
    cl_send(cl, text);
}

static void check_text(const char *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (p[i] != (char)('a' + i % 23))
            fail_msg("byte %zu differs", i);
}

static bool source_waits(void *ctx)
{
    struct source *s = ctx;
    return s->pulls > 0 && s->have == 0;
}

static bool source_closed(void *ctx)
{
    return ((struct source *)ctx)->closed > 0;
}

static void open_stream(void)
{
    get("/stream");
    assert_true(run_until(&fx, 1000, source_waits, &src[n_src]));
}

static void give(struct source *s, size_t n)
{
    s->have += n;
    http_stream_wake(s->stream);
}

static void chunked_stream_from_wakes(void **state)
{
    open_stream();
    for (int i = 0; i < 100; i++) {
        give(&src[0], 1000);
        assert_true(run_until(&fx, 1000, source_waits, &src[0]));
    }
    src[0].then = HTTP_PULL_END;
    http_stream_wake(src[0].stream);
    assert_int_equal(cl_answer(cl, &an), 200);
    assert_true(an.chunked);
    assert_int_equal(an.body.len, 100000);
    check_text(an.body.ptr, an.body.len);
    assert_int_equal(src[0].gone, 0);
    assert_int_equal(src[0].closed, 1);
    /* The connection goes on. */
    open_stream();
    src[1].then = HTTP_PULL_END;
    http_stream_wake(src[1].stream);
    assert_int_equal(cl_answer(cl, &an), 200);
    assert_int_equal(an.body.len, 0);
}

static void stream_of_known_length(void **state)
{
    length = 300000;
    open_stream();
    give(&src[0], 300000);
    assert_int_equal(cl_answer(cl, &an), 200);
    assert_false(an.chunked);
    assert_int_equal(an.body.len, 300000);
    check_text(an.body.ptr, an.body.len);
    assert_int_equal(src[0].closed, 1);
    open_stream();
    assert_int_equal(src[1].closed, 0);
}

static void stream_that_ends_early_is_broken(void **state)
{
    length = 3000;
    open_stream();
    src[0].then = HTTP_PULL_END;
    give(&src[0], 1000);
    assert_int_equal(cl_answer(cl, &an), 0);
    assert_int_equal(src[0].closed, 1);
    assert_int_equal(src[0].gone, 0);
}

static void aborted_stream_is_broken(void **state)
{
    open_stream();
    src[0].then = HTTP_PULL_ABORT;
    give(&src[0], 1000);
    assert_int_equal(cl_answer(cl, &an), 0);
    assert_true(cl_ended(cl));
    assert_true(cl->in.len > 1000);
    assert_memory_not_equal(cl->in.ptr + cl->in.len - 5, "0\r\n\r\n", 5);
    assert_int_equal(src[0].closed, 1);
    assert_int_equal(src[0].gone, 0);
}

static void head_of_a_stream(void **state)
{
    length = 77;
    cl_send(cl, "HEAD /stream HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(cl_answer_of(cl, &an, true), 200);
    assert_string_equal(an_header(&an, "Content-Length"), "77");
    assert_true(run_until(&fx, 1000, source_closed, &src[0]));
    assert_int_equal(src[0].pulls, 0);
    length = -1;
    cl_send(cl, "HEAD /stream HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(cl_answer_of(cl, &an, true), 200);
    assert_true(run_until(&fx, 1000, cl_ended, cl));
    assert_int_equal(cl->in.len, 0);
    assert_int_equal(src[1].closed, 1);
    assert_int_equal(src[1].gone, 0);
}

static void stream_to_http_1_0(void **state)
{
    cl_send(cl, "GET /stream HTTP/1.0\r\n\r\n");
    assert_true(run_until(&fx, 1000, source_waits, &src[0]));
    src[0].then = HTTP_PULL_END;
    give(&src[0], 200000);
    assert_true(run_until(&fx, 1000, cl_ended, cl));
    assert_true(cl->eof);
    const char *body = strstr(cl->in.ptr, "\r\n\r\n") + 4;
    assert_int_equal(cl->in.ptr + cl->in.len - body, 200000);
    check_text(body, 200000);
}

static void wake_inside_pull_is_not_lost(void **state)
{
    open_stream();
    struct source *s = &src[0];
    for (int i = 0; i < 3; i++) {
        http_stream_wake(s->stream);
        unsigned before = s->pulls;
        assert_true(run_until(&fx, 1000, source_waits, s));
        (void)before;
    }
    give(s, 1);
    s->then = HTTP_PULL_END;
    assert_int_equal(cl_answer(cl, &an), 200);
    assert_int_equal(an.body.len, 1);
}

static bool wrote_all_it_can(void *ctx)
{
    static size_t last, same;
    struct source *s = ctx;
    same = s->total == last ? same + 1 : 0;
    last = s->total;
    return same > 20;
}

static void tick(void *ctx)
{
}

static void slow_reader_stops_the_source(void **state)
{
    struct loop_timer *ticker = loop_timer_new(fx.loop, tick, NULL);
    loop_timer_start(ticker, 5, 5);
    get("/stream");
    cl->reading = false;
    src[0].have = (size_t)1 << 40;
    assert_true(run_until(&fx, 5000, wrote_all_it_can, &src[0]));
    /* What the kernel's two buffers hold, and a block. */
    assert_in_range(src[0].total, 1, MIB(16));
    size_t stalled_at = src[0].total;
    cl->reading = true;
    cl->keep = 0;
    cl_interest(cl);
    src[0].have = MIB(8);
    src[0].then = HTTP_PULL_END;
    assert_true(run_until(&fx, 10000, source_closed, &src[0]));
    assert_int_equal(src[0].total, stalled_at + MIB(8));
    assert_int_equal(src[0].gone, 0);
    loop_timer_free(ticker);
}

static void check_gone_within(struct source *s, int ms)
{
    int64_t start = clk_mono_ms();
    cl_close(cl);
    cl = NULL;
    assert_true(run_until(&fx, 3000, source_closed, s));
    assert_in_range(clk_mono_ms() - start, 0, ms);
    assert_int_equal(s->gone, 1);
    assert_int_equal(s->closed, 1);
    assert_int_equal(http_server_active(fx.server), 0);
}

static void client_leaves_a_suspended_stream(void **state)
{
    open_stream();
    give(&src[0], 10);
    assert_true(run_until(&fx, 1000, source_waits, &src[0]));
    check_gone_within(&src[0], GONE_MS);
}

static bool is_tracked(void *ctx)
{
    return n_src > *(unsigned *)ctx;
}

static void open_later(void)
{
    unsigned had = n_src;
    get("/later");
    assert_true(run_until(&fx, 1000, is_tracked, &had));
}

static void client_leaves_before_the_answer(void **state)
{
    open_later();
    check_gone_within(&src[0], GONE_MS);
}

static void client_leaves_with_reset(void **state)
{
    open_later();
    struct linger linger = {1, 0};
    setsockopt(cl->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    check_gone_within(&src[0], GONE_MS);
}

static void client_leaves_while_it_does_not_read(void **state)
{
    struct loop_timer *ticker = loop_timer_new(fx.loop, tick, NULL);
    loop_timer_start(ticker, 5, 5);
    get("/stream");
    cl->reading = false;
    cl_interest(cl);
    src[0].have = (size_t)1 << 40;
    assert_true(run_until(&fx, 5000, wrote_all_it_can, &src[0]));
    check_gone_within(&src[0], GONE_MS);
    loop_timer_free(ticker);
}

static void answer_for_a_client_that_left(void **state)
{
    open_later();
    cl_close(cl);
    cl = NULL;
    /* The answer comes before anyone noticed. */
    http_answer_bytes(src[0].req, 200, "text/plain", "x", 1);
    assert_true(run_until(&fx, 3000, source_closed, &src[0]));
    assert_int_equal(src[0].closed, 1);
}

static void answer_from_gone(void *ctx)
{
    struct source *s = ctx;
    s->gone++;
    assert_true(http_is_client_gone(s->req));
    s->stream = http_answer_stream(s->req, 200, "text/plain", -1, pull, s);
    http_stream_wake(s->stream);
}

static void answer_inside_on_gone(void **state)
{
    open_later();
    http_on_gone(src[0].req, answer_from_gone, &src[0]);
    check_gone_within(&src[0], GONE_MS);
    assert_int_equal(src[0].pulls, 0);
}

static void unix_socket(void **state)
{
    struct err err;
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* An abstract name, given by the kernel. */
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(sa_family_t)), 0);
    socklen_t len = sizeof(addr);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    assert_int_equal(listen(fd, 16), 0);
    const struct http_server_cfg cfg = {.routes = routes, .n_routes = ARRAY_LEN(routes)};
    struct http_server *server;
    fx_must(http_server_new(&server, fx.loop, fd, &cfg, &err), &err);
    cl_close(cl);
    int peer = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(peer, (struct sockaddr *)&addr, len), 0);
    cl = cl_adopt(&fx, peer);
    open_stream();
    src[0].then = HTTP_PULL_END;
    give(&src[0], 100000);
    assert_int_equal(cl_answer(cl, &an), 200);
    assert_int_equal(an.body.len, 100000);
    open_stream();
    int64_t start = clk_mono_ms();
    cl_close(cl);
    cl = NULL;
    assert_true(run_until(&fx, 3000, source_closed, &src[1]));
    assert_int_equal(src[1].gone, 1);
    assert_in_range(clk_mono_ms() - start, 0, GONE_MS);
    http_server_free(server);
}

static bool all_wait(void *ctx)
{
    for (unsigned i = 0; i < *(unsigned *)ctx; i++)
        if (!source_waits(&src[i]))
            return false;
    return true;
}

static bool all_closed(void *ctx)
{
    for (unsigned i = 0; i < *(unsigned *)ctx; i++)
        if (!src[i].closed)
            return false;
    return true;
}

static void five_hundred_streams(void **state)
{
    unsigned n = 500;
    struct client **many = MEM_NEW_N(struct client *, n);
    for (unsigned i = 0; i < n; i++) {
        many[i] = cl_open(&fx);
        many[i]->keep = KIB(64);
        cl_send(many[i], "GET /stream HTTP/1.1\r\n" HOST "\r\n");
    }
    assert_true(run_until(&fx, 10000, all_wait, &n));
    for (int round = 0; round < 5; round++) {
        for (unsigned i = 0; i < n; i++)
            give(&src[i], 100);
        assert_true(run_until(&fx, 10000, all_wait, &n));
    }
    for (unsigned i = 0; i < n; i++) {
        src[i].then = HTTP_PULL_END;
        http_stream_wake(src[i].stream);
    }
    assert_true(run_until(&fx, 10000, all_closed, &n));
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(cl_answer(many[i], &an), 200);
        assert_int_equal(an.body.len, 500);
        cl_close(many[i]);
    }
    free(many);
}

static void free_with_open_requests(void **state)
{
    struct client *more[6];
    open_stream();
    give(&src[0], 5);
    assert_true(run_until(&fx, 1000, source_waits, &src[0]));
    for (int i = 0; i < 6; i++)
        more[i] = cl_open(&fx);
    cl_send(more[0], "GET /later HTTP/1.1\r\n" HOST "\r\n");
    cl_send(more[1], "GET /later HTTP/1.1\r\nHo");
    cl_send(more[2], "POST /buffer HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\nabc");
    cl_send(more[3], "POST /upload HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\nabc");
    cl_send(more[4], "GET /stream HTTP/1.1\r\n" HOST "\r\n");
    unsigned had = 3;
    assert_true(run_until(&fx, 1000, is_tracked, &had));
    /* A resumed and not yet run connection, too. */
    http_answer_empty(src[1].req, 204);
    fx.server = http_server_free(fx.server);
    for (unsigned i = 0; i < n_src; i++) {
        assert_int_equal(src[i].closed, 1);
        assert_int_equal(src[i].gone, 0);
    }
    for (int i = 0; i < 6; i++)
        cl_close(more[i]);
}

static bool got_bytes(void *ctx)
{
    return cl->received >= *(size_t *)ctx;
}

/* Not a budget (./dev bench has those): a floor that only a broken adapter misses. */
static void throughput_and_latency(void **state)
{
    size_t want = MIB(CAESARION_SANITIZED ? 256 : 2048);
    open_stream();
    cl->keep = 0;
    int64_t start = clk_mono_us();
    src[0].have = want;
    http_stream_wake(src[0].stream);
    assert_true(run_until(&fx, 30000, got_bytes, &want));
    int64_t us = clk_mono_us() - start;
    assert_true(run_until(&fx, 1000, source_waits, &src[0]));
    print_message("%.0f MB/s\n", (double)want / (double)us);
    assert_true(us < 10000000);
    int64_t worst = 0, sum = 0;
    for (int i = 0; i < 1000; i++) {
        size_t next = cl->received + 6; /* "1\r\nx\r\n" */
        start = clk_mono_us();
        give(&src[0], 1);
        assert_true(run_until(&fx, 1000, got_bytes, &next));
        us = clk_mono_us() - start;
        worst = MAX(worst, us);
        sum += us;
    }
    print_message("wake to client: %.1f us, worst %lld us\n", (double)sum / 1000, (long long)worst);
    assert_true(sum / 1000 < 5000);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(chunked_stream_from_wakes),
        T(stream_of_known_length),
        T(stream_that_ends_early_is_broken),
        T(aborted_stream_is_broken),
        T(head_of_a_stream),
        T(stream_to_http_1_0),
        T(wake_inside_pull_is_not_lost),
        T(slow_reader_stops_the_source),
        T(client_leaves_a_suspended_stream),
        T(client_leaves_before_the_answer),
        T(client_leaves_with_reset),
        T(client_leaves_while_it_does_not_read),
        T(answer_for_a_client_that_left),
        T(answer_inside_on_gone),
        T(unix_socket),
        T(five_hundred_streams),
        T(free_with_open_requests),
        T(throughput_and_latency),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
