#include "lib/base/err.h"

#include "lib/base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <errno.h>

static void every_code_has_a_name_a_title_and_a_status(void **state)
{
    static const struct {
        enum err_code code;
        const char *name;
        int status, retryable;
    } rows[] = {
        {ERR_OK, "ok", 200, 0},
        {ERR_INVALID, "invalid", 400, 0},
        {ERR_UNAUTHORIZED, "unauthorized", 401, 0},
        {ERR_FORBIDDEN, "forbidden", 403, 0},
        {ERR_NOT_FOUND, "not_found", 404, 0},
        {ERR_METHOD_NOT_ALLOWED, "method_not_allowed", 405, 0},
        {ERR_NOT_ACCEPTABLE, "not_acceptable", 406, 0},
        {ERR_CONFLICT, "conflict", 409, 0},
        {ERR_GENERATION_MISMATCH, "generation_mismatch", 409, 0},
        {ERR_KERNEL_DEAD, "kernel_dead", 409, 0},
        {ERR_NO_INPUT_PENDING, "no_input_pending", 409, 0},
        {ERR_EXPIRED, "expired", 410, 0},
        {ERR_TOO_LARGE, "too_large", 413, 0},
        {ERR_URI_TOO_LONG, "uri_too_long", 414, 0},
        {ERR_UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", 415, 0},
        {ERR_RANGE_NOT_SATISFIABLE, "range_not_satisfiable", 416, 0},
        {ERR_LIMIT, "limit", 429, 1},
        {ERR_HEADER_TOO_LARGE, "header_too_large", 431, 0},
        {ERR_INTERNAL, "internal", 500, 0},
        {ERR_SANDBOX_LOST, "sandbox_lost", 502, 0},
        {ERR_SANDBOX_FAILED, "sandbox_failed", 502, 1},
        {ERR_UNAVAILABLE, "unavailable", 503, 1},
        {ERR_TIMEOUT, "timeout", 504, 1},
        {ERR_NO_SPACE, "no_space", 507, 0},
    };
    assert_int_equal(ARRAY_LEN(rows), ERR_CODE_MAX);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_string_equal(err_code_name(rows[i].code), rows[i].name);
        assert_int_equal(err_code_http_status(rows[i].code), rows[i].status);
        assert_int_equal(err_code_retryable(rows[i].code), rows[i].retryable);
        assert_int_equal(err_code_from_name(rows[i].name), rows[i].code);
        assert_true(err_code_title(rows[i].code)[0] != '\0');
    }
    assert_int_equal(err_code_from_name("nonsense"), ERR_INTERNAL);
}

static void set_returns_the_negative_code(void **state)
{
    struct err err;
    assert_int_equal(err_set(&err, ERR_CONFLICT, "kernel %d of %s", 3, "x"), -ERR_CONFLICT);
    assert_int_equal(err.code, ERR_CONFLICT);
    assert_string_equal(err.text, "kernel 3 of x");
    assert_string_equal(err.field, "");
    assert_int_equal(err_set(NULL, ERR_CONFLICT, "x"), -ERR_CONFLICT);
}

static void field_names_the_field_and_set_clears_it(void **state)
{
    struct err err;
    assert_int_equal(err_field(&err, "code", "code is empty"), -ERR_INVALID);
    assert_string_equal(err.field, "code");
    assert_int_equal(err.code, ERR_INVALID);
    err_set(&err, ERR_LIMIT, "too many");
    assert_string_equal(err.field, "");
    assert_int_equal(err_field(NULL, "code", "x"), -ERR_INVALID);
}

static void a_long_field_is_cut_between_characters(void **state)
{
    struct err err;
    char field[200];
    memset(field, 'a', 62);
    memcpy(field + 62, "äää", 7);
    err_field(&err, field, "unknown");
    assert_int_equal(strlen(err.field), 62);
    assert_true(utf8_valid(slice_str(err.field)));
}

static void a_text_is_cut_at_its_size_with_a_mark(void **state)
{
    struct err err;
    char text[2 * sizeof(err.text)];
    size_t max = sizeof(err.text) - 1;
    memset(text, 'x', sizeof(text));
    text[max] = '\0';
    err_set(&err, ERR_INTERNAL, "%s", text);
    assert_string_equal(err.text, text);
    text[max] = 'x';
    text[max + 1] = '\0';
    err_set(&err, ERR_INTERNAL, "%s", text);
    assert_int_equal(strlen(err.text), max);
    assert_string_equal(err.text + max - 3, "…");
}

static void a_cut_never_splits_a_character(void **state)
{
    struct err err;
    char text[2 * sizeof(err.text)];
    for (size_t shift = 0; shift < 4; shift++) {
        memset(text, 'x', shift);
        size_t len = shift;
        for (; len + 4 < sizeof(text); len += 4)
            memcpy(text + len, "\xF0\x9F\x90\x8D", 4);
        text[len] = '\0';
        err_set(&err, ERR_INTERNAL, "%s", text);
        assert_true(utf8_valid(slice_str(err.text)));
        assert_true(strlen(err.text) > sizeof(err.text) - 8);
        assert_string_equal(err.text + strlen(err.text) - 3, "…");
    }
}

static void errno_gives_code_and_words(void **state)
{
    static const struct {
        int e;
        enum err_code code;
    } rows[] = {
        {ENOENT, ERR_NOT_FOUND},   {ENOTDIR, ERR_NOT_FOUND},      {EACCES, ERR_FORBIDDEN},
        {EPERM, ERR_FORBIDDEN},    {ENOSPC, ERR_NO_SPACE},        {EDQUOT, ERR_NO_SPACE},
        {EEXIST, ERR_CONFLICT},    {ENAMETOOLONG, ERR_INVALID},   {ETIMEDOUT, ERR_TIMEOUT},
        {EMFILE, ERR_UNAVAILABLE}, {ECONNRESET, ERR_UNAVAILABLE}, {EIO, ERR_INTERNAL},
    };
    struct err err;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        errno = rows[i].e;
        assert_int_equal(err_errno(&err, "open"), -(int)rows[i].code);
        assert_int_equal(err.code, rows[i].code);
        errno = rows[i].e;
        assert_int_equal(err_errno(NULL, "open"), -(int)rows[i].code);
    }
    errno = ENOENT;
    err_errno(&err, "open %s", "x");
    assert_string_equal(err.text, "open x: No such file or directory");
    errno = 4095;
    err_errno(&err, "odd");
    assert_string_equal(err.text, "odd: error");
}

static void wrap_prefixes_and_keeps_code_and_field(void **state)
{
    struct err err;
    err_field(&err, "env", "too many");
    assert_int_equal(err_wrap(&err, "sandbox %d", 7), -ERR_INVALID);
    assert_string_equal(err.text, "sandbox 7: too many");
    assert_string_equal(err.field, "env");
    assert_true(err_wrap(NULL, "x") < 0);
}

static void wrap_of_a_full_text_cuts_its_end(void **state)
{
    struct err err;
    char text[sizeof(err.text)];
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    err_set(&err, ERR_INTERNAL, "%s", text);
    for (int i = 0; i < 100; i++)
        err_wrap(&err, "again");
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
    assert_memory_equal(err.text, "again: again: ", 14);
    assert_string_equal(err.text + strlen(err.text) - 3, "…");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_a_name_a_title_and_a_status),
        cmocka_unit_test(set_returns_the_negative_code),
        cmocka_unit_test(field_names_the_field_and_set_clears_it),
        cmocka_unit_test(a_long_field_is_cut_between_characters),
        cmocka_unit_test(a_text_is_cut_at_its_size_with_a_mark),
        cmocka_unit_test(a_cut_never_splits_a_character),
        cmocka_unit_test(errno_gives_code_and_words),
        cmocka_unit_test(wrap_prefixes_and_keeps_code_and_field),
        cmocka_unit_test(wrap_of_a_full_text_cuts_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
