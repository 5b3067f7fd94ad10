#include "controller/pool/warm_pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/log.h"
#include "lib/crypto/crypto.h"
#include "lib/httpc/httpc.h"
#include "tests/unit/controller/sandbox/fake_backend.h"

struct answer {
    struct fixture *f;
    unsigned calls;
    bool existed;
    struct err err;
    char id[ID_SANDBOX_SIZE];
    struct warm_pool_create *c;
};

struct fixture {
    struct loop *loop;
    struct httpc *http;
    struct fake_backend *backend;
    struct sandbox_table *table;
    struct warm_pool *pool;
    struct answer a[16];
    unsigned want_ready, want_calls;
    unsigned max_per_caller;
};

static void open_pool(struct fixture *f, unsigned warm, unsigned max, int64_t deadline_ms)
{
    struct warm_pool_cfg cfg = {.min_ready = warm,
                                .max_sandboxes = max,
                                .max_per_caller = f->max_per_caller,
                                .create_deadline_ms = deadline_ms,
                                .seed = 42};

    assert_int_equal(warm_pool_new(&f->pool, f->table, &cfg, NULL), 0);
}

static int setup(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    struct sandbox_table_cfg cfg = {
        .start_deadline_ms = 5000,
        .defaults = {.exec_timeout_ms = 300000, .idle_timeout_ms = 3600000}};

    crypto_init(NULL);
    log_init("test", LOG_ERROR);
    if (loop_new(&f->loop, NULL) < 0 || httpc_new(&f->http, f->loop, 64, NULL) < 0)
        return -1;
    f->backend = fake_backend_new(f->loop);
    cfg.backend = &f->backend->base;
    cfg.http = f->http;
    if (sandbox_table_new(&f->table, f->loop, &cfg, NULL) < 0)
        return -1;
    for (size_t i = 0; i < ARRAY_LEN(f->a); i++)
        f->a[i].f = f;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    sandbox_backend_close(&f->backend->base);
    warm_pool_free(f->pool);
    sandbox_table_free(f->table);
    httpc_free(f->http);
    loop_free(f->loop);
    free(f);
    return 0;
}

static void on_created(void *ctx, json_t *json, bool existed, const struct err *err)
{
    struct answer *a = ctx;

    a->calls++;
    a->c = NULL;
    a->existed = existed;
    a->err = err ? *err : (struct err){0};
    assert_true((json == NULL) == (err != NULL));
    if (json)
        snprintf(a->id, sizeof(a->id), "%s", json_string_value(json_object_get(json, "id")));
}

static int ask(struct fixture *f, unsigned i, const char *owner, const char *key)
{
    struct sandbox_spec spec;

    assert_int_equal(sandbox_spec_parse(&spec, NULL, sandbox_table_defaults(f->table), NULL), 0);
    int r = warm_pool_create(&f->a[i].c, f->pool, owner, &spec, key, on_created, &f->a[i],
                             &f->a[i].err);
    assert_null(spec.labels);
    assert_int_equal(f->a[i].calls, 0);
    return r;
}

static bool calls_came(void *ctx)
{
    struct fixture *f = ctx;
    unsigned n = 0;

    for (size_t i = 0; i < ARRAY_LEN(f->a); i++)
        n += f->a[i].calls;
    return n >= f->want_calls;
}

static void wait_calls(struct fixture *f, unsigned n)
{
    f->want_calls = n;
    assert_true(fake_run_until(f->loop, calls_came, f));
}

static bool is_settled(void *ctx)
{
    struct fixture *f = ctx;
    struct warm_pool_stats s;

    warm_pool_stats(f->pool, &s);
    return s.ready == f->want_ready && s.starting == 0 &&
           sandbox_table_count(f->table, SANDBOX_TERMINATING) == 0 &&
           sandbox_table_count(f->table, SANDBOX_FAILED) == 0;
}

static void wait_ready(struct fixture *f, unsigned n)
{
    f->want_ready = n;
    assert_true(fake_run_until(f->loop, is_settled, f));
}

static bool is_creating(void *ctx)
{
    struct fixture *f = ctx;

    return fake_creating(f->backend) >= f->want_calls;
}

static void wait_creating(struct fixture *f, unsigned n)
{
    f->want_calls = n;
    assert_true(fake_run_until(f->loop, is_creating, f));
}

static bool was_discarded(void *ctx)
{
    struct fixture *f = ctx;
    struct warm_pool_stats s;

    warm_pool_stats(f->pool, &s);
    return s.discarded > 0;
}

/* One turn of the loop. */
static void turn(struct fixture *f)
{
    struct loop_post stop = {0};

    loop_post(&stop, f->loop, (loop_fn)loop_stop, f->loop);
    loop_run(f->loop);
}

static struct warm_pool_stats stats(struct fixture *f)
{
    struct warm_pool_stats s;

    warm_pool_stats(f->pool, &s);
    return s;
}

static void ok(const struct answer *a)
{
    assert_int_equal(a->calls, 1);
    if (a->err.code)
        fail_msg("%s", a->err.text);
    assert_true(id_is_sandbox(a->id));
}

static void keeps_so_many_ready(void **state)
{
    struct fixture *f = *state;

    open_pool(f, 3, 10, 5000);
    warm_pool_start(f->pool);
    wait_creating(f, 1);
    assert_int_equal(fake_creating(f->backend), 1); /* one at a time */
    wait_ready(f, 3);
    assert_int_equal(f->backend->creates, 3);
    assert_int_equal(sandbox_table_count_owned(f->table), 0);
}

static void claims_a_ready_one_and_refills(void **state)
{
    struct fixture *f = *state;

    open_pool(f, 1, 10, 5000);
    warm_pool_start(f->pool);
    wait_ready(f, 1);
    f->backend->hold_creates = true; /* no start can be what serves it */
    assert_int_equal(ask(f, 0, "alice", NULL), 0);
    wait_calls(f, 1);
    ok(&f->a[0]);
    assert_false(f->a[0].existed);
    assert_int_equal(stats(f).claimed_warm, 1);
    wait_creating(f, 1);
    fake_release_create(f->backend);
    wait_ready(f, 1);
    assert_non_null(sandbox_table_find(f->table, f->a[0].id, "alice"));
}

static void empty_pool_starts_one_for_the_asker(void **state)
{
    struct fixture *f = *state;

    open_pool(f, 0, 10, 5000);
    warm_pool_start(f->pool);
    assert_int_equal(ask(f, 0, "alice", NULL), 0);
    wait_calls(f, 1);
    ok(&f->a[0]);
    assert_int_equal(stats(f).claimed_cold, 1);
    assert_int_equal(f->backend->creates, 1);
    wait_ready(f, 0);
}

static void asker_during_refill_gets_what_comes_first(void **state)
{
    struct fixture *f = *state;

    f->backend->hold_creates = true;
    open_pool(f, 1, 10, 5000);
    warm_pool_start(f->pool);
    wait_creating(f, 1);
    assert_int_equal(ask(f, 0, "alice", NULL), 0);
    wait_creating(f, 2); /* its own start beside the refill */
    fake_release_create(f->backend);
    wait_calls(f, 1);
    ok(&f->a[0]);
    assert_int_equal(fake_creating(f->backend), 1);
    fake_release_create(f->backend);
    wait_ready(f, 1);
    assert_int_equal(f->backend->creates, 2);
}

static void askers_are_served_in_order(void **state)
{
    struct fixture *f = *state;

    f->backend->hold_creates = true;
    open_pool(f, 0, 10, 5000);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(ask(f, i, "alice", NULL), 0);
    wait_creating(f, 3);
    for (unsigned i = 0; i < 3; i++) {
        fake_release_create(f->backend);
        wait_calls(f, i + 1);
        ok(&f->a[i]);
    }
}

static void starts_have_a_ceiling(void **state)
{
    struct fixture *f = *state;

    f->backend->hold_creates = true;
    open_pool(f, 1, 20, 5000);
    for (unsigned i = 0; i < 12; i++)
        assert_int_equal(ask(f, i, "alice", NULL), 0);
    wait_creating(f, 8);
    assert_int_equal(stats(f).starting, WARM_POOL_STARTS_MAX);
    f->backend->hold_creates = false;
    for (unsigned i = 0; i < 8; i++)
        fake_release_create(f->backend);
    wait_calls(f, 12);
    for (unsigned i = 0; i < 12; i++)
        ok(&f->a[i]);
}

static void failed_start_fails_one_asker_with_its_words(void **state)
{
    struct fixture *f = *state;

    f->backend->fail_creates = 1;
    open_pool(f, 0, 10, 5000);
    assert_int_equal(ask(f, 0, "alice", NULL), 0);
    assert_int_equal(ask(f, 1, "bob", NULL), 0);
    wait_calls(f, 2);
    assert_int_equal(f->a[0].err.code, ERR_SANDBOX_FAILED);
    assert_non_null(strstr(f->a[0].err.text, "last words"));
    ok(&f->a[1]);
    assert_int_equal(stats(f).created_failed, 1);
}

static void failed_refill_does_not_fail_an_asker_with_a_start_of_its_own(void **state)
{
    struct fixture *f = *state;

    f->backend->hold_creates = true;
    open_pool(f, 1, 10, 5000);
    warm_pool_start(f->pool);
    wait_creating(f, 1);
    assert_int_equal(ask(f, 0, "alice", NULL), 0);
    wait_creating(f, 2);
    f->backend->fail_creates = 1;
    fake_release_create(f->backend);
    f->backend->hold_creates = false;
    wait_calls(f, 0);
    fake_release_create(f->backend);
    wait_calls(f, 1);
    ok(&f->a[0]);
}

static void refused_start_is_told_too(void **state)
{
    struct fixture *f = *state;

    f->backend->refuse_create = true;
    open_pool(f, 1, 10, 5000);
    warm_pool_start(f->pool);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(ask(f, i, "alice", NULL), 0);
    wait_calls(f, 3);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(f->a[i].err.code, ERR_UNAVAILABLE);
}

static bool is_removed(void *ctx)
{
    struct fixture *f = ctx;

    return sandbox_table_count_of(f->table, "alice") == 1;
}

static void a_caller_has_a_limit_of_its_own(void **state)
{
    struct fixture *f = *state;

    f->max_per_caller = 2;
    f->backend->hold_creates = true;
    open_pool(f, 0, 10, 5000);
    /* While they are made … */
    assert_int_equal(ask(f, 0, "alice", NULL), 0);
    assert_int_equal(ask(f, 1, "alice", "key"), 0);
    assert_int_equal(ask(f, 2, "alice", NULL), -ERR_LIMIT);
    assert_non_null(strstr(f->a[2].err.text, "you have 2 sandboxes"));
    assert_int_equal(ask(f, 3, "alice", "key"), 0); /* the same as the second */
    assert_int_equal(ask(f, 4, "bob", NULL), 0);
    wait_creating(f, 3);
    f->backend->claim = FAKE_SILENT;
    f->backend->hold_creates = false;
    for (unsigned i = 0; i < 3; i++)
        fake_release_create(f->backend);
    while (f->backend->claims < 3)
        turn(f);
    /* … while their runners are told, and while that is tried again … */
    assert_int_equal(ask(f, 2, "alice", NULL), -ERR_LIMIT);
    f->backend->claim = FAKE_OK;
    f->want_calls = 4;
    while (!calls_came(f)) {
        assert_int_equal(ask(f, 2, "alice", NULL), -ERR_LIMIT);
        turn(f);
    }
    ok(&f->a[0]);
    ok(&f->a[1]);
    ok(&f->a[4]);
    /* … and while they live and end. */
    assert_int_equal(ask(f, 2, "alice", NULL), -ERR_LIMIT);
    assert_int_equal(ask(f, 5, "bob", NULL), 0);
    sandbox_remove(sandbox_table_find(f->table, f->a[0].id, "alice"), NULL, NULL);
    assert_int_equal(ask(f, 2, "alice", NULL), -ERR_LIMIT);
    assert_true(fake_run_until(f->loop, is_removed, f));
    assert_int_equal(ask(f, 2, "alice", NULL), 0);
    assert_int_equal(ask(f, 6, "alice", NULL), -ERR_LIMIT); /* two at once: one place */
    wait_calls(f, 6);
    ok(&f->a[2]);
}

#define MANY 3000

static unsigned n_told;

static void count_told(void *ctx, json_t *json, bool existed, const struct err *err)
{
    n_told++;
    assert_non_null(err);
}

static bool all_told(void *ctx)
{
    return n_told == MANY;
}

static void thousands_wait_for_one_key(void **state)
{
    struct fixture *f = *state;

    n_told = 0;
    f->backend->hold_creates = true;
    open_pool(f, 0, 10, 5000);
    for (unsigned i = 0; i < MANY; i++) {
        struct sandbox_spec spec;
        struct warm_pool_create *c;
        assert_int_equal(sandbox_spec_parse(&spec, NULL, sandbox_table_defaults(f->table), NULL),
                         0);
        assert_int_equal(warm_pool_create(&c, f->pool, "alice", &spec, "key", count_told, f, NULL),
                         0);
    }
    f->backend->fail_creates = 1;
    wait_creating(f, 1);
    fake_release_create(f->backend);
    assert_true(fake_run_until(f->loop, all_told, NULL));
}

static bool is_empty(void *ctx)
{
    struct fixture *f = ctx;

    return fake_running(f->backend) == 0 && sandbox_table_count(f->table, SANDBOX_READY) == 0;
}

static void who_leaves_before_it_is_told_leaves_nothing(void **state)
{
    struct fixture *f = *state;

    open_pool(f, 0, 10, 5000);
    for (unsigned later = 0; later < 2; later++) { /* turns after its runner has taken the owner */
        assert_int_equal(ask(f, later, "alice", NULL), 0);
        while (sandbox_table_count(f->table, SANDBOX_READY) == 0)
            turn(f);
        for (unsigned i = 0; i < later; i++)
            turn(f);
        assert_int_equal(f->a[later].calls, 0);
        warm_pool_create_forget(f->a[later].c);
        assert_true(fake_run_until(f->loop, is_empty, f));
        assert_int_equal(f->a[later].calls, 0);
    }
}

static void refill_backs_off_and_recovers(void **state)
{
    struct fixture *f = *state;
    int64_t before = clk_mono_ms();

    f->backend->fail_creates = 2;
    open_pool(f, 1, 10, 5000);
    warm_pool_start(f->pool);
    wait_ready(f, 1);
    /* after 0.5–1 s, then after 1–2 s */
    assert_true(clk_mono_ms() - before >= 1500);
    assert_int_equal(f->backend->creates, 3);
    assert_int_equal(stats(f).created_failed, 2);
}

static void one_that_does_not_answer_is_never_handed_out(void **state)
{
    struct fixture *f = *state;

    open_pool(f, 1, 10, 10000);
    warm_pool_start(f->pool);
    wait_ready(f, 1);
    f->backend->claim = FAKE_BREAK;
    f->backend->hold_creates = true;
    assert_int_equal(ask(f, 0, "alice", NULL), 0);
    assert_true(fake_run_until(f->loop, was_discarded, f));
    wait_creating(f, 2); /* the refill, and one for the asker */
    f->backend->claim = FAKE_OK;
    fake_release_create(f->backend);
    fake_release_create(f->backend);
    wait_calls(f, 1);
    ok(&f->a[0]);
    assert_int_equal(stats(f).discarded, 1);
    wait_ready(f, 1);
    assert_int_equal(fake_running(f->backend), 2);
}

static void claims_that_always_fail_end(void **state)
{
    struct fixture *f = *state;

    open_pool(f, 0, 10, 10000);
    f->backend->claim = FAKE_BREAK;
    assert_int_equal(ask(f, 0, "alice", NULL), 0);
    wait_calls(f, 1);
    assert_int_equal(f->a[0].err.code, ERR_SANDBOX_FAILED);
    assert_int_equal(f->backend->creates, 3);
    wait_ready(f, 0);
    assert_int_equal(fake_running(f->backend), 0);
}

static void late_creation_times_out(void **state)
{
    struct fixture *f = *state;

    f->backend->hold_creates = true;
    open_pool(f, 0, 10, 1000);
    assert_int_equal(ask(f, 0, "alice", NULL), 0);
    wait_calls(f, 1);
    assert_int_equal(f->a[0].err.code, ERR_TIMEOUT);
    assert_non_null(strstr(f->a[0].err.text, "1 s"));
    fake_release_create(f->backend); /* nobody wants it any more */
    wait_ready(f, 0);
    assert_int_equal(fake_running(f->backend), 0);
}

static void lost_ready_one_is_replaced(void **state)
{
    struct fixture *f = *state;

    open_pool(f, 1, 10, 5000);
    warm_pool_start(f->pool);
    wait_ready(f, 1);
    fake_lose(f->backend, f->backend->runners->id, "idle for an hour");
    assert_int_equal(stats(f).ready, 0);
    wait_ready(f, 1);
    assert_int_equal(f->backend->creates, 2);
}

static void limit_counts_owned_ones_and_those_under_way(void **state)
{
    struct fixture *f = *state;

    open_pool(f, 2, 2, 5000);
    warm_pool_start(f->pool);
    wait_ready(f, 2); /* these do not count */
    assert_int_equal(ask(f, 0, "alice", NULL), 0);
    assert_int_equal(ask(f, 1, "alice", NULL), 0);
    assert_int_equal(ask(f, 2, "bob", NULL), -ERR_LIMIT);
    wait_calls(f, 2);
    ok(&f->a[0]);
    ok(&f->a[1]);
    assert_int_equal(ask(f, 2, "bob", NULL), -ERR_LIMIT);
    assert_non_null(strstr(f->a[2].err.text, "--max-sandboxes"));
    sandbox_remove(sandbox_table_find(f->table, f->a[0].id, NULL), NULL, NULL);
    wait_ready(f, 2);
    assert_int_equal(ask(f, 2, "bob", NULL), 0);
    wait_calls(f, 3);
    ok(&f->a[2]);
}

static void one_key_is_one_sandbox(void **state)
{
    struct fixture *f = *state;

    open_pool(f, 0, 10, 5000);
    assert_int_equal(ask(f, 0, "alice", "key"), 0);
    assert_int_equal(ask(f, 1, "alice", "key"), 0); /* at once */
    assert_int_equal(ask(f, 2, "bob", "key"), 0);   /* another's key */
    wait_calls(f, 3);
    ok(&f->a[0]);
    ok(&f->a[1]);
    ok(&f->a[2]);
    assert_false(f->a[0].existed);
    assert_true(f->a[1].existed);
    assert_string_equal(f->a[0].id, f->a[1].id);
    assert_string_not_equal(f->a[0].id, f->a[2].id);
    assert_int_equal(ask(f, 3, "alice", "key"), 0); /* later */
    wait_calls(f, 4);
    ok(&f->a[3]);
    assert_true(f->a[3].existed);
    assert_string_equal(f->a[0].id, f->a[3].id);
    assert_int_equal(f->backend->creates, 2);

    fake_lose(f->backend, f->a[0].id, "gone"); /* the key is free with its sandbox */
    assert_int_equal(ask(f, 5, "alice", "key"), 0);
    wait_calls(f, 5);
    ok(&f->a[5]);
    assert_false(f->a[5].existed);
}

static void joined_ones_hear_of_the_failure(void **state)
{
    struct fixture *f = *state;

    f->backend->fail_creates = 1;
    open_pool(f, 0, 10, 5000);
    assert_int_equal(ask(f, 0, "alice", "key"), 0);
    assert_int_equal(ask(f, 1, "alice", "key"), 0);
    wait_calls(f, 2);
    assert_int_equal(f->a[0].err.code, ERR_SANDBOX_FAILED);
    assert_int_equal(f->a[1].err.code, ERR_SANDBOX_FAILED);
}

static void forgotten_creation_leaves_nothing(void **state)
{
    struct fixture *f = *state;

    f->backend->hold_creates = true;
    open_pool(f, 0, 10, 5000);
    assert_int_equal(ask(f, 0, "alice", NULL), 0);
    wait_creating(f, 1);
    assert_null(warm_pool_create_forget(f->a[0].c));
    fake_release_create(f->backend);
    wait_ready(f, 0);
    assert_int_equal(fake_running(f->backend), 0);
    assert_int_equal(f->a[0].calls, 0);

    assert_int_equal(ask(f, 1, "alice", "key"), 0); /* with a key it goes on */
    wait_creating(f, 1);
    warm_pool_create_forget(f->a[1].c);
    assert_true(warm_pool_is_making(f->pool, "alice", "key"));
    assert_false(warm_pool_is_making(f->pool, "bob", "key"));
    fake_release_create(f->backend);
    wait_ready(f, 0);
    assert_int_equal(ask(f, 2, "alice", "key"), 0);
    wait_calls(f, 1);
    ok(&f->a[2]);
    assert_true(f->a[2].existed);
    assert_int_equal(f->a[1].calls, 0);
    assert_false(warm_pool_is_making(f->pool, "alice", "key"));
}

static void on_adopted(void *ctx, const struct err *err)
{
    struct fixture *f = ctx;

    assert_null(err);
    warm_pool_start(f->pool);
}

static void adopted_ones_refill_and_surplus_goes(void **state)
{
    struct fixture *f = *state;
    struct err err;

    fake_leave(f->backend, "sb-01234567-89ab-4def-8123-456789abc000", NULL);
    fake_leave(f->backend, "sb-11234567-89ab-4def-8123-456789abc000", NULL);
    open_pool(f, 1, 10, 5000);
    assert_int_equal(sandbox_table_adopt(f->table, on_adopted, f, &err), 0);
    wait_ready(f, 1);
    assert_int_equal(fake_running(f->backend), 1);
    assert_int_equal(f->backend->creates, 0);
}

static void stopped_pool_refuses(void **state)
{
    struct fixture *f = *state;

    f->backend->hold_creates = true;
    open_pool(f, 1, 10, 5000);
    warm_pool_start(f->pool);
    assert_int_equal(ask(f, 0, "alice", NULL), 0);
    warm_pool_stop(f->pool);
    wait_calls(f, 1);
    assert_int_equal(f->a[0].err.code, ERR_UNAVAILABLE);
    assert_int_equal(ask(f, 1, "alice", NULL), -ERR_UNAVAILABLE);
}

static void paused_pool_serves_without_refilling(void **state)
{
    struct fixture *f = *state;

    open_pool(f, 1, 10, 5000);
    warm_pool_start(f->pool);
    wait_ready(f, 1);
    warm_pool_pause(f->pool);
    assert_int_equal(ask(f, 0, "alice", NULL), 0);
    assert_int_equal(ask(f, 1, "alice", NULL), 0);
    wait_calls(f, 2);
    ok(&f->a[0]);
    ok(&f->a[1]);
    wait_ready(f, 0);
    assert_int_equal(f->backend->creates, 2);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(keeps_so_many_ready),
        T(claims_a_ready_one_and_refills),
        T(empty_pool_starts_one_for_the_asker),
        T(asker_during_refill_gets_what_comes_first),
        T(askers_are_served_in_order),
        T(starts_have_a_ceiling),
        T(failed_start_fails_one_asker_with_its_words),
        T(failed_refill_does_not_fail_an_asker_with_a_start_of_its_own),
        T(refused_start_is_told_too),
        T(a_caller_has_a_limit_of_its_own),
        T(thousands_wait_for_one_key),
        T(who_leaves_before_it_is_told_leaves_nothing),
        T(refill_backs_off_and_recovers),
        T(one_that_does_not_answer_is_never_handed_out),
        T(claims_that_always_fail_end),
        T(late_creation_times_out),
        T(lost_ready_one_is_replaced),
        T(limit_counts_owned_ones_and_those_under_way),
        T(one_key_is_one_sandbox),
        T(joined_ones_hear_of_the_failure),
        T(forgotten_creation_leaves_nothing),
        T(adopted_ones_refill_and_surplus_goes),
        T(stopped_pool_refuses),
        T(paused_pool_serves_without_refilling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
