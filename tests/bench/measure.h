#pragma once
#include <stddef.h>

/*
 * What the clients of the benchmark measure with, so that they differ in their wire alone. Errors
 * end the program: a measurement that went wrong is none.
 */

_Noreturn void measure_die(const char *what);
void *measure_must(void *p); /* p, or the end */
double measure_now_us(void); /* CLOCK_MONOTONIC: what Python's time.monotonic_ns() reads */

/* A blocking connection to HOST:PORT (numeric, Nagle's algorithm off) or unix:PATH. */
int measure_connect(const char *address);

/* {"code": …} as JSON, without the closing brace. The caller frees it. */
char *measure_code(const char *code);
/* The whole content of an execute_request. The caller frees it. */
char *measure_execute_content(const char *code);
/* Appends the text of a stream message, whose content this is; returns where it ends. */
char *measure_stream_text(const char *content, size_t len, char *out);

/*
 * Decodes the JSON string whose opening quote stands just before `p`, as UTF-8, to the closing
 * quote or `end`. `out` must have room for end - p bytes. Returns where the decoded text ends.
 */
char *measure_json_text(const char *p, const char *end, char *out);

/* Prints the members "n" to "us" of a latency report; sorts nothing in `us`. */
void measure_print_latency(const double *us, size_t n);
/* Prints the members "bytes", "seconds", "mb_per_s" and "sha256" of a throughput report. */
void measure_print_text(const char *text, size_t len, double seconds);

/*
 * The lines of `text`, which came at `at_us`, are times of the same clock in ns, written by the
 * code under measurement just before it printed them. Appends how old each was, in us, to `lags`.
 */
size_t measure_lags(const char *text, const char *end, double at_us, double *lags, size_t n,
                    size_t max);
