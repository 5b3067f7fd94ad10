/* Liveness, readiness, and the metrics of the controller. */
#include <string.h>

#include "controller/pool/warm_pool.h"
#include "controller/relay/relay.h"
#include "controller/routes/routes_internal.h"
#include "controller/sandbox/sandbox_table.h"
#include "lib/base/clk.h"
#include "lib/base/mem.h"

#define METRICS_MAX KIB(256)

enum {
    M_REQUESTS,
    M_REQUEST_SECONDS,
    M_SANDBOXES,
    M_WARM,
    M_STARTING,
    M_WAITING,
    M_CLAIMED,
    M_CREATED,
    M_DISCARDED,
    M_RELAYED,
    M_RETRIED,
    M_LOST,
    M_CLIENT_GONE,
    M_TUNNELS,
    M_TUNNEL_BYTES,
    M_UPTIME,
};

static const char *const status_classes[] = {"1xx", "2xx", "3xx", "4xx", "5xx", NULL};
static const char *const ways[] = {"to_runner", "to_client", NULL};
static const char *const sandbox_statuses[] = {"asking", "creating",    "warm",   "claiming",
                                               "ready",  "terminating", "failed", NULL};
static const enum sandbox_state sandbox_states[] = {
    SANDBOX_ASKING, SANDBOX_CREATING,    SANDBOX_WARM,  SANDBOX_CLAIMING,
    SANDBOX_READY,  SANDBOX_TERMINATING, SANDBOX_FAILED};
static const char *const claim_sources[] = {"warm", "cold", NULL};
static const char *const results[] = {"ok", "failed", NULL};
static const double seconds[] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                 0.25,   0.5,   1,      2.5,   5,    10,    60,   300};

static const struct metric_desc table[] = {
    [M_REQUESTS] = {"caesarion_http_requests_total", METRIC_COUNTER, "HTTP requests answered",
                    "code", status_classes},
    [M_REQUEST_SECONDS] = {"caesarion_http_request_seconds", METRIC_HISTOGRAM,
                           "Time from the headers of a request to the end of its answer",
                           .buckets = seconds, .n_buckets = ARRAY_LEN(seconds)},
    [M_SANDBOXES] = {"caesarion_sandboxes", METRIC_GAUGE, "Sandboxes by state", "state",
                     sandbox_statuses},
    [M_WARM] = {"caesarion_pool_ready", METRIC_GAUGE, "Warm sandboxes that wait for an owner"},
    [M_STARTING] = {"caesarion_pool_starting", METRIC_GAUGE, "Sandboxes being started"},
    [M_WAITING] = {"caesarion_pool_waiting", METRIC_GAUGE, "Callers that wait for a sandbox"},
    [M_CLAIMED] = {"caesarion_pool_claimed_total", METRIC_COUNTER, "Sandboxes given to callers",
                   "source", claim_sources},
    [M_CREATED] = {"caesarion_pool_started_total", METRIC_COUNTER, "Sandboxes started, by result",
                   "result", results},
    [M_DISCARDED] = {"caesarion_pool_discarded_total", METRIC_COUNTER,
                     "Warm sandboxes thrown away because they did not answer"},
    [M_RELAYED] = {"caesarion_relay_open", METRIC_GAUGE, "Requests being passed to runners"},
    [M_RETRIED] = {"caesarion_relay_retried_total", METRIC_COUNTER,
                   "Requests sent to a runner a second time"},
    [M_LOST] = {"caesarion_relay_sandbox_lost_total", METRIC_COUNTER,
                "Answers and streams that ended with sandbox_lost"},
    [M_CLIENT_GONE] = {"caesarion_relay_client_gone_total", METRIC_COUNTER,
                       "Executions whose client left before the end"},
    [M_TUNNELS] = {"caesarion_websockets_open", METRIC_GAUGE, "WebSockets of Jupyter clients"},
    [M_TUNNEL_BYTES] = {"caesarion_websocket_bytes_total", METRIC_COUNTER,
                        "Bytes passed through WebSockets", "direction", ways},
    [M_UPTIME] = {"caesarion_uptime_seconds", METRIC_GAUGE, "Time since the controller started"},
};

struct routes_seen {
    struct warm_pool_stats pool;
    struct relay_stats relay;
};

struct metrics *routes_metrics_new(void)
{
    return metrics_new(table, ARRAY_LEN(table));
}

struct routes_seen *routes_seen_new(void)
{
    return MEM_NEW(struct routes_seen);
}

void routes_observe(struct routes *r, int status, int64_t duration_us)
{
    int class = status / 100 - 1;
    if (class < 0 || class > 4)
        class = 4;
    metrics_count(r->metrics, M_REQUESTS, (unsigned)class, 1);
    /* The time of a WebSocket is not that of an answer. */
    if (class > 0)
        metrics_observe(r->metrics, M_REQUEST_SECONDS, 0, (double)duration_us / 1e6);
}

static void read_pool(struct routes *r)
{
    struct warm_pool_stats now, *was = &r->seen->pool;
    struct metrics *m = r->metrics;
    warm_pool_stats(r->cfg.pool, &now);
    metrics_set(m, M_WARM, 0, now.ready);
    metrics_set(m, M_STARTING, 0, now.starting);
    metrics_set(m, M_WAITING, 0, now.waiting);
    metrics_count(m, M_CLAIMED, 0, now.claimed_warm - was->claimed_warm);
    metrics_count(m, M_CLAIMED, 1, now.claimed_cold - was->claimed_cold);
    metrics_count(m, M_CREATED, 0, now.created_ok - was->created_ok);
    metrics_count(m, M_CREATED, 1, now.created_failed - was->created_failed);
    metrics_count(m, M_DISCARDED, 0, now.discarded - was->discarded);
    *was = now;
}

static void read_relay(struct routes *r)
{
    struct relay_stats now, *was = &r->seen->relay;
    struct metrics *m = r->metrics;
    relay_stats(r->cfg.relay, &now);
    metrics_set(m, M_RELAYED, 0, now.open);
    metrics_count(m, M_RETRIED, 0, now.retried - was->retried);
    metrics_count(m, M_LOST, 0, now.lost - was->lost);
    metrics_count(m, M_CLIENT_GONE, 0, now.client_gone - was->client_gone);
    metrics_set(m, M_TUNNELS, 0, now.tunnels);
    metrics_count(m, M_TUNNEL_BYTES, 0, now.bytes_up - was->bytes_up);
    metrics_count(m, M_TUNNEL_BYTES, 1, now.bytes_down - was->bytes_down);
    *was = now;
}

void routes_metrics(void *ctx, struct http_request *req)
{
    struct routes *r = ctx;
    struct buf out;
    read_pool(r);
    read_relay(r);
    for (unsigned i = 0; i < ARRAY_LEN(sandbox_states); i++)
        metrics_set(r->metrics, M_SANDBOXES, i,
                    (double)sandbox_table_count(r->cfg.table, sandbox_states[i]));
    metrics_set(r->metrics, M_UPTIME, 0, (double)(clk_mono_ms() - r->started_ms) / 1000.0);
    buf_init(&out, METRICS_MAX);
    metrics_render(r->metrics, &out);
    size_t len = out.len;
    http_answer_take(req, 200, METRICS_CONTENT_TYPE, buf_take(&out), len);
}

void routes_healthz(void *ctx, struct http_request *req)
{
    http_answer_json(req, 200, json_pack("{s:s}", "status", "ok"));
}

void routes_readyz(void *ctx, struct http_request *req)
{
    struct routes *r = ctx;
    struct err err = {0};
    if (r->draining) {
        err_set(&err, ERR_UNAVAILABLE, "the controller is stopping");
        http_answer_err(req, &err);
        return;
    }
    http_answer_json(req, 200, json_pack("{s:s}", "status", "ready"));
}
