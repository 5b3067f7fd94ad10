/*
 * Entries lie in a circular array by number, so that a reader's place is a number and nothing has
 * to be told when an entry goes. The file only grows, and begins anew when nothing of it is needed
 * any more.
 */
#include "kernel-runner/attach/hub_ring.h"

#include "kernel-runner/exec/spill_file.h"
#include "lib/base/mem.h"
#include "lib/jupyter/jp_ws.h"

#include <assert.h>

#define FIRST_CAPACITY 64     /* a power of two, as every later one */
#define PARENT_MAX     KIB(4) /* of a dropped entry; a longer one is not kept */

struct hub_ring {
    struct hub_entry *entries;
    size_t capacity;
    uint64_t first, next;
    uint64_t heavy_from, light_from; /* before these nothing of the kind is in memory */
    size_t heavy_bytes, light_bytes; /* in memory */
    struct hub_spill *spill;
    int fd;
    uint64_t file_end;
    size_t n_spilled;
    char *scratch; /* what was read back last */
};

struct hub_ring *hub_ring_new(struct hub_spill *spill)
{
    struct hub_ring *r = MEM_NEW(struct hub_ring);
    r->spill = spill;
    r->fd = -1;
    r->first = r->next = r->heavy_from = r->light_from = 1;
    return r;
}

static struct hub_entry *slot(const struct hub_ring *r, uint64_t seq)
{
    return &r->entries[seq & (r->capacity - 1)];
}

static size_t *bytes_of(struct hub_ring *r, const struct hub_entry *e)
{
    return e->weight == HUB_HEAVY ? &r->heavy_bytes : &r->light_bytes;
}

static void grow(struct hub_ring *r)
{
    size_t capacity = r->capacity ? r->capacity * 2 : FIRST_CAPACITY;
    struct hub_entry *entries = MEM_NEW_N(struct hub_entry, capacity);
    for (uint64_t seq = r->first; seq < r->next; seq++)
        entries[seq & (capacity - 1)] = *slot(r, seq);
    free(r->entries);
    r->entries = entries;
    r->capacity = capacity;
}

uint64_t hub_ring_append(struct hub_ring *r, uint32_t to, enum hub_weight weight, char *v1_take,
                         size_t len)
{
    if (r->next - r->first == r->capacity)
        grow(r);
    struct hub_entry *e = slot(r, r->next);
    *e = (struct hub_entry){.to = to, .weight = weight, .v1 = v1_take, .len = len};
    *bytes_of(r, e) += len;
    return r->next++;
}

static char *parent_of(const struct hub_entry *e)
{
    struct jp_ws_msg msg;
    if (jp_ws_v1_decode(&msg, slice_make(e->v1, e->len), NULL) < 0 ||
        msg.frames[JP_PARENT].len > PARENT_MAX)
        return mem_dup_str("{}");
    return mem_dup_n(msg.frames[JP_PARENT].ptr, msg.frames[JP_PARENT].len);
}

static void unspill(struct hub_ring *r)
{
    if (--r->n_spilled)
        return;
    r->spill->left += (int64_t)r->file_end;
    close(r->fd);
    r->fd = -1;
    r->file_end = 0;
    free(r->scratch);
    r->scratch = NULL;
}

static void forget_bytes(struct hub_ring *r, const struct hub_entry *e)
{
    if (e->spilled)
        unspill(r);
    else if (e->v1)
        *bytes_of(r, e) -= e->len;
    else
        r->light_bytes -= strlen(e->parent);
}

static void pop(struct hub_ring *r)
{
    struct hub_entry *e = slot(r, r->first);
    forget_bytes(r, e);
    free(e->v1);
    free(e->parent);
    *e = (struct hub_entry){0};
    r->first++;
    r->heavy_from = MAX(r->heavy_from, r->first);
    r->light_from = MAX(r->light_from, r->first);
}

static void drop(struct hub_ring *r, struct hub_entry *e)
{
    r->heavy_bytes -= e->len;
    e->parent = parent_of(e);
    r->light_bytes += strlen(e->parent);
    free(e->v1);
    e->v1 = NULL;
}

static bool spill(struct hub_ring *r, struct hub_entry *e)
{
    int64_t room = r->spill->left + (e->weight == HUB_HEAVY ? 0 : (int64_t)HUB_SPILL_LIGHT);
    if (room < (int64_t)e->len)
        return false;
    if (r->fd < 0)
        r->fd = spill_file_open(r->spill->dir_fd);
    if (r->fd < 0 || spill_file_write(r->fd, e->v1, e->len, r->file_end) < 0)
        return false;
    e->spilled = true;
    e->offset = r->file_end;
    r->file_end += e->len;
    r->spill->left -= (int64_t)e->len;
    r->n_spilled++;
    *bytes_of(r, e) -= e->len;
    free(e->v1);
    e->v1 = NULL;
    return true;
}

static void limit_heavy(struct hub_ring *r, uint64_t live_from)
{
    for (; r->heavy_bytes > HUB_HEAVY_BYTES && r->heavy_from + 1 < r->next; r->heavy_from++) {
        struct hub_entry *e = slot(r, r->heavy_from);
        if (e->weight == HUB_HEAVY && e->v1 && (r->heavy_from < live_from || !spill(r, e)))
            drop(r, e);
    }
}

static void limit_light(struct hub_ring *r, uint64_t live_from)
{
    /* Nobody is connected who needs these. */
    while (r->light_bytes > HUB_LIGHT_BYTES && r->first < live_from && r->first + 1 < r->next)
        pop(r);
    for (; r->light_bytes > HUB_LIGHT_BYTES && r->light_from + 1 < r->next; r->light_from++) {
        struct hub_entry *e = slot(r, r->light_from);
        if (e->weight != HUB_HEAVY && e->v1 && !spill(r, e))
            break;
    }
    /* No room in the file: who has not read by now has lost what he must not. */
    while (r->light_bytes > HUB_SPILL_LIGHT && r->first + 1 < r->next)
        pop(r);
}

void hub_ring_limit(struct hub_ring *r, uint64_t live_from)
{
    limit_heavy(r, live_from);
    limit_light(r, live_from);
    while (r->next - r->first > HUB_ENTRIES)
        pop(r);
}

void hub_ring_trim(struct hub_ring *r, uint64_t seq)
{
    while (r->first <= seq && r->first < r->next)
        pop(r);
    /* An idle kernel keeps nothing. */
    if (r->first == r->next && r->capacity > FIRST_CAPACITY) {
        free(r->entries);
        r->entries = NULL;
        r->capacity = 0;
    }
}

uint64_t hub_ring_first(const struct hub_ring *r)
{
    return r->first;
}

uint64_t hub_ring_next(const struct hub_ring *r)
{
    return r->next;
}

const struct hub_entry *hub_ring_at(const struct hub_ring *r, uint64_t seq)
{
    assert(seq >= r->first && seq < r->next);
    return slot(r, seq);
}

/* It cannot be read back: as if it had been dropped. */
static void lose(struct hub_ring *r, struct hub_entry *e)
{
    static const char unknown[] = "{}";
    e->spilled = false;
    e->parent = mem_dup_str(unknown);
    r->light_bytes += strlen(unknown);
    unspill(r);
}

bool hub_ring_read(struct hub_ring *r, uint64_t seq, struct slice *ret)
{
    assert(seq >= r->first && seq < r->next);
    struct hub_entry *e = slot(r, seq);
    if (e->v1) {
        *ret = slice_make(e->v1, e->len);
        return true;
    }
    if (!e->spilled)
        return false;
    free(r->scratch);
    r->scratch = mem_alloc(e->len);
    if (spill_file_read(r->fd, r->scratch, e->len, e->offset) < 0) {
        lose(r, e);
        return false;
    }
    *ret = slice_make(r->scratch, e->len);
    return true;
}

size_t hub_ring_bytes(const struct hub_ring *r)
{
    return r->heavy_bytes + r->light_bytes;
}

struct hub_ring *hub_ring_free(struct hub_ring *r)
{
    if (!r)
        return NULL;
    while (r->first < r->next)
        pop(r);
    if (r->fd >= 0) /* a first write that failed */
        close(r->fd);
    free(r->scratch);
    free(r->entries);
    free(r);
    return NULL;
}
