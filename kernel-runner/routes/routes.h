#pragma once
#include "lib/http/http.h"

/* The runner's API on one screen; every handler's ctx is the struct runner. */
enum { ROUTE_OPEN = 1 /* needs no token */, ROUTE_QUIET = 2 /* not activity of the user */ };
extern const struct http_route runner_routes[];
extern const size_t runner_routes_len;
