/* Ceilings and deadlines: what is refused, with which problem, and what the connection does then.
 */
#include "tests/unit/lib/http/fixture.h"

static unsigned afters;
static struct mem_budget budget;

static void hello(void *ctx, struct http_request *req)
{
    http_answer_bytes(req, 200, "text/plain", "hello", 5);
}

static void echo(void *ctx, struct http_request *req)
{
    struct slice body = http_body(req);
    http_answer_bytes(req, 200, "application/octet-stream", body.ptr, body.len);
}

static const struct http_route routes[] = {
    {"GET", "/hello", HTTP_BODY_NONE, 0, hello, 0},
    {"POST", "/none", HTTP_BODY_NONE, 0, hello, 0},
    {"GET", "/long/{path...}", HTTP_BODY_NONE, 0, hello, 0},
    {"POST", "/echo", HTTP_BODY_BUFFER, 1000, echo, 0},
};

static int before(void *ctx, struct http_request *req, const struct http_route *route,
                  struct err *err)
{
    if (http_header(req, "X-Refuse"))
        return err_set(err, ERR_UNAUTHORIZED, "no");
    return 0;
}

static void after(void *ctx, struct http_request *req, int status, int64_t duration_us)
{
    afters++;
}

static struct fixture fx;
static struct answer an;
static struct client *cl;

static int setup(void **state)
{
    const struct http_server_cfg cfg = {.routes = routes,
                                        .n_routes = ARRAY_LEN(routes),
                                        .before = before,
                                        .after = after,
                                        .header_deadline_ms = 300,
                                        .body_deadline_ms = 400,
                                        .keepalive_ms = 2000,
                                        .max_connections = 8,
                                        .body_budget = &budget,
                                        .body_account = 1};
    afters = 0;
    budget = (struct mem_budget){.max_bytes = KIB(64)};
    fx_start(&fx, &cfg);
    cl = cl_open(&fx);
    return 0;
}

static int teardown(void **state)
{
    cl_close(cl);
    fx_stop(&fx);
    an_done(&an);
    assert_int_equal(budget.accounts[1].used_bytes, 0);
    return 0;
}

static void check_problem(int status, const char *code)
{
    assert_int_equal(an.status, status);
    assert_string_equal(an_header(&an, "Content-Type"), "application/problem+json");
    assert_non_null(an_header(&an, "X-Request-Id"));
    assert_string_equal(an_header(&an, "X-Content-Type-Options"), "nosniff");
    json_t *j = json_loadb(an.body.ptr, an.body.len, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(j, "code")), code);
    json_decref(j);
}

static void check_lives(void)
{
    cl_send(cl, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(cl_answer(cl, &an), 200);
}

static void check_closed(void)
{
    assert_true(run_until(&fx, 4000, cl_ended, cl));
}

static void send_body(const char *head, size_t len)
{
    char *body = mem_alloc(len + 1);
    memset(body, 'x', len);
    cl_send(cl, head);
    cl_send_n(cl, body, len);
    free(body);
}

static bool sent_all(void *ctx)
{
    return ((struct client *)ctx)->out.len == 0;
}

static void post(size_t len)
{
    char head[128];
    snprintf(head, sizeof(head), "POST /echo HTTP/1.1\r\n" HOST "Content-Length: %zu\r\n\r\n", len);
    send_body(head, len);
}

static void body_at_the_limit_and_above(void **state)
{
    post(1000);
    assert_int_equal(cl_answer(cl, &an), 200);
    assert_int_equal(an.body.len, 1000);
    post(1001);
    assert_int_equal(cl_answer(cl, &an), 413);
    check_problem(413, "too_large");
    post(MIB(3));
    assert_int_equal(cl_answer(cl, &an), 413);
    check_lives();
}

static void bodies_have_a_budget_together(void **state)
{
    struct mem_held others = {0};
    assert_int_equal(mem_hold(&others, &budget, 1, KIB(47), NULL), 0);
    post(1000);
    assert_int_equal(cl_answer(cl, &an), 200);
    assert_int_equal(mem_held_grow(&others, KIB(1), NULL), 0);
    post(1000);
    assert_int_equal(cl_answer(cl, &an), 429);
    check_problem(429, "limit");
    assert_non_null(an_header(&an, "Retry-After"));
    assert_int_equal(budget.accounts[1].refused, 1);
    mem_held_release(&others);
    check_lives();
    post(1000);
    assert_int_equal(cl_answer(cl, &an), 200);
}

static void chunk(size_t len)
{
    char head[32];
    snprintf(head, sizeof(head), "%zx\r\n", len);
    send_body(head, len);
    cl_send(cl, "\r\n");
}

static void chunked_body_at_the_limit_and_above(void **state)
{
    for (size_t extra = 0; extra < 2; extra++) {
        cl_send(cl, "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n");
        chunk(999);
        chunk(1 + extra);
        if (extra)
            chunk(MIB(1));
        cl_send(cl, "0\r\n\r\n");
        assert_int_equal(cl_answer(cl, &an), extra ? 413 : 200);
    }
    check_problem(413, "too_large");
    check_lives();
}

static void answer_survives_a_body_beyond_all_bounds(void **state)
{
    /* As Python's http.client does it: all is sent before anything is read. */
    cl->reading = false;
    cl_interest(cl);
    send_body("POST /echo HTTP/1.1\r\n" HOST "Content-Length: 104857600\r\n\r\n", MIB(100));
    assert_true(run_until(&fx, 5000, sent_all, cl));
    assert_true(cl->sent > MIB(100));
    cl->reading = true;
    cl_interest(cl);
    cl_answer(cl, &an);
    check_problem(413, "too_large");
}

static void announced_beyond_all_bounds(void **state)
{
    cl_send(cl, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 67108865\r\n\r\nx");
    cl_answer(cl, &an);
    check_problem(413, "too_large");
    check_closed();
}

static void endless_chunked_body(void **state)
{
    cl_send(cl, "POST /none HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 65; i++)
        chunk(MIB(1));
    cl_answer(cl, &an);
    check_problem(413, "too_large");
    check_closed();
    assert_int_equal(afters, 1);
}

static void refusal_waits_for_the_body(void **state)
{
    send_body("POST /echo HTTP/1.1\r\n" HOST "X-Refuse: 1\r\nContent-Length: 2000000\r\n\r\n",
              2000000);
    cl_answer(cl, &an);
    check_problem(401, "unauthorized");
    assert_int_equal(cl->out.len, 0);
    check_lives();
    send_body("POST /nowhere HTTP/1.1\r\n" HOST "Content-Length: 5000\r\n\r\n", 5000);
    cl_answer(cl, &an);
    check_problem(404, "not_found");
    check_lives();
}

static void expect_continue(void **state)
{
    cl_send(cl, "POST /echo HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert_int_equal(cl_answer(cl, &an), 100);
    cl_send(cl, "ab");
    assert_int_equal(cl_answer(cl, &an), 200);
    cl_send(cl,
            "POST /echo HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 2000\r\n\r\n");
    cl_answer(cl, &an);
    check_problem(413, "too_large");
    check_closed();
}

static void send_headers(size_t bytes)
{
    struct buf b;
    buf_init(&b, MIB(1));
    buf_append_str(&b, "GET /hello HTTP/1.1\r\n");
    size_t start = b.len;
    buf_append_str(&b, HOST "X: ");
    while (b.len - start < bytes - 2)
        buf_append_char(&b, 'y');
    buf_append_str(&b, "\r\n\r\n");
    cl_send_n(cl, b.ptr, b.len);
    buf_done(&b);
}

static void headers_at_the_limit_and_above(void **state)
{
    send_headers(KIB(16));
    assert_int_equal(cl_answer(cl, &an), 200);
    send_headers(KIB(16) + 1);
    cl_answer(cl, &an);
    check_problem(431, "header_too_large");
    check_lives();
    send_headers(KIB(48));
    cl_answer(cl, &an);
    check_problem(431, "header_too_large");
    check_lives();
}

static void headers_beyond_the_memory_of_a_connection(void **state)
{
    send_headers(KIB(200));
    assert_int_equal(cl_answer(cl, &an), 431);
    check_closed();
}

static void send_uri(size_t bytes)
{
    struct buf b;
    buf_init(&b, MIB(1));
    buf_append_str(&b, "GET /long/");
    while (b.len < bytes + 4)
        buf_append_char(&b, 'y');
    buf_append_str(&b, " HTTP/1.1\r\n" HOST "\r\n");
    cl_send_n(cl, b.ptr, b.len);
    buf_done(&b);
}

static void uri_at_the_limit_and_above(void **state)
{
    send_uri(KIB(8));
    assert_int_equal(cl_answer(cl, &an), 200);
    send_uri(KIB(8) + 1);
    cl_answer(cl, &an);
    check_problem(414, "uri_too_long");
    check_lives();
}

static void query_of_many_parts(void **state)
{
    struct buf b;
    buf_init(&b, MIB(1));
    buf_append_str(&b, "GET /hello?");
    while (b.len < 8000)
        buf_append_str(&b, "a&");
    buf_append_str(&b, " HTTP/1.1\r\n" HOST "\r\n");
    cl_send_n(cl, b.ptr, b.len);
    buf_done(&b);
    assert_int_equal(cl_answer(cl, &an), 200);
}

static void ambiguous_framing_is_refused(void **state)
{
    static const char *const requests[] = {
        "GET /hello HTTP/1.1\r\n\r\n",
        "GET /hello HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET /hello HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET http://a/hello HTTP/1.1\r\n\r\n",
        "GET http://a/hello HTTP/1.1\r\nHost: b\r\n\r\n",
        "GET http://a:80/hello HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
        "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "POST /echo HTTP/1.1\r\n" HOST
        "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip\r\n\r\nab",
        "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\n" HOST "Content-Length : 1\r\n\r\na",
        "GET /hello HTTP/1.1\r\n" HOST "a b: c\r\n\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        cl_send(cl, requests[i]);
        cl_answer(cl, &an);
        check_problem(400, "invalid");
        check_closed();
        cl_close(cl);
        cl = cl_open(&fx);
    }
}

static void garbage_ends_the_connection(void **state)
{
    static const char *const requests[] = {
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        "GET\r\n\r\n",
        "GET /hello\r\n\r\n",
        "GET /hello HTTP/9.1\r\n\r\n",
        "GET /hello HTTP/1.1\r\nno colon\r\n\r\n",
        "POST /echo HTTP/1.1\r\n" HOST "Content-Length: -1\r\n\r\n",
        "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 99999999999999999999999\r\n\r\n",
        "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nxyz\r\n\r\n",
        "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n5\r\nabcdefgh\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        cl_send(cl, requests[i]);
        check_closed();
        cl_close(cl);
        cl = cl_open(&fx);
    }
    check_lives();
}

struct drip {
    const char *text;
    size_t at;
    struct loop_timer *timer;
};

static void drip(void *ctx)
{
    struct drip *d = ctx;
    if (d->text[d->at])
        cl_send_n(cl, &d->text[d->at++], 1);
}

/* Sends a byte each 20 ms until the connection ends; returns after how many ms it did. */
static int64_t drip_until_closed(const char *text)
{
    struct drip d = {.text = text};
    int64_t start = clk_mono_ms();
    d.timer = loop_timer_new(fx.loop, drip, &d);
    loop_timer_start(d.timer, 0, 20);
    check_closed();
    loop_timer_free(d.timer);
    return clk_mono_ms() - start;
}

static void slow_headers_are_cut_off(void **state)
{
    int64_t ms = drip_until_closed("GET /hello HTTP/1.1\r\nHost: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
    assert_in_range(ms, 250, 2500);
    assert_int_equal(cl->received, 0);
}

static bool never(void *ctx)
{
    return false;
}

static void slow_headers_after_a_request(void **state)
{
    check_lives();
    run_until(&fx, 1100, never, NULL);
    int64_t ms =
        drip_until_closed("GET /hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh");
    assert_in_range(ms, 250, 2500);
}

static void idle_connections_are_closed(void **state)
{
    int64_t start = clk_mono_ms();
    check_lives();
    check_closed();
    assert_in_range(clk_mono_ms() - start, 1900, 3900);
}

static void silent_connections_are_closed(void **state)
{
    int64_t start = clk_mono_ms();
    check_closed();
    assert_in_range(clk_mono_ms() - start, 200, 2500);
}

static void slow_body_times_out(void **state)
{
    cl_send(cl, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 100\r\n\r\n");
    int64_t ms = drip_until_closed("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
    assert_in_range(ms, 350, 2500);
    assert_true(an_parse(&an, &cl->in, false));
    check_problem(504, "timeout");
}

static void quiesce_closes_idle_connections(void **state)
{
    check_lives();
    http_server_quiesce(fx.server);
    check_closed();
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&fx.addr, sizeof(fx.addr)), -1);
    close(fd);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(body_at_the_limit_and_above),
        T(bodies_have_a_budget_together),
        T(chunked_body_at_the_limit_and_above),
        T(answer_survives_a_body_beyond_all_bounds),
        T(announced_beyond_all_bounds),
        T(endless_chunked_body),
        T(refusal_waits_for_the_body),
        T(expect_continue),
        T(headers_at_the_limit_and_above),
        T(headers_beyond_the_memory_of_a_connection),
        T(uri_at_the_limit_and_above),
        T(query_of_many_parts),
        T(ambiguous_framing_is_refused),
        T(garbage_ends_the_connection),
        T(slow_headers_are_cut_off),
        T(slow_headers_after_a_request),
        T(idle_connections_are_closed),
        T(silent_connections_are_closed),
        T(slow_body_times_out),
        T(quiesce_closes_idle_connections),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
