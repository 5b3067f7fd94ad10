#include "lib/base/log.h"

#include "lib/base/cleanup.h"
#include "lib/base/mem.h"
#include "lib/base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define LINE_MAX_BYTES 8192

static int saved, ends[2];
static char line[65536];

/* stderr is a pipe from here to got(). */
static void capture(void)
{
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
}

static const char *got(void)
{
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(ends[1]);
    size_t len = 0;
    ssize_t n;
    while ((n = read(ends[0], line + len, sizeof(line) - 1 - len)) > 0)
        len += (size_t)n;
    close(ends[0]);
    line[len] = '\0';
    return line;
}

static void assert_has(const char *part)
{
    if (!strstr(line, part))
        fail_msg("no %s in %s", part, line);
}

static int setup(void **state)
{
    log_init("test", LOG_INFO);
    return 0;
}

static void a_line_is_one_object(void **state)
{
    capture();
    log_event(LOG_WARN, "sandbox_ready", "sandbox", "sb-1", "ms", "12", NULL);
    got();
    assert_memory_equal(line, "{\"time\":\"20", 11);
    assert_has("Z\",\"level\":\"warn\",\"program\":\"test\",\"event\":\"sandbox_ready\","
               "\"sandbox\":\"sb-1\",\"ms\":\"12\"}\n");
    assert_null(strchr(strchr(line, '\n') + 1, '\n'));
}

static void levels_above_the_chosen_are_silent(void **state)
{
    capture();
    log_event(LOG_DEBUG, "quiet", NULL);
    assert_string_equal(got(), "");
    log_init("test", LOG_ERROR);
    capture();
    log_event(LOG_WARN, "quiet", NULL);
    log_event(LOG_ERROR, "loud", NULL);
    got();
    assert_null(strstr(line, "quiet"));
    assert_has("\"event\":\"loud\"}\n");
}

static void level_names_are_parsed(void **state)
{
    assert_int_equal(log_level_parse("error"), LOG_ERROR);
    assert_int_equal(log_level_parse("warn"), LOG_WARN);
    assert_int_equal(log_level_parse("info"), LOG_INFO);
    assert_int_equal(log_level_parse("debug"), LOG_DEBUG);
    assert_int_equal(log_level_parse("Info"), -1);
    assert_int_equal(log_level_parse(""), -1);
    assert_int_equal(log_level_get(), LOG_INFO);
}

static void values_are_escaped(void **state)
{
    capture();
    log_event(LOG_INFO, "x", "v", "a\"b\\c\nd\x01\x1f\x7f ä \xff\xC3", "w", "", NULL);
    got();
    assert_has("\"v\":\"a\\\"b\\\\c\\u000ad\\u0001\\u001f\x7f ä \\ufffd\\ufffd\",\"w\":\"\"}\n");
    assert_int_equal(strchr(line, '\n') - line, strlen(line) - 1);
}

static void a_null_value_leaves_its_pair_out(void **state)
{
    capture();
    log_event(LOG_INFO, "x", "a", NULL, "b", "2", NULL);
    got();
    assert_null(strstr(line, "\"a\""));
    assert_has("\"event\":\"x\",\"b\":\"2\"}\n");
}

static void assert_cut_line(void)
{
    size_t len = strlen(line);
    assert_true(len <= LINE_MAX_BYTES);
    assert_int_equal(line[len - 1], '\n');
    assert_int_equal(line[len - 2], '}');
    assert_int_equal(line[len - 3], '"');
    assert_true(utf8_valid(slice_str(line)));
}

static void long_values_are_cut_and_marked(void **state)
{
    static const char *const units[] = {"x", "ä", "€", "\n", "\"", "\xff", "\xF0\x9F\x90\x8D"};
    for (size_t u = 0; u < ARRAY_LEN(units); u++) {
        for (size_t shift = 0; shift < 8; shift++) {
            char value[9000];
            size_t len = shift, n = strlen(units[u]);
            memset(value, 'y', shift);
            for (; len + n < sizeof(value); len += n)
                memcpy(value + len, units[u], n);
            value[len] = '\0';
            capture();
            log_event(LOG_INFO, "x", "v", value, "behind", "lost", NULL);
            got();
            assert_cut_line();
            assert_true(strlen(line) > LINE_MAX_BYTES - 16);
            assert_memory_equal(line + strlen(line) - 6, "…\"}\n", 6);
            assert_null(strstr(line, "lost"));
        }
    }
}

static void a_value_that_just_fits_is_whole(void **state)
{
    char value[9000];
    capture();
    log_event(LOG_INFO, "x", "v", "", NULL);
    size_t room = LINE_MAX_BYTES - strlen(got()) - 3; /* of the mark */
    memset(value, 'y', sizeof(value));
    value[room] = '\0';
    capture();
    log_event(LOG_INFO, "x", "v", value, NULL);
    got();
    assert_null(strstr(line, "…"));
    assert_int_equal(strlen(line), LINE_MAX_BYTES - 3);
    value[room] = 'y';
    value[room + 1] = '\0';
    capture();
    log_event(LOG_INFO, "x", "v", value, NULL);
    got();
    assert_cut_line();
    assert_non_null(strstr(line, "y…\"}\n"));
}

static void many_pairs_end_in_a_whole_line(void **state)
{
    for (size_t len = 900; len < 1100; len++) {
        char value[1200];
        memset(value, 'y', len);
        value[len] = '\0';
        capture();
        log_event(LOG_INFO, "x", "a", value, "b", value, "c", value, "d", value, "e", value, "f",
                  value, "g", value, "h", value, "i", value, NULL);
        got();
        assert_cut_line();
    }
}

static int file_fd;

/* stderr is a fresh file, opened as a sandbox's log is. */
static void capture_file(uint64_t max)
{
    char path[] = "/tmp/test_log.XXXXXX";
    file_fd = mkostemp(path, O_APPEND | O_CLOEXEC);
    assert_true(file_fd >= 0);
    unlink(path);
    saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    assert_true(dup2(file_fd, STDERR_FILENO) >= 0);
    log_set_max(max);
}

static off_t file_size(void)
{
    struct stat st;
    assert_int_equal(fstat(file_fd, &st), 0);
    return st.st_size;
}

static const char *got_file(void)
{
    log_set_max(0);
    dup2(saved, STDERR_FILENO);
    close(saved);
    ssize_t n = pread(file_fd, line, sizeof(line) - 1, 0);
    close(file_fd);
    assert_true(n >= 0);
    line[n] = '\0';
    return line;
}

static void a_flood_stays_below_the_ceiling_and_its_end_is_kept(void **state)
{
    char number[24], value[1001];
    memset(value, 'y', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    capture_file(LOG_MAX_AT_LEAST);
    off_t most = 0;
    for (int i = 0; i < 200; i++) {
        snprintf(number, sizeof(number), "%d", i);
        log_event(LOG_WARN, "flood", "n", number, "v", value, NULL);
        most = MAX(most, file_size());
    }
    got_file();
    assert_true(most <= (off_t)LOG_MAX_AT_LEAST);
    assert_true(most > (off_t)LOG_MAX_AT_LEAST - 2000);
    assert_non_null(strstr(line, "\"event\":\"log_cut\",\"bytes\":\""));
    assert_int_equal(strstr(line, "log_cut") < strchr(line, '\n'), 1); /* first of all */
    assert_has("\"n\":\"199\"");
    assert_null(strstr(line, "\"n\":\"0\""));
    for (const char *at = line; *at; at = strchr(at, '\n') + 1) /* nothing but whole lines */
        assert_memory_equal(at, "{\"time\":\"", 9);
    /* What was kept goes on without a gap. */
    const char *first = strstr(line, "\"n\":\"");
    int next = atoi(first + 5);
    for (const char *at = first; at; at = strstr(at + 1, "\"n\":\""))
        assert_int_equal(atoi(at + 5), next++);
    assert_int_equal(next, 200);
}

static void a_line_fits_up_to_the_ceiling_itself(void **state)
{
    capture_file(LOG_MAX_AT_LEAST);
    log_event(LOG_INFO, "x", NULL);
    off_t len = file_size();
    static char filler[LOG_MAX_AT_LEAST];
    memset(filler, '\n', sizeof(filler));
    ssize_t n = (ssize_t)((off_t)LOG_MAX_AT_LEAST - 2 * len);
    assert_int_equal(write(STDERR_FILENO, filler, (size_t)n), n);
    log_event(LOG_INFO, "x", NULL); /* now it is full to the byte */
    assert_int_equal(file_size(), LOG_MAX_AT_LEAST);
    log_event(LOG_INFO, "x", NULL);
    assert_true(file_size() < (off_t)LOG_MAX_AT_LEAST);
    got_file();
    assert_has("log_cut");
}

static void without_a_ceiling_or_a_file_nothing_is_cut(void **state)
{
    capture_file(0);
    for (int i = 0; i < 1000; i++)
        log_event(LOG_INFO, "some words to fill it", NULL);
    assert_true(file_size() > (off_t)LOG_MAX_AT_LEAST);
    assert_null(strstr(got_file(), "log_cut"));
    capture();
    log_set_max(1);
    log_event(LOG_INFO, "to a pipe", NULL);
    log_set_max(0);
    got();
    assert_has("to a pipe");
}

#define TEST(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_line_is_one_object),
        TEST(levels_above_the_chosen_are_silent),
        TEST(level_names_are_parsed),
        TEST(values_are_escaped),
        TEST(a_null_value_leaves_its_pair_out),
        TEST(long_values_are_cut_and_marked),
        TEST(a_value_that_just_fits_is_whole),
        TEST(many_pairs_end_in_a_whole_line),
        TEST(a_flood_stays_below_the_ceiling_and_its_end_is_kept),
        TEST(a_line_fits_up_to_the_ceiling_itself),
        TEST(without_a_ceiling_or_a_file_nothing_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
