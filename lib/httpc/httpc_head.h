#pragma once
#include "lib/base/err.h"

#include <stddef.h>

/* An answer's head and body as bytes, for connections that libcurl does not read. Pure. */
struct httpc_head {
    int status;
    char *lines; /* "name\0value\0" each */
    size_t len;
};

/* `text` ends with the empty line. ERR_SANDBOX_LOST: not HTTP/1.x. */
int httpc_head_parse(struct httpc_head *ret, const char *text, size_t len, struct err *err);
const char *httpc_head_get(const struct httpc_head *h, const char *name); /* any case; or NULL */
void httpc_head_done(struct httpc_head *h);

/*
 * Takes the framing out of a chunked body in place. 0: whole, *len is the body's; 1: more must
 * come, nothing changed; < 0: malformed.
 */
enum { HTTPC_BODY_MORE = 1 };
int httpc_body_dechunk(char *body, size_t *len, struct err *err);
