/*
 * Digests are kept in a ring, in the order they came, with an index of open addressing over it: a
 * digest is as good as random, so its first bytes are its hash. Both double until the ring has its
 * full size; only then does it go round.
 */
#include "lib/jupyter/jp_seen.h"

#include "lib/base/mem.h"

#include <stdint.h>

enum { DIGEST = 32, FIRST = 256 };

struct jp_seen {
    unsigned char (*ring)[DIGEST];
    uint32_t *slots; /* place in the ring + 1, or 0 */
    size_t max;      /* entries of the ring; there are twice as many slots */
    size_t n, next;  /* digests kept; where the next one goes */
};

struct jp_seen *jp_seen_new(void)
{
    struct jp_seen *s = MEM_NEW(struct jp_seen);
    s->max = FIRST;
    s->ring = mem_zero(s->max, sizeof(*s->ring));
    s->slots = MEM_NEW_N(uint32_t, 2 * s->max);
    return s;
}

struct jp_seen *jp_seen_free(struct jp_seen *s)
{
    if (!s)
        return NULL;
    free(s->ring);
    free(s->slots);
    free(s);
    return NULL;
}

static size_t home_of(const struct jp_seen *s, const unsigned char digest[DIGEST])
{
    uint32_t h;
    memcpy(&h, digest, sizeof(h));
    return h % (2 * s->max);
}

/* The slot of a digest, or the empty one where it would go. */
static size_t slot_of(const struct jp_seen *s, const unsigned char digest[DIGEST])
{
    size_t i = home_of(s, digest);
    while (s->slots[i] && memcmp(s->ring[s->slots[i] - 1], digest, DIGEST) != 0)
        i = (i + 1) % (2 * s->max);
    return i;
}

/* Empties a slot and moves up what was pushed behind it. */
static void forget(struct jp_seen *s, size_t hole)
{
    const size_t slots = 2 * s->max;
    for (size_t i = (hole + 1) % slots; s->slots[i]; i = (i + 1) % slots) {
        size_t home = home_of(s, s->ring[s->slots[i] - 1]);
        if ((i - home + slots) % slots < (i - hole + slots) % slots)
            continue;
        s->slots[hole] = s->slots[i];
        hole = i;
    }
    s->slots[hole] = 0;
}

static void grow(struct jp_seen *s)
{
    s->max *= 2;
    s->ring = mem_resize(s->ring, s->max * sizeof(*s->ring));
    free(s->slots);
    s->slots = MEM_NEW_N(uint32_t, 2 * s->max);
    for (size_t i = 0; i < s->n; i++)
        s->slots[slot_of(s, s->ring[i])] = (uint32_t)i + 1;
    s->next = s->n;
}

static unsigned nibble(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'a' + 10);
}

static void read_digest(struct slice hex, unsigned char out[DIGEST])
{
    for (size_t i = 0; i < DIGEST; i++)
        out[i] = (unsigned char)(nibble(hex.ptr[2 * i]) << 4 | nibble(hex.ptr[2 * i + 1]));
}

bool jp_seen_add(struct jp_seen *s, struct slice hex)
{
    unsigned char digest[DIGEST];
    read_digest(hex, digest);
    if (s->slots[slot_of(s, digest)])
        return false;
    if (s->n == s->max && s->max < JP_SEEN_MAX)
        grow(s);
    if (s->n == s->max)
        forget(s, slot_of(s, s->ring[s->next]));
    else
        s->n++;
    memcpy(s->ring[s->next], digest, DIGEST);
    s->slots[slot_of(s, digest)] = (uint32_t)s->next + 1;
    s->next = (s->next + 1) % s->max;
    return true;
}
