/*
 * Clients that leave or dawdle at every possible byte: each script is sent a byte at a time, then
 * cut at each offset, politely (FIN) and rudely (RST). Afterwards nothing is left and the server
 * serves.
 */
#include "tests/unit/lib/http/fixture.h"

static unsigned opened, closed, ended_ok, ended_bad;

static void on_close(void *ctx)
{
    closed++;
}

static void track(struct http_request *req)
{
    opened++;
    http_on_close(req, on_close, NULL);
}

static void hello(void *ctx, struct http_request *req)
{
    track(req);
    http_answer_bytes(req, 200, "text/plain", "hello", 5);
}

static void later(void *ctx, struct http_request *req)
{
    track(req);
}

static size_t on_data(void *ctx, const char *p, size_t len)
{
    return len;
}

static void on_end(void *ctx, bool ok)
{
    if (!ok) {
        ended_bad++;
        return;
    }
    ended_ok++;
    http_answer_empty(ctx, 204);
}

static void upload(void *ctx, struct http_request *req)
{
    track(req);
    http_body_read(req, on_data, on_end, req);
}

static ssize_t pull(void *ctx, char *out, size_t max)
{
    memset(out, 's', max);
    return (ssize_t)max;
}

static void stream(void *ctx, struct http_request *req)
{
    track(req);
    http_answer_stream(req, 200, "text/plain", -1, pull, NULL);
}

static const struct http_route routes[] = {
    {"GET", "/hello", HTTP_BODY_NONE, 0, hello, 0},
    {"GET", "/later", HTTP_BODY_NONE, 0, later, 0},
    {"GET", "/stream", HTTP_BODY_NONE, 0, stream, 0},
    {"POST", "/body", HTTP_BODY_BUFFER, 50, hello, 0},
    {"PUT", "/up", HTTP_BODY_STREAM, 0, upload, 0},
};

static const struct script {
    const char *text;
    int status; /* 0: no answer comes */
} scripts[] = {
    {"GET /hello HTTP/1.1\r\n" HOST "X-A: b\r\n\r\n", 200},
    {"GET /later HTTP/1.1\r\n" HOST "\r\n", 0},
    {"GET /nowhere?a=b HTTP/1.1\r\n" HOST "Cookie: a=b; c=\"d\"\r\n\r\n", 404},
    {"POST /body HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\n0123456789", 200},
    {"POST /body HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
     "2\r\nab\r\n003;x=y\r\ncde\r\n0\r\nT: u\r\n\r\n",
     200},
    {"POST /body HTTP/1.1\r\n" HOST "Content-Length: 51\r\n\r\n"
     "012345678901234567890123456789012345678901234567890",
     413},
    {"PUT /up HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\n0123456789", 204},
    {"PUT /up HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", 204},
    {"PUT /up HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc", 100},
    {"GET /stream HTTP/1.1\r\n" HOST "\r\n", 0},
};

static struct fixture fx;
static struct answer an;

static int setup(void **state)
{
    const struct http_server_cfg cfg = {.routes = routes, .n_routes = ARRAY_LEN(routes)};
    opened = closed = ended_ok = ended_bad = 0;
    fx_start(&fx, &cfg);
    return 0;
}

static int teardown(void **state)
{
    fx_stop(&fx);
    an_done(&an);
    assert_int_equal(opened, closed);
    return 0;
}

static bool sent_all(void *ctx)
{
    return ((struct client *)ctx)->out.len == 0;
}

static bool none_active(void *ctx)
{
    return http_server_active(fx.server) == 0;
}

static void check_serves(void)
{
    assert_int_equal(ask(&fx, &an, "GET /hello HTTP/1.1\r\n" HOST "\r\n"), 200);
}

static void a_byte_at_a_time(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
        const struct script *s = &scripts[i];
        if (s->status == 0)
            continue;
        struct client *c = cl_open(&fx);
        for (const char *p = s->text; *p; p++) {
            cl_send_n(c, p, 1);
            assert_true(run_until(&fx, 1000, sent_all, c));
        }
        int status = cl_answer(c, &an);
        if (status != s->status)
            fail_msg("script %zu: %d", i, status);
        cl_close(c);
    }
}

static void leave_at(const struct script *s, size_t len, bool rude)
{
    struct client *c = cl_open(&fx);
    cl_send_n(c, s->text, len);
    assert_true(run_until(&fx, 1000, sent_all, c));
    if (rude)
        cl_reset(c);
    else
        cl_close(c);
}

static void leave_at_every_byte(void **state)
{
    for (int rude = 0; rude < 2; rude++) {
        for (size_t i = 0; i < ARRAY_LEN(scripts); i++)
            for (size_t len = 0; len <= strlen(scripts[i].text); len++)
                leave_at(&scripts[i], len, rude);
        check_serves();
        assert_true(run_until(&fx, 5000, none_active, NULL));
    }
    assert_true(ended_bad > 0);
}

static bool received_some(void *ctx)
{
    struct client *c = ctx;
    return c->received > 0;
}

static void leave_while_answers_come(void **state)
{
    for (int i = 0; i < 40; i++) {
        struct client *c = cl_open(&fx);
        c->keep = 0;
        cl_send(c, i % 2 ? "GET /stream HTTP/1.1\r\n" HOST "\r\n"
                         : "GET /hello HTTP/1.1\r\n" HOST "\r\nGET /stream HTTP/1.1\r\n" HOST
                           "\r\n");
        assert_true(run_until(&fx, 1000, received_some, c));
        if (i % 4 < 2)
            cl_reset(c);
        else
            cl_close(c);
    }
    check_serves();
    assert_true(run_until(&fx, 5000, none_active, NULL));
}

static void many_clients_at_once(void **state)
{
    struct client *c[200];
    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        c[i] = cl_open(&fx);
        c[i]->keep = KIB(8);
        cl_send(c[i], scripts[i % ARRAY_LEN(scripts)].text);
    }
    check_serves();
    for (size_t i = 0; i < ARRAY_LEN(c); i++)
        cl_close(c[i]);
    assert_true(run_until(&fx, 5000, none_active, NULL));
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_byte_at_a_time),
        T(leave_at_every_byte),
        T(leave_while_answers_come),
        T(many_clients_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
