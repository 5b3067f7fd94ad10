/* The list of kernels, and what the watchdog over their memory asks of it. */
#include "kernel-runner/kernel/kernel_table.h"

#include "lib/api/limits.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"

#include <inttypes.h>
#include <string.h>

struct kernel_table {
    struct kernel_table_cfg cfg;
    struct kernel *items[LIMIT_KERNELS];
    size_t len;
    unsigned next_number;
    json_t *env;
    struct mem_watch *watch; /* NULL: no limit of memory */
};

/* ---- for the watchdog ---- */

static uint64_t known(void *ctx)
{
    const struct kernel_table *t = ctx;
    return t->cfg.held(t->cfg.held_ctx);
}

static bool any_busy(void *ctx)
{
    const struct kernel_table *t = ctx;
    for (size_t i = 0; i < t->len; i++)
        if (kernel_state(t->items[i]) != KERNEL_IDLE && kernel_state(t->items[i]) != KERNEL_DEAD)
            return true;
    return false;
}

static size_t watched(void *ctx, struct mem_root *out, size_t max)
{
    const struct kernel_table *t = ctx;
    size_t n = 0;
    for (; n < t->len && n < max; n++) {
        const struct kernel *k = t->items[n];
        out[n] = (struct mem_root){.generation = kernel_generation(k), .pid = kernel_pid(k)};
        memcpy(out[n].id, kernel_id(k), strlen(kernel_id(k)) + 1);
    }
    return n;
}

static bool kill_watched(void *ctx, const struct mem_root *whom, uint64_t bytes)
{
    struct kernel *k = kernel_table_find(ctx, whom->id);
    char text[32];
    if (!k || kernel_generation(k) != whom->generation || kernel_pid(k) == 0)
        return false;
    snprintf(text, sizeof(text), "%" PRIu64, bytes);
    log_event(LOG_WARN, "memory_limit", "kernel", kernel_id(k), "bytes", text, NULL);
    kernel_kill_oom(k);
    return true;
}

static bool was_oom(void *ctx)
{
    const struct kernel_table *t = ctx;
    return t->watch && mem_watch_was_oom(t->watch);
}

void kernel_table_hurry(struct kernel_table *t)
{
    mem_watch_hurry(t->watch);
}

static struct mem_watch *watch_new(struct kernel_table *t)
{
    struct mem_watch_cfg cfg = {.known = t->cfg.held ? known : NULL,
                                .loop = t->cfg.loop,
                                .cgroup = t->cfg.cgroup,
                                .limit_bytes = t->cfg.memory_bytes,
                                .is_init = t->cfg.kernel->is_init,
                                .files = {t->cfg.kernel->cwd, "/tmp", "/run"},
                                .busy = any_busy,
                                .roots = watched,
                                .kill = kill_watched,
                                .ctx = t};
    return mem_watch_new(&cfg);
}

/* ---- the list ---- */

int kernel_table_new(struct kernel_table **ret, const struct kernel_table_cfg *cfg, struct err *err)
{
    struct kernel_table *t = MEM_NEW(struct kernel_table);
    t->cfg = *cfg;
    t->env = json_object();
    if (cfg->memory_bytes)
        t->watch = watch_new(t);
    *ret = t;
    return 0;
}

struct kernel_table *kernel_table_free(struct kernel_table *t)
{
    if (!t)
        return NULL;
    while (t->len)
        kernel_free(t->items[--t->len]);
    mem_watch_free(t->watch);
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
                                 .was_oom = was_oom,
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
        kernel_delete(k);
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
