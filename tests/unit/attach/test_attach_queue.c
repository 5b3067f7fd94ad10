/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */
#include "attach/attach_queue.h"

#include "lib/base/mem.h"

static void push(struct attach_queue *q, const char *text)
{
    struct buf b;
    buf_init(&b, 100);
    buf_append_str(&b, text);
    attach_queue_push(q, &b);
}

static void assert_next(const struct attach_queue *q, const char *text)
{
    struct slice data;
    bool there = attach_queue_next(q, &data);
    assert_int_equal(there, text != NULL);
    if (text)
        assert_true(slice_eq_str(data, text));
}

static void sends_in_order_and_keeps_until_arrived(void **state)
{
    struct attach_queue *q = attach_queue_new(10, 100);
    assert_next(q, NULL);
    push(q, "a");
    push(q, "b");
    push(q, "c");
    assert_next(q, "a");
    uint64_t a = attach_queue_sent(q);
    assert_next(q, "b");
    uint64_t b = attach_queue_sent(q);
    assert_true(b > a);
    assert_int_equal(attach_queue_count(q), 3);
    attach_queue_arrived(q, a);
    assert_int_equal(attach_queue_count(q), 2);
    assert_next(q, "c");
    /* the connection breaks: b is sent again, a is not */
    attach_queue_rewind(q);
    assert_next(q, "b");
    assert_int_equal(attach_queue_sent(q), b);
    uint64_t c = attach_queue_sent(q);
    assert_next(q, NULL);
    push(q, "d");
    assert_next(q, "d");
    attach_queue_arrived(q, c);
    assert_int_equal(attach_queue_count(q), 1);
    assert_next(q, "d");
    attach_queue_free(q);
}

/* A number from before the break, or a foolish one, takes nothing that was not sent. */
static void what_was_not_sent_stays(void **state)
{
    struct attach_queue *q = attach_queue_new(10, 100);
    push(q, "a");
    attach_queue_arrived(q, 100);
    assert_next(q, "a");
    attach_queue_sent(q);
    push(q, "b");
    attach_queue_arrived(q, 100);
    assert_next(q, "b");
    assert_int_equal(attach_queue_count(q), 1);
    attach_queue_free(q);
}

static void gives_up_what_was_sent(void **state)
{
    struct attach_queue *q = attach_queue_new(10, 100);
    push(q, "poison");
    push(q, "a");
    attach_queue_sent(q);
    attach_queue_give_up(q);
    attach_queue_rewind(q);
    assert_next(q, "a");
    attach_queue_free(q);
}

static void is_full_at_its_ceilings(void **state)
{
    struct attach_queue *q = attach_queue_new(3, 100);
    push(q, "a");
    push(q, "b");
    assert_false(attach_queue_full(q));
    push(q, "c");
    assert_true(attach_queue_full(q));
    uint64_t a = attach_queue_sent(q);
    assert_true(attach_queue_full(q)); /* sent is not arrived */
    attach_queue_arrived(q, a);
    assert_false(attach_queue_full(q));
    attach_queue_free(q);
    q = attach_queue_new(100, 10);
    push(q, "123456789");
    assert_false(attach_queue_full(q));
    push(q, "0");
    assert_true(attach_queue_full(q));
    attach_queue_sent(q);
    attach_queue_give_up(q);
    assert_false(attach_queue_full(q));
    attach_queue_free(q);
}

static void empties_and_fills_again(void **state)
{
    struct attach_queue *q = attach_queue_new(10, 100);
    for (int i = 0; i < 5; i++) {
        push(q, "x");
        push(q, "y");
        attach_queue_sent(q);
        attach_queue_arrived(q, attach_queue_sent(q));
        assert_int_equal(attach_queue_count(q), 0);
        assert_next(q, NULL);
    }
    push(q, "left behind");
    attach_queue_free(q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sends_in_order_and_keeps_until_arrived),
        cmocka_unit_test(what_was_not_sent_stays),
        cmocka_unit_test(gives_up_what_was_sent),
        cmocka_unit_test(is_full_at_its_ceilings),
        cmocka_unit_test(empties_and_fills_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
