#pragma once
struct http_request;

/*
 * The rows of the file API; the get row serves HEAD too. Paths are "/files" and
 * "/files/{path...}"; the put row has HTTP_BODY_STREAM, the others no body.
 */
void routes_files_list(void *ctx, struct http_request *req);
void routes_files_get(void *ctx, struct http_request *req);
void routes_files_put(void *ctx, struct http_request *req);
void routes_files_delete(void *ctx, struct http_request *req);
