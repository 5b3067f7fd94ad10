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
    struct hub_spill spill;
    struct send_room *send_room;
    size_t gather_left;
    struct loop_defer *later;
    char removing[LIMIT_KERNELS][ID_UUID_SIZE];
    size_t n_removing;
    bool ending;
};

static void on_later(void *ctx)
{
    struct attach *a = ctx;
    while (a->n_removing)
        runner_remove_kernel(a->runner, a->removing[--a->n_removing], NULL);
    if (a->ending)
        runner_end(a->runner, "kernel_shutdown");
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

static void on_shutdown(void *ctx, struct hub *h, bool all)
{
    struct attach *a = ctx;
    bool further = !is_main(a, hub_kernel_id(h));
    a->ending = a->ending || (all && !further);
    if (further && a->n_removing < LIMIT_KERNELS)
        memcpy(a->removing[a->n_removing++], hub_kernel_id(h), ID_UUID_SIZE);
    loop_defer_post(a->later);
}

void attach_end_kernel(struct attach *a, struct kernel *k)
{
    if (is_main(a, kernel_id(k)))
        kernel_end(k);
    else
        runner_remove_kernel(a->runner, kernel_id(k), NULL);
}

int attach_find_kernel(struct runner *r, const char *id, struct kernel **ret, struct err *err)
{
    *ret = kernel_table_find(runner_kernels(r), id);
    if (!*ret || kernel_is_ended(*ret))
        return err_set(err, ERR_NOT_FOUND, "there is no kernel \"%.40s\" here", id);
    return 0;
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
                          .spill = &a->spill,
                          .on_gone = on_hub_gone,
                          .on_shutdown = on_shutdown,
                          .ctx = a};
    a->hubs[a->n_hubs] = hub_new(&cfg);
    return a->hubs[a->n_hubs++];
}

struct send_room *attach_send_room(struct attach *a)
{
    return a->send_room;
}

size_t *attach_gather_left(struct attach *a)
{
    return &a->gather_left;
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
    a->spill = (struct hub_spill){.dir_fd = runner_spill_dir(r), .left = HUB_SPILL_BYTES};
    a->send_room = send_room_new(runner_loop(r));
    a->gather_left = LIMIT_CLIENT_GATHER_BYTES;
    a->later = loop_defer_new(runner_loop(r), on_later, a);
    runner_set_attach(r, a);
    return a;
}

struct attach *attach_free(struct attach *a)
{
    if (!a)
        return NULL;
    for (size_t i = 0; i < a->n_hubs; i++)
        hub_free(a->hubs[i]);
    send_room_free(a->send_room);
    loop_defer_free(a->later);
    runner_set_attach(a->runner, NULL);
    free(a);
    return NULL;
}
