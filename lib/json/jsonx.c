/* jansson with ceilings, and typed reading of request bodies. Trees come and go within a call. */
#include "lib/json/jsonx.h"

#include "lib/json/json_scan.h"

enum { PARSE_DEPTH_MAX = 64, KEY_MAX = 256 };

/* jansson recurses once a level, up to 2048: too much for a request body. */
static bool too_deep(struct slice text)
{
    const char *p = text.ptr, *end = text.ptr + text.len;
    size_t depth = 0;
    while (p < end) {
        char c = *p++;
        if (c == '[' || c == '{') {
            if (++depth > PARSE_DEPTH_MAX)
                return true;
        } else if ((c == ']' || c == '}') && depth > 0) {
            depth--;
        } else if (c == '"') {
            while ((p = json_scan_quote(p, end)) < end && *p == '\\')
                p += end - p >= 2 ? 2 : 1;
            if (p < end)
                p++;
        }
    }
    return false;
}

int jsonx_parse(json_t **ret, struct slice text, struct err *err)
{
    if (text.len == 0)
        return err_set(err, ERR_INVALID, "empty, where JSON is expected");
    if (too_deep(text))
        return err_set(err, ERR_INVALID, "JSON nested deeper than %d levels", PARSE_DEPTH_MAX);
    /* jansson swallows a NUL behind a number */
    if (memchr(text.ptr, '\0', text.len))
        return err_set(err, ERR_INVALID, "JSON with a NUL byte");
    json_error_t e;
    json_t *j = json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
    if (!j)
        return err_set(err, ERR_INVALID, "JSON, line %d, column %d: %s", e.line, e.column,
                       json_error_code(&e) == json_error_null_character
                           ? "a string holds the NUL character \\u0000"
                           : e.text);
    *ret = j;
    return 0;
}

char *jsonx_dump(const json_t *json)
{
    char *s = json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY);
    if (!s)
        abort(); /* out of memory: a tree of ours is always printable */
    return s;
}

int jsonx_object(const json_t *body, struct err *err)
{
    if (!json_is_object(body))
        return err_set(err, ERR_INVALID, "a JSON object is expected");
    return 0;
}

int jsonx_only(const json_t *obj, const char *const *known, struct err *err)
{
    /* jansson's iteration takes a tree that is not const, but changes nothing */
    json_t *tree;
    memcpy(&tree, &obj, sizeof(tree));
    const char *key;
    json_t *value;
    json_object_foreach (tree, key, value) {
        size_t i = 0;
        while (known[i] && strcmp(known[i], key) != 0)
            i++;
        if (!known[i])
            return err_field(err, key, "unknown field");
    }
    return 0;
}

/* NULL when absent or null. */
static json_t *get(const json_t *obj, const char *key)
{
    json_t *j = json_object_get(obj, key);
    return json_is_null(j) ? NULL : j;
}

int jsonx_get_string(const json_t *obj, const char *key, size_t max_bytes, const char **ret,
                     struct err *err)
{
    const json_t *j = get(obj, key);
    if (!j)
        return 0;
    if (!json_is_string(j))
        return err_field(err, key, "must be a string");
    if (json_string_length(j) > max_bytes) {
        err_field(err, key, "longer than %zu bytes", max_bytes);
        if (err)
            err->code = ERR_TOO_LARGE;
        return -ERR_TOO_LARGE;
    }
    *ret = json_string_value(j);
    return 0;
}

int jsonx_get_bool(const json_t *obj, const char *key, bool *ret, struct err *err)
{
    const json_t *j = get(obj, key);
    if (!j)
        return 0;
    if (!json_is_boolean(j))
        return err_field(err, key, "must be true or false");
    *ret = json_is_true(j);
    return 0;
}

static bool is_whole(double v)
{
    const double exact_max = 9007199254740992.0;
    return v > -exact_max && v < exact_max && (double)(int64_t)v == v;
}

int jsonx_get_int(const json_t *obj, const char *key, int64_t min, int64_t max, int64_t *ret,
                  struct err *err)
{
    const json_t *j = get(obj, key);
    if (!j)
        return 0;
    int64_t v;
    if (json_is_integer(j)) {
        v = json_integer_value(j);
    } else if (json_is_real(j) && is_whole(json_real_value(j))) {
        v = (int64_t)json_real_value(j); /* 3.0 is a whole number to JSON Schema */
    } else {
        return err_field(err, key, "must be a whole number");
    }
    if (v < min || v > max)
        return err_field(err, key, "must be from %lld to %lld", (long long)min, (long long)max);
    *ret = v;
    return 0;
}

int jsonx_get_seconds(const json_t *obj, const char *key, double max_s, int64_t *ret_ms,
                      struct err *err)
{
    const json_t *j = get(obj, key);
    if (!j)
        return 0;
    if (!json_is_number(j))
        return err_field(err, key, "must be a number of seconds");
    double s = json_number_value(j);
    if (!(s > 0))
        return err_field(err, key, "must be more than 0 seconds");
    if (s > max_s || s > 1e15)
        return err_field(err, key, "must be at most %g seconds", max_s);
    int64_t ms = (int64_t)(s * 1000.0);
    *ret_ms = (double)ms < s * 1000.0 ? ms + 1 : ms;
    return 0;
}

int jsonx_get_string_map(const json_t *obj, const char *key, size_t max_entries, size_t max_value,
                         json_t **ret, struct err *err)
{
    json_t *j = get(obj, key);
    if (!j)
        return 0;
    if (!json_is_object(j))
        return err_field(err, key, "must be an object of strings");
    if (json_object_size(j) > max_entries)
        return err_field(err, key, "more than %zu entries", max_entries);
    const char *name;
    json_t *value;
    json_object_foreach (j, name, value) {
        if (strlen(name) > KEY_MAX)
            return err_field(err, key, "a key is longer than %d bytes", KEY_MAX);
        if (!json_is_string(value))
            return err_field(err, key, "the value of \"%s\" must be a string", name);
        if (json_string_length(value) > max_value)
            return err_field(err, key, "the value of \"%s\" is longer than %zu bytes", name,
                             max_value);
    }
    *ret = j;
    return 0;
}
