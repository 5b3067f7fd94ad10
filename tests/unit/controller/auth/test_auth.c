#include "controller/auth/auth.h"

#include <fcntl.h>
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

#include "lib/base/mem.h"
#include "lib/crypto/crypto.h"

static char dir[] = "/tmp/test_auth.XXXXXX";
static char path[64], made[64];

static int setup(void **state)
{
    crypto_init(NULL);
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof(path), "%s/tokens", dir);
    snprintf(made, sizeof(made), "%s/token", dir);
    return 0;
}

static int teardown(void **state)
{
    unlink(path);
    unlink(made);
    return rmdir(dir);
}

static void write_file(const char *text, mode_t mode)
{
    unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static struct auth *from_file(const char *text)
{
    struct auth_cfg cfg = {.token_file = path};
    struct auth *a = NULL;
    struct err err = {0};

    write_file(text, 0600);
    if (auth_new(&a, &cfg, &err) < 0)
        fail_msg("%s", err.text);
    return a;
}

static void refuses_file(const char *text, const char *sentence)
{
    struct auth_cfg cfg = {.token_file = path};
    struct auth *a = NULL;
    struct err err = {0};

    write_file(text, 0600);
    assert_true(auth_new(&a, &cfg, &err) < 0);
    assert_null(a);
    if (!strstr(err.text, sentence))
        fail_msg("\"%s\" does not say \"%s\"", err.text, sentence);
}

static void callers_come_from_the_file(void **state)
{
    struct auth *a =
        from_file("# people\n\n alice:tok-a-0123456789\r\nbob:tok-b-0123456789:admin\n");
    const struct caller *c = NULL;

    assert_int_equal(auth_callers(a), 2);
    assert_null(auth_generated_token(a));
    assert_false(auth_token_file_is_open(a));
    assert_int_equal(auth_identify(a, "Bearer tok-a-0123456789", NULL, &c, NULL), 0);
    assert_string_equal(c->name, "alice");
    assert_false(c->admin);
    assert_string_equal(caller_owner_filter(c), "alice");
    assert_int_equal(auth_identify(a, "tOKEN   tok-b-0123456789", NULL, &c, NULL), 0);
    assert_string_equal(c->name, "bob");
    assert_true(c->admin);
    assert_null(caller_owner_filter(c));
    assert_int_equal(auth_identify(a, NULL, "tok-b-0123456789", &c, NULL), 0);
    assert_string_equal(c->name, "bob");
    auth_free(a);
}

static void wrong_tokens_are_unauthorized(void **state)
{
    struct auth *a = from_file("alice:tok-a-0123456789\n");
    char *longer = mem_printf("Bearer %0600d", 1);
    const char *const headers[] = {"Bearer tok-b-0123456789",
                                   "Bearer tok-a-012345678",
                                   "Bearer tok-a-01234567890",
                                   "Bearer ",
                                   "Bearer",
                                   "Basic tok-a-0123456789",
                                   "tok-a-0123456789",
                                   "",
                                   "Bearertok-a-0123456789",
                                   longer};
    const struct caller *c = NULL;
    struct err err;

    for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
        assert_int_equal(auth_identify(a, headers[i], NULL, &c, &err), -ERR_UNAUTHORIZED);
        assert_null(strstr(err.text, "tok-"));
    }
    assert_int_equal(auth_identify(a, NULL, NULL, &c, &err), -ERR_UNAUTHORIZED);
    assert_int_equal(auth_identify(a, NULL, "", &c, &err), -ERR_UNAUTHORIZED);
    /* A wrong header is not saved by a right query. */
    assert_int_equal(auth_identify(a, "Bearer no", "tok-a-0123456789", &c, &err),
                     -ERR_UNAUTHORIZED);
    assert_null(c);
    free(longer);
    auth_free(a);
}

#define T1 "0123456789abcdef"
#define T2 "fedcba9876543210"

static void bad_token_files_are_refused(void **state)
{
    refuses_file("alice\n", "line 1: it must be name:token");
    refuses_file("a:" T1 "\na:" T2 "\n", "line 2: the name \"a\" is there twice");
    refuses_file("a:" T1 "\nb:" T1 "\n", "line 2: \"a\" and \"b\" have the same token");
    refuses_file("a:" T1 ":root\n", "only \":admin\" may follow");
    refuses_file("a:\n", "the token of \"a\"");
    refuses_file("a:with a space 0123456789\n", "the token of \"a\"");
    refuses_file(":" T1 "\n", "a caller's name");
    refuses_file("caesar ion:" T1 "\n", "a caller's name");
    refuses_file("# nobody\n", "names no caller");
    refuses_file("", "names no caller");
}

static void name_and_token_have_ceilings(void **state)
{
    char *ok = mem_printf("%.*s:%.*s\n", AUTH_NAME_MAX,
                          "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn",
                          AUTH_TOKEN_MIN, T1);
    auth_free(from_file(ok));
    free(ok);
    char *name = mem_printf("%0*d:" T1 "\n", AUTH_NAME_MAX + 1, 0);
    refuses_file(name, "a caller's name");
    free(name);
    char *token = mem_printf("a:%0*d\n", AUTH_TOKEN_MAX + 1, 0);
    refuses_file(token, "the token of");
    free(token);
    token = mem_printf("a:%0*d\n", AUTH_TOKEN_MIN - 1, 0);
    refuses_file(token, "line 1: the token of \"a\" must be 16 to 512");
    free(token);
    token = mem_printf("a:%0*d\n", AUTH_TOKEN_MAX, 0);
    auth_free(from_file(token));
    free(token);
}

static void lines_have_a_ceiling(void **state)
{
    size_t len = 0, max = (size_t)(AUTH_CALLERS_MAX + 1) * 32;
    char *text = mem_alloc(max);

    for (int i = 0; i < AUTH_CALLERS_MAX; i++)
        len += (size_t)snprintf(text + len, max - len, "u%d:t%015d\n", i, i);
    struct auth *a = from_file(text);
    assert_int_equal(auth_callers(a), AUTH_CALLERS_MAX);
    auth_free(a);
    snprintf(text + len, max - len, "#\n");
    refuses_file(text, "more than 10000 lines");
    free(text);
}

static void missing_file_is_a_sentence(void **state)
{
    struct auth_cfg cfg = {.token_file = "/nonexistent/tokens"};
    struct auth *a = NULL;
    struct err err;

    assert_true(auth_new(&a, &cfg, &err) < 0);
    assert_non_null(strstr(err.text, "/nonexistent/tokens"));
}

static void open_file_is_noticed(void **state)
{
    struct auth_cfg cfg = {.token_file = path};
    struct auth *a = NULL;

    write_file("a:" T1 "\n", 0644);
    chmod(path, 0644);
    assert_int_equal(auth_new(&a, &cfg, NULL), 0);
    assert_true(auth_token_file_is_open(a));
    auth_free(a);
}

static void environment_token_is_one_admin(void **state)
{
    struct auth_cfg cfg = {.token = T1, .generated_file = made};
    const struct caller *c = NULL;
    struct auth *a = NULL;

    assert_int_equal(auth_new(&a, &cfg, NULL), 0);
    assert_int_equal(auth_identify(a, "Bearer " T1, NULL, &c, NULL), 0);
    assert_true(c->admin);
    assert_null(auth_generated_token(a));
    assert_int_equal(access(made, F_OK), -1);
    auth_free(a);
    static const char *const bad[] = {"", "0123456789abcde", "0123456789 abcdef"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err err = {0};
        cfg.token = bad[i];
        assert_int_equal(auth_new(&a, &cfg, &err), -ERR_INVALID);
        assert_non_null(strstr(err.text, "CAESARION_TOKEN: the token of \"admin\" must be 16"));
    }
}

static void made_token_is_kept(void **state)
{
    struct auth_cfg cfg = {.generated_file = made};
    const struct caller *c = NULL;
    struct auth *a = NULL;
    struct stat st;

    assert_int_equal(auth_new(&a, &cfg, NULL), 0);
    char *token = mem_dup_str(auth_generated_token(a));
    assert_int_equal(strlen(token), CRYPTO_TOKEN_SIZE - 1);
    assert_int_equal(stat(made, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    auth_free(a);
    assert_int_equal(auth_new(&a, &cfg, NULL), 0);
    assert_string_equal(auth_generated_token(a), token);
    assert_int_equal(auth_identify(a, NULL, token, &c, NULL), 0);
    assert_true(c->admin);
    auth_free(a);
    free(token);
    chmod(made, 0644);
    struct err err;
    assert_true(auth_new(&a, &cfg, &err) < 0);
    assert_non_null(strstr(err.text, "chmod 600"));
}

static void origins_are_this_server_or_allowed(void **state)
{
    static const char *const allowed[] = {"https://ok.example", "http://dev.example:3000", NULL};
    static const char *const all[] = {"*", NULL};
    static const struct {
        const char *origin, *host;
        bool ok;
    } cases[] = {
        {NULL, "localhost:8080", true},
        {NULL, NULL, true},
        {"http://localhost:8080", "localhost:8080", true},
        {"http://LocalHost:8080", "localhost:8080", true},
        {"https://box.example", "box.example:443", true},
        {"http://box.example", "box.example", true},
        {"http://box.example:80", "box.example", true},
        {"http://[::1]:8080", "[::1]:8080", true},
        {"https://ok.example", "localhost:8080", true},
        {"http://dev.example:3000", "localhost:8080", true},
        {"http://dev.example:3001", "localhost:8080", false},
        {"http://localhost:8081", "localhost:8080", false},
        {"http://localhost:8080.evil.example", "localhost:8080", false},
        {"http://evil.example", "localhost:8080", false},
        {"null", "localhost:8080", false},
        {"", "localhost:8080", false},
        {"http://", "", false},
        {"file://localhost:8080", "localhost:8080", false},
        {"http://localhost:8080", NULL, false},
    };
    struct auth_cfg cfg = {.token = T1, .allow_origin = allowed};
    struct auth *a = NULL;

    assert_int_equal(auth_new(&a, &cfg, NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int r = auth_check_origin(a, cases[i].origin, cases[i].host, NULL);
        if (r != (cases[i].ok ? 0 : -ERR_FORBIDDEN))
            fail_msg("origin %s at host %s: %d", cases[i].origin, cases[i].host, r);
    }
    assert_true(auth_origin_is_allowed(a, "https://ok.example"));
    assert_false(auth_origin_is_allowed(a, "http://localhost:8080"));
    auth_free(a);
    cfg.allow_origin = all;
    assert_int_equal(auth_new(&a, &cfg, NULL), 0);
    assert_int_equal(auth_check_origin(a, "http://evil.example", "h", NULL), 0);
    auth_free(a);
}

static void origins_are_checked_at_start(void **state)
{
    static const char *const bad[] = {"ok.example", "https://ok.example/path", "https://", ""};

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        const char *const list[] = {bad[i], NULL};
        struct auth_cfg cfg = {.token = T1, .allow_origin = list};
        struct auth *a = NULL;
        struct err err;
        assert_true(auth_new(&a, &cfg, &err) < 0);
        assert_non_null(strstr(err.text, "--allow-origin"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(callers_come_from_the_file),
        cmocka_unit_test(wrong_tokens_are_unauthorized),
        cmocka_unit_test(bad_token_files_are_refused),
        cmocka_unit_test(name_and_token_have_ceilings),
        cmocka_unit_test(lines_have_a_ceiling),
        cmocka_unit_test(missing_file_is_a_sentence),
        cmocka_unit_test(open_file_is_noticed),
        cmocka_unit_test(environment_token_is_one_admin),
        cmocka_unit_test(made_token_is_kept),
        cmocka_unit_test(origins_are_this_server_or_allowed),
        cmocka_unit_test(origins_are_checked_at_start),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
