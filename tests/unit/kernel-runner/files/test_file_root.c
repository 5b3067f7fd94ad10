#include "tests/unit/kernel-runner/files/files_fixture.h"

#include "lib/base/path.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

static struct err err;

static int try_open(struct fixture *f, const char *path)
{
    struct stat st;
    int fd = -1;
    int r = file_open_read(f->root, path, &fd, &st, &err);
    if (r == 0)
        close(fd);
    return r;
}

static void a_regular_file_opens(void **state)
{
    fixture_dir(*state, "a");
    fixture_file(*state, "a/b", "x");
    assert_int_equal(try_open(*state, "a/b"), 0);
    assert_int_equal(try_open(*state, "a/c"), -ERR_NOT_FOUND);
    assert_int_equal(try_open(*state, "a/b/c"), -ERR_NOT_FOUND);
    assert_int_equal(try_open(*state, "a"), -ERR_CONFLICT);
}

static void escapes_are_refused(void **state)
{
    struct fixture *f = *state;
    fixture_dir(f, "a");
    fixture_link(f, "/etc/passwd", "absolute");
    fixture_link(f, "../../../../etc/passwd", "up");
    fixture_link(f, "..", "parent");
    fixture_link(f, "/proc/self/environ", "proc");
    fixture_link(f, "/proc/self/root", "magic");
    fixture_link(f, "loop", "loop");
    assert_int_equal(try_open(f, "absolute"), -ERR_FORBIDDEN);
    assert_int_equal(try_open(f, "up"), -ERR_FORBIDDEN);
    assert_int_equal(try_open(f, "parent/files/up"), -ERR_FORBIDDEN);
    assert_int_equal(try_open(f, "proc"), -ERR_FORBIDDEN);
    assert_int_equal(try_open(f, "magic/etc/passwd"), -ERR_FORBIDDEN);
    assert_int_equal(try_open(f, "loop"), -ERR_FORBIDDEN);
    assert_int_equal(try_open(f, "../files/a"), -ERR_INVALID);
    assert_int_equal(try_open(f, "/etc/passwd"), -ERR_INVALID);
    assert_int_equal(try_open(f, "a/../../x"), -ERR_INVALID);
    assert_int_equal(try_open(f, ""), -ERR_INVALID);
}

static void links_inside_are_followed(void **state)
{
    struct fixture *f = *state;
    fixture_dir(f, "a");
    fixture_dir(f, "b");
    fixture_file(f, "a/file", "x");
    fixture_link(f, "../a/file", "b/link");
    fixture_link(f, "a", "folder");
    assert_int_equal(try_open(f, "b/link"), 0);
    assert_int_equal(try_open(f, "folder/file"), 0);
}

static void what_is_no_file_never_blocks(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(mkfifo(fixture_path(f, "fifo"), 0600), 0);
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    strncpy(addr.sun_path, fixture_path(f, "socket"), sizeof(addr.sun_path) - 1);
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(try_open(f, "fifo"), -ERR_CONFLICT);
    assert_int_equal(try_open(f, "socket"), -ERR_CONFLICT);
    close(s);
}

static void a_leased_file_does_not_block(void **state)
{
    struct fixture *f = *state;
    fixture_file(f, "leased", "x");
    int fd = open(fixture_path(f, "leased"), O_RDWR | O_CLOEXEC);
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
    sigaction(SIGIO, &ignore, &before);
    if (fcntl(fd, F_SETLEASE, F_WRLCK) == 0)
        assert_int_equal(try_open(f, "leased"), -ERR_UNAVAILABLE);
    close(fd);
    sigaction(SIGIO, &before, NULL);
    assert_int_equal(try_open(f, "leased"), 0);
}

static void a_deleted_directory_is_made_again(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(rmdir(f->files), 0);
    assert_int_equal(try_open(f, "a"), -ERR_NOT_FOUND);
    fixture_file(f, "a", "x");
    assert_int_equal(try_open(f, "a"), 0);
}

static void a_directory_replaced_by_something_else_is_refused(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(rmdir(f->files), 0);
    assert_int_equal(symlink("/proc/self", f->files), 0);
    assert_int_equal(try_open(f, "environ"), -ERR_CONFLICT);
    unlink(f->files);
    int fd = open(f->files, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    close(fd);
    assert_int_equal(try_open(f, "a"), -ERR_CONFLICT);
    unlink(f->files);
    assert_int_equal(try_open(f, "a"), -ERR_NOT_FOUND);
}

/* Code that may write above the directory puts a link there: nothing is made where it leads. */
static void a_directory_is_not_made_again_through_a_link(void **state)
{
    struct fixture *f = *state;
    _cleanup_(freep) char *above = mem_printf("%s-above", f->files);
    _cleanup_(freep) char *moved = mem_printf("%s-moved", f->files);
    _cleanup_(freep) char *inner = mem_printf("%s/inner", above);
    _cleanup_(freep) char *strange = mem_printf("%s/inner", moved);
    struct file_root *root = NULL;
    int fd = -1;
    assert_int_equal(file_root_new(&root, NULL, inner, 1, &err), 0);
    assert_int_equal(rmdir(inner), 0);
    assert_int_equal(rename(above, moved), 0);
    assert_int_equal(symlink(moved, above), 0);
    assert_int_equal(file_root_open_dir(file_root_path(root), &fd, &err), -ERR_CONFLICT);
    assert_true(access(strange, F_OK) < 0);
    assert_int_equal(unlink(above), 0);
    assert_int_equal(rename(moved, above), 0);
    assert_int_equal(file_root_open_dir(file_root_path(root), &fd, &err), 0);
    close(fd);
    assert_int_equal(rmdir(inner), 0);
    assert_int_equal(rmdir(above), 0);
    file_root_free(root);
}

static void folders_are_made_and_taken_back(void **state)
{
    struct fixture *f = *state;
    int root = -1, fd = -1;
    const char *name = NULL;
    size_t made = 0;
    fixture_dir(f, "a");
    assert_int_equal(file_root_open_dir(f->files, &root, &err), 0);
    assert_int_equal(file_make_parent(root, "a/b/c/file", &fd, &name, &made, &err), 0);
    close(fd);
    assert_string_equal(name, "file");
    assert_int_equal(made, strlen("a/b"));
    assert_true(fixture_exists(f, "a/b/c"));
    file_remove_made(root, "a/b/c/file", made);
    assert_true(fixture_exists(f, "a"));
    assert_false(fixture_exists(f, "a/b"));

    /* What somebody has put into one of them stays. */
    assert_int_equal(file_make_parent(root, "x/y/file", &fd, &name, &made, &err), 0);
    close(fd);
    fixture_file(f, "x/other", "");
    file_remove_made(root, "x/y/file", made);
    assert_true(fixture_exists(f, "x/other"));
    assert_false(fixture_exists(f, "x/y"));

    fixture_file(f, "plain", "");
    fixture_link(f, "nowhere", "dangling");
    fixture_link(f, "/tmp", "out");
    assert_int_equal(file_make_parent(root, "plain/file", &fd, &name, &made, &err), -ERR_CONFLICT);
    assert_int_equal(file_make_parent(root, "n1/n2/../file", &fd, &name, &made, &err),
                     -ERR_INVALID);
    assert_int_equal(file_make_parent(root, "dangling/file", &fd, &name, &made, &err),
                     -ERR_CONFLICT);
    assert_int_equal(file_make_parent(root, "out/file", &fd, &name, &made, &err), -ERR_FORBIDDEN);
    close(root);
}

static void folders_are_made_up_to_the_ceiling(void **state)
{
    struct fixture *f = *state;
    int root = -1, fd = -1;
    const char *name = NULL;
    size_t made = 0;
    char path[2 * FILE_DEPTH_MAX + 8];
    for (int i = 0; i <= FILE_DEPTH_MAX; i++)
        memcpy(path + 2 * i, "d/", 2);
    memcpy(path + 2 * (FILE_DEPTH_MAX + 1), "f", 2);
    assert_int_equal(file_root_open_dir(f->files, &root, &err), 0);
    assert_int_equal(file_make_parent(root, path, &fd, &name, &made, &err), -ERR_INVALID);
    assert_int_equal(fixture_count(f, ""), 0);
    assert_int_equal(file_make_parent(root, path + 2, &fd, &name, &made, &err), 0);
    close(fd);
    assert_int_equal(made, 1);
    file_remove_made(root, path + 2, made);
    assert_int_equal(fixture_count(f, ""), 0);
    close(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(a_regular_file_opens),
        FIXTURE_TEST(escapes_are_refused),
        FIXTURE_TEST(links_inside_are_followed),
        FIXTURE_TEST(what_is_no_file_never_blocks),
        FIXTURE_TEST(a_leased_file_does_not_block),
        FIXTURE_TEST(a_deleted_directory_is_made_again),
        FIXTURE_TEST(a_directory_replaced_by_something_else_is_refused),
        FIXTURE_TEST(a_directory_is_not_made_again_through_a_link),
        FIXTURE_TEST(folders_are_made_and_taken_back),
        FIXTURE_TEST(folders_are_made_up_to_the_ceiling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
