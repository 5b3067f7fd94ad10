/* Rows of the Jupyter API, each to its function of controller/jupyter. No logic. */
#include "controller/jupyter/jupyter.h"
#include "controller/relay/relay.h"
#include "controller/routes/routes_internal.h"

static struct jupyter *of(void *ctx)
{
    return ((struct routes *)ctx)->jupyter;
}

void routes_jp_version(void *ctx, struct http_request *req)
{
    jupyter_version(of(ctx), req);
}

void routes_jp_status(void *ctx, struct http_request *req)
{
    jupyter_status(of(ctx), req);
}

void routes_jp_me(void *ctx, struct http_request *req)
{
    jupyter_me(of(ctx), req);
}

void routes_jp_terminals(void *ctx, struct http_request *req)
{
    jupyter_terminals(of(ctx), req);
}

void routes_jp_kernels(void *ctx, struct http_request *req)
{
    jupyter_kernels(of(ctx), req);
}

void routes_jp_kernel_create(void *ctx, struct http_request *req)
{
    jupyter_kernel_create(of(ctx), req);
}

void routes_jp_kernel_delete(void *ctx, struct http_request *req)
{
    jupyter_kernel_delete(of(ctx), req);
}

void routes_jp_sessions(void *ctx, struct http_request *req)
{
    jupyter_sessions(of(ctx), req);
}

void routes_jp_session_create(void *ctx, struct http_request *req)
{
    jupyter_session_create(of(ctx), req);
}

void routes_jp_session_get(void *ctx, struct http_request *req)
{
    jupyter_session_get(of(ctx), req);
}

void routes_jp_session_patch(void *ctx, struct http_request *req)
{
    jupyter_session_patch(of(ctx), req);
}

void routes_jp_session_delete(void *ctx, struct http_request *req)
{
    jupyter_session_delete(of(ctx), req);
}

void routes_jp_kernel(void *ctx, struct http_request *req)
{
    jupyter_kernel_relay(of(ctx), req);
}

void routes_jp_channels(void *ctx, struct http_request *req)
{
    jupyter_kernel_channels(of(ctx), req);
}

void routes_jp_resource(void *ctx, struct http_request *req)
{
    jupyter_resource(of(ctx), req);
}

void routes_jp_specs(void *ctx, struct http_request *req)
{
    jupyter_specs(of(ctx), req);
}

void routes_jp_spec(void *ctx, struct http_request *req)
{
    jupyter_spec(of(ctx), req);
}

void routes_box_channels(void *ctx, struct http_request *req)
{
    struct routes *r = ctx;
    struct sandbox *sb = routes_sandbox(r, req);
    if (sb)
        relay_tunnel(r->cfg.relay, req, sb);
}
