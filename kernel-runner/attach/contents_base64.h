#pragma once
#include "lib/base/buf.h"

/* RFC 4648 4 with padding. Pure. */
int contents_base64_append(struct buf *out, struct slice data);
/*
 * In place; *ret_len is what the bytes take. Blanks and line ends are skipped, as encoders break
 * lines; anything else that does not belong is ERR_INVALID.
 */
int contents_base64_decode(char *text, size_t len, size_t *ret_len, struct err *err);
