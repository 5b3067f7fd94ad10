/* LINK: lib_jupyter lib_base */
/*
 * Input: a ceiling, a seed for the cuts, then the stream. Property: the lines, and whether and
 * after which line it fails, are the same for the stream in one piece, byte by byte, and cut
 * anywhere; no line is empty, over the ceiling, or holds a newline.
 */
#include "lib/base/mem.h"
#include "lib/json/json_lines.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

struct result {
    struct buf lines;
    size_t max;
    int r;
    bool pending;
};

static int on_line(void *ctx, struct slice line)
{
    struct result *res = ctx;
    check(line.len > 0 && line.len <= res->max && !memchr(line.ptr, '\n', line.len));
    check(buf_append_slice(&res->lines, line) == 0 && buf_append_char(&res->lines, '\n') == 0);
    return 0;
}

/* step 0: pieces of 1 to 8 bytes by `seed` */
static void run(struct result *res, struct slice s, size_t max, size_t step, uint32_t seed)
{
    struct json_lines l;
    *res = (struct result){.max = max};
    buf_init(&res->lines, 2 * s.len + 2);
    json_lines_init(&l, max, on_line, res);
    while (s.len && res->r == 0) {
        seed = seed * 1664525U + 1013904223U;
        size_t n = MIN(step ? step : 1 + (seed >> 29), s.len);
        /* an allocation of its own, so that the sanitizer sees any look beyond the piece */
        char *piece = mem_dup_n(s.ptr, n);
        res->r = json_lines_push(&l, slice_make(piece, n), NULL);
        free(piece);
        s.ptr += n;
        s.len -= n;
    }
    res->pending = json_lines_pending(&l);
    if (res->r < 0)
        check(json_lines_push(&l, slice_str("x\n"), NULL) == -ERR_TOO_LARGE);
    json_lines_done(&l);
}

static void check_same(const struct result *a, const struct result *b)
{
    check(a->r == b->r && a->pending == b->pending);
    check(slice_eq(buf_slice(&a->lines), buf_slice(&b->lines)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    size_t max = data[0];
    uint32_t seed = data[1];
    struct slice s = slice_make((const char *)data + 2, size - 2);
    struct result whole, bytes, cut;
    run(&whole, s, max, s.len + 1, 0);
    run(&bytes, s, max, 1, 0);
    run(&cut, s, max, 0, seed);
    check_same(&whole, &bytes);
    check_same(&whole, &cut);
    buf_done(&whole.lines);
    buf_done(&bytes.lines);
    buf_done(&cut.lines);
    return 0;
}
