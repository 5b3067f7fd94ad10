#pragma once
struct http_request;

/* Executions over HTTP (API contract §4); ctx is the struct runner. */
void routes_execute(void *ctx, struct http_request *req);
void routes_exec_list(void *ctx, struct http_request *req);
void routes_exec_get(void *ctx, struct http_request *req);
void routes_exec_events(void *ctx, struct http_request *req);
void routes_exec_cancel(void *ctx, struct http_request *req);
void routes_exec_input(void *ctx, struct http_request *req);
