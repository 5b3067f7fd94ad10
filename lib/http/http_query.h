#pragma once
#include "lib/base/cleanup.h"

/* A query string taken apart: pure. "+" is a blank; what does not decode stays as it came. */
struct http_query;
struct http_query *http_query_parse(const char *raw);
struct http_query *http_query_free(struct http_query *q);
/* The first value of that name; NULL when absent, "" when it has none. */
const char *http_query_get(const struct http_query *q, const char *name);
DEFINE_CLEANUP(struct http_query *, http_query_free)
