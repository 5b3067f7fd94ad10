#pragma once
#include "lib/http/http.h"

/* Content-Type is JSON or absent; else ERR_UNSUPPORTED_MEDIA_TYPE. */
int routes_check_json(const struct http_request *req, struct err *err);
/* The body as an object; no body gives an empty object. */
int routes_json_body(const struct http_request *req, json_t **ret, struct err *err);
