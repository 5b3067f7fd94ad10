/*
 * A hub lives as long as its kernel. Kernels that end by a client's message are removed in the next
 * turn: the message is told from inside the kernel.
 */
#include "kernel-runner/attach/attach.h"

#include "lib/api/limits.h"
#include "lib/base/mem.h"

struct attach {
    struct runner *runner;
    struct hub *hubs[LIMIT_KERNELS];
    size_t n_hubs;
    struct loop_defer *remove_later;
    char removing[LIMIT_KERNELS][ID_UUID_SIZE];
    size_t n_removing;
};

static void on_remove(void *ctx)
{
    struct attach *a = ctx;
    while (a->n_removing)
        runner_remove_kernel(a->runner, a->removing[--a->n_removing], NULL);
}

static size_t index_of(const struct attach *a, const char *kernel_id)
{
    size_t i = 0;
    while (i < a->n_hubs && strcmp(hub_kernel_id(a->hubs[i]), kernel_id) != 0)
        i++;
    return i;
}

static void on_hub_gone(void *ctx, struct hub *h)
{
    struct attach *a = ctx;
    size_t i = index_of(a, hub_kernel_id(h));
    memmove(&a->hubs[i], &a->hubs[i + 1], (a->n_hubs - i - 1) * sizeof(*a->hubs));
    a->n_hubs--;
    hub_free(h);
}

static bool is_main(const struct attach *a, const char *id)
{
    const struct kernel *k = kernel_table_main(runner_kernels(a->runner));
    return strcmp(kernel_id(k), id) == 0;
}

static void remove_later(struct attach *a, const char *id)
{
    if (a->n_removing == LIMIT_KERNELS)
        return;
    memcpy(a->removing[a->n_removing++], id, ID_UUID_SIZE);
    loop_defer_post(a->remove_later);
}

static void on_shutdown(void *ctx, struct hub *h, bool all)
{
    struct attach *a = ctx;
    if (!is_main(a, hub_kernel_id(h)))
        remove_later(a, hub_kernel_id(h));
    else if (all)
        runner_end(a->runner, "kernel_shutdown");
}

void attach_end_kernel(struct attach *a, struct kernel *k, bool all)
{
    if (!is_main(a, kernel_id(k)))
        remove_later(a, kernel_id(k));
    else if (all)
        runner_end(a->runner, "kernel_shutdown");
    else
        kernel_end(k);
}

struct hub *attach_hub(struct attach *a, struct kernel *k)
{
    size_t i = index_of(a, kernel_id(k));
    if (i < a->n_hubs)
        return a->hubs[i];
    struct exec_queue *queue = NULL;
    runner_queue(a->runner, kernel_id(k), &queue, NULL);
    struct hub_cfg cfg = {.runner = a->runner,
                          .kernel = k,
                          .queue = queue,
                          .on_gone = on_hub_gone,
                          .on_shutdown = on_shutdown,
                          .ctx = a};
    a->hubs[a->n_hubs] = hub_new(&cfg);
    return a->hubs[a->n_hubs++];
}

unsigned attach_connections(const struct attach *a, const struct kernel *k)
{
    size_t i = index_of(a, kernel_id(k));
    return i < a->n_hubs ? hub_connections(a->hubs[i]) : 0;
}

void attach_close_all(struct attach *a)
{
    for (size_t i = 0; i < a->n_hubs; i++)
        hub_close_all(a->hubs[i], 1001, "the sandbox is ending");
}

struct attach *attach_new(struct runner *r)
{
    struct attach *a = MEM_NEW(struct attach);
    a->runner = r;
    a->remove_later = loop_defer_new(runner_loop(r), on_remove, a);
    runner_set_attach(r, a);
    return a;
}

struct attach *attach_free(struct attach *a)
{
    if (!a)
        return NULL;
    for (size_t i = 0; i < a->n_hubs; i++)
        hub_free(a->hubs[i]);
    loop_defer_free(a->remove_later);
    runner_set_attach(a->runner, NULL);
    free(a);
    return NULL;
}
