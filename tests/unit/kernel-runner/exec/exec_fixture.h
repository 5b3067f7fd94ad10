#pragma once
/*
 * A queue over a kernel that does what a test says: an implementation of the seam (exec_kernel.h)
 * that writes down what it is told, and steps, words of a script, that make it speak. Time does not
 * pass: a step lets the clock run out.
 *
 *   push:2      an execution with id "2"; more letters: s silent, i with stdin, e stop_on_error,
 *               g and a digit: that generation
 *   cancel:2 interrupt restart exit answer:2 close
 *   busy:2 input:2 out:2 ok:2 fail:2 aborted:2 idle:2 ask:2    the kernel's words for it
 *   late held   the clock, the held interrupt's clock ran out
 *   ask-A       a notebook's request "A" comes and goes to the kernel; A-input A-idle A-reply its
 *               words; A-over: it is over
 *   starting stopping ready down died dead    the process is new, is being replaced, serves, has
 *               ended as we wished, of itself, for good
 */
#include "kernel-runner/exec/exec_queue_internal.h"
#include "lib/base/mem.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four headers it needs */
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#define FOREIGN_MAX 8

struct foreign_request {
    char id[8];
    uint64_t ticket;
    bool idle, over;
};

struct exec_fixture {
    struct loop *loop;
    struct exec_store *store;
    struct exec_queue *queue;
    struct kernel_listener *listener;
    enum kernel_state state;
    unsigned generation;
    struct foreign_request foreign[FOREIGN_MAX];
    size_t n_foreign;
    char trace[2000]; /* what the kernel was told, and who ended how, blanks between */
    struct err err;   /* of the last push or answer */
};

static inline void trace(struct exec_fixture *f, const char *what, const char *of)
{
    size_t n = strlen(f->trace);
    snprintf(f->trace + n, sizeof(f->trace) - n, "%s%s%s", n ? " " : "", what, of);
}

/* ---- the kernel ---- */

static inline enum kernel_state fake_state(void *ctx)
{
    return ((struct exec_fixture *)ctx)->state;
}

static inline unsigned fake_generation(void *ctx)
{
    return ((struct exec_fixture *)ctx)->generation;
}

static inline const char *fake_words(void *ctx)
{
    return "";
}

static inline int fake_send(void *ctx, const struct jp_send *send, struct err *err)
{
    struct exec_fixture *f = ctx;
    if (!kernel_state_live(f->state))
        return err_set(err, ERR_UNAVAILABLE, "the kernel is away");
    trace(f, send->channel == JP_STDIN ? "input_reply" : ">", send->msg_id ? send->msg_id : "");
    return 0;
}

static inline void fake_withdraw(void *ctx, const char *msg_id)
{
    trace(ctx, "withdraw:", msg_id);
}

static inline void fake_interrupt(void *ctx)
{
    trace(ctx, "SIGINT", "");
}

static inline void fake_restart(void *ctx)
{
    struct exec_fixture *f = ctx;
    f->state = KERNEL_STOPPING;
    trace(f, "KILL", "");
}

static inline void fake_exit(void *ctx, bool restart)
{
    trace(ctx, "EXIT", "");
}

static inline void fake_listen(void *ctx, struct kernel_listener *l)
{
    ((struct exec_fixture *)ctx)->listener = l;
}

static inline void fake_unlisten(void *ctx, struct kernel_listener *l)
{
    ((struct exec_fixture *)ctx)->listener = NULL;
}

static const struct exec_kernel_ops fake_ops = {.state = fake_state,
                                                .generation = fake_generation,
                                                .last_words = fake_words,
                                                .send = fake_send,
                                                .withdraw = fake_withdraw,
                                                .interrupt = fake_interrupt,
                                                .restart = fake_restart,
                                                .expect_exit = fake_exit,
                                                .listen = fake_listen,
                                                .unlisten = fake_unlisten};

/* ---- who passes on requests of notebooks ---- */

static inline size_t foreign_count(void *ctx)
{
    struct exec_fixture *f = ctx;
    size_t n = 0;
    for (size_t i = 0; i < f->n_foreign; i++)
        n += !f->foreign[i].over;
    return n;
}

static inline uint64_t foreign_oldest(void *ctx)
{
    struct exec_fixture *f = ctx;
    for (size_t i = 0; i < f->n_foreign; i++)
        if (!f->foreign[i].over)
            return f->foreign[i].ticket;
    return UINT64_MAX;
}

static inline uint64_t foreign_at(void *ctx)
{
    struct exec_fixture *f = ctx;
    for (size_t i = 0; i < f->n_foreign; i++)
        if (!f->foreign[i].over && !f->foreign[i].idle)
            return f->foreign[i].ticket;
    return UINT64_MAX;
}

static inline struct foreign_request *foreign_find(struct exec_fixture *f, const char *id)
{
    for (size_t i = 0; i < f->n_foreign; i++)
        if (strcmp(f->foreign[i].id, id) == 0)
            return &f->foreign[i];
    return NULL;
}

static inline uint64_t foreign_ticket(void *ctx, const char *msg_id)
{
    struct foreign_request *r = foreign_find(ctx, msg_id);
    return r ? r->ticket : 0;
}

static inline bool foreign_knows(void *ctx, const char *msg_id)
{
    struct foreign_request *r = foreign_find(ctx, msg_id);
    return r && !r->over;
}

static inline void foreign_come(struct exec_fixture *f, const char *id)
{
    struct foreign_request *r = &f->foreign[f->n_foreign++];
    snprintf(r->id, sizeof(r->id), "%s", id);
    r->ticket = exec_queue_ticket(f->queue);
}

/* ---- steps ---- */

static inline void say(struct exec_fixture *f, enum jp_channel channel, enum jp_kind kind,
                       const char *parent, const char *content)
{
    struct jp_msg msg = {.channel = channel, .kind = kind, .content = slice_str(content)};
    snprintf(msg.parent_id, sizeof(msg.parent_id), "%s", parent);
    if (channel != JP_IOPUB && foreign_find(f, parent))
        msg.ident = slice_str("00000001");
    f->listener->events.on_msg(f->listener->events.ctx, &msg);
}

static inline void say_word(struct exec_fixture *f, const char *word, const char *id)
{
    if (strcmp(word, "busy") == 0)
        say(f, JP_IOPUB, JP_STATUS, id, "{\"execution_state\":\"busy\"}");
    else if (strcmp(word, "idle") == 0)
        say(f, JP_IOPUB, JP_STATUS, id, "{\"execution_state\":\"idle\"}");
    else if (strcmp(word, "input") == 0)
        say(f, JP_IOPUB, JP_EXECUTE_INPUT, id, "{\"code\":\"1\",\"execution_count\":7}");
    else if (strcmp(word, "out") == 0)
        say(f, JP_IOPUB, JP_STREAM, id, "{\"name\":\"stdout\",\"text\":\"x\"}");
    else if (strcmp(word, "ok") == 0)
        say(f, JP_SHELL, JP_EXECUTE_REPLY, id, "{\"status\":\"ok\",\"execution_count\":7}");
    else if (strcmp(word, "fail") == 0)
        say(f, JP_SHELL, JP_EXECUTE_REPLY, id,
            "{\"status\":\"error\",\"ename\":\"E\",\"evalue\":\"e\",\"traceback\":[]}");
    else if (strcmp(word, "aborted") == 0)
        say(f, JP_SHELL, JP_EXECUTE_REPLY, id, "{\"status\":\"aborted\"}");
    else if (strcmp(word, "ask") == 0)
        say(f, JP_STDIN, JP_INPUT_REQUEST, id, "{\"prompt\":\"?\",\"password\":false}");
    else
        fail_msg("no such step: %s", word);
}

static inline struct exec *find(struct exec_fixture *f, const char *id)
{
    struct exec *e = NULL;
    assert_int_equal(exec_store_lookup(f->store, id, &e, NULL), 0);
    return e;
}

static inline void push(struct exec_fixture *f, const char *how)
{
    struct exec_request *r = NULL;
    const char id[2] = {how[0], '\0'};
    assert_int_equal(exec_request_parse(&r, slice_str("{\"code\":\"1\"}"), NULL), 0);
    for (const char *p = how + 1; *p; p++) {
        r->silent |= *p == 's';
        r->allow_stdin |= *p == 'i';
        r->stop_on_error |= *p == 'e';
        if (*p == 'g')
            r->generation = p[1] - '0';
    }
    struct exec *e = exec_store_add(f->store, id, "hash", r);
    if (exec_queue_push(f->queue, e, 60000, &f->err) == 0)
        return;
    trace(f, "refused:", err_code_name(f->err.code));
    exec_store_forget(f->store, e);
}

static inline void ended(struct exec_fixture *f, bool wanted, enum kernel_state next)
{
    struct kernel_death death = {.wanted = wanted, .signal = 9, .generation = f->generation};
    f->generation++;
    f->state = next;
    f->listener->events.on_down(f->listener->events.ctx, &death);
}

static inline void step_of_kernel(struct exec_fixture *f, const char *what)
{
    if (strcmp(what, "starting") == 0) {
        f->state = KERNEL_STARTING;
    } else if (strcmp(what, "stopping") == 0) {
        f->state = KERNEL_STOPPING;
    } else if (strcmp(what, "ready") == 0) {
        f->state = KERNEL_IDLE;
        f->listener->events.on_ready(f->listener->events.ctx);
    } else if (strcmp(what, "down") == 0) {
        ended(f, /* wanted= */ true, KERNEL_RESTARTING);
    } else if (strcmp(what, "died") == 0) {
        ended(f, /* wanted= */ false, KERNEL_RESTARTING);
    } else if (strcmp(what, "dead") == 0) {
        ended(f, /* wanted= */ false, KERNEL_DEAD);
    } else {
        fail_msg("no such step: %s", what);
    }
}

/* A-input, A-idle, A-reply, A-over */
static inline void step_of_notebook(struct exec_fixture *f, const char *id, const char *word)
{
    struct foreign_request *r = foreign_find(f, id);
    assert_non_null(r);
    if (strcmp(word, "over") == 0) {
        r->over = true;
        exec_queue_foreign_answered(f->queue, id);
        exec_queue_foreign_over(f->queue);
        return;
    }
    say_word(f, strcmp(word, "reply") == 0 ? "ok" : word, id);
    r->idle = r->idle || strcmp(word, "idle") == 0;
}

static inline void step(struct exec_fixture *f, const char *text)
{
    char word[24];
    snprintf(word, sizeof(word), "%s", text);
    char *id = strchr(word, ':'), *notebook = strchr(word, '-');
    if (id)
        *id++ = '\0';
    if (notebook)
        *notebook++ = '\0';
    if (notebook && strcmp(word, "ask") == 0)
        foreign_come(f, notebook);
    else if (notebook)
        step_of_notebook(f, word, notebook);
    else if (id && strcmp(word, "push") == 0)
        push(f, id);
    else if (strcmp(word, "cancel") == 0)
        exec_queue_cancel(f->queue, find(f, id));
    else if (strcmp(word, "answer") == 0)
        trace(f,
              exec_queue_input(f->queue, find(f, id), slice_str("v"), &f->err) < 0 ? "no_question"
                                                                                   : "answered",
              "");
    else if (id)
        say_word(f, word, id);
    else if (strcmp(word, "interrupt") == 0)
        exec_queue_interrupt(f->queue);
    else if (strcmp(word, "restart") == 0)
        exec_queue_restart(f->queue);
    else if (strcmp(word, "exit") == 0)
        exec_queue_expect_exit(f->queue, /* restart= */ true);
    else if (strcmp(word, "close") == 0)
        exec_queue_cancel_all(f->queue);
    else if (strcmp(word, "late") == 0)
        f->queue->clock.on_late(f->queue->clock.ctx);
    else if (strcmp(word, "held") == 0)
        f->queue->held.on_late(f->queue->held.ctx);
    else
        step_of_kernel(f, word);
}

static inline void play(struct exec_fixture *f, const char *script)
{
    char text[400], *rest = NULL;
    snprintf(text, sizeof(text), "%s", script);
    for (char *w = strtok_r(text, " ", &rest); w; w = strtok_r(NULL, " ", &rest))
        step(f, w);
}

static inline void on_exec_done(void *ctx, const struct exec *e)
{
    struct exec_fixture *f = ctx;
    const char *id = e->notebook && e->msg_id ? e->msg_id : e->id;
    char text[16];
    snprintf(text, sizeof(text), "%.8s=", id);
    trace(f, text, e->status);
}

/* ---- life ---- */

static inline struct exec_fixture *exec_fixture_new(void)
{
    struct exec_fixture *f = MEM_NEW(struct exec_fixture);
    assert_int_equal(loop_new(&f->loop, NULL), 0);
    struct exec_store_cfg cfg = {.loop = f->loop,
                                 .spill_dir_fd = -1,
                                 .limits = {.output_bytes = MIB(8)},
                                 .total_output_bytes = MIB(12)};
    f->store = exec_store_new(&cfg);
    f->state = KERNEL_IDLE;
    f->generation = 1;
    struct exec_queue_cfg queue = {
        .loop = f->loop,
        .store = f->store,
        .kernel = {.ops = &fake_ops, .id = "11111111-1111-4111-8111-111111111000", .ctx = f},
        .on_done = on_exec_done,
        .ctx = f};
    f->queue = exec_queue_new(&queue);
    const struct exec_foreign foreign = {.count = foreign_count,
                                         .oldest = foreign_oldest,
                                         .at = foreign_at,
                                         .ticket_of = foreign_ticket,
                                         .knows = foreign_knows,
                                         .ctx = f};
    exec_queue_set_foreign(f->queue, &foreign);
    return f;
}

static inline void exec_fixture_free(struct exec_fixture *f)
{
    f->n_foreign = 0;
    exec_queue_free(f->queue);
    exec_store_free(f->store);
    loop_free(f->loop);
    free(f);
}
