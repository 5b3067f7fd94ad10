/* What is opened where user code can write. */
#include "lib/base/beneath.h"

#include "lib/base/cleanup.h"
#include "lib/base/mem.h"
#include <errno.h>
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
    char root[64];
    int fd;
};

static void link_to(const struct fixture *f, const char *target, const char *name)
{
    assert_int_equal(symlinkat(target, f->fd, name), 0);
}

static int setup(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    memcpy(f->root, "/tmp/caesarion-test-XXXXXX", 27);
    assert_non_null(mkdtemp(f->root));
    f->fd = open(f->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(f->fd >= 0);
    assert_int_equal(mkdirat(f->fd, "a", 0700), 0);
    assert_int_equal(mkdirat(f->fd, "a/b", 0700), 0);
    link_to(f, "a", "inner");
    link_to(f, "../..", "a/out");
    link_to(f, f->root, "absolute");
    link_to(f, "loop", "loop");
    _cleanup_(freep) char *magic = mem_printf("/proc/self/fd/%d", f->fd);
    link_to(f, magic, "magic");
    link_to(f, "/proc/self/cwd", "cwd");
    link_to(f, "/proc/self/root", "a/root");
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    static const char *const names[] = {"inner", "a/out", "absolute", "loop",
                                        "magic", "cwd",   "a/root",   "made"};
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        unlinkat(f->fd, names[i], 0);
    unlinkat(f->fd, "a/b", AT_REMOVEDIR);
    unlinkat(f->fd, "a", AT_REMOVEDIR);
    assert_int_equal(rmdir(f->root), 0);
    close(f->fd);
    free(f);
    return 0;
}

/* errno, or 0 when it opens. */
static int outcome(int fd)
{
    if (fd < 0)
        return errno;
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    close(fd);
    return 0;
}

static void each_opener_follows_what_it_says(void **state)
{
    static const struct {
        const char *path;
        int beneath, plain, named; /* errno */
    } rows[] = {
        {"a/b", 0, 0, 0},
        {".", 0, 0, 0},
        {"inner/b", 0, ELOOP, 0},
        {"a/../a/b", 0, 0, 0},
        {"..", EXDEV, EXDEV, 0},
        {"a/out", EXDEV, ELOOP, 0},
        {"absolute/a", EXDEV, ELOOP, 0},
        {"loop", ELOOP, ELOOP, ELOOP},
        {"none", ENOENT, ENOENT, ENOENT},
        {"magic", EXDEV, ELOOP, ELOOP},
        {"magic/..", EXDEV, ELOOP, ELOOP},
        {"cwd", EXDEV, ELOOP, ELOOP},
        {"a/root/tmp", EXDEV, ELOOP, ELOOP},
    };
    const struct fixture *f = *state;
    const int flags = O_PATH | O_DIRECTORY;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        _cleanup_(freep) char *full = mem_printf("%s/%s", f->root, rows[i].path);
        int found[] = {outcome(beneath_open(f->fd, rows[i].path, flags, 0)),
                       outcome(beneath_open_plain(f->fd, rows[i].path, flags, 0)),
                       outcome(beneath_open_named(full, flags))};
        int wanted[] = {rows[i].beneath, rows[i].plain, rows[i].named};
        for (int j = 0; j < 3; j++)
            if (found[j] != wanted[j])
                fail_msg("%s by opener %d: %s, not %s", rows[i].path, j, strerror(found[j]),
                         strerror(wanted[j]));
    }
}

static void an_absolute_path_is_never_beneath(void **state)
{
    const struct fixture *f = *state;
    assert_int_equal(outcome(beneath_open(f->fd, f->root, O_PATH, 0)), EXDEV);
    assert_int_equal(outcome(beneath_open_plain(f->fd, "/", O_PATH, 0)), EXDEV);
}

static void magic_links_are_no_names(void **state)
{
    const struct fixture *f = *state;
    _cleanup_(freep) char *up = mem_printf("/proc/self/fd/%d/..", f->fd);
    assert_int_equal(outcome(beneath_open_named(up, O_PATH)), ELOOP);
    assert_int_equal(outcome(beneath_open_named("/proc/self/root/etc", O_PATH)), ELOOP);
    assert_int_equal(outcome(beneath_open_named("/proc/self/cwd", O_PATH)), ELOOP);
    assert_int_equal(outcome(beneath_open_named("/proc/thread-self/root", O_PATH)), ELOOP);
    /* an ordinary link of /proc */
    assert_int_equal(outcome(beneath_open_named("/proc/self/fd", O_PATH | O_DIRECTORY)), 0);
    assert_int_equal(outcome(beneath_open_real("/proc/self/fd", O_PATH)), ELOOP);
    assert_int_equal(outcome(beneath_open_real("/proc", O_PATH | O_DIRECTORY)), 0);
}

static void a_file_is_made_with_its_mode(void **state)
{
    const struct fixture *f = *state;
    struct stat st;
    int flags = O_WRONLY | O_CREAT | O_EXCL;
    assert_int_equal(outcome(beneath_open_plain(f->fd, "made", flags, 0400)), 0);
    assert_int_equal(fstatat(f->fd, "made", &st, 0), 0);
    assert_int_equal(st.st_mode & 0777, 0400);
    assert_int_equal(outcome(beneath_open_plain(f->fd, "made", flags, 0400)), EEXIST);
    assert_int_equal(outcome(beneath_open_plain(f->fd, "loop", flags, 0400)), EEXIST);
}

static void this_host_has_it(void **state)
{
    (void)state;
    struct err err;
    if (beneath_check(&err) < 0)
        fail_msg("%s", err.text);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(each_opener_follows_what_it_says), T(an_absolute_path_is_never_beneath),
        T(magic_links_are_no_names),         T(a_file_is_made_with_its_mode),
        cmocka_unit_test(this_host_has_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
