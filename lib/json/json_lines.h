#pragma once
#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "lib/base/slice.h"

/*
 * Splits a stream into lines. A line is handed over without its "\n" or "\r\n"; empty lines (the
 * keep-alives of a stream) are skipped. A line that lies whole in what was pushed is not copied.
 * What comes out does not depend on how the stream was cut into pushes.
 */

/* Non-zero stops: json_lines_push() returns it at once and touches its object no more. */
typedef int (*json_lines_fn)(void *ctx, struct slice line);
struct json_lines {
    struct buf partial;
    size_t max_line;
    json_lines_fn fn;
    void *ctx;
    bool failed;
};

/* max_line counts the bytes of a line without its "\n". */
void json_lines_init(struct json_lines *l, size_t max_line, json_lines_fn fn, void *ctx);
void json_lines_done(struct json_lines *l);
/* -ERR_TOO_LARGE when a line is over the ceiling, and ever after. */
int json_lines_push(struct json_lines *l, struct slice bytes, struct err *err);
/* Are there bytes of a line whose end has not come? At the stream's end: it was cut. */
bool json_lines_pending(const struct json_lines *l);
