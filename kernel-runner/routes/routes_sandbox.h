#pragma once
struct http_request;

/* The runner's own rows, called by controllers and probes only; ctx is the struct runner. */
void routes_healthz(void *ctx, struct http_request *req);
/*
 * `?wait_ms=N` (at most 120,000): 200 as soon as the main kernel takes requests; 502
 * sandbox_failed when it is dead; 503 when neither came in time.
 */
void routes_readyz(void *ctx, struct http_request *req);
void routes_metrics(void *ctx, struct http_request *req);
void routes_sandbox(void *ctx, struct http_request *req);
/* Gives a warm sandbox its identity: {owner, name?, labels?, env?, …_s?}; answers when env is set.
 */
void routes_claim(void *ctx, struct http_request *req);
