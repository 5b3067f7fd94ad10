/*
 * The list of kernels, and the watchdog over the memory of all processes: cheap by default (RSS
 * from /proc/PID/stat is an upper bound of PSS), exact only when that bound is over the limit.
 *
 * The runner's own memory counts above what it needs for itself: a kernel can make it grow without
 * bounds, as ZeroMQ gathers a message of any number of frames before it hands over the first. With
 * the kernel its connection goes, and with that what was gathered.
 */
#include "kernel-runner/kernel/kernel_table.h"

#include "kernel-runner/kernel/proc_table.h"
#include "lib/api/limits.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"

#include <malloc.h>
#include <string.h>

#define WATCH_BUSY_MS 100
#define WATCH_IDLE_MS 1000
/* A sanitizer holds freed memory back. */
#define OWN_BYTES    (CAESARION_SANITIZED ? MIB(512) : MIB(64))
#define OWN_GRACE_MS 2000 /* ZeroMQ closes a dead kernel's connection in its own time */

struct kernel_table {
    struct kernel_table_cfg cfg;
    struct kernel *items[LIMIT_KERNELS];
    size_t len;
    unsigned next_number;
    json_t *env;
    struct loop_timer *watch;
    int64_t watch_ms;
    int64_t own_grace_end_ms;
};

static bool any_busy(const struct kernel_table *t)
{
    for (size_t i = 0; i < t->len; i++)
        if (kernel_state(t->items[i]) == KERNEL_BUSY)
            return true;
    return false;
}

static struct kernel *owner_of(const struct kernel_table *t, const struct proc_table *procs,
                               pid_t pid, size_t *ret_index)
{
    for (size_t i = 0; i < t->len; i++) {
        pid_t root = kernel_pid(t->items[i]);
        if (root && proc_table_descends(procs, pid, root)) {
            *ret_index = i;
            return t->items[i];
        }
    }
    return NULL;
}

/* What nobody owns any more (daemons) counts against the sandbox, and to the main kernel. */
static void kill_largest(struct kernel_table *t, const struct proc_table *procs, uint64_t total)
{
    uint64_t used[LIMIT_KERNELS] = {0};
    for (size_t i = 0; i < procs->len; i++) {
        size_t index = 0;
        owner_of(t, procs, procs->entries[i].pid, &index);
        used[index] += procs->entries[i].rss_bytes;
    }
    size_t worst = 0;
    for (size_t i = 1; i < t->len; i++)
        if (used[i] > used[worst])
            worst = i;
    char text[32];
    snprintf(text, sizeof(text), "%llu", (unsigned long long)total);
    log_event(LOG_WARN, "memory_limit", "kernel", kernel_id(t->items[worst]), "bytes", text, NULL);
    kernel_kill_oom(t->items[worst]);
}

static bool counts(const struct kernel_table *t, const struct proc_table *procs,
                   const struct proc_entry *e)
{
    if (e->pid == getpid())
        return false;
    if (t->cfg.kernel->is_init)
        return true;
    size_t index;
    return owner_of(t, procs, e->pid, &index) != NULL;
}

/* What the kernels made this process hold. */
static uint64_t own_bytes(const struct kernel_table *t)
{
    if (proc_own_bytes() <= OWN_BYTES || loop_now_ms(t->cfg.loop) < t->own_grace_end_ms)
        return 0;
    malloc_trim(0);
    uint64_t own = proc_own_bytes();
    return own > OWN_BYTES ? own - OWN_BYTES : 0;
}

static void check_memory(struct kernel_table *t)
{
    struct proc_table procs;
    proc_table_read(&procs);
    uint64_t own = own_bytes(t), bound = own, exact = own;
    for (size_t i = 0; i < procs.len; i++)
        if (counts(t, &procs, &procs.entries[i]))
            bound += procs.entries[i].rss_bytes;
    if (bound > t->cfg.memory_bytes) {
        for (size_t i = 0; i < procs.len; i++)
            if (counts(t, &procs, &procs.entries[i]))
                exact += proc_pss_bytes(&procs.entries[i]);
        if (exact > t->cfg.memory_bytes && t->len > 0) {
            t->own_grace_end_ms = loop_now_ms(t->cfg.loop) + OWN_GRACE_MS;
            kill_largest(t, &procs, exact);
        }
    }
    proc_table_done(&procs);
}

static void on_watch(void *ctx)
{
    struct kernel_table *t = ctx;
    check_memory(t);
    t->watch_ms = any_busy(t) ? WATCH_BUSY_MS : WATCH_IDLE_MS;
    loop_timer_start(t->watch, t->watch_ms, 0);
}

void kernel_table_hurry(struct kernel_table *t)
{
    if (t->watch && t->watch_ms != WATCH_BUSY_MS) {
        t->watch_ms = WATCH_BUSY_MS;
        loop_timer_start(t->watch, WATCH_BUSY_MS, 0);
    }
}

int kernel_table_new(struct kernel_table **ret, const struct kernel_table_cfg *cfg, struct err *err)
{
    struct kernel_table *t = MEM_NEW(struct kernel_table);
    t->cfg = *cfg;
    t->env = json_object();
    if (cfg->memory_bytes) {
        t->watch = loop_timer_new(cfg->loop, on_watch, t);
        loop_timer_start(t->watch, WATCH_BUSY_MS, 0);
    }
    *ret = t;
    return 0;
}

struct kernel_table *kernel_table_free(struct kernel_table *t)
{
    if (!t)
        return NULL;
    while (t->len)
        kernel_free(t->items[--t->len]);
    loop_timer_free(t->watch);
    json_decref(t->env);
    free(t);
    return NULL;
}

static size_t others(void *ctx, const struct kernel *self, pid_t *out, size_t max)
{
    struct kernel_table *t = ctx;
    size_t n = 0;
    for (size_t i = 0; i < t->len && n < max; i++) {
        pid_t pid = t->items[i] == self ? 0 : kernel_pid(t->items[i]);
        if (pid)
            out[n++] = pid;
    }
    return n;
}

int kernel_table_add(struct kernel_table *t, const char *cwd, json_t *env, struct kernel **ret,
                     struct err *err)
{
    if (t->len == LIMIT_KERNELS)
        return err_set(err, ERR_LIMIT, "a sandbox has at most %d kernels; delete one first",
                       LIMIT_KERNELS);
    if (t->next_number > 0xFFF)
        return err_set(err, ERR_LIMIT, "this sandbox has started 4095 kernels; make a new sandbox");
    _cleanup_(json_decrefp) json_t *all = json_copy(t->env);
    if (env)
        json_object_update(all, env);
    char id[ID_UUID_SIZE];
    id_kernel_format(t->cfg.sandbox_id, t->next_number++, id);
    struct kernel_start start = {.loop = t->cfg.loop,
                                 .jupyter = t->cfg.jupyter,
                                 .cfg = t->cfg.kernel,
                                 .id = id,
                                 .cwd = cwd,
                                 .env = all,
                                 .others = others,
                                 .others_ctx = t};
    struct kernel *k = kernel_new(&start);
    t->items[t->len++] = k;
    *ret = k;
    return 0;
}

void kernel_table_remove(struct kernel_table *t, struct kernel *k)
{
    for (size_t i = 0; i < t->len; i++) {
        if (t->items[i] != k)
            continue;
        t->items[i] = NULL;
        memmove(&t->items[i], &t->items[i + 1], (t->len - i - 1) * sizeof(k));
        t->len--;
        kernel_free(k);
        return;
    }
}

struct kernel *kernel_table_main(struct kernel_table *t)
{
    return t->len ? t->items[0] : NULL;
}

struct kernel *kernel_table_find(struct kernel_table *t, const char *id)
{
    for (size_t i = 0; i < t->len; i++)
        if (strcmp(kernel_id(t->items[i]), id) == 0)
            return t->items[i];
    return NULL;
}

size_t kernel_table_count(const struct kernel_table *t)
{
    return t->len;
}

struct kernel *kernel_table_at(struct kernel_table *t, size_t i)
{
    return t->items[i];
}

void kernel_table_set_env(struct kernel_table *t, json_t *env)
{
    json_object_update(t->env, env);
    for (size_t i = 0; i < t->len; i++)
        kernel_set_env(t->items[i], env);
}
