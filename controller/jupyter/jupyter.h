#pragma once
#include "lib/json/jsonx.h"
struct create_keys;
struct http_request;
struct relay;
struct sandbox_table;
struct warm_pool;

/*
 * Jupyter Server's API for all the sandboxes of a caller, below /jupyter/. The request's data is
 * its caller (struct caller).
 */
struct jupyter;

struct jupyter_cfg { /* all borrowed */
    struct sandbox_table *table;
    struct warm_pool *pool;
    struct relay *relay;
    struct create_keys *keys;
};

struct jupyter *jupyter_new(const struct jupyter_cfg *cfg);
/* After http_server_free(). NULL ok. */
struct jupyter *jupyter_free(struct jupyter *j);

/* Each answers its request, now or later. */
void jupyter_version(struct jupyter *j, struct http_request *req);
void jupyter_status(struct jupyter *j, struct http_request *req);
void jupyter_me(struct jupyter *j, struct http_request *req);
void jupyter_terminals(struct jupyter *j, struct http_request *req);

/* jupyter_specs.c */
void jupyter_specs(struct jupyter *j, struct http_request *req);
void jupyter_spec(struct jupyter *j, struct http_request *req);
void jupyter_resource(struct jupyter *j, struct http_request *req);

/* jupyter_lists.c */
void jupyter_kernels(struct jupyter *j, struct http_request *req);
void jupyter_sessions(struct jupyter *j, struct http_request *req);

/* jupyter_kernels.c */
void jupyter_kernel_create(struct jupyter *j, struct http_request *req);
void jupyter_kernel_delete(struct jupyter *j, struct http_request *req);
void jupyter_kernel_relay(struct jupyter *j, struct http_request *req); /* {kid} names it */
void jupyter_kernel_channels(struct jupyter *j, struct http_request *req);

/* jupyter_sessions.c */
void jupyter_session_create(struct jupyter *j, struct http_request *req);
void jupyter_session_get(struct jupyter *j, struct http_request *req);
void jupyter_session_patch(struct jupyter *j, struct http_request *req);
void jupyter_session_delete(struct jupyter *j, struct http_request *req);
