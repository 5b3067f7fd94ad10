/*
 * All cells of all series lie in one array, made once: an update is an addition at a known place.
 * A counter or gauge series has one cell; a histogram one for each bucket (not cumulative; the sums
 * are made at rendering), one for +Inf, one for the sum.
 */
#include "lib/metrics/metrics.h"

#include "lib/base/mem.h"

#include <assert.h>
#include <math.h>

union cell {
    uint64_t count;
    double value;
};

struct metric {
    const struct metric_desc *desc;
    union cell *cells;
    unsigned n_series;
    unsigned width; /* cells a series */
};

struct metrics {
    struct metric *metrics;
    size_t n_metrics;
    union cell *cells;
};

static unsigned count_series(const struct metric_desc *d)
{
    unsigned n = 0;
    if (!d->label)
        return 1;
    while (d->values[n])
        n++;
    assert(n > 0 && n <= METRIC_VALUES_MAX);
    return n;
}

static unsigned count_cells(const struct metric_desc *d)
{
    if (d->type != METRIC_HISTOGRAM)
        return 1;
    assert(d->n_buckets > 0 && d->n_buckets <= METRIC_BUCKETS_MAX);
    for (size_t i = 1; i < d->n_buckets; i++)
        assert(d->buckets[i - 1] < d->buckets[i]);
    return (unsigned)d->n_buckets + 2;
}

struct metrics *metrics_new(const struct metric_desc *table, size_t n)
{
    struct metrics *m = MEM_NEW(struct metrics);
    m->metrics = MEM_NEW_N(struct metric, n);
    m->n_metrics = n;
    size_t total = 0;
    for (size_t i = 0; i < n; i++) {
        m->metrics[i] = (struct metric){.desc = &table[i],
                                        .n_series = count_series(&table[i]),
                                        .width = count_cells(&table[i])};
        total += (size_t)m->metrics[i].n_series * m->metrics[i].width;
    }
    m->cells = MEM_NEW_N(union cell, total);
    union cell *next = m->cells;
    for (size_t i = 0; i < n; i++) {
        m->metrics[i].cells = next;
        next += (size_t)m->metrics[i].n_series * m->metrics[i].width;
    }
    return m;
}

struct metrics *metrics_free(struct metrics *m)
{
    if (m) {
        free(m->metrics);
        free(m->cells);
        free(m);
    }
    return NULL;
}

static union cell *series_of(const struct metrics *m, unsigned metric, unsigned series)
{
    assert(metric < m->n_metrics);
    const struct metric *k = &m->metrics[metric];
    assert(series < k->n_series);
    return k->cells + (size_t)series * k->width;
}

void metrics_count(struct metrics *m, unsigned metric, unsigned series, uint64_t add)
{
    union cell *c = series_of(m, metric, series);
    assert(m->metrics[metric].desc->type == METRIC_COUNTER);
    c->count += add;
}

void metrics_set(struct metrics *m, unsigned metric, unsigned series, double value)
{
    union cell *c = series_of(m, metric, series);
    assert(m->metrics[metric].desc->type == METRIC_GAUGE);
    c->value = value;
}

void metrics_add(struct metrics *m, unsigned metric, unsigned series, double delta)
{
    union cell *c = series_of(m, metric, series);
    assert(m->metrics[metric].desc->type == METRIC_GAUGE);
    c->value += delta;
}

void metrics_observe(struct metrics *m, unsigned metric, unsigned series, double value)
{
    union cell *c = series_of(m, metric, series);
    const struct metric_desc *d = m->metrics[metric].desc;
    assert(d->type == METRIC_HISTOGRAM);
    size_t i = 0;
    while (i < d->n_buckets && !(value <= d->buckets[i]))
        i++;
    c[i].count++;
    c[d->n_buckets + 1].value += value;
}

double metrics_value(const struct metrics *m, unsigned metric, unsigned series)
{
    const union cell *c = series_of(m, metric, series);
    const struct metric_desc *d = m->metrics[metric].desc;
    uint64_t n = 0;
    switch (d->type) {
    case METRIC_COUNTER:
        return (double)c->count;
    case METRIC_GAUGE:
        return c->value;
    case METRIC_HISTOGRAM:
        for (size_t i = 0; i <= d->n_buckets; i++)
            n += c[i].count;
        break;
    }
    return (double)n;
}

int metrics_series(const struct metrics *m, unsigned metric, const char *value)
{
    assert(metric < m->n_metrics);
    const struct metric *k = &m->metrics[metric];
    for (unsigned i = 0; k->desc->label && i < k->n_series; i++)
        if (strcmp(k->desc->values[i], value) == 0)
            return (int)i;
    return -1;
}

/* ---- the text: made in a buffer that cannot be full, as the table bounds its length ---- */

static void put_escaped(struct buf *out, const char *s, bool quote)
{
    for (; *s; s++) {
        if (*s == '\\' || (quote && *s == '"'))
            (void)buf_append_char(out, '\\');
        if (*s == '\n')
            (void)buf_append_str(out, "\\n");
        else
            (void)buf_append_char(out, *s);
    }
}

static void put_double(struct buf *out, double v)
{
    if (isnan(v))
        (void)buf_append_str(out, "NaN");
    else if (isinf(v))
        (void)buf_append_str(out, v > 0 ? "+Inf" : "-Inf");
    else
        (void)buf_printf(out, "%.15g", v);
}

/* name_suffix{label="value",le="bound"} */
static void put_name(struct buf *out, const struct metric_desc *d, unsigned series,
                     const char *suffix, const char *le)
{
    (void)buf_printf(out, "%s%s", d->name, suffix);
    if (d->label) {
        (void)buf_printf(out, "{%s=\"", d->label);
        put_escaped(out, d->values[series], /* quote= */ true);
        (void)buf_append_char(out, '"');
    }
    if (le)
        (void)buf_printf(out, "%sle=\"%s\"", d->label ? "," : "{", le);
    (void)buf_append_str(out, d->label || le ? "} " : " ");
}

static void put_histogram(struct buf *out, const struct metric_desc *d, unsigned series,
                          const union cell *c)
{
    uint64_t n = 0;
    for (size_t i = 0; i <= d->n_buckets; i++) {
        char le[32] = "+Inf";
        if (i < d->n_buckets)
            snprintf(le, sizeof(le), "%.15g", d->buckets[i]);
        n += c[i].count;
        put_name(out, d, series, "_bucket", le);
        (void)buf_printf(out, "%llu\n", (unsigned long long)n);
    }
    put_name(out, d, series, "_sum", NULL);
    put_double(out, c[d->n_buckets + 1].value);
    (void)buf_append_char(out, '\n');
    put_name(out, d, series, "_count", NULL);
    (void)buf_printf(out, "%llu\n", (unsigned long long)n);
}

static void put_series(struct buf *out, const struct metric_desc *d, unsigned series,
                       const union cell *c)
{
    switch (d->type) {
    case METRIC_COUNTER:
        put_name(out, d, series, "", NULL);
        (void)buf_printf(out, "%llu\n", (unsigned long long)c->count);
        break;
    case METRIC_GAUGE:
        put_name(out, d, series, "", NULL);
        put_double(out, c->value);
        (void)buf_append_char(out, '\n');
        break;
    case METRIC_HISTOGRAM:
        put_histogram(out, d, series, c);
        break;
    }
}

int metrics_render(const struct metrics *m, struct buf *out)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    struct buf text;
    buf_init(&text, SIZE_MAX / 2);
    for (size_t i = 0; i < m->n_metrics; i++) {
        const struct metric *k = &m->metrics[i];
        (void)buf_printf(&text, "# HELP %s ", k->desc->name);
        put_escaped(&text, k->desc->help, /* quote= */ false);
        (void)buf_printf(&text, "\n# TYPE %s %s\n", k->desc->name, types[k->desc->type]);
        for (unsigned s = 0; s < k->n_series; s++)
            put_series(&text, k->desc, s, k->cells + (size_t)s * k->width);
    }
    int r = buf_append_slice(out, buf_slice(&text));
    buf_done(&text);
    return r;
}
