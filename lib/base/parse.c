/* Numbers, sizes and durations as people write them; the whole string or an error. */
#include "lib/base/parse.h"

#include <string.h>
#include <strings.h>

/* Reads digits; returns how many characters it took, 0 when none or too large for 64 bits. */
static size_t digits(const char *s, uint64_t *ret)
{
    uint64_t n = 0;
    size_t i = 0;
    for (; s[i] >= '0' && s[i] <= '9'; i++)
        if (__builtin_mul_overflow(n, 10U, &n) ||
            __builtin_add_overflow(n, (uint64_t)(s[i] - '0'), &n))
            return 0;
    *ret = n;
    return i;
}

int parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret, struct err *err)
{
    uint64_t n = 0;
    size_t used = digits(s, &n);
    if (used == 0 || s[used] != '\0')
        return err_set(err, ERR_INVALID, "\"%.64s\" is not a whole number", s);
    if (n < min || n > max)
        return err_set(err, ERR_INVALID, "%.64s is not between %llu and %llu", s,
                       (unsigned long long)min, (unsigned long long)max);
    *ret = n;
    return 0;
}

struct unit {
    const char *name;
    uint64_t factor;
};

static int parse_unit(const char *s, const struct unit *units, size_t n_units, uint64_t *ret)
{
    uint64_t n = 0;
    size_t used = digits(s, &n);
    if (used == 0)
        return -ERR_INVALID;
    for (size_t i = 0; i < n_units; i++)
        if (strcmp(s + used, units[i].name) == 0)
            return __builtin_mul_overflow(n, units[i].factor, ret) ? -ERR_INVALID : 0;
    return -ERR_INVALID;
}

int parse_size(const char *s, uint64_t *ret, struct err *err)
{
    static const struct unit units[] = {
        {"", 1}, {"Ki", 1ULL << 10}, {"Mi", 1ULL << 20}, {"Gi", 1ULL << 30}};
    if (parse_unit(s, units, ARRAY_LEN(units), ret) < 0)
        return err_set(err, ERR_INVALID, "\"%.64s\" is not a size; write for example 512Mi or 2Gi",
                       s);
    return 0;
}

int parse_duration_ms(const char *s, int64_t *ret_ms, struct err *err)
{
    static const struct unit units[] = {
        {"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"h", 60 * 60 * 1000}};
    uint64_t ms = 0;
    if (strcmp(s, "0") == 0) {
        *ret_ms = 0;
        return 0;
    }
    if (parse_unit(s, units, ARRAY_LEN(units), &ms) < 0 || ms > INT64_MAX / 1000000)
        return err_set(err, ERR_INVALID,
                       "\"%.64s\" is not a duration; write for example 500ms, 30s, 5m or 1h", s);
    *ret_ms = (int64_t)ms;
    return 0;
}

int parse_bool(const char *s, bool *ret, struct err *err)
{
    static const char *const yes[] = {"1", "true", "yes", "on"};
    static const char *const no[] = {"0", "false", "no", "off"};
    for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
        if (strcasecmp(s, yes[i]) == 0) {
            *ret = true;
            return 0;
        }
        if (strcasecmp(s, no[i]) == 0) {
            *ret = false;
            return 0;
        }
    }
    return err_set(err, ERR_INVALID, "\"%.64s\" is neither true nor false", s);
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int parse_percent(const char *s, size_t len, char *out, size_t *ret_len, struct err *err)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        char c = s[i];
        if (c == '%') {
            int hi = len - i > 2 ? hex(s[i + 1]) : -1;
            int lo = hi >= 0 ? hex(s[i + 2]) : -1;
            if (hi < 0 || lo < 0)
                return err_set(err, ERR_INVALID,
                               "a %% in the path is not followed by two hex digits");
            c = (char)(hi * 16 + lo);
            i += 2;
        }
        if (c == '\0')
            return err_set(err, ERR_INVALID, "a NUL byte stands in the path");
        out[n++] = c;
    }
    out[n] = '\0';
    *ret_len = n;
    return 0;
}
