/*
 * Notebook clients' executions. `running` holds those whose execute_input was seen and that are not
 * done. Reply and IOPub come by different sockets: a reply can overtake the execute_input of its
 * own cell, and waits in `early` until that is seen. Everything is the kernel's word and untrusted:
 * what is kept of it has a ceiling.
 */
#include "kernel-runner/exec/exec_notebook.h"

#include "lib/api/limits.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/crypto/crypto.h"

#include <uthash.h>
#include <utlist.h>

#define EARLY_MAX       1024
#define EARLY_BYTES     MIB(1)  /* of all early replies; above, only their verdict is kept */
#define EARLY_ONE_BYTES KIB(64) /* of one, likewise */
#define CODE_READ_BYTES MIB(16)

struct early {
    char *msg_id;
    char *content;
    size_t len;
    UT_hash_handle hh;
};

struct exec_notebook {
    struct exec_queue_cfg cfg;
    struct exec_queue *owner;
    struct exec *running;
    size_t n_running;
    struct loop_timer *kill_timer;
    char last_dead[JP_ID_SIZE]; /* the request of the last one that a death ended */
    struct early *early;        /* hash by msg_id, oldest first */
    size_t early_bytes;
};

static const char *msg_id_of(const struct exec *e)
{
    return e->msg_id ? e->msg_id : e->id;
}

static struct exec *find_running(struct exec_notebook *n, const char *msg_id)
{
    struct exec *e;
    DL_FOREACH (n->running, e)
        if (strcmp(msg_id_of(e), msg_id) == 0)
            return e;
    return NULL;
}

/* One that is done, for its late outputs. */
static struct exec *find_done(struct exec_notebook *n, const char *msg_id)
{
    struct exec *e = NULL;
    if (exec_store_lookup(n->cfg.store, msg_id, &e, NULL) != 0 || !e->notebook ||
        e->state != EXEC_DONE)
        return NULL;
    return strcmp(e->kernel_id, n->cfg.kernel.id) == 0 ? e : NULL;
}

/* ---- ends ---- */

static void settle(struct exec_notebook *n, struct exec *e, const char *status, const char *error)
{
    DL_DELETE(n->running, e);
    n->n_running--;
    exec_finish(e, status, error);
    e->queue = NULL;
    if (n->cfg.on_done)
        n->cfg.on_done(n->cfg.ctx, e);
    exec_store_finished(n->cfg.store, e);
}

static void check_rest(struct exec_notebook *n, struct exec *e)
{
    if (e->rest == EXEC_AT_REST)
        settle(n, e, exec_verdict(e), NULL);
}

static void end_all(struct exec_notebook *n, const char *status, const char *error)
{
    while (n->running)
        settle(n, n->running, status, error);
}

/* ---- early replies ---- */

static void drop_early(struct exec_notebook *n, struct early *early)
{
    if (!early)
        return;
    HASH_DEL(n->early, early);
    n->early_bytes -= early->len;
    free(early->msg_id);
    free(early->content);
    free(early);
}

static void drop_all_early(struct exec_notebook *n)
{
    while (n->early)
        drop_early(n, n->early);
}

static struct early *find_early(const struct exec_notebook *n, const char *msg_id)
{
    struct early *early = NULL;
    HASH_FIND_STR(n->early, msg_id, early);
    return early;
}

static char *verdict_of(const struct jp_msg *msg)
{
    struct slice status = jsonx_find(msg->content, "status");
    if (slice_eq_str(status, "\"error\""))
        return mem_dup_str("{\"status\":\"error\"}");
    if (slice_eq_str(status, "\"aborted\""))
        return mem_dup_str("{\"status\":\"aborted\"}");
    return mem_dup_str("{}");
}

static void keep_early(struct exec_notebook *n, const struct jp_msg *msg)
{
    if (!jsonx_valid(msg->content) || find_early(n, msg->parent_id))
        return;
    if (HASH_COUNT(n->early) >= EARLY_MAX)
        drop_early(n, n->early);
    bool fits =
        msg->content.len <= EARLY_ONE_BYTES && n->early_bytes + msg->content.len <= EARLY_BYTES;
    struct early *early = MEM_NEW(struct early);
    early->msg_id = mem_dup_str(msg->parent_id);
    early->content = fits ? mem_dup_n(msg->content.ptr, msg->content.len) : verdict_of(msg);
    early->len = strlen(early->content);
    n->early_bytes += early->len;
    HASH_ADD_KEYPTR(hh, n->early, early->msg_id, strlen(early->msg_id), early);
}

static void take_early(struct exec_notebook *n, struct exec *e)
{
    struct early *early = find_early(n, msg_id_of(e));
    if (!early)
        return;
    struct jp_msg reply = {.kind = JP_EXECUTE_REPLY, .content = slice_str(early->content)};
    exec_on_reply(e, &reply);
    drop_early(n, early);
}

/* ---- beginnings ---- */

static struct exec_request *request_of(const struct jp_msg *msg)
{
    struct exec_request *r = MEM_NEW(struct exec_request);
    struct buf code;
    buf_init(&code, CODE_READ_BYTES);
    struct slice text = jsonx_find(msg->content, "code");
    if (text.len == 0 || jsonx_append_decoded(&code, text) < 0)
        buf_clear(&code);
    r->code_len = code.len;
    r->code = buf_take(&code);
    r->store_history = true;
    return r;
}

/* The request's id is the execution's, where it can be one and is not taken. */
static struct exec *add(struct exec_notebook *n, const struct jp_msg *msg)
{
    char id[ID_EXEC_MAX + 1];
    struct exec *taken = NULL;
    bool usable = id_is_exec(msg->parent_id) &&
                  exec_store_lookup(n->cfg.store, msg->parent_id, &taken, NULL) == EXEC_UNKNOWN;
    if (usable)
        memcpy(id, msg->parent_id, strlen(msg->parent_id) + 1);
    else
        crypto_new_uuid(id);
    struct exec *e = exec_store_add(n->cfg.store, id, "", request_of(msg));
    exec_keep_code(e);
    e->notebook = true;
    e->msg_id = usable ? NULL : mem_dup_str(msg->parent_id);
    return e;
}

static void begin(struct exec_notebook *n, const struct jp_msg *msg)
{
    if (n->n_running == EXEC_NOTEBOOK_RUNNING_MAX || !jsonx_valid(msg->content))
        return;
    struct exec *e = add(n, msg);
    DL_APPEND(n->running, e);
    n->n_running++;
    memcpy(e->kernel_id, n->cfg.kernel.id, ID_UUID_SIZE);
    e->generation = n->cfg.kernel.ops->generation(n->cfg.kernel.ctx);
    e->queue = n->owner;
    jsonx_uint(jsonx_find(msg->content, "execution_count"), &e->execution_count);
    exec_move(e, EXEC_EV_SEND);
    exec_begin(e);
    exec_move(e, EXEC_EV_SEEN);
    exec_put_started(e);
    if (n->cfg.on_started)
        n->cfg.on_started(n->cfg.ctx, e);
    take_early(n, e);
}

/* ---- what the kernel says ---- */

static bool is_idle(const struct jp_msg *msg)
{
    return msg->kind == JP_STATUS &&
           slice_eq_str(jsonx_find(msg->content, "execution_state"), "\"idle\"");
}

static void on_iopub(struct exec_notebook *n, const struct jp_msg *msg)
{
    struct exec *e = find_running(n, msg->parent_id);
    if (!e && msg->kind == JP_EXECUTE_INPUT) {
        begin(n, msg);
        return;
    }
    if (!e) {
        /* One that announced no code before its end never does. */
        if (is_idle(msg))
            drop_early(n, find_early(n, msg->parent_id));
        e = find_done(n, msg->parent_id);
        if (e)
            exec_on_iopub(e, msg);
        return;
    }
    if (msg->kind == JP_STATUS) {
        if (is_idle(msg)) {
            e->rest = exec_rest_idle(e->rest);
            check_rest(n, e);
        }
        return;
    }
    exec_on_iopub(e, msg);
    exec_store_trim(n->cfg.store);
}

void exec_notebook_on_msg(struct exec_notebook *n, const struct jp_msg *msg)
{
    if (msg->channel == JP_IOPUB) {
        on_iopub(n, msg);
        return;
    }
    if (msg->kind != JP_EXECUTE_REPLY)
        return;
    struct exec *e = find_running(n, msg->parent_id);
    if (!e) {
        keep_early(n, msg);
        return;
    }
    exec_on_reply(e, msg);
    check_rest(n, e);
}

void exec_notebook_answered(struct exec_notebook *n, const char *msg_id)
{
    struct exec *e = find_running(n, msg_id);
    if (!e || !exec_rest_has_idle(e->rest))
        return;
    e->reply_failed = e->error_json != NULL;
    settle(n, e, exec_verdict(e), NULL);
}

void exec_notebook_on_down(struct exec_notebook *n, const struct kernel_death *death,
                           const char *error)
{
    loop_timer_stop(n->kill_timer);
    while (n->running) {
        struct exec *e = n->running;
        e->generation = death->generation;
        snprintf(n->last_dead, sizeof(n->last_dead), "%s", msg_id_of(e));
        if (!death->oom && death->wanted)
            settle(n, e, "interrupted", NULL);
        else
            settle(n, e, "kernel_died", error);
    }
    drop_all_early(n);
}

void exec_notebook_lost(struct exec_notebook *n, const char *msg_id, struct slice content,
                        const struct kernel_death *death, const char *error)
{
    struct jp_msg msg = {.kind = JP_EXECUTE_INPUT, .channel = JP_IOPUB, .content = content};
    struct exec *e = NULL;
    snprintf(msg.parent_id, sizeof(msg.parent_id), "%s", msg_id);
    if (strcmp(n->last_dead, msg_id) == 0 ||
        exec_store_lookup(n->cfg.store, msg_id, &e, NULL) != EXEC_UNKNOWN ||
        !jsonx_valid(content) || slice_eq_str(jsonx_find(content, "silent"), "true"))
        return;
    begin(n, &msg);
    e = find_running(n, msg_id);
    if (!e)
        return;
    e->generation = death->generation;
    settle(n, e, "kernel_died", error);
}

/* ---- orders ---- */

static void stop_all(struct exec_notebook *n, enum exec_stop why)
{
    struct exec *e;
    DL_FOREACH (n->running, e)
        if (e->stop == EXEC_STOP_NONE && (e->rest == EXEC_REST_NONE || why == EXEC_STOP_RESTART))
            e->stop = why;
}

void exec_notebook_interrupted(struct exec_notebook *n)
{
    stop_all(n, EXEC_STOP_INTERRUPT);
}

void exec_notebook_restarted(struct exec_notebook *n)
{
    stop_all(n, EXEC_STOP_RESTART);
}

static void on_kill_timer(void *ctx)
{
    struct exec_notebook *n = ctx;
    struct exec *e;
    DL_FOREACH (n->running, e) {
        if (e->stop != EXEC_STOP_CANCEL)
            continue;
        exec_queue_restart(n->owner);
        return;
    }
}

void exec_notebook_cancel(struct exec_notebook *n, struct exec *e)
{
    bool again = e->stop == EXEC_STOP_CANCEL;
    e->stop = EXEC_STOP_CANCEL;
    /* Once it has answered, the interrupt would be the next cell's. */
    if (e->rest == EXEC_REST_NONE)
        n->cfg.kernel.ops->interrupt(n->cfg.kernel.ctx);
    if (!again || !loop_timer_active(n->kill_timer))
        loop_timer_start(n->kill_timer, EXEC_KILL_GRACE_MS, 0);
}

void exec_notebook_cancel_all(struct exec_notebook *n)
{
    end_all(n, "cancelled", NULL);
}

bool exec_notebook_is_at_work(const struct exec_notebook *n)
{
    const struct exec *e;
    DL_FOREACH (n->running, e)
        if (e->rest == EXEC_REST_NONE)
            return true;
    return false;
}

size_t exec_notebook_running(const struct exec_notebook *n)
{
    return n->n_running;
}

struct exec_notebook *exec_notebook_new(const struct exec_queue_cfg *cfg, struct exec_queue *owner)
{
    struct exec_notebook *n = MEM_NEW(struct exec_notebook);
    n->cfg = *cfg;
    n->owner = owner;
    n->kill_timer = loop_timer_new(cfg->loop, on_kill_timer, n);
    return n;
}

struct exec_notebook *exec_notebook_free(struct exec_notebook *n)
{
    if (!n)
        return NULL;
    exec_notebook_cancel_all(n);
    loop_timer_free(n->kill_timer);
    drop_all_early(n);
    free(n);
    return NULL;
}
