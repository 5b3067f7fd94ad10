/* Streamed uploads: back-pressure, early answers, departed clients. */
#include "tests/unit/lib/http/fixture.h"

static struct {
    struct http_request *req;
    struct buf got;
    size_t room; /* bytes on_data may take */
    size_t seen;
    unsigned calls, ended, gone, closed;
    bool ok;
    bool answer_at_end, late, refuse, resume_inside, answer_inside;
} up;

static void answer_count(void)
{
    char text[32];
    snprintf(text, sizeof(text), "%zu", up.seen);
    http_answer_bytes(up.req, 201, "text/plain", text, strlen(text));
}

static size_t on_data(void *ctx, const char *p, size_t len)
{
    up.calls++;
    if (up.answer_inside) {
        struct err err;
        err_set(&err, ERR_NO_SPACE, "full");
        http_answer_err(up.req, &err);
        return 0;
    }
    if (up.resume_inside) {
        up.room++;
        http_body_resume(up.req);
    }
    size_t n = MIN(len, up.room);
    up.room -= n;
    up.seen += n;
    if (up.got.len + n <= KIB(64))
        buf_append(&up.got, p, n);
    return n;
}

static void on_end(void *ctx, bool ok)
{
    up.ended++;
    up.ok = ok;
    if (ok && up.answer_at_end)
        answer_count();
}

static void on_gone(void *ctx)
{
    up.gone++;
}

static void on_close(void *ctx)
{
    up.closed++;
}

static void upload(void *ctx, struct http_request *req)
{
    up.req = req;
    http_on_gone(req, on_gone, NULL);
    http_on_close(req, on_close, NULL);
    if (up.refuse) {
        struct err err;
        err_set(&err, ERR_CONFLICT, "exists");
        http_answer_err(req, &err);
        return;
    }
    if (!up.late)
        http_body_read(req, on_data, on_end, NULL);
}

static const struct http_route routes[] = {{"PUT", "/up", HTTP_BODY_STREAM, 0, upload, 0},
                                           {"PUT", "/bounded", HTTP_BODY_STREAM, 10000, upload, 0}};

static struct fixture fx;
static struct answer an;
static struct client *cl;

static int setup_deadline(int body_deadline_ms)
{
    const struct http_server_cfg cfg = {
        .routes = routes, .n_routes = ARRAY_LEN(routes), .body_deadline_ms = body_deadline_ms};
    memset(&up, 0, sizeof(up));
    buf_init(&up.got, KIB(64));
    up.room = SIZE_MAX;
    up.answer_at_end = true;
    fx_start(&fx, &cfg);
    cl = cl_open(&fx);
    return 0;
}

static int setup(void **state)
{
    return setup_deadline(500);
}

static int setup_patient(void **state)
{
    return setup_deadline(60000);
}

static int teardown(void **state)
{
    cl_close(cl);
    fx_stop(&fx);
    an_done(&an);
    buf_done(&up.got);
    return 0;
}

static void put_to(const char *path, size_t announced, size_t sent)
{
    char head[128];
    snprintf(head, sizeof(head), "PUT %s HTTP/1.1\r\n" HOST "Content-Length: %zu\r\n\r\n", path,
             announced);
    char *body = mem_alloc(sent + 1);
    memset(body, 'u', sent);
    cl_send(cl, head);
    cl_send_n(cl, body, sent);
    free(body);
}

static void put(size_t announced, size_t sent)
{
    put_to("/up", announced, sent);
}

static bool saw(void *ctx)
{
    return up.calls && up.seen >= *(size_t *)ctx;
}

static bool was_closed(void *ctx)
{
    return up.closed > 0;
}

static bool no(void *ctx)
{
    return false;
}

static void whole_upload(void **state)
{
    put(MIB(20), MIB(20));
    assert_int_equal(cl_answer(cl, &an), 201);
    assert_string_equal(an.body.ptr, "20971520");
    assert_int_equal(up.ended, 1);
    assert_true(up.ok);
    assert_int_equal(up.closed, 1);
    assert_int_equal(up.gone, 0);
}

static void empty_upload(void **state)
{
    put(0, 0);
    assert_int_equal(cl_answer(cl, &an), 201);
    assert_string_equal(an.body.ptr, "0");
    assert_int_equal(up.calls, 0);
}

static void chunked_upload(void **state)
{
    cl_send(cl, "PUT /up HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
                "3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n");
    assert_int_equal(cl_answer(cl, &an), 201);
    assert_string_equal(up.got.ptr, "abcdefg");
}

static void full_sink_stops_the_client(void **state)
{
    size_t want = 1000;
    up.room = want;
    put(MIB(64), MIB(64));
    assert_true(run_until(&fx, 2000, saw, &want));
    /* Longer than the deadline of a body: our own pause does not count. */
    run_until(&fx, 700, no, NULL);
    assert_in_range(cl->sent, 1000, MIB(16));
    assert_int_equal(up.seen, 1000);
    while (up.seen < MIB(1)) {
        want = up.seen + 100000;
        up.room = 100000;
        http_body_resume(up.req);
        assert_true(run_until(&fx, 2000, saw, &want));
    }
    up.room = SIZE_MAX;
    http_body_resume(up.req);
    assert_int_equal(cl_answer(cl, &an), 201);
    assert_string_equal(an.body.ptr, "67108864");
}

static void one_byte_at_a_time_into_the_sink(void **state)
{
    up.room = 0;
    up.resume_inside = true;
    cl_send(cl, "PUT /up HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
                "3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n");
    assert_int_equal(cl_answer(cl, &an), 201);
    assert_string_equal(up.got.ptr, "abcdefg");
}

static bool has_req(void *ctx)
{
    return up.req != NULL;
}

static void reader_comes_late(void **state)
{
    up.late = true;
    put(MIB(1), MIB(1));
    assert_true(run_until(&fx, 1000, has_req, NULL));
    run_until(&fx, 50, no, NULL);
    http_body_read(up.req, on_data, on_end, NULL);
    assert_int_equal(cl_answer(cl, &an), 201);
    assert_string_equal(an.body.ptr, "1048576");
}

static void reader_comes_after_an_empty_body(void **state)
{
    up.late = true;
    put(0, 0);
    assert_true(run_until(&fx, 1000, has_req, NULL));
    run_until(&fx, 50, no, NULL);
    http_body_read(up.req, on_data, on_end, NULL);
    assert_int_equal(cl_answer(cl, &an), 201);
    assert_int_equal(up.ended, 1);
}

static void answer_after_the_end(void **state)
{
    up.answer_at_end = false;
    size_t want = 10;
    put(10, 10);
    assert_true(run_until(&fx, 1000, saw, &want));
    run_until(&fx, 20, no, NULL);
    assert_int_equal(up.ended, 1);
    answer_count();
    assert_int_equal(cl_answer(cl, &an), 201);
}

static void refused_at_the_headers(void **state)
{
    up.refuse = true;
    put(MIB(2), MIB(2));
    assert_int_equal(cl_answer(cl, &an), 409);
    assert_int_equal(cl->out.len, 0);
    up.refuse = false;
    put(5, 5);
    assert_int_equal(cl_answer(cl, &an), 201);
    up.refuse = true;
    cl_send(cl, "PUT /up HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 9\r\n\r\n");
    assert_int_equal(cl_answer(cl, &an), 409);
}

static void refused_in_the_middle(void **state)
{
    up.answer_inside = true;
    put(MIB(2), MIB(2));
    assert_int_equal(cl_answer(cl, &an), 507);
    assert_int_equal(up.calls, 1);
    assert_int_equal(up.ended, 0);
    up.answer_inside = false;
    put(5, 5);
    assert_int_equal(cl_answer(cl, &an), 201);
}

static void refused_while_paused(void **state)
{
    size_t want = 100;
    up.room = want;
    put(MIB(2), MIB(2));
    assert_true(run_until(&fx, 1000, saw, &want));
    answer_count();
    assert_int_equal(cl_answer(cl, &an), 201);
    assert_int_equal(up.ended, 0);
    assert_int_equal(up.closed, 1);
}

static void refused_and_endless(void **state)
{
    up.answer_inside = true;
    put(MIB(200), MIB(100));
    assert_int_equal(cl_answer(cl, &an), 507);
    assert_true(run_until(&fx, 1000, cl_ended, cl));
}

static void client_leaves_in_the_middle(void **state)
{
    size_t want = 3000;
    put(10000, 3000);
    assert_true(run_until(&fx, 1000, saw, &want));
    cl_close(cl);
    cl = NULL;
    assert_true(run_until(&fx, 1000, was_closed, NULL));
    assert_int_equal(up.ended, 1);
    assert_false(up.ok);
    assert_int_equal(up.gone, 1);
}

static void client_leaves_while_paused(void **state)
{
    size_t want = 3000;
    up.room = want;
    put(10000, 5000);
    assert_true(run_until(&fx, 1000, saw, &want));
    cl_close(cl);
    cl = NULL;
    assert_true(run_until(&fx, 2000, was_closed, NULL));
    assert_int_equal(up.ended, 1);
    assert_false(up.ok);
    assert_int_equal(up.gone, 1);
    assert_int_equal(up.closed, 1);
}

/* Body and FIN lie in the socket before the server looks: one edge of its epoll for both. */
static void leave_after(const char *request)
{
    assert_int_equal(send(cl->fd, request, strlen(request), 0), strlen(request));
    cl_close(cl);
    cl = NULL;
    assert_true(run_until(&fx, 5000, was_closed, NULL));
    assert_int_equal(up.ended, 1);
    assert_false(up.ok);
    assert_int_equal(up.gone, 1);
    assert_int_equal(up.closed, 1);
}

static void client_leaves_right_after_a_part(void **state)
{
    leave_after("PUT /up HTTP/1.1\r\n" HOST "Content-Length: 10000\r\n\r\nhalf");
    assert_int_equal(up.seen, 4);
}

static void client_leaves_right_after_its_headers(void **state)
{
    leave_after("PUT /up HTTP/1.1\r\n" HOST "Content-Length: 10000\r\n\r\n");
    assert_int_equal(up.seen, 0);
}

static void client_leaves_inside_a_chunk(void **state)
{
    leave_after("PUT /up HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n5\r\nab");
    assert_int_equal(up.seen, 2);
}

static void half_closed_client_gets_its_answer(void **state)
{
    put(MIB(8), MIB(8));
    while (cl->out.len > 0) {
        size_t want = up.seen + 1;
        assert_true(run_until(&fx, 2000, saw, &want));
    }
    assert_int_equal(shutdown(cl->fd, SHUT_WR), 0);
    assert_int_equal(cl_answer(cl, &an), 201);
    assert_string_equal(an.body.ptr, "8388608");
}

static void stalled_upload_times_out(void **state)
{
    put(10000, 3000);
    assert_int_equal(cl_answer(cl, &an), 504);
    assert_true(run_until(&fx, 1000, was_closed, NULL));
    assert_int_equal(up.ended, 1);
    assert_false(up.ok);
}

static void bounded_upload_at_its_bound_and_above(void **state)
{
    put_to("/bounded", 10000, 10000);
    assert_int_equal(cl_answer(cl, &an), 201);
    assert_string_equal(an.body.ptr, "10000");
    up.calls = 0;
    put_to("/bounded", 10001, 10001);
    assert_int_equal(cl_answer(cl, &an), 413);
    assert_int_equal(up.calls, 0);
    put(5, 5);
    assert_int_equal(cl_answer(cl, &an), 201);
}

static void bounded_upload_beyond_all_bounds(void **state)
{
    put_to("/bounded", MIB(65), MIB(1));
    assert_int_equal(cl_answer(cl, &an), 413);
    assert_true(run_until(&fx, 5000, cl_ended, cl));
    assert_int_equal(up.calls, 0);
}

/* Its length shows only as it comes; what the handler makes of it is the handler's. */
static void bounded_upload_without_end(void **state)
{
    char *chunk = mem_alloc(MIB(1));
    memset(chunk, 'u', MIB(1));
    cl_send(cl, "PUT /bounded HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 65; i++) {
        cl_send(cl, "100000\r\n");
        cl_send_n(cl, chunk, MIB(1));
        cl_send(cl, "\r\n");
    }
    free(chunk);
    assert_int_equal(cl_answer(cl, &an), 413);
    assert_true(run_until(&fx, 5000, cl_ended, cl));
    assert_int_equal(up.ended, 1);
    assert_false(up.ok);
    assert_int_equal(up.closed, 1);
}

static void drip(void *ctx)
{
    cl_send(cl, "u");
}

/* A byte each 100 ms, for as long as the server takes them. */
static void slow_upload(const char *path, int ms)
{
    struct loop_timer *timer = loop_timer_new(fx.loop, drip, NULL);
    put_to(path, 10000, 1);
    loop_timer_start(timer, 0, 100);
    run_until(&fx, ms, was_closed, NULL);
    loop_timer_free(timer);
}

static void slow_upload_without_a_bound_goes_on(void **state)
{
    slow_upload("/up", 1500);
    assert_int_equal(up.closed, 0);
}

static void slow_bounded_upload_times_out(void **state)
{
    slow_upload("/bounded", 5000);
    assert_int_equal(cl_answer(cl, &an), 504);
    assert_int_equal(up.ended, 1);
    assert_false(up.ok);
    assert_int_equal(up.closed, 1);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
#define P(fn) cmocka_unit_test_setup_teardown(fn, setup_patient, teardown)
    const struct CMUnitTest tests[] = {
        T(whole_upload),
        T(empty_upload),
        T(chunked_upload),
        T(full_sink_stops_the_client),
        T(one_byte_at_a_time_into_the_sink),
        T(reader_comes_late),
        T(reader_comes_after_an_empty_body),
        T(answer_after_the_end),
        T(refused_at_the_headers),
        T(refused_in_the_middle),
        T(refused_while_paused),
        T(refused_and_endless),
        T(client_leaves_in_the_middle),
        T(client_leaves_while_paused),
        P(client_leaves_right_after_a_part),
        P(client_leaves_right_after_its_headers),
        P(client_leaves_inside_a_chunk),
        T(half_closed_client_gets_its_answer),
        T(stalled_upload_times_out),
        T(bounded_upload_at_its_bound_and_above),
        T(bounded_upload_beyond_all_bounds),
        T(bounded_upload_without_end),
        T(slow_upload_without_a_bound_goes_on),
        T(slow_bounded_upload_times_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
