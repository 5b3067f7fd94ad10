#include "kernel-runner/kernel/leftovers.h"

#include "lib/base/cleanup.h"
#include "lib/base/mem.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void leftovers_lines(void **state)
{
    struct leftovers_object o;
    const char *shm = "  0  65538  1600  16777216  412  413  2  1000 1000 1000 1000  "
                      "1764490000 1764490001 1764490002  16777216  0\n";
    assert_true(leftovers_parse(LEFTOVERS_SHM, shm, &o));
    assert_int_equal(o.id, 65538);
    assert_int_equal(o.creator, 412);
    assert_int_equal(o.attached, 2);
    assert_int_equal(o.made_at, 1764490002);
    assert_true(leftovers_parse(LEFTOVERS_MSG, " 0 3 600 10 1 77 0 0 0 0 0 5 0 6\n", &o));
    assert_int_equal(o.id, 3);
    assert_int_equal(o.creator, 77);
    assert_int_equal(o.made_at, 6);
    assert_true(leftovers_parse(LEFTOVERS_SEM, " 0 4 600 8 0 0 0 0 0 9\n", &o));
    assert_int_equal(o.id, 4);
    assert_int_equal(o.made_at, 9);
    assert_false(leftovers_parse(LEFTOVERS_SHM, "       key      shmid perms\n", &o));
    assert_false(leftovers_parse(LEFTOVERS_SEM, "", &o));
    assert_false(leftovers_parse(LEFTOVERS_SHM, "0 1 600 5 6\n", &o));
}

static void leftovers_awaits_the_end_of_all(void **state)
{
    pid_t pids[2];
    int fds[2];
    for (int i = 0; i < 2; i++) {
        pids[i] = fork();
        if (pids[i] == 0)
            for (;;)
                pause();
        fds[i] = (int)syscall(SYS_pidfd_open, pids[i], 0);
        assert_true(fds[i] >= 0);
    }
    assert_true(leftovers_await(fds, 0, 0));
    assert_false(leftovers_await(fds, 2, 0));
    kill(pids[0], SIGKILL);
    assert_true(leftovers_await(fds, 1, 10000));
    assert_false(leftovers_await(fds, 2, 1));
    kill(pids[1], SIGKILL);
    assert_true(leftovers_await(fds, 2, 10000));
    for (int i = 0; i < 2; i++) {
        waitpid(pids[i], NULL, 0);
        close(fds[i]);
    }
}

/* ---- a folder ---- */

static int setup(void **state)
{
    char path[] = "/tmp/cz-left-XXXXXX";
    *state = mem_dup_str(mkdtemp(path));
    return 0;
}

static int teardown(void **state)
{
    int failed = rmdir(*state); /* each test empties it */
    free(*state);
    return failed;
}

static int make(const char *top, const char *name)
{
    _cleanup_(freep) char *path = mem_printf("%s/%s", top, name);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && ftruncate(fd, 4096) == 0);
    return fd;
}

static bool is_there(const char *top, const char *name)
{
    struct stat st;
    _cleanup_(freep) char *path = mem_printf("%s/%s", top, name);
    return lstat(path, &st) == 0;
}

static void clear(const char *top, bool all, int seconds)
{
    struct leftovers l = {.all = all};
    clock_gettime(CLOCK_REALTIME, &l.before);
    l.before.tv_sec += seconds;
    leftovers_clear_dir(&l, top);
}

static void leftovers_spares_what_is_open_or_mapped(void **state)
{
    const char *top = *state;
    int open_fd = make(top, "open"), map_fd = make(top, "sem.mapped");
    close(make(top, "left"));
    close(make(top, "sem.left"));
    char *p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, map_fd, 0);
    close(map_fd);
    clear(top, /* all= */ false, 1);
    assert_true(is_there(top, "open") && is_there(top, "sem.mapped"));
    assert_false(is_there(top, "left") || is_there(top, "sem.left"));
    munmap(p, 4096);
    close(open_fd);
    clear(top, /* all= */ false, 1);
    assert_false(is_there(top, "open") || is_there(top, "sem.mapped"));
}

static void leftovers_takes_all_where_nobody_else_lives(void **state)
{
    const char *top = *state;
    int fd = make(top, "open");
    clear(top, /* all= */ true, 1);
    assert_false(is_there(top, "open"));
    close(fd);
}

static void leftovers_spares_what_is_younger(void **state)
{
    const char *top = *state;
    close(make(top, "young"));
    clear(top, /* all= */ true, -5);
    assert_true(is_there(top, "young"));
    clear(top, /* all= */ true, 1);
    assert_false(is_there(top, "young"));
}

/* joblib's: a folder of memory maps; and one that code has closed. */
static void leftovers_takes_folders_and_no_links(void **state)
{
    const char *top = *state;
    char outside[] = "/tmp/cz-out-XXXXXX";
    assert_non_null(mkdtemp(outside));
    close(make(outside, "kept"));
    _cleanup_(freep) char *folder = mem_printf("%s/joblib", top);
    _cleanup_(freep) char *closed = mem_printf("%s/closed", top);
    _cleanup_(freep) char *link = mem_printf("%s/link", top);
    assert_int_equal(mkdir(folder, 0700), 0);
    close(make(folder, "a.pkl"));
    assert_int_equal(mkdir(closed, 0700), 0);
    close(make(closed, "x"));
    assert_int_equal(chmod(closed, 0), 0);
    assert_int_equal(symlink(outside, link), 0);
    clear(top, /* all= */ true, 1);
    assert_false(is_there(top, "joblib") || is_there(top, "closed") || is_there(top, "link"));
    assert_true(is_there(outside, "kept"));
    clear(outside, /* all= */ true, 1);
    assert_int_equal(rmdir(outside), 0);
}

/* A name of more folders than one path may have, with a file in the last. */
static void make_deep(const char *top, unsigned depth)
{
    int fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (unsigned i = 0; i < depth; i++) {
        assert_int_equal(mkdirat(fd, "d", 0700), 0);
        int next = openat(fd, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(next >= 0);
        close(fd);
        fd = next;
    }
    int file = openat(fd, "deep", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(file >= 0);
    close(file);
    close(fd);
}

static void leftovers_has_no_depth(void **state)
{
    const char *top = *state;
    for (int all = 0; all < 2; all++)
        for (unsigned depth = 31; depth <= 1034; depth = depth < 34 ? depth + 1 : depth + 1000) {
            make_deep(top, depth);
            clear(top, all, 1);
            assert_int_equal(rmdir(top), 0); /* nothing is in it */
            assert_int_equal(mkdir(top, 0700), 0);
        }
}

/* As root they are none; the integration test has them as an ordinary user, too. */
static void leftovers_minds_no_permissions(void **state)
{
    const char *top = *state;
    _cleanup_(freep) char *folder = mem_printf("%s/read-only", top);
    assert_int_equal(mkdir(folder, 0700), 0);
    close(make(folder, "x"));
    assert_true(chmod(folder, 0500) == 0 && chmod(top, 0) == 0);
    clear(top, /* all= */ true, 1);
    assert_int_equal(chmod(top, 0700), 0);
    assert_false(is_there(top, "read-only"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leftovers_lines),
        cmocka_unit_test(leftovers_awaits_the_end_of_all),
        cmocka_unit_test_setup_teardown(leftovers_spares_what_is_open_or_mapped, setup, teardown),
        cmocka_unit_test_setup_teardown(leftovers_takes_all_where_nobody_else_lives, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(leftovers_spares_what_is_younger, setup, teardown),
        cmocka_unit_test_setup_teardown(leftovers_takes_folders_and_no_links, setup, teardown),
        cmocka_unit_test_setup_teardown(leftovers_has_no_depth, setup, teardown),
        cmocka_unit_test_setup_teardown(leftovers_minds_no_permissions, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
