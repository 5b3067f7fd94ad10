#include "controller/controller_conf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/log.h"
#include "lib/base/macros.h"

static int parse(struct controller_conf *c, char *const *args, struct err *err)
{
    int argc = 0;

    *c = (struct controller_conf){0};
    while (args[argc])
        argc++;
    return conf_parse(&controller_program, argc, args, c, err);
}

static void defaults_are_the_documented_ones(void **state)
{
    char name[] = "caesarion";
    char *const args[] = {name, NULL};
    struct controller_conf c;
    struct err err = {0};

    assert_int_equal(parse(&c, args, &err), 0);
    assert_string_equal(c.listen, "127.0.0.1:8080");
    assert_int_equal(c.backend, CONF_BACKEND_LOCAL);
    assert_null(c.token_file);
    assert_null(c.token);
    assert_null(c.state_dir);
    assert_int_equal(c.warm, 1);
    assert_int_equal(c.max_sandboxes, 100);
    assert_int_equal(c.max_per_caller, 0);
    assert_int_equal(c.exec_timeout, 300000);
    assert_int_equal(c.idle_timeout, 3600000);
    assert_int_equal(c.isolation, CONF_ISOLATION_BWRAP);
    assert_int_equal(c.network, CONF_NETWORK_NONE);
    assert_int_equal(c.memory, 2147483648);
    assert_int_equal(c.pids, 256);
    assert_int_equal(c.files_max, 1073741824);
    assert_int_equal(c.output_limit, 268435456);
    assert_null(c.python);
    assert_int_equal(c.python_path.len, 0);
    assert_null(c.runner);
    assert_int_equal(c.on_exit, CONF_ON_EXIT_REMOVE);
    assert_int_equal(c.drain_timeout, 30000);
    assert_false(c.metrics_open);
    assert_false(c.idle_counts_connections);
    assert_int_equal(c.allow_origin.len, 0);
    assert_int_equal(c.allow_host.len, 0);
    assert_int_equal(c.log_level, LOG_INFO);
    conf_done(&controller_program, &c);
}

static void flags_and_environment_are_taken(void **state)
{
    char a0[] = "caesarion", a1[] = "--listen=unix:/x", a2[] = "--on-exit", a3[] = "keep",
         a4[] = "--metrics-open", a5[] = "--log-level=debug";
    char *const args[] = {a0, a1, a2, a3, a4, a5, NULL};
    struct controller_conf c;
    struct err err = {0};

    setenv("CAESARION_WARM", "7", 1);
    setenv("CAESARION_TOKEN", "secret", 1);
    assert_int_equal(parse(&c, args, &err), 0);
    unsetenv("CAESARION_WARM");
    assert_string_equal(c.listen, "unix:/x");
    assert_int_equal(c.on_exit, CONF_ON_EXIT_KEEP);
    assert_true(c.metrics_open);
    assert_int_equal(c.log_level, LOG_DEBUG);
    assert_int_equal(c.warm, 7);
    assert_string_equal(c.token, "secret");
    const char *left = getenv("CAESARION_TOKEN");
    assert_true(!left || strcmp(left, "secret") != 0); /* /proc/self/environ shows it no more */
    conf_done(&controller_program, &c);
    unsetenv("CAESARION_TOKEN");
}

static void bad_values_are_named(void **state)
{
    static const struct {
        const char *arg, *sentence;
    } cases[] = {
        {"--warm=-1", "--warm"},
        {"--warm=1001", "--warm"},
        {"--max-sandboxes=0", "--max-sandboxes"},
        {"--isolation=chroot", "--isolation"},
        {"--memory=2GB", "--memory"},
        {"--exec-timeout=0", "--exec-timeout"},
        {"--token=x", "token"},
        {"--nonsense", "nonsense"},
        {"--log-level=loud", "--log-level"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char name[] = "caesarion", arg[64];
        char *const args[] = {name, arg, NULL};
        struct controller_conf c;
        struct err err = {0};

        strncpy(arg, cases[i].arg, sizeof(arg) - 1);
        arg[sizeof(arg) - 1] = 0;
        assert_true(parse(&c, args, &err) < 0);
        if (!strstr(err.text, cases[i].sentence))
            fail_msg("%s: %s", arg, err.text);
        conf_done(&controller_program, &c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_the_documented_ones),
        cmocka_unit_test(flags_and_environment_are_taken),
        cmocka_unit_test(bad_values_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
