#pragma once
/* A loop, a temporary directory with a file_root in it, and short ways to fill and look at it. */
#include "kernel-runner/files/file_root.h"
#include "lib/base/mem.h"
#include "lib/loop/loop.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <string.h>

struct fixture {
    struct loop *loop;
    struct loop_timer *deadline;
    struct file_root *root;
    char dir[64];    /* the temporary directory */
    char files[128]; /* dir/files */
};

static inline void fixture_late(void *ctx)
{
    fail_msg("nothing came within 20 s");
}

static inline char *fixture_path(struct fixture *f, const char *rel)
{
    static char paths[4][8192];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof(paths[0]), "%s/%s", f->files, rel);
    return path;
}

static inline void fixture_root(struct fixture *f, uint64_t max_bytes)
{
    struct err err;
    f->root = file_root_free(f->root);
    if (file_root_new(&f->root, f->loop, f->files, max_bytes, &err) < 0)
        fail_msg("%s", err.text);
}

static inline int fixture_setup(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    struct err err;
    *state = f;
    assert_int_equal(loop_new(&f->loop, &err), 0);
    f->deadline = loop_timer_new(f->loop, fixture_late, NULL);
    snprintf(f->dir, sizeof(f->dir), "/tmp/files-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->files, sizeof(f->files), "%s/files", f->dir);
    fixture_root(f, 1ULL << 40);
    return 0;
}

static inline int fixture_remove_one(const char *path, const struct stat *st, int type,
                                     struct FTW *ftw)
{
    return remove(path);
}

static inline int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    file_root_free(f->root);
    loop_timer_free(f->deadline);
    loop_free(f->loop);
    nftw(f->dir, fixture_remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(f);
    return 0;
}

/* Runs the loop until loop_stop(). */
static inline void fixture_run(struct fixture *f)
{
    loop_timer_start(f->deadline, 20000, 0);
    loop_run(f->loop);
    loop_timer_stop(f->deadline);
}

static inline void fixture_file(struct fixture *f, const char *rel, const char *text)
{
    int fd = open(fixture_path(f, rel), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        fail_msg("%s: %s", rel, strerrordesc_np(errno));
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static inline void fixture_dir(struct fixture *f, const char *rel)
{
    assert_int_equal(mkdir(fixture_path(f, rel), 0755), 0);
}

static inline void fixture_link(struct fixture *f, const char *to, const char *rel)
{
    assert_int_equal(symlink(to, fixture_path(f, rel)), 0);
}

static inline bool fixture_exists(struct fixture *f, const char *rel)
{
    struct stat st;
    return lstat(fixture_path(f, rel), &st) == 0;
}

/* How many entries the folder has, hidden ones included. */
static inline int fixture_count(struct fixture *f, const char *rel)
{
    DIR *dir = opendir(fixture_path(f, rel));
    int n = -2; /* "." and ".." */
    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static inline void fixture_content(struct fixture *f, const char *rel, const char *text)
{
    char got[256] = "";
    int fd = open(fixture_path(f, rel), O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_true(read(fd, got, sizeof(got) - 1) >= 0);
    close(fd);
    assert_string_equal(got, text);
}

#define FIXTURE_TEST(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)
