#include "kernel-runner/files/file_get.h"

#include "tests/unit/kernel-runner/files/files_fixture.h"

static struct err err;

static void a_file_is_opened_with_its_size_and_tag(void **state)
{
    struct fixture *f = *state;
    struct file_view v, again;
    fixture_file(f, "a", "hello");
    assert_int_equal(file_get(f->root, "a", &v, &err), 0);
    close(v.fd);
    assert_int_equal(v.size, 5);
    assert_int_equal(v.etag[0], '"');
    assert_int_equal(v.etag[strlen(v.etag) - 1], '"');
    assert_int_equal(file_get(f->root, "a", &again, &err), 0);
    close(again.fd);
    assert_string_equal(v.etag, again.etag);
    fixture_file(f, "a", "hello!");
    assert_int_equal(file_get(f->root, "a", &again, &err), 0);
    close(again.fd);
    assert_string_not_equal(v.etag, again.etag);
    assert_int_equal(file_get(f->root, "b", &v, &err), -ERR_NOT_FOUND);
}

static void tags_match_in_lists_and_by_star(void **state)
{
    assert_true(file_etag_matches("\"a\"", "\"a\""));
    assert_true(file_etag_matches("W/\"a\"", "\"a\""));
    assert_true(file_etag_matches("\"b\", \"a\"", "\"a\""));
    assert_true(file_etag_matches("*", "\"a\""));
    assert_false(file_etag_matches("\"b\"", "\"a\""));
    assert_false(file_etag_matches("\"aa\"", "\"a\""));
    assert_false(file_etag_matches("a", "\"a\""));
    assert_false(file_etag_matches("\"a", "\"a\""));
    assert_false(file_etag_matches("", "\"a\""));
    assert_false(file_etag_matches(" ,, ", "\"a\""));
}

static void ranges_follow_the_table(void **state)
{
    static const struct {
        const char *range;
        uint64_t size;
        int r;
        uint64_t offset, len;
    } rows[] = {
        {NULL, 10, 0, 0, 10},
        {"bytes=0-0", 10, FILE_RANGE_PART, 0, 1},
        {"bytes=0-9", 10, FILE_RANGE_PART, 0, 10},
        {"bytes=0-10", 10, FILE_RANGE_PART, 0, 10},
        {"Bytes= 2-4", 10, FILE_RANGE_PART, 2, 3},
        {"bytes=9-", 10, FILE_RANGE_PART, 9, 1},
        {"bytes=0-", 10, FILE_RANGE_PART, 0, 10},
        {"bytes=-1", 10, FILE_RANGE_PART, 9, 1},
        {"bytes=-10", 10, FILE_RANGE_PART, 0, 10},
        {"bytes=-11", 10, FILE_RANGE_PART, 0, 10},
        {"bytes=-0", 10, -ERR_RANGE_NOT_SATISFIABLE, 0, 10},
        {"bytes=10-", 10, -ERR_RANGE_NOT_SATISFIABLE, 0, 10},
        {"bytes=10-20", 10, -ERR_RANGE_NOT_SATISFIABLE, 0, 10},
        {"bytes=0-", 0, -ERR_RANGE_NOT_SATISFIABLE, 0, 0},
        {"bytes=-5", 0, -ERR_RANGE_NOT_SATISFIABLE, 0, 0},
        {"bytes=5-4", 10, 0, 0, 10},
        {"bytes=0-1,3-4", 10, 0, 0, 10},
        {"bytes=", 10, 0, 0, 10},
        {"bytes=-", 10, 0, 0, 10},
        {"bytes=a-b", 10, 0, 0, 10},
        {"bytes=1-b", 10, 0, 0, 10},
        {"bytes=--1", 10, 0, 0, 10},
        {"lines=0-1", 10, 0, 0, 10},
        {"bytes=18446744073709551615-", 10, -ERR_RANGE_NOT_SATISFIABLE, 0, 10},
        {"bytes=0-18446744073709551615", 10, FILE_RANGE_PART, 0, 10},
        {"bytes=0-99999999999999999999999999", 10, 0, 0, 10},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct file_view v = {.size = rows[i].size, .etag = "\"t\""};
        uint64_t offset = 99, len = 99;
        int r = file_range_parse(rows[i].range, NULL, &v, &offset, &len, &err);
        if (r != rows[i].r || offset != rows[i].offset || len != rows[i].len)
            fail_msg("%s of %d: %d, %d+%d", rows[i].range, (int)rows[i].size, r, (int)offset,
                     (int)len);
    }
}

static void if_range_asks_for_the_whole_of_a_changed_file(void **state)
{
    struct file_view v = {.size = 10, .etag = "\"t\""};
    uint64_t offset, len;
    assert_int_equal(file_range_parse("bytes=1-2", "\"t\"", &v, &offset, &len, &err),
                     FILE_RANGE_PART);
    assert_int_equal(file_range_parse("bytes=1-2", "\"u\"", &v, &offset, &len, &err), 0);
    assert_int_equal(len, 10);
    assert_int_equal(file_range_parse("bytes=1-2", "W/\"t\"", &v, &offset, &len, &err), 0);
}

static void types_follow_the_extension(void **state)
{
    static const struct {
        const char *path, *type;
        bool shown;
    } rows[] = {
        {"plot.png", "image/png", true},
        {"a/b.CSV", "text/csv; charset=utf-8", true},
        {"x.html", "text/html; charset=utf-8", true},
        {"x.svg", "image/svg+xml", true},
        {"x.pdf", "application/pdf", true},
        {"x.js", "text/plain; charset=utf-8", true},
        {"x.mjs", "text/plain; charset=utf-8", true},
        {"x.CSS", "text/plain; charset=utf-8", true},
        {"x.wasm", "text/plain; charset=utf-8", true},
        {"x.xml", "application/xml", false},
        {"x.xhtml", "application/xhtml+xml", false},
        {"x.json", "application/json", false},
        {"png", "application/octet-stream", false},
        {".png", "application/octet-stream", false},
        {"a.png/b", "application/octet-stream", false},
        {"x.", "application/octet-stream", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_string_equal(file_type_of(rows[i].path), rows[i].type);
        assert_int_equal(file_type_is_shown(rows[i].type), rows[i].shown);
    }
}

static void nothing_is_loaded_to_act(void **state)
{
    static const char *const refused[] = {"script",        "style", "worker", "sharedworker",
                                          "serviceworker", "embed", "object", "audioworklet",
                                          "paintworklet",  "xslt",  "frame",  "font",
                                          "manifest",      "json",  "iframe", "something new"};
    static const char *const harmless[] = {"", "empty", "document", "image", "audio", "Video"};
    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        assert_false(file_may_be_loaded_as(refused[i], "text/html; charset=utf-8"));
    for (size_t i = 0; i < ARRAY_LEN(harmless); i++)
        assert_true(file_may_be_loaded_as(harmless[i], "text/html; charset=utf-8"));
    assert_true(file_may_be_loaded_as(NULL, "image/png"));
    assert_true(file_may_be_loaded_as("iframe", "application/pdf"));
    assert_false(file_may_be_loaded_as("object", "application/pdf"));
}

static void a_name_to_save_by_is_escaped(void **state)
{
    char got[FILE_DISPOSITION_SIZE];
    file_disposition("a/b c\"\r\n\xc3\xa9.txt", got);
    assert_string_equal(got, "attachment; filename*=UTF-8''b%20c%22%0D%0A%C3%A9.txt");
    char longest[256];
    memset(longest, '\xff', 255);
    longest[255] = '\0';
    file_disposition(longest, got);
    assert_int_equal(strlen(got), strlen("attachment; filename*=UTF-8''") + 3 * 255);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(a_file_is_opened_with_its_size_and_tag),
        cmocka_unit_test(tags_match_in_lists_and_by_star),
        cmocka_unit_test(ranges_follow_the_table),
        cmocka_unit_test(if_range_asks_for_the_whole_of_a_changed_file),
        cmocka_unit_test(nothing_is_loaded_to_act),
        cmocka_unit_test(a_name_to_save_by_is_escaped),
        cmocka_unit_test(types_follow_the_extension),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
