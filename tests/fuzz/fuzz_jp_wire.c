/* LINK: lib_jupyter lib_base */
/*
 * Input: frames, each behind a length of two bytes (little endian); with a first byte that is odd,
 * the frames behind the first delimiter are signed, so that what lies behind the signature check
 * is reached. Property: what is decoded holds the limits and borrows from the input, and encoding
 * it again gives a message that decodes to the same; without a signature nothing is decoded.
 */
#include "lib/base/mem.h"
#include "lib/jupyter/jp_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

enum { MAX = JP_FRAMES_MAX + 4 };

static size_t split(const uint8_t *data, size_t size, struct slice frames[MAX])
{
    size_t n = 0, at = 0;
    while (size - at >= 2 && n < MAX) {
        size_t len = (size_t)data[at] | (size_t)data[at + 1] << 8;
        at += 2;
        len = MIN(len, size - at);
        frames[n++] = slice_make((const char *)data + at, len);
        at += len;
    }
    return n;
}

static bool within(struct slice s, const uint8_t *data, size_t size)
{
    return s.len == 0 || slice_eq_str(s, "{}") ||
           (s.ptr >= (const char *)data && s.ptr + s.len <= (const char *)data + size);
}

static bool same(const struct jp_msg *a, const struct jp_msg *b)
{
    bool ok = strcmp(a->msg_id, b->msg_id) == 0 && strcmp(a->msg_type, b->msg_type) == 0 &&
              strcmp(a->session, b->session) == 0 && strcmp(a->parent_id, b->parent_id) == 0 &&
              strcmp(a->parent_type, b->parent_type) == 0 && a->kind == b->kind &&
              slice_eq(a->content, b->content) && a->n_buffers == b->n_buffers;
    for (size_t i = 0; ok && i < a->n_buffers; i++)
        ok = slice_eq(a->buffers[i], b->buffers[i]);
    return ok;
}

static void check_message(const struct jp_msg *m, const uint8_t *data, size_t size,
                          struct crypto_hmac *key)
{
    check(m->msg_id[0] && strlen(m->msg_id) < JP_ID_SIZE && strlen(m->session) < JP_ID_SIZE);
    check(strlen(m->parent_id) < JP_ID_SIZE && m->msg_type[0] &&
          strlen(m->msg_type) < sizeof(m->msg_type));
    check(m->n_buffers <= JP_BUFFERS_MAX && m->header.len <= JP_HEADER_MAX);
    check(within(m->ident, data, size) && within(m->header, data, size) &&
          within(m->parent, data, size) && within(m->metadata, data, size) &&
          within(m->content, data, size));
    if (slice_eq_str(m->ident, JP_DELIMITER))
        abort();
    const struct slice json[] = {m->header, m->parent, m->metadata, m->content};
    struct slice out[JP_FRAMES_MAX];
    char sig[CRYPTO_HEX_SIZE];
    size_t n = jp_wire_encode(out, sig, key, m->ident, json, m->buffers, m->n_buffers);
    static struct jp_msg again;
    check(n > 0 && jp_wire_decode(&again, out, n, key) == 0 && same(m, &again));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    bool sign = data[0] & 1;
    struct slice frames[MAX];
    size_t n = split(data + 1, size - 1, frames), at = 0;
    struct crypto_hmac key;
    crypto_hmac_init(&key, "fuzz", 4);
    char sig[CRYPTO_HEX_SIZE];
    while (at < n && !slice_eq_str(frames[at], JP_DELIMITER))
        at++;
    if (sign && n - at >= 6) {
        jp_wire_sign(&key, frames + at + 2, sig);
        frames[at + 1] = slice_str(sig);
    }
    static struct jp_msg m;
    int r = jp_wire_decode(&m, frames, n, &key);
    check(r == 0 || r == -ERR_INVALID || r == -ERR_UNAUTHORIZED);
    if (r == 0)
        check_message(&m, data, size, &key);
    return 0;
}
