#include "controller/backends/local_dir.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/cleanup.h"
#include "lib/base/mem.h"
#include "lib/base/tree.h"

#define ID "sb-01234567-89ab-4def-8123-456789abc000"

struct fixture {
    char root[64];
    struct local_dir dir;
};

static int setup(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    char path[96];

    snprintf(f->root, sizeof(f->root), "/tmp/test_dir.XXXXXX");
    if (!mkdtemp(f->root))
        return -1;
    snprintf(path, sizeof(path), "%s/sandboxes", f->root);
    mkdir(path, 0700);
    local_dir_init(&f->dir, f->root, f->root, ID);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char path[96];

    local_dir_done(&f->dir);
    snprintf(path, sizeof(path), "%s/sandboxes", f->root);
    int r = rmdir(path) | rmdir(f->root); /* fails when anything was left */
    free(f);
    return r;
}

static void make(struct fixture *f, bool isolated)
{
    struct local_meta meta = {.uid = geteuid(), .isolated = isolated};
    struct err err = {0};

    if (local_dir_make(&f->dir, &meta, &err) < 0)
        fail_msg("%s", err.text);
}

static void dir_remembers_its_owner(void **state)
{
    struct fixture *f = *state;
    struct local_meta meta = {0};
    struct err err = {0};

    make(f, /* isolated= */ false);
    assert_int_equal(local_dir_read_meta(&f->dir, &meta, &err), 0);
    assert_int_equal(meta.uid, geteuid());
    assert_false(meta.isolated);
    assert_int_equal(local_dir_remove(&f->dir), 0);
    assert_true(local_dir_read_meta(&f->dir, &meta, &err) < 0);
}

static void dir_refuses_broken_meta(void **state)
{
    static const char *const broken[] = {"",
                                         "{",
                                         "[]",
                                         "{\"uid\":-1}",
                                         "{\"uid\":4294967295}",
                                         "{\"uid\":\"0\"}",
                                         "{\"isolation\":\"bwrap\"}"};
    struct fixture *f = *state;
    struct local_meta meta = {.uid = 77};
    struct err err = {0};

    make(f, /* isolated= */ true);
    _cleanup_(freep) char *path = mem_printf("%s/meta.json", f->dir.path);
    for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
        FILE *file = fopen(path, "w");
        fputs(broken[i], file);
        fclose(file);
        assert_true(local_dir_read_meta(&f->dir, &meta, &err) < 0);
        assert_int_equal(meta.uid, 77);
    }
    assert_int_equal(local_dir_remove(&f->dir), 0);
}

static void dir_log_is_held_until_closed(void **state)
{
    struct fixture *f = *state;
    int fd = -1;

    make(f, /* isolated= */ true);
    assert_false(local_dir_is_held(&f->dir));
    assert_int_equal(local_dir_open_log(&f->dir, &fd, NULL), 0);
    assert_true(local_dir_is_held(&f->dir));
    close(fd);
    assert_false(local_dir_is_held(&f->dir));
    assert_int_equal(local_dir_remove(&f->dir), 0);
}

static void dir_words_are_the_end_of_the_log(void **state)
{
    struct fixture *f = *state;
    char words[LOCAL_WORDS_MAX + 1];
    int fd = -1;

    make(f, /* isolated= */ true);
    local_dir_words(&f->dir, words);
    assert_string_equal(words, "");
    assert_int_equal(local_dir_open_log(&f->dir, &fd, NULL), 0);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(write(fd, "\xc3\xa9\xff!", 4), 4);
    assert_int_equal(write(fd, "last\n\n", 6), 6);
    local_dir_words(&f->dir, words);
    assert_true(strlen(words) <= LOCAL_WORDS_MAX);
    assert_string_equal(words + strlen(words) - 8, "\xc3\xa9?!last");
    close(fd);
    assert_int_equal(local_dir_remove(&f->dir), 0);
}

static void dir_cuts_a_large_log(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    int fd = -1;

    make(f, /* isolated= */ true);
    assert_int_equal(local_dir_open_log(&f->dir, &fd, NULL), 0);
    assert_int_equal(ftruncate(fd, (off_t)LOCAL_LOG_MAX), 0);
    assert_true(local_dir_is_held(&f->dir));
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, LOCAL_LOG_MAX);
    assert_int_equal(ftruncate(fd, (off_t)LOCAL_LOG_MAX + 1), 0);
    assert_true(local_dir_is_held(&f->dir));
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, 0);
    close(fd);
    assert_int_equal(local_dir_remove(&f->dir), 0);
}

static void dir_binds_a_private_socket(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    int fd = -1;

    make(f, /* isolated= */ true);
    assert_int_equal(local_dir_bind(&f->dir, &fd, NULL), 0);
    assert_int_equal(stat(f->dir.socket, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    close(fd);
    assert_int_equal(local_dir_remove(&f->dir), 0);
    assert_true(access(f->dir.socket, F_OK) < 0);
}

/* What code may leave: depth beyond PATH_MAX, folders without permissions, links out. */
static void dir_remove_takes_what_code_left(void **state)
{
    struct fixture *f = *state;
    char name[200];

    make(f, /* isolated= */ false);
    _cleanup_(freep) char *files = mem_printf("%s/files", f->dir.path);
    int fd = open(files, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    memset(name, 'd', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    assert_int_equal(symlinkat("/tmp", fd, "out"), 0);
    for (int i = 0; i < 300; i++) {
        assert_int_equal(mkdirat(fd, name, 0700), 0);
        assert_int_equal(mkdirat(fd, TREE_MOVED_PREFIX "1", 0000), 0);
        int file = openat(fd, "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0000);
        assert_true(file >= 0);
        close(file);
        int next = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        fchmod(fd, i % 2 ? 0500 : 0700);
        close(fd);
        fd = next;
    }
    close(fd);
    assert_int_equal(local_dir_remove(&f->dir), 0);
    assert_true(access("/tmp", F_OK) == 0);
}

static void dir_remove_of_nothing_succeeds(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(local_dir_remove(&f->dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(dir_remembers_its_owner, setup, teardown),
        cmocka_unit_test_setup_teardown(dir_refuses_broken_meta, setup, teardown),
        cmocka_unit_test_setup_teardown(dir_log_is_held_until_closed, setup, teardown),
        cmocka_unit_test_setup_teardown(dir_words_are_the_end_of_the_log, setup, teardown),
        cmocka_unit_test_setup_teardown(dir_cuts_a_large_log, setup, teardown),
        cmocka_unit_test_setup_teardown(dir_binds_a_private_socket, setup, teardown),
        cmocka_unit_test_setup_teardown(dir_remove_takes_what_code_left, setup, teardown),
        cmocka_unit_test_setup_teardown(dir_remove_of_nothing_succeeds, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
