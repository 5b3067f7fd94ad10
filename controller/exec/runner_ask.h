#pragma once
#include "controller/exec/stream_tail.h"
#include "lib/base/err.h"
#include "lib/base/slice.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
struct httpc;
struct loop;
struct sandbox;

/*
 * One question to a sandbox's runner and its answer, over as many connections as that needs: one
 * that breaks is followed by another where the question allows it, and an event stream then goes on
 * behind its last whole event, so that who reads it sees none twice and misses none. That a sandbox
 * is gone is believed of its backend alone (sandbox_watch).
 *
 *   STARTING ─stream→ STREAMING                   ENDING ─end, failed→ OVER
 *   STARTING ─answer→ HOLDING ─long→ PASSING      ENDING ─stream, answer, long→ ENDING
 *   HOLDING, PASSING, STREAMING ─end→ OVER
 *   STARTING, HOLDING, STREAMING, ATTACHING ─broke→ BROKEN ─again→ ATTACHING
 *   ATTACHING ─stream→ STREAMING, ─answer→ HOLDING
 *   any with a connection ─gone→ ENDING           BROKEN ─gone→ OVER
 *   any but OVER ─failed→ OVER
 */
enum runner_ask_state {
    RUNNER_ASK_STARTING, /* sent; no head of an answer yet */
    RUNNER_ASK_HOLDING,  /* an answer that is no event stream comes, and can still be asked again */
    RUNNER_ASK_PASSING,  /* … it is too long to be kept: what came is passed on */
    RUNNER_ASK_STREAMING, /* events come */
    RUNNER_ASK_BROKEN,    /* no connection: the backend may say why, else it is asked again */
    RUNNER_ASK_ATTACHING, /* asked again; no head yet */
    RUNNER_ASK_ENDING,    /* the sandbox is gone; what its runner said last is read */
    RUNNER_ASK_OVER,      /* nothing comes any more; what came may still be read */
    RUNNER_ASK_STATES
};
enum runner_ask_event {
    RUNNER_ASK_EV_STREAM, /* the head of an event stream */
    RUNNER_ASK_EV_ANSWER, /* the head of another answer */
    RUNNER_ASK_EV_LONG,   /* what is held has become too long */
    RUNNER_ASK_EV_END,    /* the answer is whole */
    RUNNER_ASK_EV_BROKE,  /* the connection broke, did not come about, or is silent for too long */
    RUNNER_ASK_EV_AGAIN,  /* it has waited long enough to ask again */
    RUNNER_ASK_EV_GONE,   /* the backend says that the sandbox is gone */
    RUNNER_ASK_EV_FAILED, /* it broke and cannot be mended */
    RUNNER_ASK_EVENTS
};
const char *runner_ask_state_name(enum runner_ask_state s);
const char *runner_ask_event_name(enum runner_ask_event e);
/* The table of the machine: true and *ret set when the change is allowed. Pure. */
bool runner_ask_next_state(enum runner_ask_state from, enum runner_ask_event ev,
                           enum runner_ask_state *ret);

enum runner_ask_again {
    RUNNER_ASK_ONCE,   /* acts: sent again only when no connection came about (then once) */
    RUNNER_ASK_TWICE,  /* may be sent again, once */
    RUNNER_ASK_ATTACH, /* about one execution: again and again for `patience_ms` */
};

struct runner_ask_cfg {
    struct loop *loop; /* borrowed, as all here */
    struct httpc *http;
    struct sandbox *sandbox;
    const char *method;
    const char *target;         /* "/path?query" at the runner */
    const char *const *headers; /* "Name: value" lines, ended by NULL; copied. No Authorization */
    const char *body;           /* whole, or NULL; must stay until the ask is freed */
    size_t body_len;
    /* In place of `body`: as httpc's on_send. Once some was sent the question is not sent again. */
    ssize_t (*send)(void *ctx, char *out, size_t max);
    int64_t send_length; /* of that, -1: not known */
    enum runner_ask_again again;
    const char *execution_id; /* of RUNNER_ASK_ATTACH */
    uint64_t after;           /* seq of the last event the reader has */
    int64_t deadline_ms;      /* for the head of the answer; 0: none */
    int64_t patience_ms;      /* how long one break may last; default 15000 */
};

/*
 * What became of it. Of an event stream:
 *   ENDED  its `done` has passed (or the reader had it already)
 *   LOST   the sandbox is gone; the stream ends with a `done` that says sandbox_lost
 *   CUT    it cannot be had any more although the sandbox lives: no `done`, the reader may come
 *          again later (ERR_UNAVAILABLE), or the runner has dropped its log (ERR_EXPIRED)
 * Of another answer: ENDED, or LOST or CUT in the middle. FAILED: no answer came; err says why.
 */
enum runner_ask_end { RUNNER_ASK_ENDED, RUNNER_ASK_LOST, RUNNER_ASK_CUT, RUNNER_ASK_FAILED };

/*
 * Who reads. Callbacks come from the loop itself, never from inside a call of this module nor of
 * the HTTP client, and not after runner_ask_free(), which each of them may call.
 */
struct runner_ask_consumer {
    /* Once, before the others: status, headers and (of an answer that is whole) all its bytes. */
    void (*on_head)(void *ctx);
    void (*on_ready)(void *ctx); /* there is something to read, or the end */
    /* Once, the last. What was not read yet may still be read. err is NULL with ENDED. */
    void (*on_over)(void *ctx, enum runner_ask_end end, const struct err *err);
};

struct runner_ask;
int runner_ask_start(struct runner_ask **ret, const struct runner_ask_cfg *cfg,
                     const struct runner_ask_consumer *consumer, void *ctx, struct err *err);
/* Closes its connection; what it asked for goes on at the runner. NULL ok; returns NULL. */
struct runner_ask *runner_ask_free(struct runner_ask *a);

/* More of a body given by `send` is there. */
void runner_ask_send_more(struct runner_ask *a);

/* ---- the answer, from on_head on ---- */
int runner_ask_status(const struct runner_ask *a);
const char *runner_ask_type(const struct runner_ask *a); /* Content-Type, or NULL */
int64_t runner_ask_length(const struct runner_ask *a);   /* Content-Length, or -1 */
bool runner_ask_is_whole(const struct runner_ask *a);    /* all of it can be read now */
enum stream_format runner_ask_format(const struct runner_ask *a);
/* The other headers: *at from 0; false when there is none left. Borrowed. */
bool runner_ask_header(const struct runner_ask *a, size_t *at, struct slice *name,
                       struct slice *value);

/*
 * How much is taken sets the pace of the runner: > 0 bytes (whole events of a stream), 0: nothing
 * now, on_ready follows; RUNNER_ASK_READ_END, RUNNER_ASK_READ_CUT: it ended, or broke.
 */
enum { RUNNER_ASK_READ_END = -1, RUNNER_ASK_READ_CUT = -2 };
ssize_t runner_ask_read(struct runner_ask *a, char *out, size_t max);
/* All of a whole answer; the caller frees. */
char *runner_ask_take(struct runner_ask *a, size_t *ret_len);
/* One event at a time, of STREAM_NDJSON; false: none now. Tell it what was taken. */
bool runner_ask_event(struct runner_ask *a, struct stream_event *ret);
void runner_ask_took(struct runner_ask *a, const struct stream_event *e);

/* The runner works on it, as far as is known here: no end, and the sandbox is there. */
bool runner_ask_is_open(const struct runner_ask *a);
unsigned runner_ask_times(const struct runner_ask *a); /* how often it was sent */

/* Why a sandbox is not there any more, as its users are told. gone: what its watch said. */
void runner_lost_err(const struct err *gone, struct err *err);
