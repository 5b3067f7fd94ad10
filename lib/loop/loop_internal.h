#pragma once
#include "lib/loop/loop.h"

#include <uv.h>

struct loop {
    uv_loop_t uv;
    unsigned work_queued;
    struct loop_child *children; /* list of watched processes, for the orphan reaper */
};
