#include "lib/base/mem.h"

#include "lib/base/cleanup.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <fcntl.h>
#include <string.h>

static void memory_of_no_size_is_memory(void **state)
{
    _cleanup_(freep) void *a = mem_alloc(0);
    _cleanup_(freep) void *b = mem_zero(0, 8);
    assert_non_null(a);
    assert_non_null(b);
    assert_ptr_not_equal(a, b);
    a = mem_resize(a, 0);
    assert_non_null(a);
}

static void zeroed_memory_is_zero(void **state)
{
    _cleanup_(freep) int *n = MEM_NEW_N(int, 100);
    for (int i = 0; i < 100; i++)
        assert_int_equal(n[i], 0);
}

static void strings_are_copied(void **state)
{
    _cleanup_(freep) char *a = mem_dup_str("abc");
    _cleanup_(freep) char *b = mem_dup_n("abc", 2);
    _cleanup_(freep) char *c = mem_dup_n(NULL, 0);
    _cleanup_(freep) char *d = mem_printf("%s-%d", "x", 7);
    assert_string_equal(a, "abc");
    assert_string_equal(b, "ab");
    assert_string_equal(c, "");
    assert_string_equal(d, "x-7");
    assert_null(mem_dup_str(NULL));
}

static void secrets_may_be_absent(void **state)
{
    mem_free_secret(NULL);
    _cleanup_(mem_free_secretp) char *secret = mem_dup_str("s");
    assert_string_equal(secret, "s");
}

static void ownership_moves_out_of_a_cleanup(void **state)
{
    char *kept;
    int fd;
    {
        _cleanup_(freep) char *p = mem_dup_str("kept");
        _cleanup_(closep) int f = open("/dev/null", O_RDONLY | O_CLOEXEC);
        kept = TAKE_PTR(p);
        fd = TAKE_FD(f);
        assert_null(p);
        assert_int_equal(f, -1);
    }
    assert_string_equal(kept, "kept");
    assert_true(fcntl(fd, F_GETFD) >= 0);
    close(fd);
    free(kept);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_of_no_size_is_memory),
        cmocka_unit_test(zeroed_memory_is_zero),
        cmocka_unit_test(strings_are_copied),
        cmocka_unit_test(secrets_may_be_absent),
        cmocka_unit_test(ownership_moves_out_of_a_cleanup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
