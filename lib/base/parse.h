#pragma once
#include "lib/base/err.h"

#include <stdbool.h>
#include <stdint.h>

/* All parse the whole string or fail with ERR_INVALID and a sentence; no leading blanks, no sign.
 */
int parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret, struct err *err);
/* Bytes: "1024", "64Ki", "2Mi", "1Gi". */
int parse_size(const char *s, uint64_t *ret, struct err *err);
/* "300s", "5m", "1h", "250ms"; the unit is required except for 0. */
int parse_duration_ms(const char *s, int64_t *ret_ms, struct err *err);
/* true/false/1/0/yes/no/on/off */
int parse_bool(const char *s, bool *ret, struct err *err);
/* Decodes %XX in place of `len` bytes into `out` (len + 1 bytes). NUL or a broken escape: -INVALID.
 */
int parse_percent(const char *s, size_t len, char *out, size_t *ret_len, struct err *err);
