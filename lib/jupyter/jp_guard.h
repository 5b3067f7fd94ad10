#pragma once
#include "lib/base/cleanup.h"
#include "lib/crypto/crypto.h"
#include "lib/jupyter/jp_msg.h"

/*
 * Which messages of local clients are taken: those signed with the connection's key, and each once.
 * Pure, without sockets.
 */
struct jp_guard;

#define JP_IDENTS_MAX 4   /* identity frames before the delimiter */
#define JP_IDENT_MAX  255 /* bytes of one */

struct jp_guard_counts {
    unsigned long forged;    /* unsigned, or signed with another key */
    unsigned long replayed;  /* a signature that was there before */
    unsigned long malformed; /* no message at all */
};

struct jp_request {
    struct jp_msg msg; /* its channel is the caller's */
    struct slice idents[JP_IDENTS_MAX];
    size_t n_idents;
};

struct jp_guard *jp_guard_new(const char *key); /* not empty */
struct jp_guard *jp_guard_free(struct jp_guard *g);

/*
 * Decodes the frames into *ret, whose slices borrow from them. -ERR_INVALID, -ERR_UNAUTHORIZED or,
 * for a repeated signature, -ERR_CONFLICT: *ret is then undefined, and it has been counted.
 */
int jp_guard_take(struct jp_guard *g, struct jp_request *ret, const struct slice *frames, size_t n);
const struct jp_guard_counts *jp_guard_counts(const struct jp_guard *g);
/* The scheduled key, for signing what goes out. */
struct crypto_hmac *jp_guard_key(struct jp_guard *g);

DEFINE_CLEANUP(struct jp_guard *, jp_guard_free)
