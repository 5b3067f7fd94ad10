#pragma once
#include "lib/base/buf.h"

/* The continuation of a list: a path as base64url without padding, so that it needs no escapes. */
int file_token_format(struct slice path, struct buf *out);
/* Writes the path with a NUL to `out`; ERR_INVALID for what file_token_format() never wrote. */
int file_token_parse(const char *token, char *out, size_t size, struct err *err);
