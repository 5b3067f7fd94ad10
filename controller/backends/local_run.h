#pragma once
#include "controller/backends/local_spawn.h"
#include "lib/base/buf.h"

#include <stdbool.h>
#include <stdint.h>

/* How a helper ended. */
struct local_run {
    bool timed_out;
    int exit_code; /* valid when signal == 0 */
    int signal;
};

/*
 * Starts a helper, waits for its end and collects what it wrote to 1 and 2, as far as it fits in
 * `out`. Blocks up to deadline_ms: only for the start of the controller, before it serves. A helper
 * that is late is killed with its process group. Fails only when it could not be started.
 */
int local_run(const struct local_spawn *spawn, int64_t deadline_ms, struct buf *out,
              struct local_run *ret, struct err *err);
