#pragma once
#include "lib/base/slice.h"

/* True when the bytes are well-formed UTF-8 (RFC 3629: no overlong forms, no surrogates). */
bool utf8_valid(struct slice s);
/* Length of the longest prefix <= max bytes that does not cut a character of well-formed text. */
size_t utf8_cut(struct slice s, size_t max);
/*
 * Length in bytes (1–4) of the well-formed character at s, or 0 when there is none in `len` bytes.
 */
size_t utf8_char_len(const char *s, size_t len);
