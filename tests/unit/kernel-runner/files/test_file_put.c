#include "kernel-runner/files/file_put.h"

#include "tests/unit/kernel-runner/files/files_fixture.h"

#include <sys/mount.h>

static struct fixture *fx;
static struct err err;
static bool ready;
static struct file_put *starting;

static void on_ready(void *ctx, const struct err *e)
{
    ready = e == NULL;
    if (e) {
        starting = file_put_free(starting);
        err = *e;
    }
    loop_stop(fx->loop);
}

static struct file_put *start(const char *path, int64_t length)
{
    starting = NULL;
    err = (struct err){0};
    ready = false;
    if (file_put_start(&starting, fx->root, path, length, on_ready, NULL, &err) < 0)
        return NULL;
    fixture_run(fx);
    return starting;
}

/* 1 created, 0 replaced, or an error. */
static int put(const char *path, const char *text)
{
    struct file_put *p = start(path, (int64_t)strlen(text));
    bool created = false;
    struct stat st;
    if (!p)
        return -(int)err.code;
    int r = file_put_write(p, text, strlen(text), &err);
    if (r == 0)
        r = file_put_commit(p, &created, &st, &err);
    file_put_free(p);
    return r < 0 ? r : created;
}

static int setup(void **state)
{
    int r = fixture_setup(state);
    fx = *state;
    return r;
}

static void a_file_is_created_and_then_replaced(void **state)
{
    assert_int_equal(put("a.txt", "one"), 1);
    fixture_content(fx, "a.txt", "one");
    assert_int_equal(put("a.txt", "two"), 0);
    fixture_content(fx, "a.txt", "two");
    assert_int_equal(put("a.txt", ""), 0);
    fixture_content(fx, "a.txt", "");
    assert_int_equal(fixture_count(fx, ""), 1);
}

static void folders_are_made(void **state)
{
    assert_int_equal(put("x/y/z.txt", "deep"), 1);
    fixture_content(fx, "x/y/z.txt", "deep");
}

static void the_old_file_is_there_until_the_end(void **state)
{
    bool created;
    struct stat st;
    fixture_file(fx, "a", "old");
    struct file_put *p = start("a", -1);
    assert_int_equal(file_put_write(p, "ne", 2, &err), 0);
    fixture_content(fx, "a", "old");
    assert_int_equal(file_put_write(p, "w", 1, &err), 0);
    fixture_content(fx, "a", "old");
    assert_int_equal(file_put_commit(p, &created, &st, &err), 0);
    assert_int_equal(st.st_size, 3);
    file_put_free(p);
    fixture_content(fx, "a", "new");
}

static void an_aborted_upload_leaves_nothing(void **state)
{
    struct file_put *p = start("x/y/z", -1);
    assert_int_equal(file_put_write(p, "half", 4, &err), 0);
    assert_int_equal(fixture_count(fx, "x/y"), 1);
    file_put_free(p);
    assert_int_equal(fixture_count(fx, ""), 0);
}

static void an_upload_freed_while_it_prepares_leaves_nothing(void **state)
{
    struct file_put *p = NULL;
    assert_int_equal(file_put_start(&p, fx->root, "x/y", 10, on_ready, NULL, &err), 0);
    file_put_free(p);
    /* A second one, behind it on the pool or beside it, sees what it left. */
    assert_int_equal(put("other", "x"), 1);
    fx->root = file_root_free(fx->root);
    loop_timer_free(fx->deadline);
    loop_free(fx->loop); /* waits for the first */
    assert_int_equal(fixture_count(fx, ""), 1);
    assert_int_equal(loop_new(&fx->loop, &err), 0);
    fx->deadline = loop_timer_new(fx->loop, fixture_late, NULL);
}

static void what_is_no_file_is_not_replaced(void **state)
{
    fixture_dir(fx, "dir");
    fixture_file(fx, "file", "x");
    assert_int_equal(mkfifo(fixture_path(fx, "fifo"), 0600), 0);
    assert_int_equal(put("dir", "x"), -ERR_CONFLICT);
    assert_int_equal(put("fifo", "x"), -ERR_CONFLICT);
    assert_int_equal(put("file/x", "x"), -ERR_CONFLICT);
    assert_int_equal(put(FILE_UPLOAD_PREFIX "x", "x"), -ERR_INVALID);
    assert_int_equal(put("a/../b", "x"), -ERR_INVALID);
    assert_int_equal(put("new/dir/" FILE_UPLOAD_PREFIX "x", "x"), -ERR_INVALID);
    assert_int_equal(fixture_count(fx, ""), 3);
}

static void nothing_is_written_through_links(void **state)
{
    char outside[128];
    snprintf(outside, sizeof(outside), "%s/outside", fx->dir);
    close(open(outside, O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    fixture_link(fx, outside, "link");
    fixture_link(fx, fx->dir, "folder");
    assert_int_equal(put("link", "x"), 0); /* the link itself is replaced */
    struct stat st;
    assert_int_equal(stat(outside, &st), 0);
    assert_int_equal(st.st_size, 0);
    assert_int_equal(put("folder/x", "x"), -ERR_FORBIDDEN);
}

static void a_folder_removed_meanwhile_is_a_conflict(void **state)
{
    bool created;
    struct stat st;
    struct file_put *p = start("x/y", -1);
    char folder[256];
    assert_int_equal(file_put_write(p, "x", 1, &err), 0);
    snprintf(folder, sizeof(folder), "%s/x", fx->files);
    nftw(folder, fixture_remove_one, 16, FTW_DEPTH | FTW_PHYS);
    assert_int_equal(file_put_commit(p, &created, &st, &err), -ERR_CONFLICT);
    file_put_free(p);
    assert_int_equal(fixture_count(fx, ""), 0);
}

static void the_directory_is_made_again(void **state)
{
    assert_int_equal(rmdir(fx->files), 0);
    assert_int_equal(put("a", "x"), 1);
    fixture_content(fx, "a", "x");
}

static void the_total_has_a_ceiling(void **state)
{
    fixture_root(fx, 10);
    assert_int_equal(put("a", "0123456789"), 1);
    assert_int_equal(put("b", "x"), -ERR_NO_SPACE);
    assert_int_equal(put("b", ""), 1);
    unlink(fixture_path(fx, "a"));
    assert_int_equal(put("c", "01234567890"), -ERR_NO_SPACE);
    assert_int_equal(put("d/e", "012345"), 1);
    assert_int_equal(put("f", "0123"), 1);
    assert_int_equal(put("g", "0"), -ERR_NO_SPACE);
}

static void a_body_of_unknown_length_has_the_same_ceiling(void **state)
{
    bool created;
    struct stat st;
    fixture_root(fx, 10);
    struct file_put *p = start("a", -1);
    assert_int_equal(file_put_write(p, "01234", 5, &err), 0);
    assert_int_equal(file_put_write(p, "56789", 5, &err), 0);
    assert_int_equal(file_put_write(p, "x", 1, &err), -ERR_NO_SPACE);
    file_put_free(p);
    assert_int_equal(fixture_count(fx, ""), 0);
    p = start("a", -1);
    assert_int_equal(file_put_write(p, "0123456789", 10, &err), 0);
    assert_int_equal(file_put_commit(p, &created, &st, &err), 0);
    file_put_free(p);
}

static void a_full_file_system_says_so(void **state)
{
    if (mount("tmpfs", fx->files, "tmpfs", MS_NOSUID | MS_NODEV, "size=64k") < 0)
        skip(); /* not root */
    static char block[KIB(64) + 1];
    struct file_put *p = start("big", -1);
    assert_int_equal(file_put_write(p, block, sizeof(block), &err), -ERR_NO_SPACE);
    file_put_free(p);
    assert_int_equal(fixture_count(fx, ""), 0);
    p = start("big", -1);
    assert_int_equal(file_put_write(p, block, KIB(64), &err), 0);
    file_put_free(p);
    assert_int_equal(umount(fx->files), 0);
}

static void two_uploads_of_one_file_end_one_after_the_other(void **state)
{
    bool first, second;
    struct stat st;
    struct file_put *a = start("x", -1), *b = start("x", -1);
    assert_int_equal(file_put_write(a, "a", 1, &err), 0);
    assert_int_equal(file_put_write(b, "b", 1, &err), 0);
    assert_int_equal(file_put_commit(b, &second, &st, &err), 0);
    assert_int_equal(file_put_commit(a, &first, &st, &err), 0);
    assert_true(second);
    assert_false(first);
    file_put_free(a);
    file_put_free(b);
    fixture_content(fx, "x", "a");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_file_is_created_and_then_replaced),
        TEST(folders_are_made),
        TEST(the_old_file_is_there_until_the_end),
        TEST(an_aborted_upload_leaves_nothing),
        TEST(an_upload_freed_while_it_prepares_leaves_nothing),
        TEST(what_is_no_file_is_not_replaced),
        TEST(nothing_is_written_through_links),
        TEST(a_folder_removed_meanwhile_is_a_conflict),
        TEST(the_directory_is_made_again),
        TEST(the_total_has_a_ceiling),
        TEST(a_body_of_unknown_length_has_the_same_ceiling),
        TEST(a_full_file_system_says_so),
        TEST(two_uploads_of_one_file_end_one_after_the_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
