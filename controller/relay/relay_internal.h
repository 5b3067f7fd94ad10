#pragma once
/* What the files of this folder share. */
#include "controller/relay/relay.h"
#include "lib/base/err.h"

#include <stdbool.h>

struct relay_call;
struct relay_tunnel;

#define RELAY_SCRATCH  KIB(64)
#define RELAY_DRAIN_MS 2000 /* a runner that is gone, but whose connection stays silent */

struct relay {
    struct loop *loop;
    struct httpc *http;
    int64_t deadline_ms;
    struct relay_call *calls;
    struct relay_tunnel *tunnels;
    struct relay_stats stats;
    char *scratch;   /* RELAY_SCRATCH bytes, for the time of one callback */
    bool no_tunnels; /* draining */
};

/* Why the sandbox is not there any more, as a client is told. gone: what its watch said, if any. */
void relay_lost_err(const struct err *gone, struct err *err);
