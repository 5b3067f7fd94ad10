/*
 * The store owns every execution. `all` finds them by id; `finished` lists those that are done,
 * oldest first, which is the order of expiry. An expired execution leaves both, its id goes to a
 * ring, and its memory goes when its last reader leaves.
 */
#include "kernel-runner/exec/exec_store.h"

#include "lib/api/limits.h"
#include "lib/base/clk.h"
#include "lib/base/mem.h"

#include <malloc.h>
#include <utlist.h>

/* Messages of 20 MB raise malloc's own thresholds: without a word it keeps as much for ever. */
#define LARGE_LOG_BYTES MIB(1)
#define HEAP_TRIM_MS    1000 /* after the last large one: a series need not fault its pages anew */

struct exec_store {
    struct exec_store_cfg cfg;
    struct spill_store logs;
    struct exec *all;                         /* uthash */
    struct exec *finished;                    /* utlist, oldest first */
    unsigned n_finished[2];                   /* the API's, notebooks' */
    char (*expired)[ID_EXEC_MAX + 1];         /* ring */
    uint32_t expired_hash[LIMIT_EXPIRED_IDS]; /* a look at 16 KiB in place of 256 */
    size_t n_expired;
    unsigned n_readers;
    uint64_t added;
    struct loop_timer *timer;
    struct loop_timer *heap_timer;
};

/* FNV-1a */
static uint32_t hash_id(const char *id)
{
    uint32_t h = 2166136261U;
    for (; *id; id++)
        h = (h ^ (unsigned char)*id) * 16777619U;
    return h;
}

static void expire(struct exec_store *s, struct exec *e)
{
    HASH_DEL(s->all, e);
    DL_DELETE(s->finished, e);
    s->n_finished[e->notebook]--;
    memcpy(s->expired[s->n_expired % LIMIT_EXPIRED_IDS], e->id, sizeof(e->id));
    s->expired_hash[s->n_expired % LIMIT_EXPIRED_IDS] = hash_id(e->id);
    s->n_expired++;
    e->expired = true;
    if (e->readers == 0)
        exec_free(e);
}

static struct exec *oldest_finished(struct exec_store *s, bool notebook)
{
    struct exec *e = s->finished;
    while (e->notebook != notebook)
        e = e->next;
    return e;
}

int64_t exec_store_expire(struct exec_store *s, int64_t now_us)
{
    while (s->finished && now_us - s->finished->ended_us >= LIMIT_EXEC_KEPT_MS * INT64_C(1000))
        expire(s, s->finished);
    if (!s->finished)
        return 0;
    return LIMIT_EXEC_KEPT_MS - (now_us - s->finished->ended_us) / 1000 + 1;
}

static void on_timer(void *ctx)
{
    struct exec_store *s = ctx;
    int64_t left_ms = exec_store_expire(s, clk_mono_us());
    if (left_ms)
        loop_timer_start(s->timer, left_ms, 0);
    exec_store_trim_heap(s);
}

static void on_heap_timer(void *ctx)
{
    malloc_trim(0);
}

void exec_store_trim_heap(struct exec_store *s)
{
    loop_timer_start(s->heap_timer, HEAP_TRIM_MS, 0);
}

struct exec_store *exec_store_new(const struct exec_store_cfg *cfg)
{
    struct exec_store *s = MEM_NEW(struct exec_store);
    s->cfg = *cfg;
    s->logs.dir_fd = cfg->spill_dir_fd;
    s->expired = mem_zero(LIMIT_EXPIRED_IDS, sizeof(*s->expired));
    s->timer = loop_timer_new(cfg->loop, on_timer, s);
    s->heap_timer = loop_timer_new(cfg->loop, on_heap_timer, s);
    return s;
}

struct exec_store *exec_store_free(struct exec_store *s)
{
    if (!s)
        return NULL;
    struct exec *e, *next;
    HASH_ITER (hh, s->all, e, next) {
        HASH_DEL(s->all, e);
        exec_free(e);
    }
    loop_timer_free(s->timer);
    loop_timer_free(s->heap_timer);
    free(s->expired);
    free(s);
    return NULL;
}

const struct spill_store *exec_store_logs(const struct exec_store *s)
{
    return &s->logs;
}

struct exec *exec_store_add(struct exec_store *s, const char *id, const char *body_hash,
                            struct exec_request *request_take)
{
    struct exec *e = exec_new(s->cfg.loop, &s->logs, id, request_take, &s->cfg.limits);
    snprintf(e->body_hash, sizeof(e->body_hash), "%s", body_hash);
    e->number = ++s->added;
    HASH_ADD_STR(s->all, id, e);
    return e;
}

void exec_store_forget(struct exec_store *s, struct exec *e)
{
    HASH_DEL(s->all, e);
    exec_free(e);
}

int exec_store_lookup(struct exec_store *s, const char *id, struct exec **ret, struct err *err)
{
    struct exec *e = NULL;
    HASH_FIND_STR(s->all, id, e);
    if (e) {
        *ret = e;
        return 0;
    }
    size_t n = MIN(s->n_expired, (size_t)LIMIT_EXPIRED_IDS);
    uint32_t hash = hash_id(id);
    for (size_t i = 0; i < n; i++)
        if (s->expired_hash[i] == hash && strcmp(s->expired[i], id) == 0)
            return err_set(err, ERR_EXPIRED,
                           "execution %s is over and its record was dropped: the last %d are kept, "
                           "for 15 minutes",
                           id, LIMIT_EXECS_KEPT);
    return EXEC_UNKNOWN;
}

void exec_store_finished(struct exec_store *s, struct exec *e)
{
    DL_APPEND(s->finished, e);
    unsigned kept = e->notebook ? LIMIT_NOTEBOOK_EXECS_KEPT : LIMIT_EXECS_KEPT;
    if (++s->n_finished[e->notebook] > kept)
        expire(s, oldest_finished(s, e->notebook));
    if (!loop_timer_active(s->timer))
        loop_timer_start(s->timer, LIMIT_EXEC_KEPT_MS, 0);
    if (event_log_bytes(e->log) + spill_len(&e->kept) >= LARGE_LOG_BYTES)
        exec_store_trim_heap(s);
    exec_store_trim(s);
}

void exec_store_trim(struct exec_store *s)
{
    bool full = false;
    if (s->logs.memory_bytes > LIMIT_LOGS_MEMORY_BYTES) {
        struct exec *e;
        DL_FOREACH (s->finished, e) {
            full = exec_spill(e) < 0;
            if (full || s->logs.memory_bytes <= LIMIT_LOGS_MEMORY_BYTES / 2)
                break;
        }
    }
    while (full && s->finished && s->logs.memory_bytes > LIMIT_LOGS_MEMORY_BYTES)
        expire(s, s->finished);
    /* Those with readers expire too: their readers keep what they hold, and the sum is a bound on
     * what can still be asked for. */
    while (s->finished && s->logs.memory_bytes + s->logs.file_bytes > s->cfg.total_output_bytes)
        expire(s, s->finished);
}

void exec_store_hold(struct exec_store *s, struct exec *e)
{
    e->readers++;
    s->n_readers++;
}

int exec_store_room(const struct exec_store *s, const struct exec *e, struct err *err)
{
    if (s->n_readers >= LIMIT_ALL_READERS)
        return err_set(err, ERR_LIMIT, "%d clients read or wait for executions of this sandbox",
                       LIMIT_ALL_READERS);
    if (e && e->readers >= LIMIT_READERS)
        return err_set(err, ERR_LIMIT, "execution %s has %d readers already", e->id, LIMIT_READERS);
    return 0;
}

void exec_store_release(struct exec_store *s, struct exec *e)
{
    s->n_readers--;
    e->readers--;
    if (e->readers == 0 && e->expired)
        exec_free(e);
}

struct exec *exec_store_next(const struct exec_store *s, const struct exec *after,
                             const char *state)
{
    /* uthash keeps the order of insertion: backwards is newest first. */
    struct exec *e = s->all ? ELMT_FROM_HH(s->all->hh.tbl, s->all->hh.tbl->tail) : NULL;
    if (after && !after->expired)
        e = after->hh.prev;
    while (e && ((after && e->number >= after->number) ||
                 (state && strcmp(exec_state_name(e->state), state) != 0)))
        e = e->hh.prev;
    return e;
}
