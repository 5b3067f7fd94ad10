#pragma once
#include "controller/backends/local_backend.h"

/* See sandbox_backend_ops.adopt. */
int local_adopt(struct local_backend *b, int64_t deadline_ms, sandbox_backend_done_fn done,
                void *ctx, struct err *err);
void local_adopt_stop(struct local_backend *b);
