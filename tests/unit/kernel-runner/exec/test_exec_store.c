/* How long executions can be asked for: by number, by time, by size, and while somebody reads. */
#include "kernel-runner/exec/exec_store.h"
#include "lib/api/limits.h"
#include "lib/base/mem.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four headers it needs */
#include <cmocka.h>

struct fixture {
    struct loop *loop;
    struct exec_store *store;
};

static int setup(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    assert_int_equal(loop_new(&f->loop, NULL), 0);
    struct exec_store_cfg cfg = {.loop = f->loop,
                                 .spill_dir_fd = -1,
                                 .limits = {.output_bytes = MIB(8)},
                                 .total_output_bytes = MIB(12)};
    f->store = exec_store_new(&cfg);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    exec_store_free(f->store);
    loop_free(f->loop);
    free(f);
    return 0;
}

static struct exec *add(struct fixture *f, unsigned n)
{
    char id[24];
    struct exec_request *r = NULL;
    snprintf(id, sizeof(id), "e%u", n);
    assert_int_equal(exec_request_parse(&r, slice_str("{\"code\":\"1\"}"), NULL), 0);
    return exec_store_add(f->store, id, "hash", r);
}

static void finish(struct fixture *f, struct exec *e)
{
    exec_finish(e, "ok", NULL);
    exec_store_finished(f->store, e);
}

static int lookup(struct fixture *f, const char *id)
{
    struct exec *e = NULL;
    return exec_store_lookup(f->store, id, &e, NULL);
}

static void the_last_512_are_kept(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < LIMIT_EXECS_KEPT; i++)
        finish(f, add(f, i));
    assert_int_equal(lookup(f, "e0"), 0);
    finish(f, add(f, LIMIT_EXECS_KEPT));
    assert_int_equal(lookup(f, "e0"), -ERR_EXPIRED);
    assert_int_equal(lookup(f, "e1"), 0);
    assert_int_equal(lookup(f, "never"), EXEC_UNKNOWN);
}

static void a_running_one_is_not_counted_out(void **state)
{
    struct fixture *f = *state;
    add(f, 9999);
    for (unsigned i = 0; i <= LIMIT_EXECS_KEPT; i++)
        finish(f, add(f, i));
    assert_int_equal(lookup(f, "e9999"), 0);
}

static void fifteen_minutes_after_its_end(void **state)
{
    struct fixture *f = *state;
    struct exec *e = add(f, 1);
    finish(f, e);
    int64_t kept_us = LIMIT_EXEC_KEPT_MS * INT64_C(1000);
    int64_t end_us = e->ended_us;
    assert_true(exec_store_expire(f->store, end_us + kept_us - 1) > 0);
    assert_int_equal(lookup(f, "e1"), 0);
    assert_int_equal(exec_store_expire(f->store, end_us + kept_us), 0);
    assert_int_equal(lookup(f, "e1"), -ERR_EXPIRED);
}

static void a_reader_keeps_what_it_reads(void **state)
{
    struct fixture *f = *state;
    struct exec *e = add(f, 1);
    exec_store_hold(f->store, e);
    finish(f, e);
    exec_store_expire(f->store, INT64_MAX);
    assert_int_equal(lookup(f, "e1"), -ERR_EXPIRED);
    assert_string_equal(e->status, "ok"); /* still there */
    exec_store_release(f->store, e);
}

static void readers_have_ceilings(void **state)
{
    struct fixture *f = *state;
    enum { EXECS = LIMIT_ALL_READERS / LIMIT_READERS };
    struct exec *all[EXECS];
    struct err err;
    for (unsigned i = 0; i < EXECS; i++) {
        all[i] = add(f, i);
        for (unsigned n = 0; n < LIMIT_READERS; n++) {
            assert_int_equal(exec_store_room(f->store, all[i], &err), 0);
            exec_store_hold(f->store, all[i]);
        }
        assert_int_equal(exec_store_room(f->store, all[i], &err), -ERR_LIMIT);
        assert_int_equal(exec_store_room(f->store, NULL, &err), i + 1 < EXECS ? 0 : -ERR_LIMIT);
    }
    exec_store_release(f->store, all[0]);
    assert_int_equal(exec_store_room(f->store, NULL, &err), 0);
    assert_int_equal(exec_store_room(f->store, all[0], &err), 0);
    assert_int_equal(exec_store_room(f->store, all[1], &err), -ERR_LIMIT);
}

static void fill(struct exec *e, size_t bytes)
{
    char *line = mem_alloc(bytes);
    memset(line, 'x', bytes);
    line[bytes - 1] = '\n';
    assert_int_equal(event_log_append(e->log, slice_make(line, bytes), NULL), 0);
    free(line);
}

static void the_oldest_logs_go_when_all_are_too_large(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 3; i++) {
        struct exec *e = add(f, i);
        fill(e, MIB(5));
        finish(f, e);
    }
    assert_int_equal(lookup(f, "e0"), -ERR_EXPIRED);
    assert_int_equal(lookup(f, "e1"), 0);
    assert_int_equal(lookup(f, "e2"), 0);
}

static void finished_logs_leave_memory(void **state)
{
    struct fixture *f = *state;
    struct exec_store_cfg cfg = {.loop = f->loop,
                                 .spill_dir_fd = -1,
                                 .limits = {.output_bytes = MIB(8)},
                                 .total_output_bytes = MIB(64)};
    exec_store_free(f->store);
    f->store = exec_store_new(&cfg);
    struct exec *all[20];
    for (unsigned i = 0; i < ARRAY_LEN(all); i++) {
        all[i] = add(f, i);
        fill(all[i], MIB(1));
        finish(f, all[i]);
    }
    size_t memory = 0;
    for (unsigned i = 0; i < ARRAY_LEN(all); i++)
        memory += event_log_memory(all[i]->log);
    assert_true(memory > 0 && memory <= LIMIT_LOGS_MEMORY_BYTES);
    assert_int_equal(event_log_memory(all[0]->log), 0); /* the oldest went first */
    assert_int_equal(lookup(f, "e0"), 0);               /* and can still be asked for */
}

static void check_list(struct fixture *f, const char *state, const char *want)
{
    char ids[128] = "";
    struct exec *e = NULL;
    while ((e = exec_store_next(f->store, e, state)))
        strncat(ids, e->id, 32);
    assert_string_equal(ids, want);
}

static void lists_are_newest_first(void **state)
{
    struct fixture *f = *state;
    check_list(f, NULL, "");
    finish(f, add(f, 1));
    add(f, 2);
    finish(f, add(f, 3));
    check_list(f, NULL, "e3e2e1");
    check_list(f, "done", "e3e1");
    check_list(f, "queued", "e2");
    check_list(f, "running", "");
}

static void a_list_goes_on_behind_one_that_expired(void **state)
{
    struct fixture *f = *state;
    add(f, 1);
    struct exec *e = add(f, 2);
    exec_store_hold(f->store, e);
    finish(f, e);
    finish(f, add(f, 3));
    exec_store_expire(f->store, INT64_MAX);
    add(f, 4);
    assert_int_equal(lookup(f, "e2"), -ERR_EXPIRED);
    struct exec *next = exec_store_next(f->store, e, NULL);
    assert_string_equal(next->id, "e1");
    assert_null(exec_store_next(f->store, next, NULL));
    exec_store_release(f->store, e);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(the_last_512_are_kept),
        T(a_running_one_is_not_counted_out),
        T(fifteen_minutes_after_its_end),
        T(a_reader_keeps_what_it_reads),
        T(readers_have_ceilings),
        T(the_oldest_logs_go_when_all_are_too_large),
        T(finished_logs_leave_memory),
        T(lists_are_newest_first),
        T(a_list_goes_on_behind_one_that_expired),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
