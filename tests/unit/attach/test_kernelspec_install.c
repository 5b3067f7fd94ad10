/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */
/* Options, directories and the kernelspec, with a home directory of the test's own. */
#include "attach/kernelspec_install.h"

#include "attach/attach_dirs.h"
#include "lib/base/cleanup.h"
#include "lib/base/mem.h"
#include "lib/crypto/crypto.h"
#include "lib/json/jsonx.h"

#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>

static char home[32];
static struct attach_conf conf;
static struct err err;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

static int setup(void **state)
{
    static const char *const names[] = {
        "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR",  "XDG_DATA_HOME",
        "XDG_CONFIG_HOME",  "VIRTUAL_ENV",          "CONDA_PREFIX",
        "CAESARION_TOKEN",  "CAESARION_TOKEN_FILE", "CAESARION_URL"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        unsetenv(names[i]);
    strcpy(home, "/tmp/attach-spec-XXXXXX");
    assert_non_null(mkdtemp(home));
    setenv("HOME", home, 1);
    conf = (struct attach_conf){0};
    err = (struct err){0};
    return crypto_init(NULL);
}

static int teardown(void **state)
{
    conf_done(&attach_program, &conf);
    return nftw(home, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static int parse(const char *const *args)
{
    char *argv[16] = {mem_dup_str("caesarion-attach")};
    int argc = 1;
    for (; args[argc - 1]; argc++)
        argv[argc] = mem_dup_str(args[argc - 1]);
    int r = conf_parse(&attach_program, argc, argv, &conf, &err);
    if (r == 0)
        r = attach_conf_check(&conf, &err);
    for (int i = 0; i < argc; i++)
        free(argv[i]);
    return r;
}
#define PARSE(...) parse((const char *const[]){__VA_ARGS__, NULL})

static char *in_home(const char *name)
{
    return mem_printf("%s/%s", home, name);
}

static unsigned mode_of(const char *path)
{
    struct stat st;
    assert_int_equal(lstat(path, &st), 0);
    return st.st_mode & 07777;
}

static const char SANDBOX[] = "sb-0b7ba1c2-3d4e-4f50-8a6b-7c8d9e0f1000";

static void reads_what_jupyter_and_people_type(void **state)
{
    assert_int_equal(PARSE(SANDBOX), 0);
    assert_string_equal(conf.sandbox, SANDBOX);
    assert_string_equal(conf.url, "http://127.0.0.1:8080");
    assert_int_equal(conf.transport, ATTACH_TCP);
    assert_null(conf.token);
    conf_done(&attach_program, &conf);
    conf = (struct attach_conf){0};
    assert_int_equal(PARSE("--new", "-f", "/run/c.json", "--url", "https://h/x"), 0);
    assert_true(conf.make_new);
    assert_string_equal(conf.connection_file, "/run/c.json");
}

static void refuses_what_does_not_go_together(void **state)
{
    static const struct {
        const char *args[6], *why;
    } bad[] = {
        {{"--log-level", "warn"}, "which sandbox?"},
        {{"sb-1"}, "is not a sandbox's id"},
        {{SANDBOX, "--kernel", "1"}, "is not a kernel's id"},
        {{"--new"}, "--new needs the connection file"},
        {{"--new", "-f", "x", SANDBOX}, "makes a sandbox of its own"},
        {{"--new", "-f", "x", "--install-kernelspec"}, "makes a sandbox of its own"},
        {{"--install-kernelspec", SANDBOX}, "attaches nothing"},
        {{"--install-kernelspec", "--user", "--sys-prefix"}, "exclude each other"},
        {{"--install-kernelspec", "--user", "--prefix", "/x"}, "exclude each other"},
        {{SANDBOX, "--token-file", "/nowhere/token"}, "cannot open the token file"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_true(parse(bad[i].args) < 0);
        assert_non_null(strstr(err.text, bad[i].why));
        conf_done(&attach_program, &conf);
        conf = (struct attach_conf){0};
    }
}

static void write_text(const char *path, const char *text)
{
    assert_int_equal(attach_write_file(path, 0600, slice_str(text), &err), 0);
}

static void reads_the_token_file(void **state)
{
    _cleanup_(freep) char *path = in_home("t");
    setenv("CAESARION_TOKEN", "from-the-environment", 1);
    write_text(path, "from-the-file\r\n\n");
    assert_int_equal(PARSE(SANDBOX, "--token-file", path), 0);
    assert_string_equal(conf.token, "from-the-file");
    conf_done(&attach_program, &conf);
    conf = (struct attach_conf){0};
    static const char *const bad[] = {"", "\n", "two words", "two\nlines", "caf\xc3\xa9"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        write_text(path, bad[i]);
        assert_int_equal(PARSE(SANDBOX, "--token-file", path), -ERR_INVALID);
        conf_done(&attach_program, &conf);
        conf = (struct attach_conf){0};
    }
    char *longest = mem_zero(1, 4098);
    memset(longest, 't', 4096);
    write_text(path, longest);
    assert_int_equal(PARSE(SANDBOX, "--token-file", path), 0);
    conf_done(&attach_program, &conf);
    conf = (struct attach_conf){0};
    longest[4096] = 't';
    write_text(path, longest);
    assert_int_equal(PARSE(SANDBOX, "--token-file", path), -ERR_INVALID);
    free(longest);
}

static void finds_jupyters_directories(void **state)
{
    char *dir = NULL;
    _cleanup_(freep) char *data = in_home(".local/share/jupyter");
    _cleanup_(freep) char *runtime = in_home(".local/share/jupyter/runtime");
    assert_int_equal(attach_data_dir(&dir, &err), 0);
    assert_string_equal(dir, data);
    free(dir);
    assert_int_equal(attach_runtime_dir(&dir, &err), 0);
    assert_string_equal(dir, runtime);
    free(dir);
    setenv("XDG_DATA_HOME", "/x", 1);
    attach_runtime_dir(&dir, &err);
    assert_string_equal(dir, "/x/jupyter/runtime");
    free(dir);
    setenv("JUPYTER_DATA_DIR", "/d", 1);
    attach_runtime_dir(&dir, &err);
    assert_string_equal(dir, "/d/runtime");
    free(dir);
    setenv("JUPYTER_RUNTIME_DIR", "/r", 1);
    attach_runtime_dir(&dir, &err);
    assert_string_equal(dir, "/r");
    free(dir);
}

static void replaces_files_whole(void **state)
{
    _cleanup_(freep) char *path = in_home("f");
    _cleanup_(freep) char *below = in_home("f/g");
    _cleanup_(freep) char *target = in_home("target");
    write_text(target, "old");
    assert_int_equal(symlink(target, path), 0);
    write_text(path, "new"); /* the link is replaced, not followed */
    struct stat st;
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISREG(st.st_mode));
    assert_int_equal(st.st_size, 3);
    assert_true(attach_write_file(below, 0600, slice_str("x"), &err) < 0);
    assert_true(attach_make_dirs(below, 0700, &err) < 0);
}

static json_t *load(const char *name)
{
    _cleanup_(freep) char *path = in_home(name);
    json_t *j = json_load_file(path, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(j);
    return j;
}

static void installs_without_the_token(void **state)
{
    setenv("CAESARION_TOKEN", "secret-token", 1);
    assert_int_equal(PARSE("--install-kernelspec", "--url", "http://h:1"), 0);
    assert_int_equal(kernelspec_install(&conf, &err), 0);
    _cleanup_(freep) char *token_file = in_home(".config/caesarion/token");
    _cleanup_(freep) char *config = in_home(".config/caesarion");
    _cleanup_(freep) char *program = realpath("/proc/self/exe", NULL);
    _cleanup_(json_decrefp) json_t *spec =
        load(".local/share/jupyter/kernels/caesarion/kernel.json");
    _cleanup_(json_decrefp) json_t *expected = json_pack(
        "{s:[ssssssss],s:s,s:s,s:s,s:{s:b}}", "argv", program, "--new", "-f", "{connection_file}",
        "--url", "http://h:1", "--token-file", token_file, "display_name", "Python (Caesarion)",
        "language", "python", "interrupt_mode", "message", "metadata", "debugger", 1);
    assert_true(json_equal(spec, expected));
    assert_int_equal(mode_of(token_file), 0600);
    assert_int_equal(mode_of(config), 0700);
    static const char *const logos[] = {"logo-32x32.png", "logo-64x64.png", "logo-svg.svg"};
    for (size_t i = 0; i < ARRAY_LEN(logos); i++) {
        _cleanup_(freep) char *logo =
            mem_printf("%s/.local/share/jupyter/kernels/caesarion/%s", home, logos[i]);
        assert_int_equal(mode_of(logo), 0644);
    }
}

static void each_name_has_a_token_of_its_own(void **state)
{
    setenv("CAESARION_TOKEN", "other-token", 1);
    assert_int_equal(PARSE("--install-kernelspec", "--name", "two"), 0);
    assert_int_equal(kernelspec_install(&conf, &err), 0);
    _cleanup_(freep) char *token_file = in_home(".config/caesarion/token-two");
    assert_int_equal(mode_of(token_file), 0600);
    _cleanup_(json_decrefp) json_t *spec = load(".local/share/jupyter/kernels/two/kernel.json");
    assert_string_equal(json_string_value(json_array_get(json_object_get(spec, "argv"), 7)),
                        token_file);
}

static void installs_where_it_is_told(void **state)
{
    _cleanup_(freep) char *prefix = in_home("prefix");
    _cleanup_(freep) char *token_file = in_home("tok");
    write_text(token_file, "t");
    assert_int_equal(PARSE("--install-kernelspec", "--prefix", prefix, "--token-file", token_file),
                     0);
    assert_int_equal(kernelspec_install(&conf, &err), 0);
    _cleanup_(json_decrefp) json_t *spec =
        load("prefix/share/jupyter/kernels/caesarion/kernel.json");
    assert_string_equal(json_string_value(json_array_get(json_object_get(spec, "argv"), 7)),
                        token_file);
    conf_done(&attach_program, &conf);
    conf = (struct attach_conf){0};
    assert_int_equal(PARSE("--install-kernelspec", "--sys-prefix"), 0);
    assert_int_equal(kernelspec_install(&conf, &err), -ERR_INVALID);
    _cleanup_(freep) char *venv = in_home("venv");
    setenv("CONDA_PREFIX", venv, 1);
    assert_int_equal(kernelspec_install(&conf, &err), 0);
    _cleanup_(json_decrefp) json_t *bare = load("venv/share/jupyter/kernels/caesarion/kernel.json");
    assert_int_equal(json_array_size(json_object_get(bare, "argv")), 6);
}

static void names_are_names(void **state)
{
    static const char *const bad[] = {"../x", "a/b", ".", "..", "a b", "\xc3\xa9"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(PARSE("--install-kernelspec", "--name", bad[i]), 0);
        assert_int_equal(kernelspec_install(&conf, &err), -ERR_INVALID);
        conf_done(&attach_program, &conf);
        conf = (struct attach_conf){0};
    }
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(reads_what_jupyter_and_people_type),
        TEST(refuses_what_does_not_go_together),
        TEST(reads_the_token_file),
        TEST(finds_jupyters_directories),
        TEST(replaces_files_whole),
        TEST(installs_without_the_token),
        TEST(each_name_has_a_token_of_its_own),
        TEST(installs_where_it_is_told),
        TEST(names_are_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
