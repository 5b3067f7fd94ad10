#include "kernel-runner/files/file_delete.h"

#include "tests/unit/kernel-runner/files/files_fixture.h"

static struct fixture *fx;
static struct err err;

static void on_deleted(void *ctx, const struct err *e)
{
    if (e)
        err = *e;
    loop_stop(fx->loop);
}

static int remove_path(const char *path, bool recursive)
{
    struct file_job *job = NULL;
    err = (struct err){0};
    int r = file_delete_start(&job, fx->root, path, recursive, on_deleted, NULL, &err);
    if (r < 0)
        return r;
    fixture_run(fx);
    return -(int)err.code;
}

static int setup(void **state)
{
    int r = fixture_setup(state);
    fx = *state;
    return r;
}

static void files_links_and_empty_folders_go(void **state)
{
    fixture_dir(fx, "dir");
    fixture_file(fx, "dir/file", "x");
    fixture_link(fx, "/etc", "link");
    fixture_link(fx, "dir", "inner");
    assert_int_equal(mkfifo(fixture_path(fx, "fifo"), 0600), 0);
    assert_int_equal(remove_path("link", true), 0);
    assert_int_equal(remove_path("inner", true), 0);
    assert_true(fixture_exists(fx, "dir/file"));
    assert_int_equal(remove_path("fifo", false), 0);
    assert_int_equal(remove_path("dir", false), -ERR_CONFLICT);
    assert_true(fixture_exists(fx, "dir/file"));
    assert_int_equal(remove_path("dir/file", false), 0);
    assert_int_equal(remove_path("dir", false), 0);
    assert_int_equal(fixture_count(fx, ""), 0);
}

static void what_is_not_there_is_not_found(void **state)
{
    fixture_file(fx, "file", "x");
    assert_int_equal(remove_path("x", true), -ERR_NOT_FOUND);
    assert_int_equal(remove_path("x/y", false), -ERR_NOT_FOUND);
    assert_int_equal(remove_path("file/y", false), -ERR_NOT_FOUND);
    assert_int_equal(remove_path("..", true), -ERR_INVALID);
    assert_int_equal(remove_path("", true), -ERR_INVALID);
}

static void nothing_outside_is_removed(void **state)
{
    char outside[128];
    snprintf(outside, sizeof(outside), "%s/outside", fx->dir);
    assert_int_equal(mkdir(outside, 0755), 0);
    fixture_dir(fx, "dir");
    fixture_link(fx, outside, "dir/link");
    fixture_link(fx, fx->dir, "up");
    assert_int_equal(remove_path("up/outside", true), -ERR_FORBIDDEN);
    assert_int_equal(remove_path("dir", true), 0);
    assert_int_equal(access(outside, F_OK), 0);
}

static void a_tree_goes_whole(void **state)
{
    for (int i = 0; i < 20; i++) {
        char path[64];
        snprintf(path, sizeof(path), "%s%d", i < 10 ? "tree" : "tree0/", i % 10);
        fixture_dir(fx, path);
        for (int k = 0; k < 200; k++) {
            snprintf(path, sizeof(path), "%s%d/f%d", i < 10 ? "tree" : "tree0/", i % 10, k);
            fixture_file(fx, path, "");
        }
    }
    assert_int_equal(remove_path("tree0", true), 0);
    assert_false(fixture_exists(fx, "tree0"));
    assert_int_equal(fixture_count(fx, "tree1"), 200);
}

static void a_tree_of_any_depth_goes(void **state)
{
    int fd = open(fx->files, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < 3000; i++) {
        assert_int_equal(mkdirat(fd, "deep", 0755), 0);
        close(openat(fd, "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
        int next = openat(fd, "deep", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        close(fd);
        fd = next;
    }
    close(fd);
    assert_int_equal(remove_path("deep", true), 0);
    assert_int_equal(fixture_count(fx, ""), 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(files_links_and_empty_folders_go), TEST(what_is_not_there_is_not_found),
        TEST(nothing_outside_is_removed),       TEST(a_tree_goes_whole),
        TEST(a_tree_of_any_depth_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
