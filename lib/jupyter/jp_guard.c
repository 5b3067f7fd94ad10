/*
 * A local port is open to everybody on the machine; the key in the connection file is what makes a
 * client. Only signatures that were found right are remembered: who has no key fills nothing.
 */
#include "lib/jupyter/jp_guard.h"

#include "lib/base/mem.h"
#include "lib/jupyter/jp_seen.h"
#include "lib/jupyter/jp_wire.h"

struct jp_guard {
    struct crypto_hmac key;
    struct jp_guard_counts counts;
    struct jp_seen *seen; /* signatures */
};

struct jp_guard *jp_guard_new(const char *key)
{
    struct jp_guard *g = MEM_NEW(struct jp_guard);
    crypto_hmac_init(&g->key, key, strlen(key));
    g->seen = jp_seen_new();
    return g;
}

struct jp_guard *jp_guard_free(struct jp_guard *g)
{
    if (!g)
        return NULL;
    crypto_hmac_done(&g->key);
    jp_seen_free(g->seen);
    free(g);
    return NULL;
}

static int read_idents(struct jp_request *ret, const struct slice *frames, size_t n)
{
    ret->n_idents = 0;
    for (size_t i = 0; i < n && !slice_eq_str(frames[i], JP_DELIMITER); i++) {
        if (i == JP_IDENTS_MAX || frames[i].len > JP_IDENT_MAX)
            return -ERR_INVALID;
        ret->idents[ret->n_idents++] = frames[i];
    }
    return 0;
}

int jp_guard_take(struct jp_guard *g, struct jp_request *ret, const struct slice *frames, size_t n)
{
    int r = read_idents(ret, frames, n);
    if (r == 0)
        r = jp_wire_decode(&ret->msg, frames, n, &g->key);
    if (r < 0) {
        unsigned long *count = r == -ERR_UNAUTHORIZED ? &g->counts.forged : &g->counts.malformed;
        ++*count;
        return r;
    }
    if (jp_seen_add(g->seen, frames[ret->n_idents + 1]))
        return 0;
    g->counts.replayed++;
    return -ERR_CONFLICT;
}

const struct jp_guard_counts *jp_guard_counts(const struct jp_guard *g)
{
    return &g->counts;
}

struct crypto_hmac *jp_guard_key(struct jp_guard *g)
{
    return &g->key;
}
