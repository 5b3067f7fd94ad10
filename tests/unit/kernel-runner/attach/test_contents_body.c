/* What a client may send. */
#include "kernel-runner/attach/contents_body.h"
#include "lib/base/mem.h"
#include "lib/base/path.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
/* after the four headers it needs */
#include <cmocka.h>

static void parse(struct contents_body *b, const char *text)
{
    struct err err;
    if (contents_body_parse(b, slice_str(text), &err) < 0)
        fail_msg("%s: %s", text, err.text);
}

static void refuse(const char *text, const char *field)
{
    struct contents_body b;
    struct err err = {0};
    assert_int_equal(contents_body_parse(&b, slice_str(text), &err), -ERR_INVALID);
    assert_string_equal(err.field, field);
    contents_body_done(&b);
}

static void a_model_is_read(void **state)
{
    struct contents_body b;
    parse(&b, " {\"type\":\"notebook\",\"format\":\"json\",\"content\":{\"a\":1.0},\"chunk\":7,"
              "\"path\":\"a\\u00e9\",\"copy_from\":\"/x\",\"ext\":\".txt\",\"mine\":[]}\n");
    assert_false(b.empty || b.missing);
    assert_int_equal(b.type, CONTENTS_NOTEBOOK);
    assert_int_equal(b.format, CONTENTS_JSON);
    assert_true(slice_eq_str(b.content, "{\"a\":1.0}"));
    assert_true(b.has_chunk && b.chunk == 7);
    assert_string_equal(b.path, "a\xC3\xA9");
    assert_string_equal(b.copy_from, "/x");
    assert_string_equal(b.ext, ".txt");
    contents_body_done(&b);
}

static void null_is_as_absent(void **state)
{
    struct contents_body b;
    parse(&b, "{\"type\":null,\"format\":null,\"content\":null,\"chunk\":null,\"path\":null}");
    assert_false(b.empty);
    assert_int_equal(b.type, CONTENTS_ANY);
    assert_int_equal(b.format, CONTENTS_FORMAT_ANY);
    assert_true(b.content.len == 0 && !b.has_chunk && !b.path);
    contents_body_done(&b);
}

static void no_body_is_told_from_an_empty_one(void **state)
{
    struct contents_body b;
    parse(&b, "");
    assert_true(b.missing && b.empty);
    parse(&b, " null\n");
    assert_true(b.missing && b.empty);
    parse(&b, "{}");
    assert_true(!b.missing && b.empty);
}

static void the_last_of_two_members_counts(void **state)
{
    struct contents_body b;
    parse(&b, "{\"path\":\"a\",\"path\":\"b\",\"type\":\"file\",\"type\":\"directory\"}");
    assert_string_equal(b.path, "b");
    assert_int_equal(b.type, CONTENTS_DIRECTORY);
    contents_body_done(&b);
}

static void an_unknown_type_is_a_file(void **state)
{
    struct contents_body b;
    parse(&b, "{\"type\":\"strange\"}");
    assert_int_equal(b.type, CONTENTS_FILE);
    parse(&b, "{\"type\":\"\"}");
    assert_int_equal(b.type, CONTENTS_ANY);
}

static void chunks_count_from_one_and_end_with_minus_one(void **state)
{
    struct contents_body b;
    parse(&b, "{\"chunk\":-1}");
    assert_int_equal(b.chunk, -1);
    refuse("{\"chunk\":0}", "chunk");
    refuse("{\"chunk\":-2}", "chunk");
    refuse("{\"chunk\":1.5}", "chunk");
    refuse("{\"chunk\":\"1\"}", "chunk");
    refuse("{\"chunk\":true}", "chunk");
}

static void what_is_malformed_is_refused(void **state)
{
    refuse("{", "");
    refuse("[1]", "");
    refuse("\"x\"", "");
    refuse("{\"a\":1}x", "");
    refuse("{\"a\":\"\xff\"}", "");
    refuse("{\"type\":1}", "type");
    refuse("{\"type\":\"01234567890123456789012345678901\"}", "type"); /* 32 bytes */
    refuse("{\"format\":\"xml\"}", "format");
    refuse("{\"format\":{}}", "format");
    refuse("{\"path\":[\"a\"]}", "path");
    refuse("{\"path\":\"a\\u0000b\"}", "path");
    refuse("{\"copy_from\":1}", "copy_from");
    refuse("{\"ext\":false}", "ext");
}

static void a_long_path_is_refused(void **state)
{
    struct contents_body b;
    char text[PATH_USER_MAX + 64], path[PATH_USER_MAX + 8];
    memset(path, 'p', sizeof(path));
    path[PATH_USER_MAX + 2] = '\0';
    snprintf(text, sizeof(text), "{\"path\":\"%s\"}", path);
    parse(&b, text);
    assert_int_equal(strlen(b.path), PATH_USER_MAX + 2);
    contents_body_done(&b);
    path[PATH_USER_MAX + 2] = 'p';
    path[PATH_USER_MAX + 3] = '\0';
    snprintf(text, sizeof(text), "{\"path\":\"%s\"}", path);
    refuse(text, "path");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_model_is_read),
        cmocka_unit_test(null_is_as_absent),
        cmocka_unit_test(no_body_is_told_from_an_empty_one),
        cmocka_unit_test(the_last_of_two_members_counts),
        cmocka_unit_test(an_unknown_type_is_a_file),
        cmocka_unit_test(chunks_count_from_one_and_end_with_minus_one),
        cmocka_unit_test(what_is_malformed_is_refused),
        cmocka_unit_test(a_long_path_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
