/* The two documents the program carries with it; CMake embeds the files beside this one. */
#include "controller/web/web.h"

#include <stddef.h>

#include "lib/http/http.h"

extern const unsigned char web_index_html[];
extern const size_t web_index_html_len;
extern const unsigned char web_openapi_json[];
extern const size_t web_openapi_json_len;

void web_index(void *ctx, struct http_request *req)
{
    http_set_header(req, "Content-Security-Policy",
                    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; "
                    "form-action 'none'; frame-ancestors 'none'");
    http_set_header(req, "Referrer-Policy", "no-referrer"); /* the address may hold a token */
    http_set_header(req, "Cache-Control", "no-cache");
    http_answer_bytes(req, 200, "text/html; charset=utf-8", web_index_html, web_index_html_len);
}

void web_openapi(void *ctx, struct http_request *req)
{
    http_set_header(req, "Cache-Control", "no-cache");
    http_answer_bytes(req, 200, "application/json", web_openapi_json, web_openapi_json_len);
}
