#include "lib/conf/conf.h"

#include "lib/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <fcntl.h>

enum { BACKEND_LOCAL, BACKEND_KUBERNETES };

struct demo {
    char *listen;
    int64_t warm;
    uint64_t memory;
    int64_t idle_ms;
    bool metrics_open;
    int backend;
    struct conf_list origins;
    char *token;
    char *model_key;
    char *token_file;
};

static const char *const backends[] = {"local", "kubernetes", NULL};
static const struct conf_option options[] = {
    {"listen", CONF_STRING, CONF_AT(struct demo, listen), "127.0.0.1:8080", .min = 1, .max = 20,
     .arg = "ADDRESS", .help = "where to listen"},
    {"warm", CONF_INT, CONF_AT(struct demo, warm), "1", .max = 100, .help = "sandboxes kept ready"},
    {"memory", CONF_SIZE, CONF_AT(struct demo, memory), "2Gi", .min = 1 << 20, .max = 1ULL << 40,
     .help = "memory of a sandbox"},
    {"idle-timeout", CONF_DURATION, CONF_AT(struct demo, idle_ms), "1h", .min = 1000,
     .max = 86400000, .help = "removed after this"},
    {"metrics-open", CONF_BOOL, CONF_AT(struct demo, metrics_open), .help = "no token for metrics"},
    {"backend", CONF_ENUM, CONF_AT(struct demo, backend), "local", .words = backends,
     .help = "where sandboxes run"},
    {"allow-origin", CONF_LIST, CONF_AT(struct demo, origins), .max = 3, .help = "web origins"},
    {"token", CONF_STRING, CONF_AT(struct demo, token), .min = 8, .help = "the token",
     .secret = true},
    {"model-key", CONF_STRING, CONF_AT(struct demo, model_key), .help = "key of the model",
     .secret = true},
    {"token-file", CONF_STRING, CONF_AT(struct demo, token_file), .help = "lines name:token"},
};
static const struct conf_program program = {"demo",  "2.0.0", "shows options",
                                            "DEMO_", options, ARRAY_LEN(options)};

static struct demo values;
static struct err err;

static int setup(void **state)
{
    static const char *const names[] = {
        "LISTEN", "WARM",         "MEMORY",    "IDLE_TIMEOUT",   "METRICS_OPEN", "BACKEND",
        "TOKEN",  "ALLOW_ORIGIN", "MODEL_KEY", "MODEL_KEY_FILE", "TOKEN_FILE"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        _cleanup_(freep) char *name = mem_printf("DEMO_%s", names[i]);
        unsetenv(name);
    }
    values = (struct demo){0};
    err = (struct err){0};
    return 0;
}

static int teardown(void **state)
{
    conf_done(&program, &values);
    return 0;
}

static int parse(const char *const *args)
{
    char *argv[16] = {mem_dup_str("demo")};
    int argc = 1;
    for (; args[argc - 1]; argc++)
        argv[argc] = mem_dup_str(args[argc - 1]);
    int r = conf_parse(&program, argc, argv, &values, &err);
    for (int i = 0; i < argc; i++)
        free(argv[i]);
    return r;
}
#define PARSE(...) parse((const char *const[]){__VA_ARGS__, NULL})

static void assert_fails(int r, const char *text)
{
    assert_true(r < 0);
    assert_string_equal(err.text, text);
}

static void defaults_are_those_of_the_table(void **state)
{
    assert_int_equal(parse((const char *const[]){NULL}), 0);
    assert_string_equal(values.listen, "127.0.0.1:8080");
    assert_int_equal(values.warm, 1);
    assert_int_equal(values.memory, 2ULL << 30);
    assert_int_equal(values.idle_ms, 3600000);
    assert_false(values.metrics_open);
    assert_int_equal(values.backend, BACKEND_LOCAL);
    assert_int_equal(values.origins.len, 0);
    assert_null(values.token);
    assert_null(values.token_file);
}

static void flags_take_their_value_in_both_forms(void **state)
{
    assert_int_equal(PARSE("--warm", "7", "--memory=512Mi", "--idle-timeout", "90s",
                           "--metrics-open", "--backend=kubernetes", "--listen", "unix:/run/x"),
                     0);
    assert_int_equal(values.warm, 7);
    assert_int_equal(values.memory, 512ULL << 20);
    assert_int_equal(values.idle_ms, 90000);
    assert_true(values.metrics_open);
    assert_int_equal(values.backend, BACKEND_KUBERNETES);
    assert_string_equal(values.listen, "unix:/run/x");
}

static void the_last_of_a_repeated_flag_wins(void **state)
{
    assert_int_equal(PARSE("--warm=1", "--warm=2", "--listen=a", "--listen=b"), 0);
    assert_int_equal(values.warm, 2);
    assert_string_equal(values.listen, "b");
}

static void environment_beats_default_and_flag_beats_both(void **state)
{
    setenv("DEMO_WARM", "3", 1);
    setenv("DEMO_IDLE_TIMEOUT", "5m", 1);
    setenv("DEMO_METRICS_OPEN", "yes", 1);
    setenv("DEMO_BACKEND", "", 1); /* empty is unset */
    assert_int_equal(PARSE("--warm=4", "--metrics-open=false"), 0);
    assert_int_equal(values.warm, 4);
    assert_int_equal(values.idle_ms, 300000);
    assert_false(values.metrics_open);
    assert_int_equal(values.backend, BACKEND_LOCAL);
}

static void lists_repeat_and_replace_the_environment(void **state)
{
    setenv("DEMO_ALLOW_ORIGIN", "http://a,http://b", 1);
    assert_int_equal(parse((const char *const[]){NULL}), 0);
    assert_int_equal(values.origins.len, 2);
    assert_string_equal(values.origins.items[0], "http://a");
    assert_string_equal(values.origins.items[1], "http://b");
    assert_int_equal(PARSE("--allow-origin=c,d", "--allow-origin", "e"), 0);
    assert_int_equal(values.origins.len, 2);
    assert_string_equal(values.origins.items[0], "c,d");
    assert_string_equal(values.origins.items[1], "e");
}

static void lists_hold_their_ceiling_and_no_more(void **state)
{
    assert_int_equal(PARSE("--allow-origin=a", "--allow-origin=b", "--allow-origin=c"), 0);
    assert_int_equal(values.origins.len, 3);
    assert_fails(
        PARSE("--allow-origin=a", "--allow-origin=b", "--allow-origin=c", "--allow-origin=d"),
        "--allow-origin: at most 3 entries");
    setenv("DEMO_ALLOW_ORIGIN", "a,,b", 1);
    assert_fails(parse((const char *const[]){NULL}),
                 "DEMO_ALLOW_ORIGIN: an entry must be 1 to 4096 bytes long");
}

static void numbers_are_taken_at_their_limits_only(void **state)
{
    assert_int_equal(PARSE("--warm=0"), 0);
    assert_int_equal(PARSE("--warm=100"), 0);
    assert_fails(PARSE("--warm=101"), "--warm: must be at most 100");
    assert_fails(PARSE("--warm=-1"), "--warm: \"-1\" is not a whole number");
    assert_fails(PARSE("--warm="), "--warm: \"\" is not a whole number");
    assert_int_equal(PARSE("--memory=1Mi"), 0);
    assert_fails(PARSE("--memory=1023Ki"), "--memory: must be at least 1Mi");
    assert_int_equal(PARSE("--memory=1024Gi"), 0);
    assert_fails(PARSE("--memory=1025Gi"), "--memory: must be at most 1024Gi");
    assert_int_equal(PARSE("--idle-timeout=1s"), 0);
    assert_fails(PARSE("--idle-timeout=999ms"), "--idle-timeout: must be at least 1s");
    assert_int_equal(PARSE("--idle-timeout=24h"), 0);
    assert_fails(PARSE("--idle-timeout=86401s"), "--idle-timeout: must be at most 24h");
    assert_fails(
        PARSE("--idle-timeout=10"),
        "--idle-timeout: \"10\" is not a duration; write for example 500ms, 30s, 5m or 1h");
    assert_int_equal(PARSE("--listen=12345678901234567890"), 0);
    assert_fails(PARSE("--listen=123456789012345678901"),
                 "--listen: the length must be at most 20");
    assert_fails(PARSE("--listen="), "--listen: the length must be at least 1");
}

static void wrong_words_are_answered_with_the_right_ones(void **state)
{
    assert_fails(PARSE("--backend=docker"),
                 "--backend: \"docker\" is not one of local, kubernetes");
    assert_fails(PARSE("--metrics-open=maybe"),
                 "--metrics-open: \"maybe\" is neither true nor false");
    setenv("DEMO_WARM", "many", 1);
    assert_fails(PARSE("--warm=1"), "DEMO_WARM: \"many\" is not a whole number");
}

static void unknown_flags_get_the_nearest_name(void **state)
{
    assert_fails(PARSE("--wram=2"), "--wram is not an option; did you mean --warm?");
    assert_fails(PARSE("--idle"), "--idle is not an option; did you mean --idle-timeout?");
    assert_fails(PARSE("--metric-open"),
                 "--metric-open is not an option; did you mean --metrics-open?");
    assert_fails(PARSE("--frobnicate"), "--frobnicate is not an option; see --help");
    char name[400] = "--";
    memset(name + 2, 'x', sizeof(name) - 3);
    assert_true(PARSE(name) < 0);
    assert_true(strlen(err.text) < 120);
}

static void missing_values_and_stray_words_are_refused(void **state)
{
    assert_fails(PARSE("--warm"), "--warm needs a value");
    assert_fails(PARSE("--listen", "--warm", "2"), "--listen needs a value");
    assert_fails(PARSE("8080"), "\"8080\" is not an option; options begin with --");
    assert_fails(PARSE("--"), "\"--\" is not an option; options begin with --");
    assert_fails(PARSE("--metrics-open", "true"),
                 "\"true\" is not an option; options begin with --");
}

static void secrets_come_from_the_environment_which_is_wiped(void **state)
{
    setenv("DEMO_TOKEN", "0123456789", 1);
    assert_int_equal(parse((const char *const[]){NULL}), 0);
    assert_string_equal(values.token, "0123456789");
    assert_null(getenv("DEMO_TOKEN"));
}

static void secrets_are_refused_on_the_command_line_and_never_shown(void **state)
{
    assert_fails(PARSE("--token=hunter2hunter2"),
                 "--token is a secret, and everybody can read a command line; set DEMO_TOKEN or "
                 "give a file with --token-file");
    setenv("DEMO_TOKEN", "short", 1);
    assert_fails(parse((const char *const[]){NULL}), "DEMO_TOKEN: the length must be at least 8");
}

static void write_file(const char *path, const char *text, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, len), len);
    close(fd);
}

static void secrets_come_from_files_without_the_last_newline(void **state)
{
    char path[] = "/tmp/conf-test-XXXXXX";
    close(mkostemp(path, O_CLOEXEC));
    write_file(path, "sk-1234\n", 8);
    assert_int_equal(PARSE("--model-key-file", path), 0);
    assert_string_equal(values.model_key, "sk-1234");
    conf_done(&program, &values);
    setenv("DEMO_MODEL_KEY_FILE", path, 1);
    assert_int_equal(parse((const char *const[]){NULL}), 0);
    assert_string_equal(values.model_key, "sk-1234");
    unsetenv("DEMO_MODEL_KEY_FILE");

    char *big = mem_alloc(4097);
    memset(big, 'k', 4097);
    write_file(path, big, 4096);
    assert_int_equal(PARSE("--model-key-file", path), 0);
    assert_int_equal(strlen(values.model_key), 4096);
    write_file(path, big, 4097);
    assert_true(PARSE("--model-key-file", path) < 0);
    assert_non_null(strstr(err.text, "is not a text of at most 4096 bytes"));
    free(big);
    unlink(path);
    assert_true(PARSE("--model-key-file", path) < 0);
    assert_non_null(strstr(err.text, "No such file or directory"));
    assert_fails(PARSE("--model-key-file"), "--model-key-file needs a value");
}

static void a_row_of_its_own_beats_the_file_twin(void **state)
{
    assert_int_equal(PARSE("--token-file=/nowhere"), 0);
    assert_string_equal(values.token_file, "/nowhere");
    assert_null(values.token);
}

static void help_and_version_win_over_mistakes(void **state)
{
    assert_int_equal(PARSE("--wram=2", "--help"), CONF_HELP);
    assert_int_equal(PARSE("-h"), CONF_HELP);
    assert_int_equal(PARSE("--version"), CONF_VERSION);
}

static void help_shows_defaults_ceilings_and_twins(void **state)
{
    struct buf out;
    buf_init(&out, KIB(64));
    assert_int_equal(conf_help(&program, &out), 0);
    static const char *const expected[] = {
        "  --listen ADDRESS\n      where to listen; at most 20 bytes\n"
        "      default 127.0.0.1:8080; environment DEMO_LISTEN\n",
        "  --warm N\n      sandboxes kept ready; 0 to 100\n      default 1; environment "
        "DEMO_WARM\n",
        "  --memory SIZE\n      memory of a sandbox; 1Mi to 1024Gi\n",
        "  --idle-timeout TIME\n      removed after this; 1s to 24h\n      default 1h;",
        "  --metrics-open\n      no token for metrics\n      default false;",
        "  --backend local|kubernetes\n",
        "web origins; may be repeated, at most 3 times\n      default none;",
        "  (token, environment only)\n",
        "  --model-key-file PATH\n",
        "environment DEMO_MODEL_KEY, DEMO_MODEL_KEY_FILE\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(expected); i++)
        if (!strstr(out.ptr, expected[i]))
            fail_msg("help lacks \"%s\":\n%s", expected[i], out.ptr);
    buf_clear(&out);
    assert_int_equal(conf_version(&program, &out), 0);
    assert_string_equal(out.ptr, "demo 2.0.0\n");
    buf_done(&out);
    buf_init(&out, 16);
    assert_int_equal(conf_help(&program, &out), -ERR_TOO_LARGE);
    buf_done(&out);
}

static void a_wrong_default_is_reported(void **state)
{
    static const struct conf_option bad[] = {
        {"warm", CONF_INT, CONF_AT(struct demo, warm), "7", .max = 5, .help = "x"}};
    struct conf_program p = {"demo", "1", "x", "DEMO_", bad, 1};
    char *argv[] = {NULL};
    assert_fails(conf_parse(&p, 0, argv, &values, &err), "default of --warm: must be at most 5");
}

static void letters_and_bare_arguments(void **state)
{
    struct mine {
        char *thing, *file;
    } mine = {0};
    static const struct conf_option rows[] = {
        {"thing", CONF_STRING, CONF_AT(struct mine, thing), .max = 8, .arg = "THING",
         .help = "what it is about", .bare = true},
        {"file", CONF_STRING, CONF_AT(struct mine, file), .help = "where", .letter = 'f'},
    };
    const struct conf_program p = {"mine", "2.0.0", "shows more", "MINE_", rows, ARRAY_LEN(rows)};
    char a0[] = "mine", a1[] = "-f", a2[] = "path", a3[] = "one", a4[] = "two", a5[] = "-x";
    char a6[] = "123456789", a7[] = "-ff", a8[] = "-";
    char *good[] = {a0, a1, a2, a3};
    assert_int_equal(conf_parse(&p, 4, good, &mine, &err), 0);
    assert_string_equal(mine.thing, "one");
    assert_string_equal(mine.file, "path");
    struct {
        int argc;
        char *argv[4];
        const char *text;
    } bad[] = {
        {3, {a0, a3, a4}, "\"two\" is one THING too many"},
        {2, {a0, a1}, "--file needs a value"},
        {2, {a0, a5}, "\"-x\" is not an option; options begin with --"},
        {2, {a0, a6}, "--thing: the length must be at most 8"},
        {3, {a0, a7, a2}, "\"-ff\" is not an option; options begin with --"},
        {2, {a0, a8}, "\"-\" is not an option; options begin with --"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_true(conf_parse(&p, bad[i].argc, bad[i].argv, &mine, &err) < 0);
        assert_string_equal(err.text, bad[i].text);
    }
    struct buf text;
    buf_init(&text, KIB(64));
    assert_int_equal(conf_help(&p, &text), 0);
    assert_non_null(strstr(text.ptr, "Usage: mine [options] [THING]\n"));
    assert_non_null(strstr(text.ptr, "--file, -f TEXT\n"));
    buf_done(&text);
    conf_done(&p, &mine);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(defaults_are_those_of_the_table),
        TEST(flags_take_their_value_in_both_forms),
        TEST(the_last_of_a_repeated_flag_wins),
        TEST(environment_beats_default_and_flag_beats_both),
        TEST(lists_repeat_and_replace_the_environment),
        TEST(lists_hold_their_ceiling_and_no_more),
        TEST(numbers_are_taken_at_their_limits_only),
        TEST(wrong_words_are_answered_with_the_right_ones),
        TEST(unknown_flags_get_the_nearest_name),
        TEST(missing_values_and_stray_words_are_refused),
        TEST(secrets_come_from_the_environment_which_is_wiped),
        TEST(secrets_are_refused_on_the_command_line_and_never_shown),
        TEST(secrets_come_from_files_without_the_last_newline),
        TEST(a_row_of_its_own_beats_the_file_twin),
        TEST(help_and_version_win_over_mistakes),
        TEST(help_shows_defaults_ceilings_and_twins),
        TEST(a_wrong_default_is_reported),
        TEST(letters_and_bare_arguments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
