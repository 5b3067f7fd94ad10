/* The one place that knows what a handler's ctx is, for handlers that need only a part of it. */
#include "kernel-runner/routes/runner_ctx.h"

#include "kernel-runner/core/runner.h"

struct file_root *runner_files(void *ctx)
{
    return runner_file_root(ctx);
}
