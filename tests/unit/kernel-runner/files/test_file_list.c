#include "kernel-runner/files/file_list.h"

#include "tests/unit/kernel-runner/files/files_fixture.h"

#include "lib/base/buf.h"
#include "lib/json/jsonx.h"

static struct fixture *fx;
static json_t *page;
static struct err err;

static void on_list(void *ctx, char *json_take, size_t len, const struct err *e)
{
    if (e) {
        err = *e;
    } else {
        struct err parse_err;
        if (jsonx_parse(&page, slice_make(json_take, len), &parse_err) < 0)
            fail_msg("%s: %s", parse_err.text, json_take);
    }
    free(json_take);
    loop_stop(fx->loop);
}

static int list(const char *dir, bool recursive, unsigned limit, const char *after)
{
    struct file_list_query q = {dir, recursive, limit, after};
    struct file_job *job = NULL;
    json_decref(page);
    page = NULL;
    err = (struct err){0};
    int r = file_list_start(&job, fx->root, &q, on_list, NULL, &err);
    if (r < 0)
        return r;
    fixture_run(fx);
    return page ? 0 : -(int)err.code;
}

static const char *next_page(void)
{
    return json_string_value(json_object_get(page, "continue"));
}

/* All paths of all pages, joined by blanks. */
static void assert_lists(const char *dir, bool recursive, unsigned limit, const char *expected)
{
    struct buf all;
    buf_init(&all, MIB(1));
    char *after = NULL;
    do {
        assert_int_equal(list(dir, recursive, limit, after), 0);
        json_t *files = json_object_get(page, "files");
        assert_true(json_array_size(files) <= limit);
        for (size_t i = 0; i < json_array_size(files); i++) {
            (void)buf_append_str(&all, all.len ? " " : "");
            (void)buf_append_str(
                &all, json_string_value(json_object_get(json_array_get(files, i), "path")));
        }
        free(after);
        after = mem_dup_str(next_page());
    } while (after);
    assert_string_equal(all.ptr ? all.ptr : "", expected);
    buf_done(&all);
}

static int setup(void **state)
{
    int r = fixture_setup(state);
    fx = *state;
    return r;
}

static int teardown(void **state)
{
    json_decref(page);
    page = NULL;
    return fixture_teardown(state);
}

static void an_entry_has_the_fields_of_the_contract(void **state)
{
    fixture_file(fx, "a.txt", "hello");
    struct timespec times[2] = {{0, 0}, {1700000000, 123456000}};
    assert_int_equal(utimensat(AT_FDCWD, fixture_path(fx, "a.txt"), times, 0), 0);
    fixture_dir(fx, "b");
    fixture_link(fx, "/etc", "c");
    assert_int_equal(mkfifo(fixture_path(fx, "d"), 0600), 0);
    assert_int_equal(list(NULL, false, 10, NULL), 0);
    json_t *files = json_object_get(page, "files");
    char *first = json_dumps(json_array_get(files, 0), JSON_COMPACT);
    assert_string_equal(first, "{\"path\":\"a.txt\",\"type\":\"file\",\"size\":5,"
                               "\"modified_at\":\"2023-11-14T22:13:20.123456Z\"}");
    free(first);
    static const char *const types[] = {"file", "directory", "symlink", "other"};
    assert_int_equal(json_array_size(files), 4);
    for (size_t i = 0; i < 4; i++)
        assert_string_equal(json_string_value(json_object_get(json_array_get(files, i), "type")),
                            types[i]);
    assert_true(json_is_null(json_object_get(page, "continue")));
}

static void make_tree(void)
{
    static const char *const dirs[] = {"a", "a/deep", "a/deep/er", "b", "empty"};
    static const char *const files[] = {"a.txt", "a/deep/er/z", "a/x", "a0", "b/1", "b/2", "zz"};
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
        fixture_dir(fx, dirs[i]);
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        fixture_file(fx, files[i], "");
    fixture_link(fx, "..", "b/up");
}

#define TREE                                                                                       \
    "a a.txt a/deep a/deep/er a/deep/er/z a/x a0 b b/1 b/2 b/up empty zz" /* as sorted() has it */

static void paths_come_in_byte_order_at_every_page_size(void **state)
{
    make_tree();
    for (unsigned limit = 1; limit <= 14; limit++) {
        assert_lists(NULL, true, limit, TREE);
        assert_lists("", false, limit, "a a.txt a0 b empty zz");
        assert_lists("a", true, limit, "a/deep a/deep/er a/deep/er/z a/x");
        assert_lists("a/", false, limit, "a/deep a/x");
        assert_lists("empty", true, limit, "");
    }
}

static void a_page_that_is_just_full_has_no_next(void **state)
{
    make_tree();
    assert_int_equal(list(NULL, true, 13, NULL), 0);
    assert_int_equal(json_array_size(json_object_get(page, "files")), 13);
    assert_null(next_page());
    assert_int_equal(list(NULL, true, 12, NULL), 0);
    assert_non_null(next_page());
}

static void changes_between_pages_move_no_other_file(void **state)
{
    make_tree();
    assert_int_equal(list(NULL, true, 5, NULL), 0); /* up to a/deep/er/z */
    char *after = mem_dup_str(next_page());
    unlink(fixture_path(fx, "a/deep/er/z"));
    rmdir(fixture_path(fx, "a/deep/er"));
    fixture_file(fx, "0", "");
    fixture_file(fx, "a/y", "");
    assert_int_equal(list(NULL, true, 3, after), 0);
    char *text = json_dumps(json_object_get(page, "files"), JSON_COMPACT);
    assert_non_null(strstr(text, "\"a/x\""));
    assert_non_null(strstr(text, "\"a/y\""));
    assert_non_null(strstr(text, "\"a0\""));
    free(text);
    free(after);
}

static void limits_hold(void **state)
{
    assert_int_equal(list(NULL, false, 0, NULL), -ERR_INVALID);
    assert_string_equal(err.field, "limit");
    assert_int_equal(list(NULL, false, FILE_LIST_MAX + 1, NULL), -ERR_INVALID);
    for (int i = 0; i < FILE_LIST_MAX; i++) {
        char name[16];
        snprintf(name, sizeof(name), "f%05d", i);
        fixture_file(fx, name, "");
    }
    assert_int_equal(list(NULL, false, FILE_LIST_MAX, NULL), 0);
    assert_int_equal(json_array_size(json_object_get(page, "files")), FILE_LIST_MAX);
    assert_null(next_page());
    fixture_file(fx, "g", "");
    assert_int_equal(list(NULL, false, FILE_LIST_MAX, NULL), 0);
    assert_int_equal(json_array_size(json_object_get(page, "files")), FILE_LIST_MAX);
    char *after = mem_dup_str(next_page());
    assert_int_equal(list(NULL, false, FILE_LIST_MAX, after), 0);
    assert_int_equal(json_array_size(json_object_get(page, "files")), 1);
    free(after);
}

static void many_files_come_once_each(void **state)
{
    enum { N = 20000 };
    for (int i = 0; i < N; i++) {
        char name[16];
        snprintf(name, sizeof(name), "%d", i * 7919 % N);
        fixture_file(fx, name, "");
    }
    char *after = NULL, last[32] = "";
    int n = 0;
    do {
        assert_int_equal(list(NULL, true, 999, after), 0);
        json_t *files = json_object_get(page, "files");
        for (size_t i = 0; i < json_array_size(files); i++, n++) {
            const char *path = json_string_value(json_object_get(json_array_get(files, i), "path"));
            assert_true(strcmp(last, path) < 0);
            snprintf(last, sizeof(last), "%s", path);
        }
        free(after);
        after = mem_dup_str(next_page());
    } while (after);
    assert_int_equal(n, N);
}

static void odd_names_are_valid_json(void **state)
{
    fixture_file(fx, "\xff\xfe bad", "");
    fixture_file(fx, "new\nline", "");
    fixture_file(fx, "quote\"\\", "");
    fixture_file(fx, "uml\xc3\xa4ut", "");
    assert_lists(NULL, false, 1, "new\nline quote\"\\ uml\xc3\xa4ut \xef\xbf\xbd\xef\xbf\xbd bad");
}

static void unfinished_uploads_are_not_listed(void **state)
{
    fixture_file(fx, FILE_UPLOAD_PREFIX "0123", "");
    fixture_file(fx, ".hidden", "");
    assert_lists(NULL, true, 5, ".hidden");
}

static void wrong_directories_are_refused(void **state)
{
    fixture_file(fx, "file", "");
    fixture_link(fx, "/etc", "out");
    fixture_dir(fx, "real");
    fixture_file(fx, "real/x", "");
    fixture_link(fx, "real", "link");
    assert_int_equal(list("nothing", false, 5, NULL), -ERR_NOT_FOUND);
    assert_int_equal(list("file", false, 5, NULL), -ERR_NOT_FOUND);
    assert_int_equal(list("out", false, 5, NULL), -ERR_FORBIDDEN);
    assert_int_equal(list("../x", false, 5, NULL), -ERR_INVALID);
    assert_string_equal(err.field, "dir");
    assert_int_equal(list("/", false, 5, NULL), -ERR_INVALID);
    assert_int_equal(list("", false, 5, "???"), -ERR_INVALID);
    assert_string_equal(err.field, "continue");
    assert_lists("link", true, 5, "link/x");
}

static void the_depth_has_a_ceiling(void **state)
{
    char path[4 * FILE_DEPTH_MAX] = "d";
    fixture_dir(fx, path);
    for (int i = 1; i < FILE_DEPTH_MAX + 2; i++) {
        memcpy(path + 2 * i - 1, "/d", 3);
        fixture_dir(fx, path);
    }
    assert_int_equal(list(NULL, true, FILE_LIST_MAX, NULL), 0);
    assert_int_equal(json_array_size(json_object_get(page, "files")), FILE_DEPTH_MAX + 1);
    assert_null(next_page());
}

static void a_detached_list_ends_alone(void **state)
{
    struct file_list_query q = {"", true, 10, NULL};
    struct file_job *job = NULL;
    assert_int_equal(file_list_start(&job, fx->root, &q, on_list, NULL, &err), 0);
    file_job_detach(job);
    /* The teardown frees the loop, which waits for the job. */
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_entry_has_the_fields_of_the_contract),
        TEST(paths_come_in_byte_order_at_every_page_size),
        TEST(a_page_that_is_just_full_has_no_next),
        TEST(changes_between_pages_move_no_other_file),
        TEST(limits_hold),
        TEST(many_files_come_once_each),
        TEST(odd_names_are_valid_json),
        TEST(unfinished_uploads_are_not_listed),
        TEST(wrong_directories_are_refused),
        TEST(the_depth_has_a_ceiling),
        TEST(a_detached_list_ends_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
