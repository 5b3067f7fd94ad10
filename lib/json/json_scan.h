#pragma once
#include "lib/base/slice.h"

#include <stdint.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

/*
 * The inner loops over JSON strings, private to lib/json: 16 bytes at a time where there is SSE2
 * (every x86-64), else 8. They never read at or behind `end`.
 */

#ifndef __SSE2__
#define JSON_ONES  0x0101010101010101ULL
#define JSON_HIGHS 0x8080808080808080ULL
/* Non-zero when a byte of w is 0 (and no byte is ≥ 0x80 that matters to the caller). */
static inline uint64_t json_has_zero(uint64_t w)
{
    return (w - JSON_ONES) & ~w & JSON_HIGHS;
}
#endif

/* First byte that is a quote, a backslash, a control character or not ASCII; or `end`. */
static inline const char *json_scan_plain(const char *p, const char *end)
{
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\');
    const __m128i space = _mm_set1_epi8(0x20);
    while (end - p >= 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        /* signed compare: bytes from 0x80 up are negative, so they are found here too */
        __m128i hit =
            _mm_or_si128(_mm_cmplt_epi8(v, space),
                         _mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, slash)));
        unsigned mask = (unsigned)_mm_movemask_epi8(hit);
        if (mask)
            return p + __builtin_ctz(mask);
        p += 16;
    }
#else
    while (end - p >= 8) {
        uint64_t w;
        memcpy(&w, p, sizeof(w));
        uint64_t hit = json_has_zero(w ^ (JSON_ONES * '"')) |
                       json_has_zero(w ^ (JSON_ONES * '\\')) |
                       ((w - JSON_ONES * 0x20) & JSON_HIGHS) | (w & JSON_HIGHS);
        if (hit)
            break;
        p += 8;
    }
#endif
    while (p < end && (unsigned char)*p >= 0x20 && (unsigned char)*p < 0x80 && *p != '"' &&
           *p != '\\')
        p++;
    return p;
}

/* First quote or backslash, or `end`. */
static inline const char *json_scan_quote(const char *p, const char *end)
{
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\');
    while (end - p >= 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        unsigned mask = (unsigned)_mm_movemask_epi8(
            _mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, slash)));
        if (mask)
            return p + __builtin_ctz(mask);
        p += 16;
    }
#else
    while (end - p >= 8) {
        uint64_t w;
        memcpy(&w, p, sizeof(w));
        if (json_has_zero(w ^ (JSON_ONES * '"')) | json_has_zero(w ^ (JSON_ONES * '\\')))
            break;
        p += 8;
    }
#endif
    while (p < end && *p != '"' && *p != '\\')
        p++;
    return p;
}

static inline const char *json_skip_space(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
        p++;
    return p;
}

/* Four hex digits at p, or -1; reads at most to `end`. */
static inline int json_hex4(const char *p, const char *end)
{
    if (end - p < 4)
        return -1;
    int v = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int d = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
        if (d < 0)
            return -1;
        v = v << 4 | d;
    }
    return v;
}

static inline bool json_is_high_surrogate(int u)
{
    return u >= 0xD800 && u <= 0xDBFF;
}
static inline bool json_is_low_surrogate(int u)
{
    return u >= 0xDC00 && u <= 0xDFFF;
}
