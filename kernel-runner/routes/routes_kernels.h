#pragma once
struct http_request;

/* Kernels over HTTP (API contract §4); ctx is the struct runner. */
void routes_interrupt(void *ctx, struct http_request *req);
void routes_restart(void *ctx, struct http_request *req);
void routes_kernel_list(void *ctx, struct http_request *req);
void routes_kernel_add(void *ctx, struct http_request *req);
void routes_kernel_get(void *ctx, struct http_request *req);
void routes_kernel_delete(void *ctx, struct http_request *req);
