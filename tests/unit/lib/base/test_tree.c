/* Removal of trees that user code made, and makes while they are removed. */
#include "lib/base/tree.h"

#include "lib/base/cleanup.h"
#include "lib/base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
/* after the four headers it needs */
#include <cmocka.h>

#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE 2
#endif

struct fixture {
    char root[64];
    int fd;
};

static int setup(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    memcpy(f->root, "/tmp/caesarion-test-XXXXXX", 27);
    assert_non_null(mkdtemp(f->root));
    f->fd = open(f->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(mkdirat(f->fd, "t", 0700), 0);
    assert_int_equal(mkdirat(f->fd, "safe", 0700), 0);
    *state = f;
    return 0;
}

static void make_file(int at, const char *name)
{
    int fd = openat(at, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
}

static bool exists(const struct fixture *f, const char *name)
{
    struct stat st;
    return fstatat(f->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(tree_remove(f->fd, "safe"), 0);
    assert_int_equal(tree_remove(f->fd, "t"), 0);
    assert_int_equal(rmdir(f->root), 0);
    close(f->fd);
    free(f);
    return 0;
}

static void nothing_and_files_and_links_are_removed(void **state)
{
    const struct fixture *f = *state;
    assert_int_equal(tree_remove(f->fd, "none"), 0);
    make_file(f->fd, "file");
    assert_int_equal(tree_remove(f->fd, "file"), 0);
    assert_false(exists(f, "file"));
    make_file(f->fd, "safe/file");
    assert_int_equal(symlinkat("safe", f->fd, "link"), 0);
    assert_int_equal(tree_remove(f->fd, "link"), 0);
    assert_false(exists(f, "link"));
    assert_int_equal(symlinkat("../safe", f->fd, "t/link"), 0);
    assert_int_equal(tree_remove(f->fd, "t"), 0);
    assert_false(exists(f, "t"));
    assert_true(exists(f, "safe/file"));
}

/* Deeper than any path may be long, and with names that the removal uses itself. */
static void depth_costs_neither_descriptors_nor_stack(void **state)
{
    const struct fixture *f = *state;
    int fd = openat(f->fd, "t", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    make_file(fd, TREE_MOVED_PREFIX "0");
    assert_int_equal(mkdirat(fd, TREE_MOVED_PREFIX "1", 0700), 0);
    make_file(fd, TREE_MOVED_PREFIX "1/x");
    for (int i = 0; i < 20000; i++) {
        assert_int_equal(mkdirat(fd, "d", 0700), 0);
        int next = openat(fd, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        close(fd);
        fd = next;
    }
    make_file(fd, "last");
    close(fd);
    assert_int_equal(tree_remove(f->fd, "t"), 0);
    assert_false(exists(f, "t"));
}

static void folders_that_were_closed_are_opened(void **state)
{
    const struct fixture *f = *state;
    assert_int_equal(mkdirat(f->fd, "t/a", 0700), 0);
    assert_int_equal(mkdirat(f->fd, "t/a/b", 0700), 0);
    make_file(f->fd, "t/a/b/c");
    assert_int_equal(fchmodat(f->fd, "t/a/b", 0000, 0), 0);
    assert_int_equal(fchmodat(f->fd, "t/a", 0500, 0), 0);
    assert_int_equal(fchmodat(f->fd, "t", 0000, 0), 0);
    assert_int_equal(tree_remove(f->fd, "t"), 0);
    assert_false(exists(f, "t"));
}

struct swapper {
    const struct fixture *f;
    atomic_bool stop;
};

/* Exchanges a folder of the tree for a link to the safe one, again and again. */
static void *swap(void *arg)
{
    struct swapper *s = arg;
    while (!atomic_load(&s->stop))
        syscall(SYS_renameat2, s->f->fd, "t/x", s->f->fd, "link", RENAME_EXCHANGE);
    return NULL;
}

static void a_folder_that_becomes_a_link_leads_nowhere(void **state)
{
    const struct fixture *f = *state;
    for (int i = 0; i < 200; i++) {
        char name[16];
        snprintf(name, sizeof(name), "safe/%d", i);
        make_file(f->fd, name);
    }
    for (int round = 0; round < 100; round++) {
        struct swapper s = {.f = f};
        pthread_t thread;
        if (!exists(f, "t"))
            assert_int_equal(mkdirat(f->fd, "t", 0700), 0);
        assert_int_equal(mkdirat(f->fd, "t/x", 0700), 0);
        assert_int_equal(symlinkat("../safe", f->fd, "link"), 0);
        for (int i = 0; i < 20; i++) {
            char name[24];
            snprintf(name, sizeof(name), "t/x/%d", i);
            make_file(f->fd, name);
        }
        assert_int_equal(pthread_create(&thread, NULL, swap, &s), 0);
        int r = tree_remove(f->fd, "t");
        atomic_store(&s.stop, true);
        pthread_join(thread, NULL);
        assert_int_equal(r, 0);
        assert_int_equal(tree_remove(f->fd, "link"), 0);
    }
    for (int i = 0; i < 200; i++) {
        char name[16];
        snprintf(name, sizeof(name), "safe/%d", i);
        assert_true(exists(f, name));
    }
}

static void *fill(void *arg)
{
    struct swapper *s = arg;
    for (unsigned i = 0; !atomic_load(&s->stop); i++) {
        char name[24];
        snprintf(name, sizeof(name), "t/%u", i % 512);
        int fd = openat(s->f->fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (fd >= 0)
            close(fd);
    }
    return NULL;
}

/* It ends, whoever wins. */
static void a_folder_that_is_being_filled_does_not_hold_it(void **state)
{
    const struct fixture *f = *state;
    struct swapper s = {.f = f};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, fill, &s), 0);
    int r = tree_remove(f->fd, "t");
    atomic_store(&s.stop, true);
    pthread_join(thread, NULL);
    assert_true(r == 0 || r == ENOTEMPTY);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(nothing_and_files_and_links_are_removed),
        T(depth_costs_neither_descriptors_nor_stack),
        T(folders_that_were_closed_are_opened),
        T(a_folder_that_becomes_a_link_leads_nowhere),
        T(a_folder_that_is_being_filled_does_not_hold_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
