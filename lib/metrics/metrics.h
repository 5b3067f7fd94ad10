#pragma once
#include "lib/base/buf.h"
#include "lib/base/cleanup.h"

#include <stdint.h>

/*
 * Counters, gauges and histograms of a program, from one static table; a metric's number is its row
 * (so make an enum beside the table). Updates are O(1) and allocate nothing; the loop's thread
 * only.
 */
enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

#define METRIC_BUCKETS_MAX 32
#define METRIC_VALUES_MAX  256

struct metric_desc {
    const char *name; /* "caesarion_executions_total", "…_seconds" */
    enum metric_type type;
    const char *help;
    const char *label;         /* NULL: one series */
    const char *const *values; /* of the label, ended by NULL; the series is the index */
    const double *buckets;     /* METRIC_HISTOGRAM: upper bounds, ascending, without +Inf */
    size_t n_buckets;
};

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct metrics;
/* `table` must outlive the metrics. */
struct metrics *metrics_new(const struct metric_desc *table, size_t n);
struct metrics *metrics_free(struct metrics *m); /* NULL ok; returns NULL */

/* `series` is the index of the label's value; 0 where there is no label. */
void metrics_count(struct metrics *m, unsigned metric, unsigned series, uint64_t add);
void metrics_set(struct metrics *m, unsigned metric, unsigned series, double value);
void metrics_add(struct metrics *m, unsigned metric, unsigned series, double delta); /* gauge */
void metrics_observe(struct metrics *m, unsigned metric, unsigned series, double value);
/* A counter's or gauge's value, a histogram's number of observations. */
double metrics_value(const struct metrics *m, unsigned metric, unsigned series);
/* The series whose label has this value, or -1. */
int metrics_series(const struct metrics *m, unsigned metric, const char *value);

/* Appends the Prometheus text format, version 0.0.4. */
int metrics_render(const struct metrics *m, struct buf *out);

DEFINE_CLEANUP(struct metrics *, metrics_free)
