/* Numbers only: what they stand for is allocated elsewhere. */
#include "lib/base/mem_budget.h"

#include "lib/base/macros.h"

#include <assert.h>

#define APPEND_MIN KIB(4)

uint64_t mem_budget_room(const struct mem_budget *m, unsigned account)
{
    if (!m)
        return UINT64_MAX;
    uint64_t share = m->max_bytes / 4 * 3, used = m->accounts[account].used_bytes;
    uint64_t own = share > used ? share - used : 0;
    uint64_t all = m->max_bytes > m->used_bytes ? m->max_bytes - m->used_bytes : 0;
    return MIN(own, all);
}

int mem_budget_charge(struct mem_budget *m, unsigned account, uint64_t bytes, struct err *err)
{
    if (!m)
        return 0;
    assert(account < MEM_ACCOUNTS_MAX);
    struct mem_account *a = &m->accounts[account];
    if (bytes > mem_budget_room(m, account)) {
        a->refused++;
        return err_set(err, ERR_LIMIT,
                       "too much is under way here: %llu of %llu MiB are held for requests; try "
                       "again when some of them are over",
                       (unsigned long long)(m->used_bytes / MIB(1)),
                       (unsigned long long)(m->max_bytes / MIB(1)));
    }
    a->used_bytes += bytes;
    m->used_bytes += bytes;
    return 0;
}

void mem_budget_release(struct mem_budget *m, unsigned account, uint64_t bytes)
{
    if (!m)
        return;
    struct mem_account *a = &m->accounts[account];
    assert(bytes <= a->used_bytes);
    a->used_bytes -= bytes;
    m->used_bytes -= bytes;
}

int mem_hold(struct mem_held *h, struct mem_budget *m, unsigned account, uint64_t bytes,
             struct err *err)
{
    assert(h->bytes == 0);
    *h = (struct mem_held){.budget = m, .account = account};
    return mem_held_grow(h, bytes, err);
}

int mem_held_grow(struct mem_held *h, uint64_t bytes, struct err *err)
{
    int r = mem_budget_charge(h->budget, h->account, bytes, err);
    if (r == 0)
        h->bytes += bytes;
    return r;
}

void mem_held_shrink(struct mem_held *h, uint64_t bytes)
{
    assert(bytes <= h->bytes);
    mem_budget_release(h->budget, h->account, h->bytes - bytes);
    h->bytes = bytes;
}

void mem_held_release(struct mem_held *h)
{
    mem_held_shrink(h, 0);
}

int mem_held_append(struct mem_held *h, struct buf *b, const void *data, size_t len,
                    struct err *err)
{
    if (len > b->max - b->len)
        return err_set(err, ERR_TOO_LARGE, "more than %zu bytes", b->max);
    size_t need = b->len + len + 1;
    if (need > h->bytes) {
        size_t cap = MAX(b->cap, APPEND_MIN);
        while (cap < need)
            cap *= 2;
        cap = MIN(cap - 1, b->max) + 1;
        int r = mem_held_grow(h, cap - h->bytes, err);
        if (r < 0)
            return r;
        (void)buf_reserve(b, cap - 1 - b->len);
    }
    return buf_append(b, data, len);
}
