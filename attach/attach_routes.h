#pragma once
#include "lib/jupyter/jp_guard.h"

/*
 * Who asked what: from a request's id to the identity frames of the client that sent it. Bounded;
 * the oldest go. Messages of comms, which nobody answers, have a place of their own, so that they
 * do not push out requests that wait.
 */
struct attach_routes;

#define ATTACH_ROUTES_MAX 10000
#define ATTACH_COMMS_MAX  1000

struct attach_route {
    enum jp_channel channel; /* it was asked on */
    struct slice idents[JP_IDENTS_MAX];
    size_t n_idents;
};

struct attach_routes *attach_routes_new(void);
struct attach_routes *attach_routes_free(struct attach_routes *r);
/* A request that is asked again under the same id belongs to whoever asked last. */
void attach_routes_put(struct attach_routes *r, const struct jp_request *req);
/* *ret borrows from the map until the next put. */
bool attach_routes_find(const struct attach_routes *r, const char *msg_id,
                        struct attach_route *ret);
size_t attach_routes_count(const struct attach_routes *r);
