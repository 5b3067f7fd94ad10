#include "controller/backends/local_hint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char root[64];

static void set_sysctl(const char *dir, const char *name, const char *value)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/%s", root, dir);
    mkdir(path, 0700);
    snprintf(path, sizeof(path), "%s/%s/%s", root, dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(value, f);
    fclose(f);
}

static int setup(void **state)
{
    snprintf(root, sizeof(root), "/tmp/test_hint.XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int teardown(void **state)
{
    static const char *const paths[] = {"user/max_user_namespaces",
                                        "kernel/unprivileged_userns_clone",
                                        "kernel/apparmor_restrict_unprivileged_userns",
                                        "user",
                                        "kernel",
                                        "."};
    char path[256];

    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", root, paths[i]);
        if (unlink(path) < 0)
            rmdir(path);
    }
    return rmdir(root);
}

static const char exhausted[] =
    "bwrap: Creating new namespace failed: nesting depth or /proc/sys/user/max_*_namespaces "
    "exceeded (ENOSPC)";
static const char forbidden[] =
    "bwrap: No permissions to create new namespace, likely because the kernel does not allow "
    "non-privileged user namespaces.";

static void check(const char *words, const char *expected)
{
    char out[512];
    const char *hint = local_hint(words, root, out, sizeof(out));

    if (!expected) {
        assert_null(hint);
        return;
    }
    assert_non_null(hint);
    if (!strstr(hint, expected))
        fail_msg("\"%s\" does not say \"%s\"", hint, expected);
    if (!strstr(hint, "--isolation none, which does not isolate"))
        fail_msg("\"%s\" does not offer a way out", hint);
}

static void hint_names_the_switch(void **state)
{
    check(exhausted, "user.max_*_namespaces sysctls");
    set_sysctl("user", "max_user_namespaces", "0\n");
    check(exhausted, "user.max_user_namespaces is 0");
    check(forbidden, "user.max_user_namespaces is 0");
    set_sysctl("user", "max_user_namespaces", "10000\n");
    check(forbidden, "seccomp=unconfined");
    set_sysctl("kernel", "apparmor_restrict_unprivileged_userns", "1\n");
    check(forbidden, "AppArmor forbids");
    check("bwrap: setting up uid map: Permission denied", "AppArmor forbids");
    check("bwrap: loopback: Failed RTM_NEWADDR: Operation not permitted", "AppArmor forbids");
    set_sysctl("kernel", "unprivileged_userns_clone", "0\n");
    check(forbidden, "kernel.unprivileged_userns_clone is 0");
    check("bwrap: Can't mount proc on /newroot/proc: Operation not permitted",
          "systempaths=unconfined");
    check("bwrap: Unknown option --disable-userns", "0.8.0 or newer");
}

static void hint_is_silent_about_other_words(void **state)
{
    check("bwrap: execvp /x: No such file or directory", NULL);
    check("", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(hint_names_the_switch, setup, teardown),
        cmocka_unit_test_setup_teardown(hint_is_silent_about_other_words, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
