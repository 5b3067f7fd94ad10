/* The private directory of a kernel, whatever user code left in its place. */
#include "kernel-runner/kernel/kernel_dir.h"
#include "lib/base/cleanup.h"
#include "lib/base/mem.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
/* after the four headers it needs */
#include <cmocka.h>

static int setup(void **state)
{
    *state = mem_dup_str("/tmp/caesarion-test-XXXXXX");
    assert_non_null(mkdtemp(*state));
    return 0;
}

static int teardown(void **state)
{
    kernel_dir_remove(*state);
    assert_int_equal(access(*state, F_OK), -1);
    free(*state);
    return 0;
}

static void check_made(const char *run)
{
    struct err err;
    _cleanup_(freep) char *path = NULL;
    if (kernel_dir_make(run, &path, &err) < 0)
        fail_msg("%s", err.text);
    struct stat st;
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISDIR(st.st_mode));
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(lstat(run, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
}

static void it_is_made_with_its_parent(void **state)
{
    _cleanup_(freep) char *run = mem_printf("%s/run", (char *)*state);
    check_made(run);
    check_made(run); /* another beside it */
}

static void a_file_or_link_in_the_way_is_removed(void **state)
{
    _cleanup_(freep) char *run = mem_printf("%s/run", (char *)*state);
    close(open(run, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    check_made(run);
    _cleanup_(freep) char *link = mem_printf("%s/link", (char *)*state);
    assert_int_equal(symlink(run, link), 0);
    check_made(link);
    struct stat st;
    assert_int_equal(lstat(link, &st), 0);
    assert_true(S_ISDIR(st.st_mode));
}

static void a_closed_directory_is_opened_again(void **state)
{
    _cleanup_(freep) char *run = mem_printf("%s/run", (char *)*state);
    assert_int_equal(mkdir(run, 0000), 0);
    check_made(run);
}

static void a_path_too_long_for_a_socket_says_so(void **state)
{
    char name[100];
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    _cleanup_(freep) char *run = mem_printf("%s/%s", (char *)*state, name);
    _cleanup_(freep) char *path = NULL;
    struct err err;
    assert_int_equal(kernel_dir_make(run, &path, &err), -ERR_INVALID);
    assert_non_null(strstr(err.text, "too long"));
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(it_is_made_with_its_parent),
        T(a_file_or_link_in_the_way_is_removed),
        T(a_closed_directory_is_opened_again),
        T(a_path_too_long_for_a_socket_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
