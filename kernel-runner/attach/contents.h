#pragma once
#include "lib/http/http.h"

/*
 * Jupyter Server's contents API over the sandbox's files: handlers whose ctx is a struct runner, of
 * routes whose last part, if any, is {path...}. Bodies: PUT is HTTP_BODY_STREAM without a bound
 * (it has its own, LIMIT_CONTENTS_BYTES), POST and PATCH are buffered.
 */
void contents_get(void *ctx, struct http_request *req);
void contents_post(void *ctx, struct http_request *req);
void contents_put(void *ctx, struct http_request *req);
void contents_patch(void *ctx, struct http_request *req);
void contents_delete(void *ctx, struct http_request *req);
