#pragma once
#include "lib/base/cleanup.h"
#include "lib/base/err.h"

#include <stdbool.h>
struct auth;
struct hosts;
struct http_server_cfg;
struct relay;
struct sandbox_table;
struct warm_pool;

/* The controller's HTTP API: who may call, what each path does. */
struct routes;

struct routes_cfg { /* all borrowed */
    const struct auth *auth;
    const struct hosts *hosts;
    struct sandbox_table *table;
    struct warm_pool *pool;
    struct relay *relay;
    bool metrics_open; /* --metrics-open */
};

int routes_new(struct routes **ret, const struct routes_cfg *cfg, struct err *err);
/* After http_server_free(). NULL ok. */
struct routes *routes_free(struct routes *r);
/* Fills in routes, ctx, before and after; leaves the limits alone. */
void routes_serve(struct routes *r, struct http_server_cfg *cfg);
/* The program is stopping: /readyz answers 503 from now on, and WebSockets are closed. */
void routes_drain(struct routes *r);

DEFINE_CLEANUP(struct routes *, routes_free)
