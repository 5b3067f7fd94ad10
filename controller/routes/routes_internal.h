#pragma once
#include "controller/routes/routes.h"
#include "lib/http/http.h"
#include "lib/metrics/metrics.h"

#include <stdint.h>
struct caller;
struct create_keys;
struct jupyter;
struct routes_seen;
struct sandbox;

/* What the files of this folder share. */

enum { ROUTE_OPEN = 1, ROUTE_METRICS = 2, ROUTE_PREFLIGHT = 4, ROUTE_QUIET = 8 };

struct routes {
    struct routes_cfg cfg;
    struct http_route *table; /* the rows of routes.c, and OPTIONS for each path */
    size_t n_table;
    struct create_keys *keys;
    struct jupyter *jupyter;
    struct metrics *metrics;
    struct routes_seen *seen; /* what was counted elsewhere, at the last scrape */
    int64_t started_ms;
    bool draining;
};

/* routes.c */
const struct caller *routes_caller(const struct http_request *req);
/* The sandbox {id} of the request, if this caller may use it; else answers and returns NULL. */
struct sandbox *routes_sandbox(struct routes *r, struct http_request *req);

/* routes_sandboxes.c */
void routes_create(void *ctx, struct http_request *req);
void routes_list(void *ctx, struct http_request *req);
void routes_get(void *ctx, struct http_request *req);
void routes_delete(void *ctx, struct http_request *req);

/* routes_jupyter.c: below /jupyter/, for all the caller's sandboxes */
void routes_jp_version(void *ctx, struct http_request *req);
void routes_jp_status(void *ctx, struct http_request *req);
void routes_jp_me(void *ctx, struct http_request *req);
void routes_jp_terminals(void *ctx, struct http_request *req);
void routes_jp_specs(void *ctx, struct http_request *req);
void routes_jp_spec(void *ctx, struct http_request *req);
void routes_jp_resource(void *ctx, struct http_request *req);
void routes_jp_kernels(void *ctx, struct http_request *req);
void routes_jp_kernel_create(void *ctx, struct http_request *req);
void routes_jp_kernel(void *ctx, struct http_request *req); /* passed on to its runner */
void routes_jp_kernel_delete(void *ctx, struct http_request *req);
void routes_jp_channels(void *ctx, struct http_request *req);
void routes_jp_sessions(void *ctx, struct http_request *req);
void routes_jp_session_create(void *ctx, struct http_request *req);
void routes_jp_session_get(void *ctx, struct http_request *req);
void routes_jp_session_patch(void *ctx, struct http_request *req);
void routes_jp_session_delete(void *ctx, struct http_request *req);
/* … and of one */
void routes_box_channels(void *ctx, struct http_request *req);

/* routes_status.c */
void routes_healthz(void *ctx, struct http_request *req);
void routes_readyz(void *ctx, struct http_request *req);
void routes_metrics(void *ctx, struct http_request *req);
struct metrics *routes_metrics_new(void);
struct routes_seen *routes_seen_new(void);
void routes_observe(struct routes *r, int status, int64_t duration_us);
