/*
 * Executions without a client: events one by one, at the reader's pace, across broken connections.
 * The runner is a thread with a log and the places at which its connections break.
 */
#include "tests/unit/controller/exec/log_runner.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "controller/exec/runner_exec.h"
#include "lib/base/mem.h"
#include "lib/crypto/crypto.h"
#include "lib/httpc/httpc.h"
#include "lib/loop/loop.h"
#include "tests/unit/controller/exec/sandbox_stub.h"

#define TOKEN "the-token-of-the-sandbox"

enum free_in { FREE_NOWHERE, FREE_IN_EVENT, FREE_IN_DONE };

struct fixture {
    char dir[64];
    struct peer runner;
    struct loop *loop;
    struct httpc *http;
    struct sandbox sandbox;
    struct loop_timer *deadline, *later;
    struct runner_exec *x;
    struct buf events;
    uint64_t last_seq;
    unsigned n_events, n_done;
    enum runner_ask_end end;
    struct err err;
    bool stutters, refused; /* takes every event at the second time only */
    enum free_in free_in;
};

static void on_deadline(void *ctx)
{
    fail_msg("the test did not end in 20 s");
}

static int setup(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    assert_int_equal(crypto_init(NULL), 0);
    snprintf(f->dir, sizeof(f->dir), "/tmp/exec-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->runner.path, sizeof(f->runner.path), "%s/runner", f->dir);
    assert_int_equal(loop_new(&f->loop, NULL), 0);
    assert_int_equal(httpc_new(&f->http, f->loop, 16, NULL), 0);
    sandbox_stub(&f->sandbox, "sb-12345678-1234-4234-8234-123456789000", TOKEN, f->runner.path);
    f->deadline = loop_timer_new(f->loop, on_deadline, f);
    loop_timer_start(f->deadline, 20000, 0);
    buf_init(&f->events, MIB(8));
    use_short_log();
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    runner_exec_free(f->x);
    assert_null(f->sandbox.watches);
    httpc_free(f->http);
    peer_join(&f->runner);
    loop_timer_free(f->deadline);
    loop_timer_free(f->later);
    loop_free(f->loop);
    buf_done(&f->events);
    rmdir(f->dir);
    free(f);
    return 0;
}

static void resume(void *ctx)
{
    struct fixture *f = ctx;
    if (f->x)
        runner_exec_resume(f->x);
}

static bool on_event(void *ctx, const struct stream_event *e)
{
    struct fixture *f = ctx;
    if (f->stutters && !f->refused) {
        f->refused = true;
        loop_timer_start(f->later, 1, 0);
        return false;
    }
    f->refused = false;
    if (e->first)
        assert_int_equal(e->seq, f->last_seq + 1);
    f->last_seq = e->seq;
    f->n_events++;
    buf_append_slice(&f->events, e->bytes);
    if (f->free_in == FREE_IN_EVENT) {
        f->x = runner_exec_free(f->x);
        loop_stop(f->loop);
    }
    return true;
}

static void on_done(void *ctx, enum runner_ask_end end, const struct err *err)
{
    struct fixture *f = ctx;
    f->n_done++;
    f->end = end;
    assert_int_equal(err != NULL, end != RUNNER_ASK_ENDED);
    if (err)
        f->err = *err;
    if (f->free_in == FREE_IN_DONE)
        f->x = runner_exec_free(f->x);
    loop_stop(f->loop);
}

static const struct runner_exec_consumer consumer = {.on_event = on_event, .on_done = on_done};

static struct runner_exec_cfg config(struct fixture *f)
{
    return (struct runner_exec_cfg){.loop = f->loop,
                                    .http = f->http,
                                    .sandbox = &f->sandbox,
                                    .execution_id = "e-1",
                                    .request_id = "r-1",
                                    .patience_ms = 500};
}

static void start(struct fixture *f)
{
    struct runner_exec_cfg cfg = config(f);
    f->x = runner_exec_free(f->x);
    plan.n = 0;
    buf_clear(&f->events);
    f->last_seq = f->n_events = f->n_done = 0;
    assert_int_equal(
        runner_exec_start(&f->x, &cfg, slice_str("{\"code\":\"1\"}"), &consumer, f, NULL), 0);
    assert_int_equal(f->n_events + f->n_done, 0);
}

static void run(struct fixture *f)
{
    start(f);
    loop_run(f->loop);
    assert_int_equal(f->n_done, 1);
}

static void assert_events(struct fixture *f, uint64_t after)
{
    _cleanup_(freep) char *whole = want(false, after);
    buf_append_char(&f->events, '\0');
    assert_string_equal(f->events.ptr, whole);
}

static void events_come_one_by_one(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->runner, log_runner);
    run(f);
    assert_int_equal(f->end, RUNNER_ASK_ENDED);
    assert_int_equal(f->n_events, 3);
    assert_events(f, 0);
    static const char *const has[] = {
        "POST /execute HTTP/1.1\r\n",       "Authorization: Bearer " TOKEN "\r\n",
        "X-Execution-Id: e-1\r\n",          "X-Request-Id: r-1\r\n",
        "Accept: application/x-ndjson\r\n", "\r\n\r\n{\"code\":\"1\"}"};
    for (size_t i = 0; i < ARRAY_LEN(has); i++)
        if (!strstr(f->runner.request[0], has[i]))
            fail_msg("%s is not in %s", has[i], f->runner.request[0]);
}

static void each_comes_once_wherever_it_breaks(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->runner, log_runner);
    f->later = loop_timer_new(f->loop, resume, f);
    for (size_t at = strlen(NDJSON) - 3; at < strlen(NDJSON) + 170; at += 11) {
        plan.cuts[0] = at;
        plan.cuts[1] = at + 30;
        f->stutters = at % 2;
        run(f);
        assert_int_equal(f->end, RUNNER_ASK_ENDED);
        assert_events(f, 0);
    }
}

static void a_reader_that_takes_nothing_stops_the_runner(void **state)
{
    struct fixture *f = *state;
    plan.big = KIB(900);
    peer_start(&f->runner, log_runner);
    f->later = loop_timer_new(f->loop, resume, f);
    f->stutters = true;
    run(f);
    assert_int_equal(f->end, RUNNER_ASK_ENDED);
    assert_true(f->n_events > 4); /* in parts */
    assert_int_equal(f->last_seq, 4);
    assert_events(f, 0);
}

static void attaching_begins_behind_what_was_read(void **state)
{
    struct fixture *f = *state;
    struct runner_exec_cfg cfg = config(f);
    peer_start(&f->runner, log_runner);
    plan.cuts[0] = strlen(NDJSON) + 20;
    f->last_seq = 2;
    assert_int_equal(runner_exec_attach(&f->x, &cfg, 2, &consumer, f, NULL), 0);
    loop_run(f->loop);
    assert_int_equal(f->end, RUNNER_ASK_ENDED);
    assert_events(f, 2);
    assert_string_equal(plan.afters[0], "2");
    assert_string_equal(plan.afters[1], "2");
}

static void a_refusal_is_the_runners_problem(void **state)
{
    struct fixture *f = *state;
    plan.answers[0] =
        "HTTP/1.1 409 Conflict\r\nContent-Type: application/problem+json\r\n"
        "Content-Length: 47\r\n\r\n{\"code\":\"kernel_dead\",\"detail\":\"it has died 5\"}";
    peer_start(&f->runner, log_runner);
    run(f);
    assert_int_equal(f->end, RUNNER_ASK_FAILED);
    assert_int_equal(f->err.code, ERR_KERNEL_DEAD);
    assert_string_equal(f->err.text, "it has died 5");
    assert_int_equal(f->n_events, 0);
}

static void a_log_that_was_dropped_is_expired(void **state)
{
    struct fixture *f = *state;
    plan.cuts[0] = strlen(NDJSON) + 45;
    plan.answers[1] = "HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n";
    peer_start(&f->runner, log_runner);
    run(f);
    assert_int_equal(f->end, RUNNER_ASK_CUT);
    assert_int_equal(f->err.code, ERR_EXPIRED);
    assert_int_equal(f->last_seq, 1);
}

static void a_runner_that_stays_away_is_unavailable(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 8; i++)
        plan.cuts[i] = strlen(NDJSON) + (i ? 0 : 45);
    peer_start(&f->runner, log_runner);
    run(f);
    assert_int_equal(f->end, RUNNER_ASK_CUT);
    assert_int_equal(f->err.code, ERR_UNAVAILABLE);
    assert_int_equal(f->n_events, 1);
    f->x = runner_exec_free(f->x);
    peer_join(&f->runner); /* and nobody listens */
    run(f);
    assert_int_equal(f->end, RUNNER_ASK_FAILED);
    assert_int_equal(f->err.code, ERR_UNAVAILABLE);
}

static void end_when_asked_again(void *ctx)
{
    struct fixture *f = ctx;
    if (plan.n >= 3)
        sandbox_stub_end(&f->sandbox, ERR_SANDBOX_LOST, "its node has left");
    else
        loop_timer_start(f->later, 2, 0);
}

static void a_lost_sandbox_writes_its_done(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 8; i++)
        plan.cuts[i] = strlen(NDJSON) + (i ? 0 : 45);
    peer_start(&f->runner, log_runner);
    f->later = loop_timer_new(f->loop, end_when_asked_again, f);
    loop_timer_start(f->later, 2, 0);
    run(f);
    assert_int_equal(f->end, RUNNER_ASK_LOST);
    assert_int_equal(f->err.code, ERR_SANDBOX_LOST);
    assert_int_equal(f->last_seq, 2);
    assert_non_null(
        strstr(f->events.ptr, "{\"seq\":2,\"type\":\"done\",\"status\":\"sandbox_lost\""));
}

static void it_may_be_freed_in_its_callbacks(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->runner, log_runner);
    f->free_in = FREE_IN_EVENT;
    start(f);
    loop_run(f->loop);
    assert_null(f->x);
    assert_int_equal(f->n_events, 1);
    f->free_in = FREE_IN_DONE;
    run(f);
    assert_null(f->x);
    assert_int_equal(f->n_events, 3);
}

/* ---- about an execution ---- */

static void controls(struct peer *p)
{
    for (int fd = peer_accept(p); fd >= 0; fd = peer_accept(p)) {
        if (hear(p, fd))
            says(fd, p->n_requests == 3 ? "HTTP/1.1 409 Conflict\r\nContent-Length: 29\r\n\r\n"
                                          "{\"code\":\"no_input_pending\"}\r\n"
                                        : "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
        close(fd);
    }
}

static void on_controlled(void *ctx, json_t *json, const struct err *err)
{
    struct fixture *f = ctx;
    f->n_done++;
    f->err = err ? *err : (struct err){0};
    loop_stop(f->loop);
}

static void cancel_and_input(void **state)
{
    struct fixture *f = *state;
    peer_start(&f->runner, controls);
    assert_int_equal(
        runner_exec_cancel(f->http, &f->sandbox, "e-1", RUNNER_EXEC_CANCEL, on_controlled, f, NULL),
        0);
    loop_run(f->loop);
    assert_int_equal(f->err.code, ERR_OK);
    assert_int_equal(runner_exec_cancel(f->http, &f->sandbox, "e-1", RUNNER_EXEC_CLIENT_LEFT,
                                        on_controlled, f, NULL),
                     0);
    loop_run(f->loop);
    assert_int_equal(f->err.code, ERR_OK);
    assert_int_equal(
        runner_exec_input(f->http, &f->sandbox, "e-1", slice_str("a\"b"), on_controlled, f, NULL),
        0);
    loop_run(f->loop);
    assert_int_equal(f->err.code, ERR_NO_INPUT_PENDING);
    static const char *const has[] = {"POST /executions/e-1/cancel HTTP/1.1\r\n",
                                      "POST /executions/e-1/cancel?on=disconnect HTTP/1.1\r\n",
                                      "POST /executions/e-1/input HTTP/1.1\r\n"};
    for (size_t i = 0; i < ARRAY_LEN(has); i++)
        assert_int_equal(strncmp(f->runner.request[i], has[i], strlen(has[i])), 0);
    assert_non_null(strstr(f->runner.request[2], "\r\n\r\n{\"value\":\"a\\\"b\"}"));
    struct err err = {0};
    assert_int_equal(
        runner_exec_input(f->http, &f->sandbox, "e-1", slice_str("\xff"), on_controlled, f, &err),
        -ERR_INVALID);
    assert_int_equal(f->n_done, 3);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(events_come_one_by_one),
        T(each_comes_once_wherever_it_breaks),
        T(a_reader_that_takes_nothing_stops_the_runner),
        T(attaching_begins_behind_what_was_read),
        T(a_refusal_is_the_runners_problem),
        T(a_log_that_was_dropped_is_expired),
        T(a_runner_that_stays_away_is_unavailable),
        T(a_lost_sandbox_writes_its_done),
        T(it_may_be_freed_in_its_callbacks),
        T(cancel_and_input),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
