/* The model, letter by letter. */
#include "kernel-runner/attach/contents_model.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four headers it needs */
#include <cmocka.h>

static void expect(const struct contents_model *m, const char *want)
{
    struct buf b;
    buf_init(&b, KIB(16));
    contents_model_plain(&b, m);
    assert_string_equal(b.ptr, want);
    buf_done(&b);
}

static void a_file(void **state)
{
    struct contents_model m = {.path = "d/a\".txt", .type = CONTENTS_FILE, .writable = true};
    m.st.st_size = 12;
    m.st.st_mtim = (struct timespec){1700000000, 1999};
    m.st.st_ctim = (struct timespec){1700000001, 999999999};
    expect(&m, "{\"name\":\"a\\\".txt\",\"path\":\"d/a\\\".txt\",\"type\":\"file\","
               "\"created\":\"2023-11-14T22:13:21.999999Z\","
               "\"last_modified\":\"2023-11-14T22:13:20.000001Z\",\"writable\":true,\"size\":12,"
               "\"mimetype\":\"text/plain\",\"format\":null,\"hash\":null,\"hash_algorithm\":null,"
               "\"content\":null}");
}

static void the_root(void **state)
{
    struct contents_model m = {.path = "", .type = CONTENTS_DIRECTORY};
    expect(&m, "{\"name\":\"\",\"path\":\"\",\"type\":\"directory\","
               "\"created\":\"1970-01-01T00:00:00.000000Z\","
               "\"last_modified\":\"1970-01-01T00:00:00.000000Z\",\"writable\":false,"
               "\"size\":null,\"mimetype\":null,\"format\":null,\"hash\":null,"
               "\"hash_algorithm\":null,\"content\":null}");
}

static void a_notebook_with_a_hash(void **state)
{
    struct contents_model m = {
        .path = "n.ipynb", .type = CONTENTS_NOTEBOOK, .format = CONTENTS_JSON, .hash = "ab"};
    expect(&m, "{\"name\":\"n.ipynb\",\"path\":\"n.ipynb\",\"type\":\"notebook\","
               "\"created\":\"1970-01-01T00:00:00.000000Z\","
               "\"last_modified\":\"1970-01-01T00:00:00.000000Z\",\"writable\":false,\"size\":0,"
               "\"mimetype\":null,\"format\":\"json\",\"hash\":\"ab\","
               "\"hash_algorithm\":\"sha256\",\"content\":null}");
}

static void expect_mimetype(const char *path, enum contents_format format, const char *want)
{
    struct contents_model m = {.path = path, .type = CONTENTS_FILE, .format = format};
    struct buf b;
    buf_init(&b, KIB(16));
    contents_model_plain(&b, &m);
    assert_non_null(strstr(b.ptr, want));
    buf_done(&b);
}

static void the_type_is_by_name_else_by_content(void **state)
{
    expect_mimetype("a.png", CONTENTS_BASE64, "\"mimetype\":\"image/png\"");
    expect_mimetype("a.csv", CONTENTS_FORMAT_ANY, "\"mimetype\":\"text/csv\"");
    expect_mimetype("a", CONTENTS_FORMAT_ANY, "\"mimetype\":null");
    expect_mimetype("a", CONTENTS_TEXT, "\"mimetype\":\"text/plain\"");
    expect_mimetype("a", CONTENTS_BASE64, "\"mimetype\":\"application/octet-stream\"");
}

static void times_beyond_the_calendar_are_the_first(void **state)
{
    static const struct timespec odd[] = {
        {-1, 0}, {253402300800, 0}, {INT64_MAX, 0}, {INT64_MIN, 0}};
    struct buf b;
    buf_init(&b, KIB(1));
    for (size_t i = 0; i < ARRAY_LEN(odd); i++) {
        buf_clear(&b);
        contents_time(&b, &odd[i]);
        assert_string_equal(b.ptr, "\"1970-01-01T00:00:00.000000Z\"");
    }
    buf_clear(&b);
    contents_time(&b, &(struct timespec){253402300799, 999999999});
    assert_string_equal(b.ptr, "\"9999-12-31T23:59:59.999999Z\"");
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file),
        cmocka_unit_test(the_root),
        cmocka_unit_test(a_notebook_with_a_hash),
        cmocka_unit_test(the_type_is_by_name_else_by_content),
        cmocka_unit_test(times_beyond_the_calendar_are_the_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
