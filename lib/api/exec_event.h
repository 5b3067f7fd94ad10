#pragma once
#include "lib/base/buf.h"

#include <stdint.h>

/*
 * The lines of an execution's event log (API contract: NDJSON; `seq` starts at 1 and has no gaps).
 * Each writes one whole line with its newline. JSON arguments are compact JSON text.
 */
int exec_event_queued(struct buf *out, uint64_t seq, const char *execution_id, unsigned position);
int exec_event_started(struct buf *out, uint64_t seq, const char *execution_id, int64_t count,
                       const char *kernel_id, unsigned generation); /* count < 0: null */
/* A stream output; `escaped` is JSON string text without its quotes. `name`: "stdout"|"stderr". */
int exec_event_stream(struct buf *out, uint64_t seq, const char *name, struct slice escaped);
/* Any other output, e.g. {"output_type":"display_data",…}. */
int exec_event_output(struct buf *out, uint64_t seq, struct slice output_json);
int exec_event_update_display(struct buf *out, uint64_t seq, struct slice display_id_json,
                              struct slice data_json, struct slice metadata_json);
int exec_event_clear_output(struct buf *out, uint64_t seq, bool wait);
int exec_event_input_request(struct buf *out, uint64_t seq, struct slice prompt_json,
                             bool password);
int exec_event_truncated(struct buf *out, uint64_t seq, uint64_t after_bytes);

/* Ends the log. */
struct exec_done {
    const char *status;
    int64_t execution_count; /* < 0: null */
    double duration_ms;      /* < 0: null (it never started) */
    unsigned generation;     /* 0: null */
    uint64_t truncated_bytes;
    struct slice error_json;            /* empty: null */
    struct slice user_expressions_json; /* empty: {} */
};
int exec_event_done(struct buf *out, uint64_t seq, const struct exec_done *done);

/* What one line is, read from its beginning (our own lines only). */
enum exec_event_kind {
    EXEC_EVENT_OTHER,
    EXEC_EVENT_STDOUT,
    EXEC_EVENT_STDERR,
    EXEC_EVENT_OUTPUT,
    EXEC_EVENT_UPDATE,
    EXEC_EVENT_CLEAR,
    EXEC_EVENT_CLEAR_WAIT,
    EXEC_EVENT_DONE,
};
/*
 * `line` without its newline; enough of its beginning (128 bytes) and end must be there. `body`
 * receives for streams the escaped text, for outputs the output object, else the whole line.
 */
enum exec_event_kind exec_event_classify(struct slice line, struct slice *ret_body);
