/*
 * Why: the API on one screen. Every path there is stands in `rows`; what is not here cannot be
 * reached, in particular no internal path of a runner. Before any handler: the name we were called
 * by (Host), the page that asks (Origin), then the caller (token).
 */
#include "controller/routes/routes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controller/auth/auth.h"
#include "controller/auth/hosts.h"
#include "controller/jupyter/jupyter.h"
#include "controller/pool/create_keys.h"
#include "controller/relay/relay.h"
#include "controller/routes/routes_internal.h"
#include "controller/sandbox/sandbox_table.h"
#include "controller/web/web.h"
#include "lib/api/jupyter_problem.h"
#include "lib/api/limits.h"
#include "lib/base/clk.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"

static void plain(void *ctx, struct http_request *req);
static void file(void *ctx, struct http_request *req);
static void execute(void *ctx, struct http_request *req);
static void events(void *ctx, struct http_request *req);

#define NONE   HTTP_BODY_NONE, 0
#define JSON   HTTP_BODY_BUFFER, SANDBOX_BODY_MAX
#define STREAM HTTP_BODY_STREAM, 0
#define SHORT  HTTP_BODY_STREAM, LIMIT_JSON_BODY_BYTES /* passed on; bounds are the runner's */
#define LONG   HTTP_BODY_STREAM, LIMIT_EXECUTE_BODY_BYTES
#define BOX    "/api/sandboxes/{id}"

static const struct http_route rows[] = {
    {"POST", "/api/sandboxes", JSON, routes_create},
    {"GET", "/api/sandboxes", NONE, routes_list},
    {"GET", BOX, NONE, routes_get},
    {"DELETE", BOX, NONE, routes_delete},

    /* The runner's, below the sandbox's own path. */
    {"POST", BOX "/execute", LONG, execute},
    {"GET", BOX "/executions", NONE, plain},
    {"GET", BOX "/executions/{eid}", NONE, plain},
    {"GET", BOX "/executions/{eid}/events", NONE, events},
    {"POST", BOX "/executions/{eid}/cancel", SHORT, plain},
    {"POST", BOX "/executions/{eid}/input", LONG, plain},
    {"POST", BOX "/interrupt", SHORT, plain},
    {"POST", BOX "/restart", SHORT, plain},
    {"GET", BOX "/kernels", NONE, plain},
    {"POST", BOX "/kernels", LONG, plain},
    {"GET", BOX "/kernels/{kid}", NONE, plain},
    {"DELETE", BOX "/kernels/{kid}", NONE, plain},
    {"GET", BOX "/files", NONE, plain},
    {"GET", BOX "/files/{path...}", NONE, file},
    {"PUT", BOX "/files/{path...}", STREAM, file},
    {"DELETE", BOX "/files/{path...}", NONE, file},
    {"GET", BOX "/jupyter/files/{path...}", NONE, file},
    {"GET", BOX "/jupyter/api/contents", NONE, file},
    {"POST", BOX "/jupyter/api/contents", STREAM, file},
    {"GET", BOX "/jupyter/api/contents/{path...}", NONE, file},
    {"POST", BOX "/jupyter/api/contents/{path...}", STREAM, file},
    {"PUT", BOX "/jupyter/api/contents/{path...}", STREAM, file},
    {"PATCH", BOX "/jupyter/api/contents/{path...}", STREAM, file},
    {"DELETE", BOX "/jupyter/api/contents/{path...}", NONE, file},

    /* Jupyter Server's API for one sandbox: its runner's. */
    {"GET", BOX "/jupyter/", NONE, plain},
    {"GET", BOX "/jupyter/api", NONE, plain},
    {"GET", BOX "/jupyter/api/status", NONE, plain},
    {"GET", BOX "/jupyter/api/me", NONE, plain},
    {"GET", BOX "/jupyter/api/terminals", NONE, plain},
    {"GET", BOX "/jupyter/api/kernelspecs", NONE, plain},
    {"GET", BOX "/jupyter/api/kernelspecs/{name}", NONE, plain},
    {"GET", BOX "/jupyter/kernelspecs/{name}/{file}", NONE, plain},
    {"GET", BOX "/jupyter/api/kernels", NONE, plain},
    {"POST", BOX "/jupyter/api/kernels", LONG, plain},
    {"GET", BOX "/jupyter/api/kernels/{kid}", NONE, plain},
    {"DELETE", BOX "/jupyter/api/kernels/{kid}", NONE, plain},
    {"POST", BOX "/jupyter/api/kernels/{kid}/interrupt", SHORT, plain},
    {"POST", BOX "/jupyter/api/kernels/{kid}/restart", SHORT, plain},
    {"GET", BOX "/jupyter/api/kernels/{kid}/channels", NONE, routes_box_channels},
    {"GET", BOX "/jupyter/api/sessions", NONE, plain},
    {"POST", BOX "/jupyter/api/sessions", SHORT, plain},
    {"GET", BOX "/jupyter/api/sessions/{sid}", NONE, plain},
    {"PATCH", BOX "/jupyter/api/sessions/{sid}", SHORT, plain},
    {"DELETE", BOX "/jupyter/api/sessions/{sid}", NONE, plain},

    /* … and for all the caller's sandboxes. */
    {"GET", "/jupyter/", NONE, routes_jp_version}, /* VS Code looks here */
    {"GET", "/jupyter/api", NONE, routes_jp_version},
    {"GET", "/jupyter/api/status", NONE, routes_jp_status},
    {"GET", "/jupyter/api/me", NONE, routes_jp_me},
    {"GET", "/jupyter/api/terminals", NONE, routes_jp_terminals},
    {"GET", "/jupyter/api/kernelspecs", NONE, routes_jp_specs},
    {"GET", "/jupyter/api/kernelspecs/{name}", NONE, routes_jp_spec},
    {"GET", "/jupyter/kernelspecs/{name}/{file}", NONE, routes_jp_resource},
    {"GET", "/jupyter/api/kernels", NONE, routes_jp_kernels},
    {"POST", "/jupyter/api/kernels", JSON, routes_jp_kernel_create},
    {"GET", "/jupyter/api/kernels/{kid}", NONE, routes_jp_kernel},
    {"DELETE", "/jupyter/api/kernels/{kid}", NONE, routes_jp_kernel_delete},
    {"POST", "/jupyter/api/kernels/{kid}/interrupt", SHORT, routes_jp_kernel},
    {"POST", "/jupyter/api/kernels/{kid}/restart", SHORT, routes_jp_kernel},
    {"GET", "/jupyter/api/kernels/{kid}/channels", NONE, routes_jp_channels},
    {"GET", "/jupyter/api/sessions", NONE, routes_jp_sessions},
    {"POST", "/jupyter/api/sessions", JSON, routes_jp_session_create},
    {"GET", "/jupyter/api/sessions/{sid}", NONE, routes_jp_session_get},
    {"PATCH", "/jupyter/api/sessions/{sid}", JSON, routes_jp_session_patch},
    {"DELETE", "/jupyter/api/sessions/{sid}", NONE, routes_jp_session_delete},

    {"GET", "/", NONE, web_index},
    {"GET", "/openapi.json", NONE, web_openapi},
    {"GET", "/healthz", NONE, routes_healthz, ROUTE_OPEN | ROUTE_QUIET},
    {"GET", "/readyz", NONE, routes_readyz, ROUTE_OPEN | ROUTE_QUIET},
    {"GET", "/metrics", NONE, routes_metrics, ROUTE_METRICS | ROUTE_QUIET},
};

/* ---- what is passed on ---- */

const struct caller *routes_caller(const struct http_request *req)
{
    return http_data(req);
}

struct sandbox *routes_sandbox(struct routes *r, struct http_request *req)
{
    const char *id = http_param(req, "id");
    struct sandbox *sb = NULL;
    struct err err = {0};
    if (sandbox_table_get(r->cfg.table, id, caller_owner_filter(routes_caller(req)), &sb, &err) < 0)
        http_answer_err(req, &err);
    return sb;
}

static void pass_on(struct routes *r, struct http_request *req, enum relay_kind kind)
{
    struct sandbox *sb = routes_sandbox(r, req);
    if (sb)
        relay_request(r->cfg.relay, req, sb, kind);
}

static void plain(void *ctx, struct http_request *req)
{
    pass_on(ctx, req, RELAY_PLAIN);
}

static void file(void *ctx, struct http_request *req)
{
    pass_on(ctx, req, RELAY_FILE);
}

static void execute(void *ctx, struct http_request *req)
{
    pass_on(ctx, req, RELAY_EXECUTE);
}

static void events(void *ctx, struct http_request *req)
{
    pass_on(ctx, req, RELAY_EVENTS);
}

/* ---- before and after ---- */

static void set_cors(const struct routes *r, struct http_request *req)
{
    const char *origin = http_header(req, "Origin");
    if (!origin || !auth_origin_is_allowed(r->cfg.auth, origin))
        return;
    http_set_header(req, "Access-Control-Allow-Origin", origin);
    http_set_header(req, "Vary", "Origin");
    http_set_header(req, "Access-Control-Expose-Headers",
                    "Location, ETag, Content-Range, Retry-After, X-Request-Id");
}

/* OPTIONS: a browser asks whether a page of another origin may call. */
static void preflight(void *ctx, struct http_request *req)
{
    if (http_header(req, "Access-Control-Request-Method")) {
        http_set_header(req, "Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE");
        http_set_header(req, "Access-Control-Allow-Headers",
                        "Authorization, Content-Type, Accept, Idempotency-Key, Prefer, "
                        "Last-Event-ID, Range, If-Range, If-Match, If-None-Match, X-Request-Id, "
                        "X-XSRFToken");
        http_set_header(req, "Access-Control-Max-Age", "600");
    }
    http_answer_empty(req, 204);
}

static int before(void *ctx, struct http_request *req, const struct http_route *route,
                  struct err *err)
{
    struct routes *r = ctx;
    const struct caller *caller = NULL;
    unsigned flags = route ? route->flags : 0;
    int result = hosts_check(r->cfg.hosts, http_authority(req), err);
    if (result == 0)
        result =
            auth_check_origin(r->cfg.auth, http_header(req, "Origin"), http_authority(req), err);
    if (result < 0)
        return result;
    set_cors(r, req);
    if ((flags & (ROUTE_OPEN | ROUTE_PREFLIGHT)) ||
        ((flags & ROUTE_METRICS) && r->cfg.metrics_open))
        return 0;
    result = auth_identify(r->cfg.auth, http_header(req, "Authorization"), http_query(req, "token"),
                           &caller, err);
    if (result < 0)
        return result;
    /* The pointer is given back as it came. */
    union {
        const struct caller *in;
        void *out;
    } data = {.in = caller};
    http_set_data(req, data.out);
    /* They tell of everybody's sandboxes. */
    if ((flags & ROUTE_METRICS) && !caller->admin)
        return err_set(err, ERR_FORBIDDEN,
                       "only an admin may read this; --metrics-open would serve it to all");
    return 0;
}

static void after(void *ctx, struct http_request *req, int status, int64_t duration_us)
{
    struct routes *r = ctx;
    const struct http_route *route = http_route_of(req);
    const struct caller *caller = routes_caller(req);
    char code[16], ms[32];
    bool quiet = route && (route->flags & ROUTE_QUIET) && status < 500;
    routes_observe(r, status, duration_us);
    if (log_level_get() < (quiet ? LOG_DEBUG : LOG_INFO))
        return;
    snprintf(code, sizeof(code), "%d", status);
    snprintf(ms, sizeof(ms), "%.3f", (double)duration_us / 1000.0);
    /* Never the query: it may hold a token. */
    log_event(quiet ? LOG_DEBUG : LOG_INFO, "request", "request", http_request_id(req), "method",
              http_method(req), "path", http_path(req), "status", code, "ms", ms, "caller",
              caller ? caller->name : NULL, NULL);
}

static void problem(void *ctx, const struct http_request *req, json_t *problem)
{
    if (jupyter_path(http_path(req)))
        jupyter_problem(problem);
}

static void shortage(void *ctx, const struct http_shortage *since)
{
    char reason[200];
    http_shortage_text(since, reason, sizeof(reason));
    log_event(LOG_WARN, "connections_short", "reason", reason, NULL);
}

/* ---- life ---- */

static void build_table(struct routes *r)
{
    r->table = MEM_NEW_N(struct http_route, ARRAY_LEN(rows) * 2);
    memcpy(r->table, rows, sizeof(rows));
    r->n_table = ARRAY_LEN(rows);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        bool again = false;
        for (size_t j = 0; j < i; j++)
            again = again || strcmp(rows[j].path, rows[i].path) == 0;
        if (!again)
            r->table[r->n_table++] =
                (struct http_route){"OPTIONS", rows[i].path, NONE, preflight, ROUTE_PREFLIGHT};
    }
}

int routes_new(struct routes **ret, const struct routes_cfg *cfg, struct err *err)
{
    struct routes *r = MEM_NEW(struct routes);
    r->cfg = *cfg;
    r->keys = create_keys_new(cfg->table, cfg->pool);
    const struct jupyter_cfg jupyter = {
        .table = cfg->table, .pool = cfg->pool, .relay = cfg->relay, .keys = r->keys};
    r->jupyter = jupyter_new(&jupyter);
    r->metrics = routes_metrics_new();
    r->seen = routes_seen_new();
    r->started_ms = clk_mono_ms();
    build_table(r);
    *ret = r;
    return 0;
}

struct routes *routes_free(struct routes *r)
{
    if (!r)
        return NULL;
    jupyter_free(r->jupyter);
    create_keys_free(r->keys);
    metrics_free(r->metrics);
    free(r->seen);
    free(r->table);
    free(r);
    return NULL;
}

void routes_serve(struct routes *r, struct http_server_cfg *cfg)
{
    cfg->routes = r->table;
    cfg->n_routes = r->n_table;
    cfg->ctx = r;
    cfg->before = before;
    cfg->after = after;
    cfg->problem = problem;
    cfg->shortage = shortage;
}

void routes_drain(struct routes *r)
{
    r->draining = true;
    relay_drain_tunnels(r->cfg.relay);
}
