#pragma once
#include "lib/base/cleanup.h"
#include "lib/base/err.h"

#include <stdint.h>
struct http_request;
struct httpc;
struct loop;
struct sandbox;

/*
 * Passes a request to a sandbox's runner and its answer back, streaming both ways with bounded
 * buffers. Knows which execution a request is about, so that a client that left, a runner that
 * died and a request that came twice have the effect the API promises.
 */
struct relay;

struct relay_cfg {
    struct loop *loop; /* borrowed, as all here */
    struct httpc *http;
    int64_t deadline_ms; /* of RELAY_PLAIN requests; default 120000 */
    int64_t patience_ms; /* how long a broken connection to an execution is tried again; 15000 */
};

int relay_new(struct relay **ret, const struct relay_cfg *cfg, struct err *err);
/* Every relayed request must be over (http_server_free() sees to that). NULL ok. */
struct relay *relay_free(struct relay *r);

/* Can it be asked at all? Else why not. */
int relay_usable(const struct sandbox *sb, struct err *err);

enum relay_kind {
    RELAY_PLAIN,   /* one question, one answer, in bounded time */
    RELAY_FILE,    /* bodies of any length */
    RELAY_EXECUTE, /* POST …/execute: gets its execution's id here */
    RELAY_EVENTS,  /* GET …/executions/{eid}/events */
};

/*
 * Answers `req` from the runner of `sb`, which the caller was allowed to use. Routes of requests
 * with a body must have HTTP_BODY_STREAM. Sets the request's on_gone and on_close.
 */
void relay_request(struct relay *r, struct http_request *req, struct sandbox *sb,
                   enum relay_kind kind);

/*
 * A GET that asks for a WebSocket: passes it to the runner of `sb`, and from the runner's 101 on
 * the bytes both ways, at the pace of the slower side. The runner's other answers are given back.
 * As relay_request() otherwise; the request's end is the tunnel's.
 */
void relay_tunnel(struct relay *r, struct http_request *req, struct sandbox *sb);
/* The controller stops: closes all tunnels, so that clients go elsewhere, and opens no more. */
void relay_drain_tunnels(struct relay *r);

struct relay_stats {
    unsigned open;        /* requests being relayed */
    unsigned tunnels;     /* open WebSockets */
    uint64_t bytes_up;    /* of tunnels, to runners */
    uint64_t bytes_down;  /* … to clients */
    uint64_t retried;     /* sent again, or attached to again */
    uint64_t lost;        /* ended with sandbox_lost, as an answer or as an event */
    uint64_t client_gone; /* executions whose client left */
};
void relay_stats(const struct relay *r, struct relay_stats *ret);

DEFINE_CLEANUP(struct relay *, relay_free)
