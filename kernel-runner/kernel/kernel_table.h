#pragma once
#include "kernel-runner/kernel/kernel.h"
#include "kernel-runner/kernel/mem_watch.h"

/*
 * The kernels of this sandbox: number 0 is the main one, at most LIMIT_KERNELS in all; numbers of
 * further ones are not used again. When they hold more than `memory_bytes` together, the one with
 * the largest part is killed (mem_watch.h).
 */
struct kernel_table;

struct kernel_table_cfg {
    struct loop *loop;
    struct jp_context *jupyter;
    const struct kernel_cfg *kernel;
    char sandbox_id[ID_SANDBOX_SIZE]; /* kernel ids derive from it */
    uint64_t memory_bytes;            /* 0: no watchdog */
    const struct mem_cgroup *cgroup;  /* what counts memory; NULL: the watchdog does */
    uint64_t (*held)(void *ctx);      /* what the program holds for callers; NULL: nothing */
    void *held_ctx;
};

int kernel_table_new(struct kernel_table **ret, const struct kernel_table_cfg *cfg,
                     struct err *err);
struct kernel_table *kernel_table_free(struct kernel_table *t);

/* Starts a kernel (the first one added is the main one). -ERR_LIMIT when there are too many. */
int kernel_table_add(struct kernel_table *t, const char *cwd, json_t *env, struct kernel **ret,
                     struct err *err);
void kernel_table_remove(struct kernel_table *t, struct kernel *k); /* kernel_delete() */
struct kernel *kernel_table_main(struct kernel_table *t);
struct kernel *kernel_table_find(struct kernel_table *t, const char *id); /* NULL: none */
size_t kernel_table_count(const struct kernel_table *t);
struct kernel *kernel_table_at(struct kernel_table *t, size_t i);
/*
 * Something begins to run: memory is looked at every 100 ms instead of every second, since a busy
 * kernel can fill it within the slow beat.
 */
void kernel_table_hurry(struct kernel_table *t);
/* Every kernel now and later started gets these variables. */
void kernel_table_set_env(struct kernel_table *t, json_t *env_borrowed);
