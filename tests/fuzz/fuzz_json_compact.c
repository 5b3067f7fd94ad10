/* LINK: lib_jupyter lib_base */
/*
 * Property: what jansson takes, jsonx_compact() takes and keeps its meaning; what jsonx_compact()
 * takes, jansson takes from it (up to what jansson cannot hold: numbers, NUL in keys, depth); the
 * result holds no blanks outside strings, is a fixed point, and obeys the buffer's ceiling.
 */
#include "lib/base/mem.h"
#include "lib/json/jsonx.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

enum { FLAGS = JSON_DECODE_ANY | JSON_ALLOW_NUL };

static bool can_not_hold(const json_error_t *e)
{
    enum json_error_code c = json_error_code(e);
    return c == json_error_numeric_overflow || c == json_error_null_byte_in_key ||
           c == json_error_stack_overflow;
}

static bool deep(struct slice text)
{
    size_t depth = 0;
    for (size_t i = 0; i < text.len; i++)
        depth += text.ptr[i] == '[' || text.ptr[i] == '{';
    return depth > 128;
}

/* Outside strings no blank is left, and no control character anywhere. */
static void check_compact(struct slice s)
{
    bool in_string = false;
    for (size_t i = 0; i < s.len; i++) {
        check((unsigned char)s.ptr[i] >= 0x20);
        if (in_string && s.ptr[i] == '\\')
            i++;
        else if (s.ptr[i] == '"')
            in_string = !in_string;
        else
            check(in_string || s.ptr[i] != ' ');
    }
    check(!in_string);
}

static void check_ceiling(struct slice text, size_t len)
{
    struct buf b;
    buf_init(&b, len);
    check(jsonx_compact(&b, text) == 0 && b.len == len);
    buf_done(&b);
    buf_init(&b, len - 1);
    check(jsonx_compact(&b, text) == -ERR_TOO_LARGE && b.len == 0);
    buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* libFuzzer gives no pointer for no bytes. */
    struct slice text = size ? slice_make((const char *)data, size) : slice_str("");
    struct buf out, again;
    buf_init(&out, size + 1);
    buf_init(&again, size + 1);
    int r = jsonx_compact(&out, text);
    check(r == 0 || r == -ERR_INVALID);
    check(jsonx_valid(text) == (r == 0));
    if (jsonx_is_line(text))
        check(r == 0 && !memchr(text.ptr, '\n', size) && !memchr(text.ptr, '\r', size));
    json_error_t e;
    json_t *tree = json_loadb(text.ptr, size, FLAGS, &e);
    /* jansson swallows a NUL behind a number */
    check(!tree || r == 0 || deep(text) || memchr(text.ptr, '\0', size));
    if (r == 0) {
        check(out.len <= size);
        check_compact(buf_slice(&out));
        check(jsonx_compact(&again, buf_slice(&out)) == 0);
        check(slice_eq(buf_slice(&out), buf_slice(&again)));
        check_ceiling(text, out.len);
        json_t *compact = json_loadb(out.ptr, out.len, FLAGS, &e);
        check(compact || can_not_hold(&e));
        check(!tree || json_equal(tree, compact));
        json_decref(compact);
        struct slice key, value;
        for (struct jsonx_iter it = jsonx_iter(text); jsonx_iter_next(&it, &key, &value);)
            check(jsonx_valid(value));
    }
    json_decref(tree);
    buf_done(&out);
    buf_done(&again);
    return 0;
}
