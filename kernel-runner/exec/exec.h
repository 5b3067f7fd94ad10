#pragma once
#include "kernel-runner/exec/event_log.h"
#include "kernel-runner/exec/exec_request.h"
#include "kernel-runner/exec/exec_state.h"
#include "kernel-runner/exec/held.h"
#include "kernel-runner/kernel/kernel.h"

#include <uthash.h>

#define EXEC_HASH_SIZE 65

/* Why a running execution was told to stop; decides its verdict when the kernel comes to rest. */
enum exec_stop {
    EXEC_STOP_NONE,
    EXEC_STOP_TIMEOUT,
    EXEC_STOP_INTERRUPT,
    EXEC_STOP_CANCEL,
    EXEC_STOP_RESTART
};

/* Bytes of a log. */
struct exec_range {
    uint64_t offset, len;
};

/* Limits, from the runner's options. */
struct exec_limits {
    uint64_t output_bytes;     /* one execution's log */
    struct mem_budget *budget; /* NULL: none */
};

/*
 * One execution: its request, its event log, its verdict. It knows how to turn kernel messages into
 * events; when it runs is the queue's business (exec_queue.h).
 */
struct exec {
    char id[ID_EXEC_MAX + 1];
    uint64_t number;                /* the later, the higher */
    char body_hash[EXEC_HASH_SIZE]; /* of the request's body: a repeat must be the same */
    char kernel_id[ID_UUID_SIZE];
    unsigned generation; /* of the process it was sent to; before that the kernel's */
    struct exec_request *request;
    enum exec_state state;
    enum exec_stop stop;
    struct event_log *log;
    struct exec_limits limits;

    int64_t created_at, started_at, ended_at; /* wall, µs; 0: not yet */
    int64_t started_us, ended_us;             /* monotonic */
    int64_t execution_count;                  /* -1: none */
    enum exec_rest rest;                      /* what of its answer has come */
    bool reply_aborted, reply_failed;
    bool started_put; /* the `started` event is written */
    bool malformed;   /* a message of it was; it is logged */
    bool notebook;    /* a notebook client's, not the API's */
    char *msg_id;     /* of its execute_request where that is not its id, or NULL */
    bool truncated;
    uint64_t truncated_bytes;
    size_t asked_bytes;     /* of questions that the log had no room for */
    char *status;           /* the verdict once done */
    char *error_json;       /* NULL: none, or done */
    char *user_expressions; /* JSON object text; NULL: none, or done */
    struct mem_held error_held, expressions_held;
    /* Once done: where the log has them, as JSON. */
    struct exec_range error_at, expressions_at;
    /*
     * What is kept beside the log: the code, once it is not needed to be sent (before that the
     * request has it), then outputs after the end, as JSON objects, one a line.
     */
    struct spill kept;
    size_t code_kept;
    uint64_t late_dropped;

    struct exec_queue *queue; /* NULL once done */
    uint64_t ticket;          /* its place among all requests to the kernel */
    uint64_t behind;          /* the last ticket that was given before it was sent */
    unsigned sent_again;      /* how often it was aborted before it ran */
    struct exec *prev, *next; /* in the queue, or in the list of finished ones */
    UT_hash_handle hh;        /* in the store, by id */
    unsigned readers;         /* who hold it; an expired one is freed when the last leaves */
    bool expired;
};

struct exec *exec_new(struct loop *loop, struct spill_store *store, const char *id,
                      struct exec_request *request_take, const struct exec_limits *limits);
struct exec *exec_free(struct exec *e);

/*
 * What is left at the kernel of one that was given up behind another's request: its id, by which
 * the kernel's words for it are known. It has no log, and is in no store.
 */
struct exec *exec_husk(const struct exec *e);
static inline bool exec_is_husk(const struct exec *e)
{
    return !e->log;
}

/* The one transition function; the edge it took. NULL, with a warning: `ev` was not expected. */
const struct exec_edge *exec_move(struct exec *e, enum exec_event ev);
/* It was aborted before it ran, and is to be sent again: nothing was answered, no time has passed.
 */
void exec_put_back(struct exec *e);
void exec_put_queued(struct exec *e, unsigned position);
/* The clock begins; the event waits for the execution count where one is to come. */
void exec_begin(struct exec *e);
void exec_put_started(struct exec *e); /* once; nothing when it was written already */
/* An IOPub message whose parent is this execution: output, clear, update, error. */
void exec_on_iopub(struct exec *e, const struct jp_msg *msg);
void exec_on_reply(struct exec *e, const struct jp_msg *msg);
/* The content of an input_request. */
void exec_on_input_request(struct exec *e, struct slice asked);
/* Ends it: writes `done`. error_json may be NULL (then what the code raised stays). */
void exec_finish(struct exec *e, const char *status, const char *error_json);
/* The verdict by reply and stop reason, once reply and idle came. */
const char *exec_verdict(const struct exec *e);
double exec_duration_ms(const struct exec *e); /* < 0: never started */
/* Moves the code from memory to what is kept; for one that needs not be sent any more. */
void exec_keep_code(struct exec *e);
/* Copies `max` bytes of the code from `pos`, or what is left; < 0 when it cannot be read. */
ssize_t exec_read_code(const struct exec *e, size_t pos, char *out, size_t max);
/* Moves log and kept to files, to save memory. < 0: no room, they stay. */
int exec_spill(struct exec *e);
