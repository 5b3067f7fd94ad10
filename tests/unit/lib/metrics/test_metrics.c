#include "lib/metrics/metrics.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <math.h>

enum { REQUESTS, TEMPERATURE, LATENCY, STATES };

static const char *const codes[] = {"ok", "a\"b\\c\nd", NULL};
static const double bounds[] = {0.005, 0.1, 2.5};
static const struct metric_desc table[] = {
    [REQUESTS] = {"app_requests_total", METRIC_COUNTER, "Requests\nby \\ code", "code", codes},
    [TEMPERATURE] = {"app_temperature", METRIC_GAUGE, "Now"},
    [LATENCY] = {"app_latency_seconds", METRIC_HISTOGRAM, "How long", NULL, NULL, bounds,
                 ARRAY_LEN(bounds)},
    [STATES] = {"app_wait_seconds", METRIC_HISTOGRAM, "By code", "code", codes, bounds, 1},
};

static int setup(void **state)
{
    *state = metrics_new(table, ARRAY_LEN(table));
    return 0;
}

static int teardown(void **state)
{
    metrics_free(*state);
    return 0;
}

static void a_fresh_table_renders_zeros(void **state)
{
    struct buf out;
    buf_init(&out, KIB(64));
    assert_int_equal(metrics_render(*state, &out), 0);
    assert_string_equal(out.ptr,
                        "# HELP app_requests_total Requests\\nby \\\\ code\n"
                        "# TYPE app_requests_total counter\n"
                        "app_requests_total{code=\"ok\"} 0\n"
                        "app_requests_total{code=\"a\\\"b\\\\c\\nd\"} 0\n"
                        "# HELP app_temperature Now\n"
                        "# TYPE app_temperature gauge\n"
                        "app_temperature 0\n"
                        "# HELP app_latency_seconds How long\n"
                        "# TYPE app_latency_seconds histogram\n"
                        "app_latency_seconds_bucket{le=\"0.005\"} 0\n"
                        "app_latency_seconds_bucket{le=\"0.1\"} 0\n"
                        "app_latency_seconds_bucket{le=\"2.5\"} 0\n"
                        "app_latency_seconds_bucket{le=\"+Inf\"} 0\n"
                        "app_latency_seconds_sum 0\n"
                        "app_latency_seconds_count 0\n"
                        "# HELP app_wait_seconds By code\n"
                        "# TYPE app_wait_seconds histogram\n"
                        "app_wait_seconds_bucket{code=\"ok\",le=\"0.005\"} 0\n"
                        "app_wait_seconds_bucket{code=\"ok\",le=\"+Inf\"} 0\n"
                        "app_wait_seconds_sum{code=\"ok\"} 0\n"
                        "app_wait_seconds_count{code=\"ok\"} 0\n"
                        "app_wait_seconds_bucket{code=\"a\\\"b\\\\c\\nd\",le=\"0.005\"} 0\n"
                        "app_wait_seconds_bucket{code=\"a\\\"b\\\\c\\nd\",le=\"+Inf\"} 0\n"
                        "app_wait_seconds_sum{code=\"a\\\"b\\\\c\\nd\"} 0\n"
                        "app_wait_seconds_count{code=\"a\\\"b\\\\c\\nd\"} 0\n");
    buf_done(&out);
}

static void assert_renders(const struct metrics *m, const char *line)
{
    struct buf out;
    buf_init(&out, KIB(64));
    assert_int_equal(metrics_render(m, &out), 0);
    if (!strstr(out.ptr, line))
        fail_msg("no \"%s\" in\n%s", line, out.ptr);
    buf_done(&out);
}

static void counters_count_by_series(void **state)
{
    metrics_count(*state, REQUESTS, 0, 1);
    metrics_count(*state, REQUESTS, 0, 2);
    metrics_count(*state, REQUESTS, 1, 1ULL << 60);
    assert_renders(*state, "app_requests_total{code=\"ok\"} 3\n");
    assert_renders(*state, " 1152921504606846976\n");
    assert_true(metrics_value(*state, REQUESTS, 0) == 3);
}

static void gauges_go_both_ways(void **state)
{
    metrics_set(*state, TEMPERATURE, 0, 1.5);
    metrics_add(*state, TEMPERATURE, 0, -4);
    assert_renders(*state, "app_temperature -2.5\n");
    assert_true(metrics_value(*state, TEMPERATURE, 0) == -2.5);
    metrics_set(*state, TEMPERATURE, 0, (double)INFINITY);
    assert_renders(*state, "app_temperature +Inf\n");
    metrics_set(*state, TEMPERATURE, 0, (double)-INFINITY);
    assert_renders(*state, "app_temperature -Inf\n");
    metrics_set(*state, TEMPERATURE, 0, (double)NAN);
    assert_renders(*state, "app_temperature NaN\n");
}

static void histograms_put_a_bound_into_its_bucket(void **state)
{
    metrics_observe(*state, LATENCY, 0, 0.005); /* le is inclusive */
    metrics_observe(*state, LATENCY, 0, 0.0051);
    metrics_observe(*state, LATENCY, 0, 2.5);
    metrics_observe(*state, LATENCY, 0, 2.6);
    assert_renders(*state, "app_latency_seconds_bucket{le=\"0.005\"} 1\n"
                           "app_latency_seconds_bucket{le=\"0.1\"} 2\n"
                           "app_latency_seconds_bucket{le=\"2.5\"} 3\n"
                           "app_latency_seconds_bucket{le=\"+Inf\"} 4\n"
                           "app_latency_seconds_sum 5.1101\n"
                           "app_latency_seconds_count 4\n");
    assert_true(metrics_value(*state, LATENCY, 0) == 4);
    metrics_observe(*state, STATES, 1, 1);
    assert_true(metrics_value(*state, STATES, 0) == 0);
    assert_true(metrics_value(*state, STATES, 1) == 1);
}

static void series_are_found_by_value(void **state)
{
    assert_int_equal(metrics_series(*state, REQUESTS, "ok"), 0);
    assert_int_equal(metrics_series(*state, REQUESTS, "a\"b\\c\nd"), 1);
    assert_int_equal(metrics_series(*state, REQUESTS, "other"), -1);
    assert_int_equal(metrics_series(*state, TEMPERATURE, "ok"), -1);
}

static void a_text_that_does_not_fit_is_an_error_and_changes_nothing(void **state)
{
    struct buf out;
    buf_init(&out, KIB(64));
    assert_int_equal(metrics_render(*state, &out), 0);
    size_t len = out.len;
    buf_done(&out);
    buf_init(&out, len + 1);
    assert_int_equal(buf_append_char(&out, 'x'), 0);
    assert_int_equal(metrics_render(*state, &out), 0);
    buf_done(&out);
    buf_init(&out, len);
    assert_int_equal(buf_append_char(&out, 'x'), 0);
    assert_int_equal(metrics_render(*state, &out), -ERR_TOO_LARGE);
    assert_string_equal(out.ptr, "x");
    buf_done(&out);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_fresh_table_renders_zeros),
        TEST(counters_count_by_series),
        TEST(gauges_go_both_ways),
        TEST(histograms_put_a_bound_into_its_bucket),
        TEST(series_are_found_by_value),
        TEST(a_text_that_does_not_fit_is_an_error_and_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
