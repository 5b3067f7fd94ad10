#pragma once
#include "lib/http/http.h"

/* Kernels over HTTP (API contract §4); ctx is the struct runner. */
void routes_interrupt(void *ctx, struct http_request *req);
void routes_restart(void *ctx, struct http_request *req);
void routes_kernel_list(void *ctx, struct http_request *req);
void routes_kernel_add(void *ctx, struct http_request *req);
void routes_kernel_get(void *ctx, struct http_request *req);
void routes_kernel_delete(void *ctx, struct http_request *req);

/* Names of variables for a kernel: ERR_INVALID naming "env". `env` is an object of strings. */
int routes_check_env(json_t *env, struct err *err);
