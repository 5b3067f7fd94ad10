/*
 * A local port is open to everybody on the machine; the key in the connection file is what makes a
 * client. Signatures that were accepted are kept in a ring, in the order they came, with an index
 * of open addressing over it: a signature is as good as random, so its first bytes are its hash,
 * and who has no key cannot choose it.
 */
#include "lib/jupyter/jp_guard.h"

#include "lib/base/mem.h"
#include "lib/jupyter/jp_wire.h"

enum { DIGEST = 32, SLOTS = 2 * JP_SEEN_MAX };

struct jp_guard {
    struct crypto_hmac key;
    struct jp_guard_counts counts;
    unsigned char (*ring)[DIGEST];
    uint32_t *slots; /* place in the ring + 1, or 0 */
    size_t n, next;  /* signatures kept; where the next one goes */
};

struct jp_guard *jp_guard_new(const char *key)
{
    struct jp_guard *g = MEM_NEW(struct jp_guard);
    crypto_hmac_init(&g->key, key, strlen(key));
    g->ring = mem_zero(JP_SEEN_MAX, sizeof(*g->ring));
    g->slots = MEM_NEW_N(uint32_t, SLOTS);
    return g;
}

struct jp_guard *jp_guard_free(struct jp_guard *g)
{
    if (!g)
        return NULL;
    crypto_hmac_done(&g->key);
    free(g->ring);
    free(g->slots);
    free(g);
    return NULL;
}

/* ---- the history ---- */

static size_t home_of(const unsigned char digest[DIGEST])
{
    uint32_t h;
    memcpy(&h, digest, sizeof(h));
    return h % SLOTS;
}

/* The slot of a digest, or the empty one where it would go. */
static size_t slot_of(const struct jp_guard *g, const unsigned char digest[DIGEST])
{
    size_t i = home_of(digest);
    while (g->slots[i] && memcmp(g->ring[g->slots[i] - 1], digest, DIGEST) != 0)
        i = (i + 1) % SLOTS;
    return i;
}

/* Empties a slot and moves up what was pushed behind it. */
static void forget(struct jp_guard *g, size_t hole)
{
    for (size_t i = (hole + 1) % SLOTS; g->slots[i]; i = (i + 1) % SLOTS) {
        size_t home = home_of(g->ring[g->slots[i] - 1]);
        if ((i - home + SLOTS) % SLOTS < (i - hole + SLOTS) % SLOTS)
            continue;
        g->slots[hole] = g->slots[i];
        hole = i;
    }
    g->slots[hole] = 0;
}

/* False when it is there already. */
static bool remember(struct jp_guard *g, const unsigned char digest[DIGEST])
{
    if (g->slots[slot_of(g, digest)])
        return false;
    if (g->n == JP_SEEN_MAX)
        forget(g, slot_of(g, g->ring[g->next]));
    else
        g->n++;
    memcpy(g->ring[g->next], digest, DIGEST);
    g->slots[slot_of(g, digest)] = (uint32_t)g->next + 1;
    g->next = (g->next + 1) % JP_SEEN_MAX;
    return true;
}

static unsigned nibble(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'a' + 10);
}

/* A signature that was found right is 64 lower-case hex digits. */
static void read_digest(struct slice sig, unsigned char out[DIGEST])
{
    for (size_t i = 0; i < DIGEST; i++)
        out[i] = (unsigned char)(nibble(sig.ptr[2 * i]) << 4 | nibble(sig.ptr[2 * i + 1]));
}

/* ---- taking ---- */

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
    unsigned char digest[DIGEST];
    read_digest(frames[ret->n_idents + 1], digest);
    if (remember(g, digest))
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
