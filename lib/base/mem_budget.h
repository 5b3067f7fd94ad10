#pragma once
#include "lib/base/buf.h"
#include "lib/base/err.h"

#include <stdint.h>

/*
 * What a program holds for others, in bytes, by account: whoever allocates what a peer can make
 * large charges it first, and releases as much when it is freed. One account alone gets at most
 * three quarters, so that the others still serve. The loop's thread only. NULL has no end.
 */
#define MEM_ACCOUNTS_MAX 8

struct mem_budget {
    uint64_t max_bytes, used_bytes;
    struct mem_account {
        uint64_t used_bytes, refused;
    } accounts[MEM_ACCOUNTS_MAX];
};

/* -ERR_LIMIT, which is worth another try, and nothing is charged; counted in `refused`. */
int mem_budget_charge(struct mem_budget *m, unsigned account, uint64_t bytes, struct err *err);
/* How much could be charged now. */
uint64_t mem_budget_room(const struct mem_budget *m, unsigned account);
void mem_budget_release(struct mem_budget *m, unsigned account, uint64_t bytes);

/* Something that was charged: released as a whole, or changed. Zeroed is nothing. */
struct mem_held {
    struct mem_budget *budget;
    unsigned account;
    uint64_t bytes;
};
int mem_hold(struct mem_held *h, struct mem_budget *m, unsigned account, uint64_t bytes,
             struct err *err);                                          /* h holds nothing */
int mem_held_grow(struct mem_held *h, uint64_t bytes, struct err *err); /* by `bytes` */
void mem_held_shrink(struct mem_held *h, uint64_t bytes);               /* to `bytes` */
void mem_held_release(struct mem_held *h);
/* Appends, and charges what b's allocation grows by. -ERR_TOO_LARGE above b's own ceiling. */
int mem_held_append(struct mem_held *h, struct buf *b, const void *data, size_t len,
                    struct err *err);
