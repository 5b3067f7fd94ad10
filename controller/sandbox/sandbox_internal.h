#pragma once
/* Between the files of this folder. */
#include "controller/sandbox/runner_client.h"
#include "controller/sandbox/sandbox_op.h"
#include "controller/sandbox/sandbox_table.h"
#include "lib/loop/loop.h"

struct adoption;
struct backend_op;
struct removal_of_all;

struct sandbox_table {
    struct loop *loop;
    struct sandbox_table_cfg cfg;
    struct sandbox_table_hooks hooks;
    void *hooks_ctx;
    struct sandbox *by_id;
    size_t counts[SANDBOX_STATES];
    size_t n_owned;
    struct sandbox *gone;           /* out of by_id, until all who wait for their end were told */
    struct sandbox_op *over;        /* ended, until who asked for them was told */
    struct removal_waiter *told;    /* … and so for removals */
    struct backend_op *backend_ops; /* under way at the backend */
    struct adoption *adoption;
    struct removal_of_all *removal_of_all;
};

/* ---- sandbox.c ---- */

/* Takes over what a runner says about itself: owner, name, labels, timeouts, clocks. */
int sandbox_learn(struct sandbox *sb, const json_t *info, struct err *err);
/* Every watch is told, once, by the loop. Sets sb->ended. */
void sandbox_notify(struct sandbox *sb, const struct err *err);
bool sandbox_is_visible(const struct sandbox *sb, const char *owner);
/* RFC 3339 in UTC → µs; 0 when it is not. */
int64_t rfc3339_parse(const char *s);

/* ---- sandbox_table.c: the index, and the one place where a sandbox changes state ---- */

struct sandbox *sandbox_by_id(struct sandbox_table *t, const char *id); /* any state; or NULL */
struct sandbox *sandbox_add(struct sandbox_table *t, const char *id, enum sandbox_state state);
/* A sandbox that nobody has heard of yet. */
void sandbox_drop(struct sandbox *sb);
/*
 * The change that the table of the machine has for this event, and what entering the new state
 * means. Calls nobody who waits: they are told by the loop. why: NULL when it was asked for.
 */
void sandbox_fire(struct sandbox *sb, enum sandbox_event ev, const struct err *why);

/* ---- sandbox_ops.c: start and claim, and the life of every operation ---- */

enum sandbox_op_kind { SANDBOX_OP_START, SANDBOX_OP_CLAIM, SANDBOX_OP_ASK };

struct sandbox_op {
    enum sandbox_op_kind kind;
    enum sandbox_op_state state;
    struct sandbox *sb; /* valid until it is told: who is gone is freed later */
    struct runner_call *call;
    struct loop_timer *timer; /* LISTENING, PAUSING */
    int64_t deadline_at_ms;
    /* OVER: what is told */
    json_t *json;
    struct err err; /* ERR_OK: it went well; LISTENING: what to say when no reason comes */
    struct loop_post tell;
    struct sandbox_op *prev, *next;
    /* who asked */
    sandbox_start_fn start_done;
    sandbox_json_fn claim_done;
    void *ctx;
    /* CLAIM: what was asked for */
    char *owner, *name, *key;
    json_t *labels, *body;
    int64_t exec_timeout_ms, idle_timeout_ms, max_lifetime_ms;
    /* ASK */
    int64_t pause_ms;
    enum err_code logged; /* the last failure that was written to the log */
};

struct sandbox_op *sandbox_op_new(struct sandbox *sb, enum sandbox_op_kind kind,
                                  enum sandbox_op_state state, int64_t deadline_ms);
/* Changes its state by the table. */
void sandbox_op_event(struct sandbox_op *op, enum sandbox_op_event ev);
/* … to OVER: the sandbox has no operation any more, and who asked is told by the loop. */
void sandbox_op_end(struct sandbox_op *op, enum sandbox_op_event ev, json_t *json,
                    const struct err *err);
void sandbox_op_free(struct sandbox_op *op); /* nobody is told. NULL ok */
/* One that is nobody's becomes WARM when its kernel is ready; the hook on_warm hears of it. */
void sandbox_await_ready(struct sandbox *sb);

/* ---- sandbox_removal.c ---- */

void sandbox_removal_begin(struct sandbox *sb); /* the backend takes it away, again and again */
/* Who waits for its removal is told so. err NULL: it is gone. */
void sandbox_removal_tell(struct sandbox *sb, const struct err *err);
void sandbox_removals_free(struct sandbox_table *t);
/* Operations of the backend; they know the id only, because the sandbox may be gone first. */
struct backend_op {
    struct sandbox_table *table;
    char id[ID_SANDBOX_SIZE];
    struct loop_timer *retry; /* removals */
    int64_t retry_ms;
    struct err err;
    struct backend_op *prev, *next;
};
struct backend_op *backend_op_new(struct sandbox_table *t, const char *id);
void backend_op_free(struct backend_op *bop);

/* ---- sandbox_adoption.c ---- */

/* Finds out whose an ASKING sandbox is, for as long as that takes. */
void sandbox_ask(struct sandbox *sb);
/* It has said so, or the ready line need not wait for it for another reason. */
void sandbox_heard(struct sandbox *sb);
void sandbox_adoption_listen(struct sandbox_table *t); /* to the backend's events */
void sandbox_adoption_free(struct sandbox_table *t);
