/* A request that waits until a kernel takes requests or is dead. */
#include "kernel-runner/routes/kernel_answer.h"

#include "lib/base/mem.h"

struct kernel_waiting {
    struct http_request *req;
    struct runner *runner;
    char kernel_id[ID_UUID_SIZE];
    struct kernel_wait *wait;
    kernel_model_fn model;
    int status; /* of the good answer */
};

static void waiting_free(void *ctx)
{
    struct kernel_waiting *w = ctx;
    if (w->wait)
        kernel_wait_cancel(w->wait);
    free(w);
}

static void on_settled(void *ctx)
{
    struct kernel_waiting *w = ctx;
    struct err err;
    w->wait = NULL;
    const struct kernel *k = kernel_table_find(runner_kernels(w->runner), w->kernel_id);
    if (k && kernel_state(k) != KERNEL_DEAD) {
        http_answer_json(w->req, w->status, w->model(w->runner, k));
        return;
    }
    if (k)
        err_set(&err, ERR_SANDBOX_FAILED, "the kernel did not start. Its last words: %s",
                kernel_last_words(k));
    else
        err_set(&err, ERR_NOT_FOUND, "kernel %s was deleted", w->kernel_id);
    http_answer_err(w->req, &err);
}

void kernel_answer_when_settled(struct runner *r, struct http_request *req, struct kernel *k,
                                int status, kernel_model_fn model)
{
    struct kernel_waiting *w = MEM_NEW(struct kernel_waiting);
    w->req = req;
    w->runner = r;
    w->status = status;
    w->model = model;
    memcpy(w->kernel_id, kernel_id(k), sizeof(w->kernel_id));
    http_on_close(req, waiting_free, w);
    w->wait = kernel_wait_settled(k, on_settled, w);
}
