/* As long as the pool is large: a list is walked faster than anything is kept. */
#include "controller/pool/ready_list.h"

#include <stdlib.h>
#include <utlist.h>

#include "lib/base/mem.h"

struct ready {
    struct sandbox *sb;
    struct ready *prev, *next;
};

static void drop(struct ready_list *l, struct ready *r)
{
    DL_DELETE(l->first, r);
    free(r);
}

void ready_list_add(struct ready_list *l, struct sandbox *sb)
{
    struct ready *r = MEM_NEW(struct ready);

    r->sb = sb;
    DL_APPEND(l->first, r);
}

struct sandbox *ready_list_take(struct ready_list *l)
{
    while (l->first) {
        struct sandbox *sb = l->first->sb;
        drop(l, l->first);
        if (sb->state == SANDBOX_WARM)
            return sb;
    }
    return NULL;
}

void ready_list_forget(struct ready_list *l, const struct sandbox *sb)
{
    struct ready *r, *next;

    DL_FOREACH_SAFE (l->first, r, next)
        if (r->sb == sb)
            drop(l, r);
}

unsigned ready_list_count(const struct ready_list *l)
{
    const struct ready *r;
    unsigned n = 0;

    DL_COUNT(l->first, r, n);
    return n;
}

void ready_list_clear(struct ready_list *l)
{
    struct ready *r, *next;

    DL_FOREACH_SAFE (l->first, r, next)
        drop(l, r);
}
