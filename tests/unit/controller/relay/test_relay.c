/* Heads, bodies and ends of relayed requests. What a stream does when it breaks:
 * test_relay_attach.c. */
#include "tests/unit/controller/relay/relay_fixture.h"

/* ---- heads ---- */

static void plain_answer(struct peer *p)
{
    int fd = peer_accept(p);
    if (hear(p, fd))
        says(fd, "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nETag: \"7\"\r\n"
                 "Location: /kernels/k1\r\nSet-Cookie: a=b\r\nConnection: close\r\n"
                 "Content-Length: 7\r\n\r\n{\"a\":1}");
    close(fd);
}

static void heads_pass_without_credentials(void **state)
{
    struct fixture *f = *state;
    const char *headers[] = {"Authorization: Bearer callers-own",
                             "Cookie: c=d",
                             "X-Request-Id: r-1",
                             "If-None-Match: \"6\"",
                             "X-Execution-Id: forged",
                             "Origin: http://x.y",
                             "X-Whatever: 1",
                             NULL};
    peer_start(&f->runner, plain_answer);
    ask(f, "POST", BASE "/restart?a=%00+b&token=secret&%74oken=secret&c", headers, "{\"x\":1}");
    assert_false(f->failed);
    assert_int_equal(f->status, 201);
    assert_string_equal(f->location, BASE "/kernels/k1");
    assert_string_equal(f->etag, "\"7\"");
    assert_string_equal(f->type, "application/json");
    assert_data(f, "{\"a\":1}");
    const char *got = f->runner.request[0];
    assert_has(got, "POST /restart?a=%00+b&c HTTP/1.1\r\n");
    assert_has(got, "\r\nAuthorization: Bearer " TOKEN "\r\n");
    assert_has(got, "\r\nX-Request-Id: r-1\r\n");
    assert_has(got, "\r\nIf-None-Match: \"6\"\r\n");
    assert_has(got, "\r\n\r\n{\"x\":1}");
    static const char *const never[] = {"secret", "callers-own", "Cookie", "forged",
                                        "Origin", "Whatever",    "Expect"};
    for (size_t i = 0; i < ARRAY_LEN(never); i++)
        assert_null(strstr(got, never[i]));
}

static void three_answers(struct peer *p)
{
    int fd = peer_accept(p);
    if (hear(p, fd))
        says(fd, "HTTP/1.1 200 OK\r\nContent-Length: 1234567\r\nETag: \"e\"\r\n\r\n");
    if (hear(p, fd))
        says(fd, "HTTP/1.1 304 Not Modified\r\nETag: \"e\"\r\n\r\n");
    if (hear(p, fd))
        says(fd, "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 2-4/9\r\n"
                 "Content-Length: 3\r\n\r\ncde");
    if (hear(p, fd))
        says(fd, "HTTP/1.1 204 No Content\r\n\r\n");
    if (hear(p, fd))
        says(fd, "HTTP/1.1 409 Conflict\r\nContent-Type: application/problem+json\r\n"
                 "Content-Length: 21\r\n\r\n{\"code\":\"kernel_dead\"}");
    close(fd);
}

static void head_range_and_conditions(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->runner, three_answers);
    ask(f, "HEAD", BASE "/files/a%2f../b", NULL, NULL);
    assert_int_equal(f->status, 200);
    assert_string_equal(f->length, "1234567");
    assert_has(f->runner.request[0], "HEAD /files/a%2f../b HTTP/1.1\r\n");
    ask(f, "GET", BASE "/files/a", (const char *const[]){"If-None-Match: \"e\"", NULL}, NULL);
    assert_int_equal(f->status, 304);
    assert_string_equal(f->etag, "\"e\"");
    ask(f, "GET", BASE "/files/a", (const char *const[]){"Range: bytes=2-4", NULL}, NULL);
    assert_int_equal(f->status, 206);
    assert_string_equal(f->range, "bytes 2-4/9");
    assert_has(f->runner.request[2], "\r\nRange: bytes=2-4\r\n");
    assert_data(f, "cde");
    ask(f, "PUT", BASE "/files/a", NULL, NULL);
    assert_int_equal(f->status, 204);
    assert_has(f->runner.request[3], "Content-Length: 0\r\n");
    ask(f, "GET", BASE "/kernels", NULL, NULL);
    assert_int_equal(f->status, 409);
    assert_string_equal(f->type, "application/problem+json");
    assert_int_equal(f->runner.accepted, 1);
}

static void acts_and_closes(struct peer *p)
{
    int kept = peer_accept(p);
    if (hear(p, kept))
        says(kept, "HTTP/1.1 204 No Content\r\n\r\n");
    for (int fd = peer_accept(p); fd >= 0; fd = peer_accept(p)) {
        hear(p, fd);
        close(fd);
    }
    close(kept);
}

static void what_acts_is_sent_once(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->runner, acts_and_closes);
    ask(f, "GET", BASE "/kernels", NULL, NULL);
    assert_int_equal(f->status, 204);
    ask(f, "POST", BASE "/restart", NULL, "{}");
    assert_problem(f, 503, "unavailable");
    assert_int_equal(f->runner.n_requests, 2);
    ask(f, "POST", BASE "/restart", NULL, "{}");
    assert_problem(f, 503, "unavailable");
    assert_int_equal(f->runner.n_requests, 3);
}

static void execution_answers(struct peer *p)
{
    int fd = peer_accept(p);
    while (hear(p, fd))
        says(fd, "HTTP/1.1 202 Accepted\r\nLocation: /executions/e\r\nContent-Length: 0\r\n\r\n");
    close(fd);
}

static void executions_get_an_id(void **state)
{
    struct fixture *f = *state;
    char a[80], b[80], c[80], d[80];
    const char *key[] = {"Idempotency-Key: once", NULL}, *other[] = {"Idempotency-Key: two", NULL};
    peer_start(&f->runner, execution_answers);
    ask(f, "POST", BASE "/execute", key, "{}");
    assert_string_equal(f->location, BASE "/executions/e");
    ask(f, "POST", BASE "/execute", key, "{}");
    ask(f, "POST", BASE "/execute", other, "{}");
    ask(f, "POST", BASE "/execute", NULL, "{}");
    execution_id_of(f, 0, a);
    execution_id_of(f, 1, b);
    execution_id_of(f, 2, c);
    execution_id_of(f, 3, d);
    assert_string_equal(a, b);
    assert_string_not_equal(a, c);
    assert_true(id_is_uuid(d));
    assert_null(strstr(f->runner.request[0], "Idempotency"));
}

static void idempotency_keys_have_a_form(void **state)
{
    struct fixture *f = *state;
    char line[300] = "Idempotency-Key: ";
    const char *headers[] = {line, NULL};
    peer_start(&f->runner, execution_answers);
    memset(line + 17, 'k', 255);
    ask(f, "POST", BASE "/execute", headers, "{}");
    assert_int_equal(f->status, 202);
    memset(line + 17, 'k', 256);
    ask(f, "POST", BASE "/execute", headers, "{}");
    assert_problem(f, 400, "invalid");
    assert_has(f->data.ptr, "\"field\":\"Idempotency-Key\"");
    snprintf(line, sizeof(line), "Idempotency-Key: a b");
    ask(f, "POST", BASE "/execute", headers, "{}");
    assert_problem(f, 400, "invalid");
    assert_int_equal(f->runner.n_requests, 1);
}

/* ---- event streams ---- */

static void stream_in_halves(struct peer *p)
{
    int fd = peer_accept(p);
    if (hear(p, fd)) {
        says(fd, NDJSON);
        peer_wait(p);
        chunk(fd, LINE1 "{\"seq\":2,\"type\":");
        peer_wait(p);
        chunk(fd, "\"done\",\"status\":\"ok\"}\n");
        says(fd, "0\r\n\r\n");
    }
    wait_closed(fd);
    close(fd);
}

static void a_stream_shows_whole_lines_as_they_come(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->runner, stream_in_halves);
    f->want = strlen(LINE1);
    start(f, "POST", BASE "/execute", NULL, "{}");
    peer_go(&f->runner);
    loop_run(f->loop);
    assert_string_equal(f->location, BASE "/executions/e");
    assert_int_equal(f->data.len, strlen(LINE1));
    f->want = 0;
    peer_go(&f->runner);
    loop_run(f->loop);
    assert_false(f->failed);
    assert_data(f, LINE1 LINE2);
}

static void silent_stream(struct peer *p)
{
    int fd = peer_accept(p);
    if (hear(p, fd))
        says(fd, NDJSON);
    wait_closed(fd);
    close(fd);
}

static void the_end_of_the_sandbox_ends_a_silent_stream(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->runner, silent_stream);
    f->later = loop_timer_new(f->loop, end_sandbox, f);
    loop_timer_start(f->later, 50, 0);
    ask(f, "GET", BASE "/executions/e/events", (const char *const[]){"Last-Event-ID: 41", NULL},
        NULL);
    assert_false(f->failed);
    buf_append_char(&f->data, '\0');
    assert_has(f->data.ptr, "{\"seq\":42," LOST "its node has \\\"left\\\"\"}");
}

/* ---- answers that break ---- */

static void dies_silently(struct peer *p)
{
    for (int fd = peer_accept(p); fd >= 0; fd = peer_accept(p)) {
        hear(p, fd);
        close(fd);
    }
}

static void no_answer_is_retried_where_that_is_safe(void **state)
{
    struct fixture *f = *state;
    struct relay_stats stats;
    peer_start(&f->runner, dies_silently);
    ask(f, "GET", BASE "/kernels", NULL, NULL);
    assert_problem(f, 503, "unavailable");
    assert_int_equal(f->runner.accepted, 2);
    ask(f, "POST", BASE "/restart", NULL, "{}");
    assert_problem(f, 503, "unavailable");
    assert_int_equal(f->runner.accepted, 3);
    relay_stats(f->relay, &stats);
    assert_int_equal(stats.retried, 1);
    /* An execution is asked for by its id as long as patience lasts. */
    ask(f, "POST", BASE "/execute", NULL, "{}");
    assert_problem(f, 503, "unavailable");
    assert_true(f->runner.accepted >= 3 + 3);
    char a[80], b[80];
    execution_id_of(f, 3, a);
    execution_id_of(f, (f->runner.n_requests - 1) % 4, b);
    assert_string_equal(a, b);
}

static void end_once_asked(void *ctx)
{
    struct fixture *f = ctx;
    if (f->runner.accepted > 0)
        end_sandbox(f);
    else
        loop_timer_start(f->later, 2, 0);
}

static void no_answer_of_a_sandbox_that_died(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->runner, dies_silently);
    f->later = loop_timer_new(f->loop, end_once_asked, f);
    loop_timer_start(f->later, 2, 0);
    ask(f, "POST", BASE "/execute", NULL, "{}");
    assert_problem(f, 502, "sandbox_lost");
    assert_has(f->data.ptr, "its node has");
    assert_int_equal(f->runner.accepted, 1);
    ask(f, "POST", BASE "/execute", NULL, "{}");
    assert_problem(f, 502, "sandbox_lost");
    f->sandbox.state = SANDBOX_TERMINATING;
    ask(f, "POST", BASE "/execute", NULL, "{}");
    assert_problem(f, 404, "not_found");
    f->sandbox.state = SANDBOX_CLAIMING;
    ask(f, "POST", BASE "/execute", NULL, "{}");
    assert_problem(f, 503, "unavailable");
}

static void nobody_listens(void **state)
{
    struct fixture *f = *state;
    ask(f, "POST", BASE "/restart", NULL, "{}");
    assert_problem(f, 503, "unavailable");
}

static void breaks_in_the_middle(struct peer *p)
{
    static char block[KIB(128)];
    int fd = peer_accept(p);
    if (hear(p, fd)) {
        bool large = strstr(p->request[p->n_requests - 1], "large") != NULL;
        says(fd, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                 "Content-Length: 300000\r\n\r\n");
        say(fd, block, large ? sizeof(block) : 0);
    }
    close(fd);
}

static void breaks_in_small_answers(struct peer *p)
{
    for (int fd = peer_accept(p); fd >= 0; fd = peer_accept(p)) {
        bool again = p->n_requests % 4 == 2 || p->n_requests % 4 == 3;
        if (hear(p, fd)) {
            says(fd, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                     "Content-Length: 9\r\n\r\n{\"a\":");
            says(fd, again ? "123}" : "");
        }
        close(fd);
    }
}

static void a_small_answer_that_breaks_is_asked_for_again(void **state)
{
    struct fixture *f = *state;
    char a[80], b[80];
    peer_start(&f->runner, breaks_in_small_answers);
    ask(f, "POST", BASE "/execute", NULL, "{}");
    assert_false(f->failed);
    assert_int_equal(f->status, 200);
    assert_data(f, "{\"a\":123}");
    assert_int_equal(f->runner.n_requests, 3);
    execution_id_of(f, 0, a);
    execution_id_of(f, 2, b);
    assert_string_equal(a, b);
    assert_has(f->runner.request[2], "\r\n\r\n{}");
}

static void breaks_in_every_answer(struct peer *p)
{
    for (int fd = peer_accept(p); fd >= 0; fd = peer_accept(p)) {
        if (hear(p, fd))
            says(fd, "HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n{");
        close(fd);
    }
}

static void an_answer_that_always_breaks_is_unavailable(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->runner, breaks_in_every_answer);
    ask(f, "POST", BASE "/execute", NULL, "{}");
    assert_problem(f, 503, "unavailable");
    unsigned asked = f->runner.n_requests;
    ask(f, "POST", BASE "/restart", NULL, "{}");
    assert_problem(f, 503, "unavailable");
    assert_int_equal(f->runner.n_requests, asked + 1);
}

static void a_large_answer_that_breaks_is_cut(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->runner, breaks_in_the_middle);
    ask(f, "GET", BASE "/files/large", NULL, NULL);
    assert_true(f->failed);
    assert_int_equal(f->status, 200);
}

static void silent_answer(struct peer *p)
{
    int fd = peer_accept(p);
    hear(p, fd);
    wait_closed(fd);
    close(fd);
}

static void plain_requests_have_a_deadline(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->runner, silent_answer);
    ask(f, "POST", BASE "/restart", NULL, "{}");
    assert_problem(f, 504, "timeout");
}

static void refuses_the_token(struct peer *p)
{
    int fd = peer_accept(p);
    if (hear(p, fd))
        says(fd, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
    close(fd);
}

static void the_runners_401_is_not_the_callers(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->runner, refuses_the_token);
    ask(f, "GET", BASE "/kernels", NULL, NULL);
    assert_problem(f, 500, "internal");
}

/* ---- large bodies ---- */

#define BIG MIB(8)

static void takes_big(struct peer *p)
{
    int fd = peer_accept(p);
    if (hear(p, fd)) {
        peer_drain(p, fd, BIG);
        says(fd, "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
    }
    wait_closed(fd);
    close(fd);
}

static void a_large_upload_streams(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->runner, takes_big);
    f->to_send = BIG;
    ask(f, "PUT", BASE "/files/big", NULL, NULL);
    assert_false(f->failed);
    assert_int_equal(f->status, 201);
    assert_int_equal(f->runner.body_len, BIG);
    assert_has(f->runner.request[0], "Content-Length: 8388608\r\n");
}

static void refuses_big(struct peer *p)
{
    int fd = peer_accept(p);
    if (hear(p, fd))
        says(fd, "HTTP/1.1 507 Insufficient Storage\r\nContent-Type: application/problem+json\r\n"
                 "Connection: close\r\nContent-Length: 19\r\n\r\n{\"code\":\"no_space\"}");
    peer_drain(p, fd, BIG);
    close(fd);
}

static void a_refused_upload_gets_its_answer(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->runner, refuses_big);
    f->to_send = BIG;
    ask(f, "PUT", BASE "/files/big", NULL, NULL);
    assert_problem(f, 507, "no_space");
}

static void dies_in_upload(struct peer *p)
{
    int fd = peer_accept(p);
    if (hear(p, fd))
        peer_drain(p, fd, MIB(1));
    close(fd);
}

static void a_runner_that_dies_in_an_upload(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->runner, dies_in_upload);
    f->to_send = BIG;
    ask(f, "PUT", BASE "/files/big", NULL, NULL);
    assert_problem(f, 503, "unavailable");
}

static void upload_of_a_leaving_client(struct peer *p)
{
    int fd = peer_accept(p);
    if (hear(p, fd))
        peer_drain(p, fd, BIG);
    close(fd);
}

static ssize_t send_some(void *ctx, char *out, size_t max)
{
    struct fixture *f = ctx;
    if (f->to_send < BIG / 2) {
        loop_stop(f->loop);
        return 0;
    }
    return on_send(ctx, out, max);
}

static void a_client_that_leaves_in_an_upload(void **state)
{
    struct fixture *f = *state;
    struct relay_stats stats = {.open = 1};
    peer_start(&f->runner, upload_of_a_leaving_client);
    f->to_send = BIG;
    const struct httpc_callbacks cb = {.on_send = send_some, .on_done = on_done};
    struct httpc_request req = {.method = "PUT",
                                .url = "http://front" BASE "/files/big",
                                .unix_path = f->front_path,
                                .send_streams = true,
                                .send_length = BIG};
    assert_int_equal(httpc_start(&f->call, f->client, &req, &cb, f, NULL), 0);
    loop_run(f->loop);
    f->call = httpc_cancel(f->call);
    f->later = loop_timer_new(f->loop, (loop_fn)loop_stop, f->loop);
    while (stats.open) {
        loop_timer_start(f->later, 5, 0);
        loop_run(f->loop);
        relay_stats(f->relay, &stats);
    }
    peer_join(&f->runner);
    assert_true(f->runner.body_len < BIG);
}

static void gives_big(struct peer *p)
{
    static char block[KIB(64)];
    int fd = peer_accept(p);
    size_t sent = 0;
    if (hear(p, fd)) {
        memset(block, 'd', sizeof(block));
        says(fd, "HTTP/1.1 200 OK\r\nContent-Length: 8388608\r\n\r\n");
        /* How far it comes while the client does not read. */
        for (struct pollfd pf = {.fd = fd, .events = POLLOUT}; poll(&pf, 1, 300) == 1;) {
            ssize_t n =
                send(fd, block, MIN(sizeof(block), BIG - sent), MSG_NOSIGNAL | MSG_DONTWAIT);
            if (n <= 0)
                break;
            sent += (size_t)n;
        }
        p->body_len = sent;
        for (; sent < BIG; sent += MIN(sizeof(block), BIG - sent))
            say(fd, block, MIN(sizeof(block), BIG - sent));
    }
    wait_closed(fd);
    close(fd);
}

static void unpause(void *ctx)
{
    struct fixture *f = ctx;
    f->pause = false;
    httpc_resume_recv(f->call);
}

static void a_slow_client_slows_the_runner(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->runner, gives_big);
    f->pause = true;
    f->later = loop_timer_new(f->loop, unpause, f);
    loop_timer_start(f->later, 800, 0);
    ask(f, "GET", BASE "/files/big", NULL, NULL);
    assert_false(f->failed);
    assert_int_equal(f->data.len, BIG);
    assert_true(f->runner.body_len < MIB(3));
}

/* ---- the client leaves ---- */

static void waits_for_cancel(struct peer *p)
{
    int fd = peer_accept(p);
    hear(p, fd);
    if (strstr(p->request[0], "x-ndjson") || strstr(p->request[0], "/events")) {
        says(fd, NDJSON);
        chunk(fd, LINE1);
    }
    peer_wait(p);
    wait_closed(fd);
    close(fd);
    fd = peer_accept(p);
    if (fd >= 0 && hear(p, fd))
        says(fd, "HTTP/1.1 204 No Content\r\n\r\n");
    close(fd);
}

static void leave(void *ctx)
{
    struct fixture *f = ctx;
    f->call = httpc_cancel(f->call);
    peer_go(&f->runner);
    loop_stop(f->loop);
}

static void run_until_closed(struct fixture *f, bool cancelled)
{
    struct relay_stats stats = {.open = 1};
    while (stats.open || (cancelled && stats.client_gone == 0)) {
        loop_timer_free(f->later);
        f->later = loop_timer_new(f->loop, (loop_fn)loop_stop, f->loop);
        loop_timer_start(f->later, 5, 0);
        loop_run(f->loop);
        relay_stats(f->relay, &stats);
    }
}

static void leaving_an_execution_tells_the_runner(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 2; i++) {
        const char *accept[] = {i ? "Accept: application/x-ndjson" : "Accept: */*", NULL};
        char eid[80];
        f->runner.n_requests = 0;
        peer_start(&f->runner, waits_for_cancel);
        loop_timer_free(f->later);
        f->later = loop_timer_new(f->loop, leave, f);
        loop_timer_start(f->later, 100, 0);
        ask(f, "POST", BASE "/execute", accept, "{}");
        run_until_closed(f, true);
        execution_id_of(f, 0, eid);
        _cleanup_(freep) char *want =
            mem_printf("POST /executions/%s/cancel?on=disconnect HTTP/1.1\r\n", eid);
        assert_has(f->runner.request[1], want);
        assert_has(f->runner.request[1], "Authorization: Bearer " TOKEN "\r\n");
        peer_join(&f->runner);
        struct relay_stats stats;
        relay_stats(f->relay, &stats);
        assert_int_equal(stats.client_gone, 1);
        relay_free(f->relay);
        const struct relay_cfg cfg = {.loop = f->loop, .http = f->to_runner};
        assert_int_equal(relay_new(&f->relay, &cfg, NULL), 0);
    }
}

static void leaving_a_reader_tells_nobody(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->runner, waits_for_cancel);
    f->later = loop_timer_new(f->loop, leave, f);
    loop_timer_start(f->later, 100, 0);
    ask(f, "GET", BASE "/executions/e/events", NULL, NULL);
    run_until_closed(f, false);
    assert_int_equal(f->runner.n_requests, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(heads_pass_without_credentials),
        T(head_range_and_conditions),
        T(what_acts_is_sent_once),
        T(executions_get_an_id),
        T(idempotency_keys_have_a_form),
        T(a_stream_shows_whole_lines_as_they_come),
        T(the_end_of_the_sandbox_ends_a_silent_stream),
        T(no_answer_is_retried_where_that_is_safe),
        T(no_answer_of_a_sandbox_that_died),
        T(nobody_listens),
        T(a_small_answer_that_breaks_is_asked_for_again),
        T(an_answer_that_always_breaks_is_unavailable),
        T(a_large_answer_that_breaks_is_cut),
        T(plain_requests_have_a_deadline),
        T(the_runners_401_is_not_the_callers),
        T(a_large_upload_streams),
        T(a_refused_upload_gets_its_answer),
        T(a_runner_that_dies_in_an_upload),
        T(a_client_that_leaves_in_an_upload),
        T(a_slow_client_slows_the_runner),
        T(leaving_an_execution_tells_the_runner),
        T(leaving_a_reader_tells_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
