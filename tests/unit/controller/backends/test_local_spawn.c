/* The child is this program again: `test_… child` says what it found by its exit status. */
#include "controller/backends/local_spawn.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/keyctl.h>

#include <cmocka.h>

#include "controller/backends/local_run.h"
#include "lib/base/macros.h"

#define KEY_NAME "caesarion-test-of-the-session-keyring"

enum { FOUND = 10, NOT_FOUND = 11, OTHERWISE = 12 };

static char program[4096];

static int child(void)
{
    if (syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_SESSION_KEYRING, "user", KEY_NAME, 0) >= 0)
        return FOUND;
    return errno == ENOKEY ? NOT_FOUND : OTHERWISE;
}

static void a_child_has_a_session_keyring_of_its_own(void **state)
{
    const char *argv[] = {program, "child", NULL};
    const char *env[] = {"PATH=/usr/bin:/bin", NULL};
    struct local_spawn s = {.argv = argv, .envp = env};
    struct local_run run;
    struct err err = {0};
    struct buf out;

    if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0)
        skip(); /* no keys here: nothing to inherit */
    assert_true(syscall(SYS_add_key, "user", KEY_NAME, "secret", strlen("secret"),
                        KEY_SPEC_SESSION_KEYRING) >= 0);
    assert_int_equal(child(), FOUND);
    buf_init(&out, 4096);
    if (local_run(&s, 20000, &out, &run, &err) < 0)
        fail_msg("%s", err.text);
    buf_done(&out);
    assert_int_equal(run.signal, 0);
    assert_int_equal(run.exit_code, NOT_FOUND);
    assert_int_equal(child(), FOUND); /* ours is as it was */
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_child_has_a_session_keyring_of_its_own),
    };

    if (argc > 1)
        return child();
    if (readlink("/proc/self/exe", program, sizeof(program) - 1) < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
