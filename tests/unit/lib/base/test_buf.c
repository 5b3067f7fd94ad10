#include "lib/base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

static void what_is_appended_is_there(void **state)
{
    struct buf b;
    buf_init(&b, 100);
    assert_int_equal(buf_append(&b, "ab", 2), 0);
    assert_int_equal(buf_append_str(&b, "cd"), 0);
    assert_int_equal(buf_append_slice(&b, slice_make("efg", 2)), 0);
    assert_int_equal(buf_append_char(&b, 'g'), 0);
    assert_int_equal(buf_printf(&b, "-%d-%s", 42, "x"), 0);
    assert_string_equal(b.ptr, "abcdefg-42-x");
    assert_int_equal(b.len, 12);
    assert_true(slice_eq_str(buf_slice(&b), "abcdefg-42-x"));
    buf_done(&b);
    assert_null(b.ptr);
}

static void the_ceiling_holds_and_changes_nothing(void **state)
{
    struct buf b;
    buf_init(&b, 5);
    assert_int_equal(buf_append(&b, "12345", 5), 0);
    assert_int_equal(buf_append(&b, "6", 1), -ERR_TOO_LARGE);
    assert_int_equal(buf_printf(&b, "%d", 6), -ERR_TOO_LARGE);
    assert_int_equal(buf_append(&b, "", 0), 0);
    assert_string_equal(b.ptr, "12345");
    buf_clear(&b);
    assert_int_equal(buf_append_str(&b, "123456"), -ERR_TOO_LARGE);
    assert_int_equal(b.len, 0);
    assert_int_equal(buf_reserve(&b, SIZE_MAX), -ERR_TOO_LARGE);
    buf_consume(&b, 3);
    assert_int_equal(buf_append_str(&b, "abcde"), 0);
    buf_done(&b);

    buf_init(&b, 0);
    assert_int_equal(buf_append(&b, NULL, 0), 0);
    assert_int_equal(buf_append_char(&b, 'x'), -ERR_TOO_LARGE);
    buf_done(&b);
}

static void a_buffer_without_ceiling_grows(void **state)
{
    struct buf b;
    buf_init(&b, SIZE_MAX);
    for (int i = 0; i < 100000; i++)
        assert_int_equal(buf_append(&b, "0123456789", 10), 0);
    assert_int_equal(b.len, 1000000);
    buf_done(&b);
}

static void consuming_keeps_the_rest(void **state)
{
    struct buf b;
    buf_init(&b, 100);
    (void)buf_append_str(&b, "hello world");
    buf_consume(&b, 6);
    assert_string_equal(b.ptr, "world");
    buf_consume(&b, 0);
    assert_string_equal(b.ptr, "world");
    buf_consume(&b, 99); /* more than there is: all */
    assert_int_equal(b.len, 0);
    buf_consume(&b, 1);
    (void)buf_append_str(&b, "again");
    assert_string_equal(b.ptr, "again");
    buf_done(&b);
    buf_consume(&b, 1); /* of nothing */
}

/* A queue of bytes against a plain model of it. */
static void a_queue_delivers_every_byte_in_order(void **state)
{
    struct buf b;
    unsigned char next_in = 0, next_out = 0;
    uint32_t seed = 1;
    buf_init(&b, 1000);
    assert_int_equal(buf_reserve(&b, 1), 0);
    assert_non_null(b.ptr);
    for (int step = 0; step < 200000; step++) {
        seed = seed * 1664525U + 1013904223U;
        size_t n = seed >> 24;
        if (seed & 0x800000) {
            for (size_t i = 0; i < n && b.len < b.max; i++)
                assert_int_equal(buf_append_char(&b, (char)next_in++), 0);
        } else {
            n = MIN(n, b.len);
            for (size_t i = 0; i < n; i++)
                assert_int_equal((unsigned char)b.ptr[i], next_out++);
            buf_consume(&b, n);
        }
        assert_true(b.len <= b.max);
        assert_int_equal(b.ptr[b.len], '\0');
    }
    buf_done(&b);
}

/* Would take hours if each append moved all bytes. */
static void a_full_queue_is_fast(void **state)
{
    struct buf b;
    size_t moves = 0;
    buf_init(&b, MIB(16));
    while (b.len < b.max)
        assert_int_equal(buf_append(&b, "0123456789abcdef", 16), 0);
    for (int i = 0; i < 300000; i++) {
        size_t head = b.head;
        buf_consume(&b, 16);
        assert_int_equal(buf_append(&b, "0123456789abcdef", 16), 0);
        moves += b.head < head;
    }
    assert_true(moves < 10);
    assert_true(b.cap <= b.max + b.max / 2 + 2);
    buf_done(&b);
}

static void reserved_room_can_be_filled(void **state)
{
    struct buf b;
    buf_init(&b, 1000);
    assert_int_equal(buf_reserve(&b, 1000), 0);
    memset(b.ptr, 'x', 1000);
    b.len += 1000;
    assert_int_equal(buf_reserve(&b, 1), -ERR_TOO_LARGE);
    buf_done(&b);
}

static void taken_bytes_belong_to_the_taker(void **state)
{
    struct buf b;
    buf_init(&b, 100);
    char *p = buf_take(&b);
    assert_string_equal(p, "");
    free(p);
    (void)buf_append_str(&b, "hello world");
    buf_consume(&b, 6);
    p = buf_take(&b);
    assert_string_equal(p, "world");
    free(p);
    assert_int_equal(b.len, 0);
    assert_int_equal(b.max, 100);
    assert_int_equal(buf_append_str(&b, "new"), 0);
    assert_string_equal(b.ptr, "new");
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_appended_is_there),
        cmocka_unit_test(the_ceiling_holds_and_changes_nothing),
        cmocka_unit_test(a_buffer_without_ceiling_grows),
        cmocka_unit_test(consuming_keeps_the_rest),
        cmocka_unit_test(a_queue_delivers_every_byte_in_order),
        cmocka_unit_test(a_full_queue_is_fast),
        cmocka_unit_test(reserved_room_can_be_filled),
        cmocka_unit_test(taken_bytes_belong_to_the_taker),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
