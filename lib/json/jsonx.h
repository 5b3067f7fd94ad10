#pragma once
#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "lib/base/slice.h"

#include <jansson.h>

/* jansson.h itself gives _cleanup_(json_decrefp) json_t *j, and json_auto_t. */

/*
 * Parses one JSON text: UTF-8, no duplicate keys, no NUL in strings, depth ≤ 64 (jansson's own
 * ceiling is 2048), nothing behind it. The error names line and column.
 */
int jsonx_parse(json_t **ret, struct slice text, struct err *err);
/* Compact dump; never NULL. */
char *jsonx_dump(const json_t *json);

/*
 * Typed reading of a request body: each names the field in its error, and leaves *ret alone when
 * the key is absent (or null): set the default before. jsonx_only() finds unknown fields.
 */
int jsonx_object(const json_t *body, struct err *err);                        /* is it an object? */
int jsonx_only(const json_t *obj, const char *const *known, struct err *err); /* ended by NULL */
int jsonx_get_string(const json_t *obj, const char *key, size_t max_bytes, const char **ret,
                     struct err *err); /* borrowed from obj */
int jsonx_get_bool(const json_t *obj, const char *key, bool *ret, struct err *err);
int jsonx_get_int(const json_t *obj, const char *key, int64_t min, int64_t max, int64_t *ret,
                  struct err *err); /* whole numbers only; true/false are not */
/* Seconds, fractions allowed, min < x ≤ max → milliseconds (rounded up). */
int jsonx_get_seconds(const json_t *obj, const char *key, double max_s, int64_t *ret_ms,
                      struct err *err); /* must be > 0 */
/* An object whose values are strings, ≤ max_entries, key ≤ 256 bytes, value ≤ max_value bytes;
 * borrowed. */
int jsonx_get_string_map(const json_t *obj, const char *key, size_t max_entries, size_t max_value,
                         json_t **ret, struct err *err);

/* Appends a JSON string with quotes, escaping what must be; invalid UTF-8 becomes U+FFFD. */
int jsonx_append_string(struct buf *out, struct slice s);

/*
 * Checks that `text` is one well-formed JSON value (RFC 8259, UTF-8 valid, depth ≤ 128) and appends
 * it to `out` without insignificant white space, so that it can stand in a line of NDJSON. Does not
 * build a tree: meant for kernel output of any size; strings go at memory speed.
 * -ERR_INVALID when malformed (out is then as before), -ERR_TOO_LARGE when out is full.
 * Half a surrogate pair written as an escape becomes \ufffd, which every parser takes.
 */
int jsonx_compact(struct buf *out, struct slice text);
/* The same check without a copy. */
bool jsonx_valid(struct slice text);

/*
 * The same check, and the value laid out for people, as Python's json.dump(indent=1) does it: every
 * member and item in a line of its own, one blank a level, ": " between key and value, {} and []
 * when empty, no newline at the end. No token changes.
 */
int jsonx_indent(struct buf *out, struct slice text);

/*
 * Is `text` one well-formed JSON value, as jsonx_compact() has it, that can stand in a line of
 * NDJSON as it is? Blanks between tokens are no matter; newlines there and half surrogate pairs
 * are.
 */
bool jsonx_is_line(struct slice text);
/*
 * Finds a member of a well-formed top-level object without parsing the rest: the raw value's slice,
 * or an empty slice. `key` has no characters that need escaping.
 */
struct slice jsonx_find(struct slice object, const char *key);
/*
 * Walks the members of a well-formed top-level object as raw slices: the key without its quotes and
 * still escaped, the value as it stands.
 */
struct jsonx_iter {
    const char *p, *end;
};
struct jsonx_iter jsonx_iter(struct slice object);
bool jsonx_iter_next(struct jsonx_iter *it, struct slice *key, struct slice *value);
/* The same for the items of a top-level array. */
struct jsonx_iter jsonx_items(struct slice array);
bool jsonx_items_next(struct jsonx_iter *it, struct slice *value);

/*
 * Decodes a raw string value (with its quotes). jsonx_decode() writes a C string of less than
 * `size` bytes and refuses NUL in it; both fail with -ERR_INVALID when it is not a string, or
 * -ERR_TOO_LARGE.
 */
int jsonx_decode(struct slice value, char *out, size_t size);
int jsonx_append_decoded(struct buf *out, struct slice value);
/* Reads a raw value that is a whole number of 1 to 17 digits; of any other *ret stays as it is. */
bool jsonx_uint(struct slice value, int64_t *ret);

/*
 * Length of a prefix of at most `max` bytes (≥ 12) of a string's escaped text, without its quotes,
 * that cuts neither an escape sequence nor a surrogate pair nor a character.
 */
size_t jsonx_cut(struct slice s, size_t max);
