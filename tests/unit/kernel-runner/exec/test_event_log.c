/* The log in memory and in its file: the same bytes, the same places, whatever the size. */
#include "kernel-runner/exec/event_log.h"
#include "lib/api/limits.h"
#include "lib/base/mem.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* after the four headers it needs */
#include <cmocka.h>

struct fixture {
    struct loop *loop;
    struct spill_store store;
    struct event_log *log;
};

static int setup(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    assert_int_equal(loop_new(&f->loop, NULL), 0);
    f->store.dir_fd = -1;
    f->log = event_log_new(f->loop, &f->store);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    event_log_free(f->log);
    assert_int_equal(f->store.memory_bytes, 0);
    assert_int_equal(f->store.file_bytes, 0);
    loop_free(f->loop);
    free(f);
    return 0;
}

static void put_line(struct fixture *f, unsigned n)
{
    char line[64];
    int len = snprintf(line, sizeof(line), "line %u\n", n);
    assert_int_equal(event_log_append(f->log, slice_make(line, (size_t)len), NULL), 0);
}

static void check_line(struct fixture *f, uint64_t offset, unsigned n)
{
    char want[64], got[64];
    int len = snprintf(want, sizeof(want), "line %u\n", n);
    assert_int_equal(event_log_read(f->log, offset, got, (size_t)len), len);
    assert_memory_equal(got, want, (size_t)len);
}

static void seek_finds_every_line(void **state)
{
    struct fixture *f = *state;
    enum { LINES = 1500 };
    for (unsigned i = 1; i <= LINES; i++)
        put_line(f, i);
    for (int spilled = 0; spilled < 2; spilled++) {
        for (unsigned i = 0; i < LINES; i++)
            check_line(f, event_log_seek(f->log, i), i + 1);
        assert_int_equal(event_log_seek(f->log, LINES), event_log_bytes(f->log));
        assert_int_equal(event_log_seek(f->log, LINES + 1), event_log_bytes(f->log));
        assert_int_equal(event_log_seek(f->log, UINT64_MAX), event_log_bytes(f->log));
        event_log_spill(f->log);
    }
    assert_int_equal(event_log_lines(f->log), LINES);
}

static void a_log_at_the_ceiling_stays_in_memory(void **state)
{
    struct fixture *f = *state;
    char *big = mem_alloc(LIMIT_LOG_MEMORY_BYTES);
    memset(big, 'x', LIMIT_LOG_MEMORY_BYTES);
    big[LIMIT_LOG_MEMORY_BYTES - 1] = '\n';
    assert_int_equal(event_log_append(f->log, slice_make(big, LIMIT_LOG_MEMORY_BYTES), NULL), 0);
    assert_int_equal(event_log_memory(f->log), LIMIT_LOG_MEMORY_BYTES);
    assert_int_equal(f->store.file_bytes, 0);
    /* One byte more moves all of it to the file. */
    assert_int_equal(event_log_append(f->log, slice_str("\n"), NULL), 0);
    assert_int_equal(event_log_memory(f->log), 0);
    assert_int_equal(f->store.file_bytes, LIMIT_LOG_MEMORY_BYTES + 1);
    char got[2];
    assert_int_equal(event_log_read(f->log, LIMIT_LOG_MEMORY_BYTES - 2, got, 2), 2);
    assert_memory_equal(got, "x\n", 2);
    free(big);
}

static void on_wake(void *ctx)
{
    (*(int *)ctx)++;
}

static void waiters_learn_of_growth_and_end(void **state)
{
    struct fixture *f = *state;
    int wakes = 0;
    struct event_log_waiter *w = event_log_wait(f->log, on_wake, &wakes);
    put_line(f, 1);
    put_line(f, 2);
    assert_int_equal(wakes, 0); /* never from inside append */
    loop_run(f->loop);
    assert_int_equal(wakes, 1);
    event_log_end(f->log);
    loop_run(f->loop);
    assert_int_equal(wakes, 2);
    assert_true(event_log_ended(f->log));
    event_log_wait_free(w);
}

static void read_behind_the_end_is_empty(void **state)
{
    struct fixture *f = *state;
    char c;
    assert_int_equal(event_log_read(f->log, 0, &c, 1), 0);
    put_line(f, 1);
    assert_int_equal(event_log_read(f->log, 7, &c, 1), 0);
    assert_int_equal(event_log_read(f->log, UINT64_MAX, &c, 1), 0);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(seek_finds_every_line),
        T(a_log_at_the_ceiling_stays_in_memory),
        T(waiters_learn_of_growth_and_end),
        T(read_behind_the_end_is_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
