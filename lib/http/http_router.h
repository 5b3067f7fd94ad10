#pragma once
#include "lib/http/http.h"

/*
 * Finds the route of a request: pure, no allocation per match. A literal part wins over a
 * parameter, a parameter over "{path...}"; where the better path lacks the method, the others are
 * tried, so that "POST /a/upload" and "GET /a/{id}" live side by side. HEAD takes GET's route.
 */
struct http_router;

#define HTTP_PARAMS_MAX 8
#define HTTP_SEGS_MAX   16 /* parts of a route; deeper paths only match "{path...}" */

struct http_param {
    struct slice name;
    const char *text; /* escapes resolved; of {path...}: raw */
    const char *raw;
};

struct http_match {
    const struct http_route *route; /* NULL: nothing matched */
    bool path_known;                /* the path exists, with other methods: they stand in `allow` */
    char allow[128];                /* "GET, HEAD, POST" */
    size_t n_params;
    struct http_param params[HTTP_PARAMS_MAX];
};

/* `routes` must stay. Asserts on a malformed table: it is the program's own. */
struct http_router *http_router_new(const struct http_route *routes, size_t n_routes);
struct http_router *http_router_free(struct http_router *r);
/*
 * `path` is raw (no query) and must stay as long as `ret`; `scratch` has http_router_scratch(path)
 * bytes and holds the parameters. A part with a broken escape, a NUL or an encoded slash matches
 * neither literals nor parameters.
 */
size_t http_router_scratch(const char *path);
void http_router_match(const struct http_router *r, const char *method, const char *path,
                       char *scratch, struct http_match *ret);
DEFINE_CLEANUP(struct http_router *, http_router_free)
