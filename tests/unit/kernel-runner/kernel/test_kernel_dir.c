/* The private directory of a kernel, whatever user code left in its place. */
#include "kernel-runner/kernel/kernel_dir.h"
#include "lib/base/cleanup.h"
#include "lib/base/mem.h"
#include "lib/base/tree.h"
#include "lib/crypto/crypto.h"
#include "lib/loop/loop.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
/* after the four headers it needs */
#include <cmocka.h>

struct fixture {
    char root[64], run[80];
    struct loop *loop;
};

static int setup(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    memcpy(f->root, "/tmp/caesarion-test-XXXXXX", 27);
    assert_non_null(mkdtemp(f->root));
    snprintf(f->run, sizeof(f->run), "%s/run", f->root);
    assert_int_equal(crypto_init(NULL), 0);
    assert_int_equal(loop_new(&f->loop, NULL), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    loop_free(f->loop);
    assert_int_equal(tree_remove(AT_FDCWD, f->root), 0);
    assert_int_equal(access(f->root, F_OK), -1);
    free(f);
    return 0;
}

static struct kernel_dir *make(const char *run)
{
    struct kernel_dir *d = NULL;
    struct err err;
    if (kernel_dir_make(&d, run, &err) < 0)
        fail_msg("%s", err.text);
    return d;
}

static bool exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

/* Waits for the pool. */
static void remove_all(struct fixture *f, struct kernel_dir *d)
{
    kernel_dir_free(d, f->loop);
    loop_free(f->loop);
    assert_int_equal(loop_new(&f->loop, NULL), 0);
}

static void check_made(struct fixture *f, const char *run)
{
    struct stat st, held;
    struct kernel_dir *d = make(run);
    _cleanup_(freep) char *path = mem_dup_str(kernel_dir_path(d));
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISDIR(st.st_mode));
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(fstat(kernel_dir_fd(d), &held), 0);
    assert_int_equal(held.st_ino, st.st_ino);
    assert_int_equal(lstat(run, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    remove_all(f, d);
    assert_false(exists(path));
}

static void it_is_made_with_its_parent(void **state)
{
    struct fixture *f = *state;
    struct kernel_dir *other = make(f->run);
    check_made(f, f->run); /* another beside it */
    assert_true(exists(kernel_dir_path(other)));
    remove_all(f, other);
}

static void a_file_or_link_in_the_way_is_removed(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    close(open(f->run, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    check_made(f, f->run);
    _cleanup_(freep) char *link = mem_printf("%s/link", f->root);
    assert_int_equal(symlink(f->run, link), 0);
    check_made(f, link);
    assert_int_equal(lstat(link, &st), 0);
    assert_true(S_ISDIR(st.st_mode));
}

static void a_closed_directory_is_opened_again(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(mkdir(f->run, 0000), 0);
    check_made(f, f->run);
}

static void files_are_made_in_it_wherever_its_path_leads(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct kernel_dir *d = make(f->run);
    _cleanup_(freep) char *aside = mem_printf("%s/aside", f->root);
    _cleanup_(freep) char *other = mem_printf("%s/other", f->root);
    _cleanup_(freep) char *strange = mem_printf("%s/f", other);
    assert_int_equal(mkdir(other, 0700), 0);
    assert_int_equal(rename(kernel_dir_path(d), aside), 0);
    assert_int_equal(symlink(other, kernel_dir_path(d)), 0);
    assert_int_equal(kernel_dir_write(d, "f", 0400, "abc", 3, &err), 0);
    assert_false(exists(strange));
    struct stat st;
    assert_int_equal(fstatat(kernel_dir_fd(d), "f", &st, 0), 0);
    assert_int_equal(st.st_size, 3);
    assert_true(kernel_dir_write(d, "f", 0400, "abc", 3, &err) < 0);
    /* a link there is not written through */
    assert_int_equal(symlinkat(strange, kernel_dir_fd(d), "l"), 0);
    assert_true(kernel_dir_write(d, "l", 0400, "abc", 3, &err) < 0);
    assert_false(exists(strange));
    remove_all(f, d);
}

static void room_is_taken_once_and_given_back(void **state)
{
    struct fixture *f = *state;
    struct kernel_room room = {.len = 0};
    struct stat st;
    kernel_room_take(&room, f->run);
    kernel_room_take(&room, f->run);
    assert_int_equal(room.len, KERNEL_ROOM_FILES);
    assert_int_equal(fstat(room.fds[0], &st), 0);
    assert_int_equal(st.st_nlink, 0);
    assert_true(st.st_blocks * 512 >= (blkcnt_t)KERNEL_ROOM_BYTES);
    int first = room.fds[0];
    kernel_room_give(&room);
    assert_int_equal(room.len, 0);
    assert_int_equal(fcntl(first, F_GETFD), -1);
    kernel_room_take(&room, "/nonexistent/run"); /* as much as can be had */
    assert_int_equal(room.len, 0);
}

/* S3: the directory is swapped for a link to a tree elsewhere; so is the one above it. */
static void removal_follows_no_link(void **state)
{
    struct fixture *f = *state;
    _cleanup_(freep) char *safe = mem_printf("%s/safe", f->root);
    _cleanup_(freep) char *file = mem_printf("%s/file", safe);
    _cleanup_(freep) char *aside = mem_printf("%s/aside", f->root);
    assert_int_equal(mkdir(safe, 0700), 0);
    close(open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    struct kernel_dir *d = make(f->run);
    _cleanup_(freep) char *path = mem_dup_str(kernel_dir_path(d));
    assert_int_equal(rename(path, aside), 0);
    assert_int_equal(symlink(safe, path), 0);
    remove_all(f, d);
    assert_false(exists(path));
    assert_true(exists(file));

    struct kernel_dir *second = make(f->run);
    _cleanup_(freep) char *same = mem_printf("%s%s", safe, strrchr(kernel_dir_path(second), '/'));
    _cleanup_(freep) char *run_aside = mem_printf("%s/run-aside", f->root);
    assert_int_equal(mkdir(same, 0700), 0);
    assert_int_equal(rename(f->run, run_aside), 0);
    assert_int_equal(symlink(safe, f->run), 0);
    remove_all(f, second);
    assert_true(exists(same));
}

static void a_path_too_long_for_a_socket_says_so(void **state)
{
    struct fixture *f = *state;
    char name[100];
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    _cleanup_(freep) char *run = mem_printf("%s/%s", f->root, name);
    struct kernel_dir *d = NULL;
    struct err err;
    assert_int_equal(kernel_dir_make(&d, run, &err), -ERR_INVALID);
    assert_non_null(strstr(err.text, "too long"));
    assert_int_equal(kernel_dir_make(&d, "relative", &err), -ERR_INVALID);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(it_is_made_with_its_parent),           T(a_file_or_link_in_the_way_is_removed),
        T(a_closed_directory_is_opened_again),   T(files_are_made_in_it_wherever_its_path_leads),
        T(room_is_taken_once_and_given_back),    T(removal_follows_no_link),
        T(a_path_too_long_for_a_socket_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
