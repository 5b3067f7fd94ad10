/* Work on the pool cannot be taken back, so a job that nobody waits for ends alone. */
#include "kernel-runner/files/file_job.h"

#include "lib/base/mem.h"

struct file_job {
    const struct file_job_type *type;
    void *data;
    bool detached; /* the loop's thread only */
};

static void on_work(void *ctx)
{
    struct file_job *j = ctx;
    j->type->work(j->data);
}

static void on_done(void *ctx)
{
    struct file_job *j = ctx;
    if (!j->detached)
        j->type->done(j->data);
    j->type->free_data(j->data);
    free(j);
}

int file_job_start(struct file_job **ret, struct loop *loop, const struct file_job_type *type,
                   void *data_take, struct err *err)
{
    struct file_job *j = MEM_NEW(struct file_job);
    j->type = type;
    j->data = data_take;
    int r = loop_work(loop, on_work, on_done, j, err);
    if (r < 0) {
        type->free_data(data_take);
        free(j);
        return r;
    }
    *ret = j;
    return 0;
}

void file_job_detach(struct file_job *j)
{
    if (j)
        j->detached = true;
}
