/* Bytes in memory, in a file, and where the file has no room. */
#include "kernel-runner/exec/spill.h"
#include "lib/api/limits.h"
#include "lib/base/mem.h"
#include "tests/support/no_room.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* after the four headers it needs */
#include <cmocka.h>

struct fixture {
    struct spill_store store;
    struct spill s;
};

static int setup(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    f->store.dir_fd = -1;
    spill_init(&f->s, &f->store);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    room_is_back();
    spill_done(&f->s);
    assert_int_equal(f->store.memory_bytes, 0);
    assert_int_equal(f->store.file_bytes, 0);
    free(f);
    return 0;
}

static void check_bytes(struct fixture *f, const char *want)
{
    char got[64];
    size_t n = 0;
    for (ssize_t r; (r = spill_read(&f->s, n, got + n, sizeof(got) - n)) > 0;)
        n += (size_t)r;
    assert_int_equal(n, strlen(want));
    assert_memory_equal(got, want, n);
    assert_int_equal(spill_len(&f->s), n);
}

static void a_view_stays_as_it_is(void **state)
{
    struct fixture *f = *state;
    struct spill_view first, second, third;
    assert_int_equal(spill_append(&f->s, slice_str("abc"), NULL), 0);
    assert_int_equal(spill_view_open(&f->s, &first, NULL), 0);
    /* More than its block holds: it is moved, but not under the view. */
    char *big = mem_alloc(KIB(64));
    memset(big, 'x', KIB(64));
    assert_int_equal(spill_append(&f->s, slice_make(big, KIB(64)), NULL), 0);
    free(big);
    assert_int_equal(spill_view_open(&f->s, &second, NULL), 0);
    assert_int_equal(spill_to_file(&f->s, NULL), 0);
    assert_int_equal(spill_append(&f->s, slice_str("end"), NULL), 0);
    assert_int_equal(spill_view_open(&f->s, &third, NULL), 0);
    spill_done(&f->s);
    assert_int_equal(spill_view_len(&first), 3);
    assert_memory_equal(spill_view_from(&first, 0).ptr, "abc", 3);
    assert_int_equal(spill_view_len(&second), KIB(64) + 3);
    assert_memory_equal(spill_view_from(&second, 1).ptr, "bcx", 3);
    assert_int_equal(third.file.len, KIB(64) + 6);
    assert_memory_equal(spill_view_from(&third, KIB(64) + 3).ptr, "end", 3);
    assert_int_equal(spill_view_from(&third, KIB(64) + 6).len, 0);
    spill_view_close(&first);
    spill_view_close(&second);
    spill_view_close(&third);
}

static void without_room_an_append_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct err err;
    assert_int_equal(spill_append(&f->s, slice_str("one\n"), NULL), 0);
    assert_int_equal(spill_to_file(&f->s, NULL), 0);
    no_room_above(6); /* two of the next four bytes would fit */
    assert_int_equal(spill_append(&f->s, slice_str("two\n"), &err), -ERR_NO_SPACE);
    check_bytes(f, "one\n");
}

static void what_must_be_kept_lies_behind_the_file(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(spill_append(&f->s, slice_str("one\n"), NULL), 0);
    assert_int_equal(spill_to_file(&f->s, NULL), 0);
    no_room_above(6);
    spill_append_always(&f->s, slice_str("two\n"));
    spill_append_always(&f->s, slice_str("three\n"));
    assert_int_equal(spill_append(&f->s, slice_str("no\n"), NULL), -ERR_NO_SPACE);
    check_bytes(f, "one\ntwo\nthree\n");
    struct spill_view view;
    assert_int_equal(spill_view_open(&f->s, &view, NULL), 0);
    assert_int_equal(view.file.len, 4);
    assert_memory_equal(spill_view_from(&view, 4).ptr, "two\nthree\n", 10);
    /* Room again: all of it goes there, in order. */
    room_is_back();
    assert_int_equal(spill_append(&f->s, slice_str("four\n"), NULL), 0);
    assert_int_equal(f->s.mem_len, 0);
    check_bytes(f, "one\ntwo\nthree\nfour\n");
    spill_view_close(&view);
}

static void memory_of_all_together_has_a_ceiling(void **state)
{
    struct fixture *f = *state;
    f->store.memory_bytes = LIMIT_SPILL_MEMORY_BYTES - 4; /* of others */
    assert_int_equal(spill_append(&f->s, slice_str("four"), NULL), 0);
    assert_int_equal(f->s.fd, -1);
    assert_int_equal(spill_append(&f->s, slice_str("5"), NULL), 0);
    assert_int_equal(f->s.mem_len, 0);
    check_bytes(f, "four5");
    f->store.memory_bytes -= LIMIT_SPILL_MEMORY_BYTES - 4;
}

static void without_room_memory_has_its_ceiling_all_the_same(void **state)
{
    struct fixture *f = *state;
    char *big = mem_alloc(LIMIT_LOG_MEMORY_BYTES);
    memset(big, 'x', LIMIT_LOG_MEMORY_BYTES);
    no_room_above(0);
    assert_int_equal(spill_append(&f->s, slice_make(big, LIMIT_LOG_MEMORY_BYTES), NULL), 0);
    assert_int_equal(spill_append(&f->s, slice_str("y"), NULL), -ERR_NO_SPACE);
    spill_append_always(&f->s, slice_str("done\n"));
    assert_int_equal(spill_len(&f->s), LIMIT_LOG_MEMORY_BYTES + 5);
    free(big);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_view_stays_as_it_is),
        T(without_room_an_append_changes_nothing),
        T(what_must_be_kept_lies_behind_the_file),
        T(memory_of_all_together_has_a_ceiling),
        T(without_room_memory_has_its_ceiling_all_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
