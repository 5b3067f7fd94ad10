#pragma once
/* One question, as the two files about it see it: how it is asked, and how its answer is read. */
#include "controller/exec/runner_ask.h"
#include "controller/sandbox/sandbox.h"
#include "lib/base/buf.h"
#include "lib/base/ids.h"
#include "lib/loop/loop.h"

struct answer {
    int status;
    char *type;
    int64_t length;
    struct buf headers; /* name NUL value NUL … */
};

struct runner_ask {
    struct loop *loop;
    struct httpc *http;
    const struct runner_ask_consumer *consumer;
    void *ctx;
    enum runner_ask_state state;
    struct sandbox_watch watch;
    struct err gone; /* what it said; ERR_OK: the sandbox lives */
    struct err why;  /* of the last break; at the end, what the reader is told */
    struct httpc_call *call;
    struct loop_timer
        *timer; /* until a head, of a wait, of a stream's silence, of its last words */
    struct loop_post tell;
    bool *freed; /* of who is inside the reader's callbacks */

    /* the question */
    char *method, *base, *target, *unix_path, *auth;
    const char **headers; /* auth, then those given, ended by NULL; the strings are ours */
    const char *body;
    size_t body_len;
    ssize_t (*send)(void *ctx, char *out, size_t max);
    int64_t send_length;
    enum runner_ask_again again;
    char execution_id[ID_EXEC_MAX + 1];
    int64_t deadline_ms, patience_ms;
    bool sent_some; /* of `send` */

    /* its attempts */
    unsigned times;
    bool reached;     /* a connection came about once */
    int64_t sent_ms;  /* the last of them */
    int64_t broke_ms; /* since when it is broken, without an event in between; 0: it is not */
    int64_t wait_ms;
    int64_t heard_ms;
    bool recv_paused;

    /* the answer: `first` is the reader's once `has_head`, later heads are only looked at */
    struct answer first, later;
    bool has_head, told_head, told_over;
    struct stream_tail tail;
    enum runner_ask_end end;
};
