#include "controller/backends/local_remount.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void remount_inodes_follow_the_size(void **state)
{
    assert_int_equal(local_remount_inodes(0), 16384);
    assert_int_equal(local_remount_inodes(16384ULL * 16384), 16384);
    assert_int_equal(local_remount_inodes(16385ULL * 16384), 16385);
    assert_int_equal(local_remount_inodes(1ULL << 30), 65536);
    assert_int_equal(local_remount_inodes(1ULL << 46), 262144);
}

static void remount_results(void **state)
{
    static const int missing[] = {EPERM, EACCES, ENOSYS, EINVAL};
    struct err err = {0};

    assert_int_equal(local_remount_result(0, 0, NULL), 0);
    for (size_t i = 0; i < sizeof(missing) / sizeof(missing[0]); i++)
        assert_int_equal(local_remount_result(missing[i], 0, &err), LOCAL_REMOUNT_NONE);
    assert_int_equal(local_remount_result(ENOENT, 0, &err), -ERR_SANDBOX_FAILED);
    assert_string_equal(err.text,
                        "the sandbox's file systems cannot be bounded: No such file or directory");
    assert_int_equal(local_remount_result(200, 0, &err), -ERR_SANDBOX_FAILED);
    assert_int_equal(local_remount_result(0, 9, &err), -ERR_SANDBOX_FAILED);
    assert_non_null(strstr(err.text, "signal 9"));
}

/* Of a process that is gone: its exit says so, and nothing here changed. */
static void remount_of_nobody_fails(void **state)
{
    pid_t gone = fork(), pid;
    int status;

    if (gone == 0)
        _Exit(0);
    assert_int_equal(waitpid(gone, NULL, 0), gone);
    assert_int_equal(local_remount_start(gone, 1 << 30, &pid, NULL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(remount_inodes_follow_the_size),
        cmocka_unit_test(remount_results),
        cmocka_unit_test(remount_of_nobody_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
