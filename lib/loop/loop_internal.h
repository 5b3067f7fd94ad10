#pragma once
#include "lib/loop/loop.h"

#include <uv.h>

struct loop {
    uv_loop_t uv;
    unsigned work_queued;
    uv_idle_t posts_idle; /* active while there are posts */
    struct loop_post *posts;
    size_t n_posts;
    struct loop_child *children; /* list of watched processes, for the orphan reaper */
};
