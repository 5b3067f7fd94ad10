/* Base64 both ways. */
#include "kernel-runner/attach/contents_base64.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four headers it needs */
#include <cmocka.h>

static const struct {
    const char *plain, *text;
} known[] = {
    {"", ""},
    {"f", "Zg=="},
    {"fo", "Zm8="},
    {"foo", "Zm9v"},
    {"foob", "Zm9vYg=="},
    {"fooba", "Zm9vYmE="},
    {"foobar", "Zm9vYmFy"},
    {"\xff\xef\xbe\xfb", "/+++"
                         "+w=="},
};

/* -1 when refused */
static int decode(const char *text, char *out)
{
    size_t len = strlen(text), got = 0;
    memcpy(out, text, len + 1);
    return contents_base64_decode(out, len, &got, NULL) < 0 ? -1 : (int)got;
}

static void known_texts_go_both_ways(void **state)
{
    struct buf b;
    char out[64];
    buf_init(&b, KIB(1));
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        buf_clear(&b);
        assert_int_equal(contents_base64_append(&b, slice_str(known[i].plain)), 0);
        assert_true(slice_eq_str(buf_slice(&b), known[i].text));
        assert_int_equal(decode(known[i].text, out), strlen(known[i].plain));
        assert_memory_equal(out, known[i].plain, strlen(known[i].plain));
    }
    buf_done(&b);
}

static void every_length_comes_back(void **state)
{
    char data[260], out[400];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (char)(i * 7);
    for (size_t len = 0; len < sizeof(data); len++) {
        struct buf b;
        buf_init(&b, KIB(1));
        assert_int_equal(contents_base64_append(&b, slice_make(data, len)), 0);
        assert_int_equal(decode(b.ptr ? b.ptr : "", out), len);
        assert_memory_equal(out, data, len);
        buf_done(&b);
    }
}

static void blanks_are_skipped(void **state)
{
    char out[64];
    assert_int_equal(decode("Zm 9v\r\nYm\tFy\n", out), 6);
    assert_memory_equal(out, "foobar", 6);
    assert_int_equal(decode("Zg=\n=\n", out), 1);
    assert_int_equal(decode(" \n", out), 0);
}

static void what_is_not_base64_is_refused(void **state)
{
    static const char *const bad[] = {"Z",
                                      "Zg",
                                      "Zg=",
                                      "Zm9",
                                      "*",
                                      "Zm9v*",
                                      "=",
                                      "====",
                                      "Z===",
                                      "=Zg=",
                                      "Zg==Zg==",
                                      "Zg=v",
                                      "Zm9-",
                                      "Zm9_",
                                      "Zg==\xc3",
                                      "Zg===",
                                      "Zg==="
                                      "="};
    char out[64];
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (decode(bad[i], out) >= 0)
            fail_msg("%s was taken", bad[i]);
}

static void the_ceiling_of_the_output_holds(void **state)
{
    struct buf b;
    buf_init(&b, 8);
    assert_int_equal(contents_base64_append(&b, slice_str("foobarx")), -ERR_TOO_LARGE);
    assert_int_equal(contents_base64_append(&b, slice_str("foobar")), 0);
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_texts_go_both_ways),
        cmocka_unit_test(every_length_comes_back),
        cmocka_unit_test(blanks_are_skipped),
        cmocka_unit_test(what_is_not_base64_is_refused),
        cmocka_unit_test(the_ceiling_of_the_output_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
