/*
 * Digests are kept in a ring, in the order they came, with an index of open addressing over it: a
 * digest is as good as random, so its first bytes are its hash.
 */
#include "lib/jupyter/jp_seen.h"

#include "lib/base/mem.h"

#include <stdint.h>

enum { DIGEST = 32, SLOTS = 2 * JP_SEEN_MAX };

struct jp_seen {
    unsigned char (*ring)[DIGEST];
    uint32_t *slots; /* place in the ring + 1, or 0 */
    size_t n, next;  /* digests kept; where the next one goes */
};

struct jp_seen *jp_seen_new(void)
{
    struct jp_seen *s = MEM_NEW(struct jp_seen);
    s->ring = mem_zero(JP_SEEN_MAX, sizeof(*s->ring));
    s->slots = MEM_NEW_N(uint32_t, SLOTS);
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

static size_t home_of(const unsigned char digest[DIGEST])
{
    uint32_t h;
    memcpy(&h, digest, sizeof(h));
    return h % SLOTS;
}

/* The slot of a digest, or the empty one where it would go. */
static size_t slot_of(const struct jp_seen *s, const unsigned char digest[DIGEST])
{
    size_t i = home_of(digest);
    while (s->slots[i] && memcmp(s->ring[s->slots[i] - 1], digest, DIGEST) != 0)
        i = (i + 1) % SLOTS;
    return i;
}

/* Empties a slot and moves up what was pushed behind it. */
static void forget(struct jp_seen *s, size_t hole)
{
    for (size_t i = (hole + 1) % SLOTS; s->slots[i]; i = (i + 1) % SLOTS) {
        size_t home = home_of(s->ring[s->slots[i] - 1]);
        if ((i - home + SLOTS) % SLOTS < (i - hole + SLOTS) % SLOTS)
            continue;
        s->slots[hole] = s->slots[i];
        hole = i;
    }
    s->slots[hole] = 0;
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
    if (s->n == JP_SEEN_MAX)
        forget(s, slot_of(s, s->ring[s->next]));
    else
        s->n++;
    memcpy(s->ring[s->next], digest, DIGEST);
    s->slots[slot_of(s, digest)] = (uint32_t)s->next + 1;
    s->next = (s->next + 1) % JP_SEEN_MAX;
    return true;
}
