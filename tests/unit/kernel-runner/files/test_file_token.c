#include "kernel-runner/files/file_token.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct err err;

static void any_bytes_come_back(void **state)
{
    char path[300], back[301];
    for (size_t len = 1; len < sizeof(path); len++) {
        for (size_t i = 0; i < len; i++)
            path[i] = (char)(1 + (i * 7 + len) % 255);
        struct buf out;
        buf_init(&out, 1024);
        assert_int_equal(file_token_format(slice_make(path, len), &out), 0);
        assert_int_equal(strspn(out.ptr, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                         "0123456789-_"),
                         out.len);
        assert_int_equal(file_token_parse(out.ptr, back, sizeof(back), &err), 0);
        assert_int_equal(strlen(back), len);
        assert_memory_equal(back, path, len);
        buf_done(&out);
    }
}

static void what_was_never_written_is_refused(void **state)
{
    static const char *const bad[] = {"", "A", "AA", "AAA", "YQ==", "YW+j", "YR", "YWJjY", "é"};
    char out[16];
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(file_token_parse(bad[i], out, sizeof(out), &err), -ERR_INVALID);
        assert_string_equal(err.field, "continue");
    }
}

static void the_ceiling_holds(void **state)
{
    char out[4];
    assert_int_equal(file_token_parse("YWJj", out, sizeof(out), &err), 0);
    assert_string_equal(out, "abc");
    assert_int_equal(file_token_parse("YWJjZA", out, sizeof(out), &err), -ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_bytes_come_back),
        cmocka_unit_test(what_was_never_written_is_refused),
        cmocka_unit_test(the_ceiling_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
