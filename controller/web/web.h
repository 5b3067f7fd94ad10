#pragma once
struct http_request;

/* Documents that are part of the program: handlers for "/" and "/openapi.json". */
void web_index(void *ctx, struct http_request *req);
void web_openapi(void *ctx, struct http_request *req);
