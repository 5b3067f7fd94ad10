/*
 * Streams whose connection to a living runner breaks, wherever it may: the client must get what it
 * would have got of one that did not. The runner has a log and a list of the places at which its
 * connections break (log_runner.h).
 */
#include "tests/unit/controller/relay/relay_fixture.h"

static const char *const ndjson[] = {"Accept: application/x-ndjson", NULL};
static const char *const sse[] = {"Accept: text/event-stream", NULL};

static void ask_stream(struct fixture *f, bool events)
{
    if (events)
        ask(f, "GET", BASE "/executions/e/events", sse, NULL);
    else
        ask(f, "POST", BASE "/execute", ndjson, "{}");
}

/* ---- it goes on ---- */

static void broken_at_every_byte(void **state)
{
    struct fixture *f = *state;
    use_short_log();
    peer_start(&f->runner, log_runner);
    for (int events = 0; events < 2; events++) {
        _cleanup_(freep) char *whole = want(events, 0);
        struct buf b = wire(events, 0);
        size_t head = strlen(events ? SSE : NDJSON);
        for (size_t at = 1; at < b.len; at += at < head ? 23 : 1) {
            plan.n = 0;
            plan.cuts[0] = at;
            ask_stream(f, events);
            if (f->failed || f->data.len != strlen(whole) ||
                memcmp(f->data.ptr, whole, f->data.len) != 0)
                fail_msg("broken at %zu (%d): %.*s", at, events, (int)f->data.len, f->data.ptr);
        }
        buf_done(&b);
    }
}

static void it_breaks_again_and_again(void **state)
{
    struct fixture *f = *state;
    struct relay_stats stats;
    use_short_log();
    peer_start(&f->runner, log_runner);
    _cleanup_(freep) char *whole = want(true, 0);
    size_t head = strlen(SSE);
    const size_t cuts[] = {head + 5, head, 10, head + 60, head + 1, head + 70, head + 3, WHOLE};
    memcpy(plan.cuts, cuts, sizeof(cuts));
    ask_stream(f, true);
    assert_false(f->failed);
    assert_data(f, whole);
    assert_int_equal(plan.n, 8);
    relay_stats(f->relay, &stats);
    assert_int_equal(stats.retried, 7);
    assert_int_equal(stats.lost, 0);
    assert_string_equal(plan.afters[0], "-");
    assert_string_equal(plan.afters[7], "2");
    /* Every attempt is a reader of the same execution, with the sandbox's token. */
    for (unsigned i = 0; i < 4; i++) {
        assert_has(f->runner.request[i], "GET /executions/e/events");
        assert_has(f->runner.request[i], "Authorization: Bearer " TOKEN "\r\n");
        assert_has(f->runner.request[i], "Accept: text/event-stream\r\n");
        assert_has(f->runner.request[i], "X-Request-Id: ");
    }
}

static void behind_its_done_nothing_is_asked(void **state)
{
    struct fixture *f = *state;
    use_short_log();
    struct buf b = wire(false, 0);
    plan.cuts[0] = b.len - 5; /* without the last chunk */
    buf_done(&b);
    peer_start(&f->runner, log_runner);
    ask_stream(f, false);
    assert_false(f->failed);
    _cleanup_(freep) char *whole = want(false, 0);
    assert_data(f, whole);
    assert_int_equal(plan.n, 1);
}

static void a_long_event_goes_on_within(void **state)
{
    struct fixture *f = *state;
    use_short_log();
    plan.big = KIB(400);
    peer_start(&f->runner, log_runner);
    for (int events = 0; events < 2; events++) {
        _cleanup_(freep) char *whole = want(events, 0);
        for (size_t at = KIB(100); at < 3 * KIB(400); at += KIB(90)) {
            plan.n = 0;
            plan.cuts[0] = at;
            plan.cuts[1] = KIB(300);
            ask_stream(f, events);
            assert_false(f->failed);
            assert_int_equal(f->data.len, strlen(whole));
            assert_memory_equal(f->data.ptr, whole, f->data.len);
        }
    }
}

static void read_on(void *ctx)
{
    struct fixture *f = ctx;
    f->pause = false;
    httpc_resume_recv(f->call);
}

static void a_slow_client_misses_nothing(void **state)
{
    struct fixture *f = *state;
    use_short_log();
    plan.big = KIB(900);
    plan.cuts[0] = KIB(2300);
    peer_start(&f->runner, log_runner);
    f->pause = true;
    f->later = loop_timer_new(f->loop, read_on, f);
    loop_timer_start(f->later, 200, 0);
    _cleanup_(freep) char *whole = want(true, 0);
    ask_stream(f, true);
    assert_false(f->failed);
    assert_int_equal(f->data.len, strlen(whole));
    assert_memory_equal(f->data.ptr, whole, f->data.len);
    assert_int_equal(plan.n, 2);
}

static void a_runner_that_is_busy_is_asked_later(void **state)
{
    struct fixture *f = *state;
    use_short_log();
    plan.cuts[0] = strlen(NDJSON) + 40;
    plan.answers[1] = "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n";
    plan.answers[2] = "HTTP/1.1 503 Unavailable\r\nContent-Length: 2\r\n\r\n{}";
    plan.answers[3] = SSE; /* not what it was */
    peer_start(&f->runner, log_runner);
    ask_stream(f, false);
    assert_false(f->failed);
    _cleanup_(freep) char *whole = want(false, 0);
    assert_data(f, whole);
    assert_int_equal(plan.n, 5);
}

/* ---- it cannot go on ---- */

static void no_runner_for_long_cuts_the_stream(void **state)
{
    struct fixture *f = *state;
    struct relay_stats stats;
    use_short_log();
    peer_start(&f->runner, log_runner);
    for (unsigned i = 0; i < 8; i++)
        plan.cuts[i] = strlen(NDJSON) + (i ? 3 : 45);
    ask_stream(f, false);
    assert_true(f->failed); /* no end: the client may come again with what it has */
    assert_int_equal(f->status, 200);
    assert_data(f, short_log[0]);
    assert_true(plan.n > 3);
    relay_stats(f->relay, &stats);
    assert_int_equal(stats.lost, 0);
}

static void a_log_that_was_dropped_cuts_the_stream(void **state)
{
    static const char *const answers[] = {"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n",
                                          "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"};
    struct fixture *f = *state;
    use_short_log();
    peer_start(&f->runner, log_runner);
    for (unsigned i = 0; i < ARRAY_LEN(answers); i++) {
        plan.n = 0;
        plan.cuts[0] = strlen(NDJSON) + 45;
        plan.answers[1] = answers[i];
        ask_stream(f, false);
        assert_true(f->failed);
        assert_data(f, short_log[0]);
        assert_int_equal(plan.n, 2);
    }
}

static void gone_when_asked(void *ctx)
{
    struct fixture *f = ctx;
    if (plan.n >= 3)
        end_sandbox(f);
    else
        loop_timer_start(f->later, 2, 0);
}

static void the_sandbox_ends_while_it_is_attached_again(void **state)
{
    struct fixture *f = *state;
    struct relay_stats stats;
    use_short_log();
    for (unsigned i = 0; i < 8; i++)
        plan.cuts[i] = strlen(SSE) + (i ? 3 : 45);
    peer_start(&f->runner, log_runner);
    f->later = loop_timer_new(f->loop, gone_when_asked, f);
    loop_timer_start(f->later, 2, 0);
    ask_stream(f, true);
    assert_false(f->failed);
    buf_append_char(&f->data, '\0');
    assert_has(f->data.ptr, "\"started\"}\n\nid: 2\ndata: {\"seq\":2," LOST "its node has");
    assert_string_equal(f->data.ptr + f->data.len - 4, "}\n\n");
    relay_stats(f->relay, &stats);
    assert_int_equal(stats.lost, 1);
}

static void its_last_words_are_read(void **state)
{
    struct fixture *f = *state;
    use_short_log();
    plan.cuts[0] = strlen(NDJSON) + 45;
    plan.gates[0] = true;
    peer_start(&f->runner, log_runner);
    f->want = strlen(short_log[0]);
    start(f, "POST", BASE "/execute", ndjson, "{}");
    loop_run(f->loop);
    f->want = 0;
    end_sandbox(f);
    peer_go(&f->runner);
    loop_run(f->loop);
    assert_false(f->failed);
    buf_append_char(&f->data, '\0');
    assert_has(f->data.ptr, "{\"seq\":2," LOST "its node has");
    assert_int_equal(plan.n, 1);
}

static void the_lost_event_never_goes_back(void **state)
{
    static const struct {
        const char *path, *last;
        const char *want;
    } cases[] = {
        {BASE "/executions/e/events?after=0", "Last-Event-ID: 6", "id: 7\ndata: {\"seq\":7,"},
        {BASE "/executions/e/events?after=9", "Last-Event-ID: 6", "id: 10\ndata: {\"seq\":10,"},
        {BASE "/executions/e/events?after=41", "X-None: 1", "id: 42\ndata: {\"seq\":42,"},
        {BASE "/executions/e/events", "Last-Event-ID: 41", "id: 42\ndata: {\"seq\":42,"},
        {BASE "/executions/e/events", "X-None: 1", "id: 1\ndata: {\"seq\":1,"},
    };
    struct fixture *f = *state;
    struct sandbox whole = f->sandbox;
    use_short_log();
    peer_start(&f->runner, log_runner);
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        const char *headers[] = {"Accept: text/event-stream", cases[i].last, NULL};
        for (unsigned k = 0; k < 8; k++)
            plan.cuts[k] = strlen(SSE);
        plan.n = 0;
        f->sandbox = whole;
        loop_timer_free(f->later);
        f->later = loop_timer_new(f->loop, gone_when_asked, f);
        loop_timer_start(f->later, 2, 0);
        ask(f, "GET", cases[i].path, headers, NULL);
        assert_false(f->failed);
        buf_append_char(&f->data, '\0');
        if (strncmp(f->data.ptr, cases[i].want, strlen(cases[i].want)) != 0)
            fail_msg("%u: %s", i, f->data.ptr);
    }
}

static void leave_when_asked(void *ctx)
{
    struct fixture *f = ctx;
    if (plan.n >= 3) {
        f->call = httpc_cancel(f->call);
        loop_stop(f->loop);
    } else {
        loop_timer_start(f->later, 2, 0);
    }
}

static void the_client_leaves_meanwhile(void **state)
{
    struct fixture *f = *state;
    struct relay_stats stats = {.open = 1};
    use_short_log();
    for (unsigned i = 0; i < 8; i++)
        plan.cuts[i] = strlen(SSE) + (i ? 3 : 45);
    peer_start(&f->runner, log_runner);
    f->later = loop_timer_new(f->loop, leave_when_asked, f);
    loop_timer_start(f->later, 2, 0);
    ask_stream(f, true);
    while (stats.open) {
        loop_timer_free(f->later);
        f->later = loop_timer_new(f->loop, (loop_fn)loop_stop, f->loop);
        loop_timer_start(f->later, 5, 0);
        loop_run(f->loop);
        relay_stats(f->relay, &stats);
    }
    assert_int_equal(stats.client_gone, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(broken_at_every_byte),
        T(it_breaks_again_and_again),
        T(behind_its_done_nothing_is_asked),
        T(a_long_event_goes_on_within),
        T(a_slow_client_misses_nothing),
        T(a_runner_that_is_busy_is_asked_later),
        T(no_runner_for_long_cuts_the_stream),
        T(a_log_that_was_dropped_cuts_the_stream),
        T(the_sandbox_ends_while_it_is_attached_again),
        T(its_last_words_are_read),
        T(the_lost_event_never_goes_back),
        T(the_client_leaves_meanwhile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
