#pragma once
#include "kernel-runner/core/runner.h"
#include "lib/http/http.h"

/* Jupyter Server's REST API over this sandbox, below /jupyter/; ctx is the struct runner. */
void jupyter_index(void *ctx, struct http_request *req);
void jupyter_version(void *ctx, struct http_request *req);
void jupyter_status(void *ctx, struct http_request *req);
void jupyter_me(void *ctx, struct http_request *req);
void jupyter_specs(void *ctx, struct http_request *req);
void jupyter_spec(void *ctx, struct http_request *req);
void jupyter_resource(void *ctx, struct http_request *req);

void jupyter_kernel_list(void *ctx, struct http_request *req);
void jupyter_kernel_add(void *ctx, struct http_request *req);
void jupyter_kernel_get(void *ctx, struct http_request *req);
void jupyter_kernel_delete(void *ctx, struct http_request *req);
void jupyter_kernel_interrupt(void *ctx, struct http_request *req);
void jupyter_kernel_restart(void *ctx, struct http_request *req);

void jupyter_session_list(void *ctx, struct http_request *req);
void jupyter_session_add(void *ctx, struct http_request *req);
void jupyter_session_get(void *ctx, struct http_request *req);
void jupyter_session_change(void *ctx, struct http_request *req);
void jupyter_session_delete(void *ctx, struct http_request *req);

/* Shared by the two files of them. */
json_t *jupyter_kernel_model(struct runner *r, const struct kernel *k);
/* Starts a further kernel; name NULL: the default; path: the notebook it is for, or NULL. */
int jupyter_start_kernel(struct runner *r, const char *name, const char *path, json_t *env,
                         struct kernel **ret, struct err *err);
/* The body as an object whatever its Content-Type, empty when there is none. */
int jupyter_body(const struct http_request *req, json_t **ret, struct err *err);
/* A member that is a string; absent and null leave *ret. Borrowed. */
int jupyter_string(const json_t *body, const char *key, const char **ret, struct err *err);
