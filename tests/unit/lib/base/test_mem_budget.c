/* The budget at its ceilings and one byte above. */
#include "lib/base/mem_budget.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* after the four headers it needs */
#include <cmocka.h>

enum { A, B };

static void all_together_have_a_ceiling(void **state)
{
    struct mem_budget m = {.max_bytes = 100};
    struct err err;
    assert_int_equal(mem_budget_charge(&m, A, 60, &err), 0);
    assert_int_equal(mem_budget_charge(&m, B, 41, &err), -ERR_LIMIT);
    assert_int_equal(m.accounts[B].refused, 1);
    assert_int_equal(m.used_bytes, 60);
    assert_int_equal(mem_budget_charge(&m, B, 40, &err), 0);
    assert_int_equal(mem_budget_charge(&m, A, 1, &err), -ERR_LIMIT);
    assert_int_equal(mem_budget_charge(&m, A, 0, &err), 0);
    mem_budget_release(&m, B, 40);
    assert_int_equal(mem_budget_charge(&m, A, 1, &err), 0);
}

static void one_account_leaves_room_for_the_others(void **state)
{
    struct mem_budget m = {.max_bytes = 100};
    assert_int_equal(mem_budget_room(&m, A), 75);
    assert_int_equal(mem_budget_charge(&m, A, 76, NULL), -ERR_LIMIT);
    assert_int_equal(mem_budget_charge(&m, A, 75, NULL), 0);
    assert_int_equal(mem_budget_room(&m, A), 0);
    assert_int_equal(mem_budget_room(&m, B), 25);
    assert_int_equal(mem_budget_charge(&m, B, 25, NULL), 0);
}

static void what_is_held_is_released_as_a_whole(void **state)
{
    struct mem_budget m = {.max_bytes = 100};
    struct mem_held h = {0};
    mem_held_release(&h); /* nothing */
    assert_int_equal(mem_hold(&h, &m, B, 30, NULL), 0);
    assert_int_equal(mem_held_grow(&h, 46, NULL), -ERR_LIMIT);
    assert_int_equal(h.bytes, 30);
    assert_int_equal(mem_held_grow(&h, 45, NULL), 0);
    mem_held_shrink(&h, 10);
    assert_int_equal(m.accounts[B].used_bytes, 10);
    mem_held_release(&h);
    mem_held_release(&h);
    assert_int_equal(m.used_bytes, 0);
}

static void a_growing_buffer_is_charged_for_its_allocation(void **state)
{
    struct mem_budget m = {.max_bytes = KIB(64)};
    struct mem_held h = {.budget = &m, .account = A};
    struct buf b;
    char kib[1024] = {0};
    unsigned n = 0;
    buf_init(&b, MIB(1));
    while (mem_held_append(&h, &b, kib, sizeof(kib), NULL) == 0) {
        assert_true(b.cap <= h.bytes + 16);
        n++;
    }
    /* 4, 8, 16, 32 KiB; 64 are more than the account's share. */
    assert_int_equal(n, 31);
    assert_int_equal(b.len, n * sizeof(kib));
    buf_done(&b);
    mem_held_release(&h);
    /* The buffer's own ceiling is another matter. */
    buf_init(&b, 1500);
    assert_int_equal(mem_held_append(&h, &b, kib, 1024, NULL), 0);
    assert_int_equal(mem_held_append(&h, &b, kib, 477, NULL), -ERR_TOO_LARGE);
    assert_int_equal(mem_held_append(&h, &b, kib, 476, NULL), 0);
    assert_int_equal(h.bytes, 1501);
    buf_done(&b);
    mem_held_release(&h);
    assert_int_equal(m.used_bytes, 0);
}

static void without_a_budget_there_is_no_end(void **state)
{
    struct mem_held h = {0};
    assert_int_equal(mem_hold(&h, NULL, A, UINT64_MAX / 2, NULL), 0);
    assert_int_equal(mem_budget_room(NULL, A), UINT64_MAX);
    mem_held_release(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_together_have_a_ceiling),
        cmocka_unit_test(one_account_leaves_room_for_the_others),
        cmocka_unit_test(what_is_held_is_released_as_a_whole),
        cmocka_unit_test(a_growing_buffer_is_charged_for_its_allocation),
        cmocka_unit_test(without_a_budget_there_is_no_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
