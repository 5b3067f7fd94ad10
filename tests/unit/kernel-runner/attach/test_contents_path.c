/* Paths and names as Jupyter Server has them. */
#include "kernel-runner/attach/contents_path.h"
#include "lib/base/path.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
/* after the four headers it needs */
#include <cmocka.h>

static void expect_target(const char *raw, const char *path, const char *file, bool has_id)
{
    struct contents_target t;
    struct err err;
    if (contents_target_parse(&t, raw, &err) < 0)
        fail_msg("%s: %s", raw, err.text);
    assert_string_equal(t.path, path);
    assert_int_equal(t.file_len, file ? strlen(file) : 0);
    if (file)
        assert_memory_equal(t.path, file, t.file_len);
    assert_int_equal(t.has_id, has_id);
    free(t.path);
}

static void addresses_are_decoded_and_lose_their_slashes(void **state)
{
    expect_target("", "", NULL, false);
    expect_target("/", "", NULL, false);
    expect_target("a", "a", NULL, false);
    expect_target("//a/b/", "a/b", NULL, false);
    expect_target("a%20b%2Fc/%C3%BC", "a b/c/\xC3\xBC", NULL, false);
    expect_target("%252e", "%2e", NULL, false);
}

static void bad_addresses_are_refused(void **state)
{
    static const char *const bad[] = {"..",   "a/../b", "%2e%2e/x", "a//b", "./a",
                                      "a%00", "%zz",    "%ff",      "a%0a", "a/."};
    struct contents_target t;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(contents_target_parse(&t, bad[i], NULL), -ERR_INVALID);
}

static void checkpoints_are_recognised(void **state)
{
    expect_target("a.ipynb/checkpoints", "a.ipynb/checkpoints", "a.ipynb", false);
    expect_target("a/b.txt/checkpoints/", "a/b.txt/checkpoints", "a/b.txt", false);
    expect_target("a/checkpoints/x-1_y", "a/checkpoints/x-1_y", "a", true);
    expect_target("checkpoints", "checkpoints", NULL, false);
    expect_target("checkpoints/a", "checkpoints/a", NULL, false);
    expect_target("a/checkpoints/b/c", "a/checkpoints/b/c", NULL, false);
    expect_target("a/mycheckpoints", "a/mycheckpoints", NULL, false);
    expect_target("a/checkpoints/b.txt", "a/checkpoints/b.txt", NULL, false);
    expect_target("a/checkpoints/checkpoints", "a/checkpoints/checkpoints", "a/checkpoints", false);
}

static void paths_of_bodies_are_cleaned(void **state)
{
    char *path = NULL;
    assert_int_equal(contents_path_clean("/a/b%20/", &path, NULL), 0);
    assert_string_equal(path, "a/b%20");
    free(path);
    assert_int_equal(contents_path_clean("", &path, NULL), -ERR_INVALID);
    assert_int_equal(contents_path_clean("//", &path, NULL), -ERR_INVALID);
    assert_int_equal(contents_path_clean("../a", &path, NULL), -ERR_INVALID);
}

static void hidden_parts_hide_what_is_below(void **state)
{
    assert_true(contents_path_is_hidden(".a"));
    assert_true(contents_path_is_hidden("a/.b/c"));
    assert_false(contents_path_is_hidden(""));
    assert_false(contents_path_is_hidden("a.b/c."));
}

static void some_names_are_not_listed(void **state)
{
    static const char *const no[] = {".a",   "__pycache__", "a.pyc", "a.pyo",
                                     "a.so", "a.dylib",     "a~",    ".caesarion-upload-1"};
    static const char *const yes[] = {"a", "a.py", "so", "pycache", "a.so.1", "~a"};
    for (size_t i = 0; i < ARRAY_LEN(no); i++)
        assert_false(contents_name_is_listed(no[i]));
    for (size_t i = 0; i < ARRAY_LEN(yes); i++)
        assert_true(contents_name_is_listed(yes[i]));
}

static void locations_are_escaped(void **state)
{
    struct buf b;
    buf_init(&b, KIB(1));
    contents_location(&b, "a b/\xC3\xBC?#%.txt~");
    assert_string_equal(b.ptr, "/jupyter/api/contents/a%20b/%C3%BC%3F%23%25.txt~");
    buf_done(&b);
}

static void expect_name(const char *name, const char *insert, unsigned i, const char *want)
{
    char out[PATH_PART_MAX + 1];
    assert_int_equal(contents_name_try(name, insert, i, out, sizeof(out), NULL), 0);
    assert_string_equal(out, want);
}

static void names_count_before_their_extensions(void **state)
{
    expect_name("untitled.txt", "", 0, "untitled.txt");
    expect_name("untitled.txt", "", 1, "untitled1.txt");
    expect_name("untitled", "", 2, "untitled2");
    expect_name("untitled.tar.gz", "", 1, "untitled1.tar.gz");
    expect_name("Untitled.ipynb", "", 12, "Untitled12.ipynb");
    expect_name("a.b.ipynb", "-Copy", 1, "a.b-Copy1.ipynb");
    expect_name("a.b.txt", "-Copy", 1, "a-Copy1.b.txt");
    expect_name("Untitled Folder", " ", 1, "Untitled Folder 1");
}

static void names_have_a_limit(void **state)
{
    char name[PATH_PART_MAX + 1], out[PATH_PART_MAX + 1];
    memset(name, 'x', sizeof(name));
    name[PATH_PART_MAX] = '\0';
    assert_int_equal(contents_name_try(name, "", 0, out, sizeof(out), NULL), 0);
    assert_int_equal(contents_name_try(name, "", 1, out, sizeof(out), NULL), -ERR_INVALID);
    assert_int_equal(contents_name_try("a/b", "", 0, out, sizeof(out), NULL), -ERR_INVALID);
    assert_int_equal(contents_name_try("a\n", "", 0, out, sizeof(out), NULL), -ERR_INVALID);
}

static void expect_uncopied(const char *name, const char *want)
{
    char copy[64];
    snprintf(copy, sizeof(copy), "%s", name);
    contents_name_uncopy(copy);
    assert_string_equal(copy, want);
}

static void copies_are_named_after_their_original(void **state)
{
    expect_uncopied("a.txt", "a.txt");
    expect_uncopied("a-Copy1.txt", "a.txt");
    expect_uncopied("a-Copy.txt", "a.txt");
    expect_uncopied("a-Copy12-Copy3.tar.gz", "a-Copy12.tar.gz");
    expect_uncopied("a-Copy1", "a-Copy1");
    expect_uncopied("a-Copy1x.txt", "a-Copy1x.txt");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_decoded_and_lose_their_slashes),
        cmocka_unit_test(bad_addresses_are_refused),
        cmocka_unit_test(checkpoints_are_recognised),
        cmocka_unit_test(paths_of_bodies_are_cleaned),
        cmocka_unit_test(hidden_parts_hide_what_is_below),
        cmocka_unit_test(some_names_are_not_listed),
        cmocka_unit_test(locations_are_escaped),
        cmocka_unit_test(names_count_before_their_extensions),
        cmocka_unit_test(names_have_a_limit),
        cmocka_unit_test(copies_are_named_after_their_original),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
