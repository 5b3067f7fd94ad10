#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* Borrowed bytes, valid for the call; not NUL-terminated. */
struct slice {
    const char *ptr;
    size_t len;
};

static inline struct slice slice_make(const char *ptr, size_t len)
{
    return (struct slice){ptr, len};
}

static inline struct slice slice_str(const char *s)
{
    return (struct slice){s, s ? strlen(s) : 0};
}

static inline bool slice_eq(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool slice_eq_str(struct slice a, const char *s)
{
    return slice_eq(a, slice_str(s));
}

static inline bool slice_starts(struct slice a, const char *prefix)
{
    size_t n = strlen(prefix);
    return a.len >= n && (n == 0 || memcmp(a.ptr, prefix, n) == 0);
}

/* Without the characters of `blanks` at its ends. */
static inline struct slice slice_trim(struct slice s, const char *blanks)
{
    size_t n = strlen(blanks);
    for (; s.len > 0 && memchr(blanks, s.ptr[0], n); s.len--)
        s.ptr++;
    while (s.len > 0 && memchr(blanks, s.ptr[s.len - 1], n))
        s.len--;
    return s;
}
