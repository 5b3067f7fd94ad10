#pragma once
#include "lib/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * What one kernel said, numbered from 1, for readers that are each at a place of their own.
 *
 * Ceilings: HUB_HEAVY_BYTES of outputs and HUB_LIGHT_BYTES of all else in memory. Above, the oldest
 * go. What a connected reader has not had yet goes to a file, as long as the sandbox has room for
 * that. Else outputs are dropped, and each leaves its number, its length and its parent header, so
 * that a reader can say what is missing; of all else, and above HUB_ENTRIES, the oldest go
 * altogether, and a reader that was behind has been overrun.
 */
struct hub_ring;

#define HUB_HEAVY_BYTES MIB(16)
#define HUB_LIGHT_BYTES MIB(8)
#define HUB_ENTRIES     65536

/* What all rings of a sandbox may write to files. */
#define HUB_SPILL_BYTES MIB(256)
#define HUB_SPILL_LIGHT MIB(64) /* and above that for what is no output */
struct hub_spill {
    int dir_fd;   /* borrowed; -1: see spill_file.h */
    int64_t left; /* begins with HUB_SPILL_BYTES */
};

enum hub_weight {
    HUB_LIGHT, /* clients must not miss it */
    HUB_HEAVY, /* an output: may be spilled or dropped */
    /*
     * Light, and never sent twice to a session: JupyterLab reconnects at `restarting`, and would
     * for ever if that came again.
     */
    HUB_ONCE,
};

struct hub_entry {
    uint32_t to; /* the session it is for; 0: all */
    enum hub_weight weight;
    bool spilled;
    char *v1;        /* the message as v1 has it; NULL: spilled or dropped */
    size_t len;      /* its bytes, also when dropped */
    uint64_t offset; /* in the file, when spilled */
    char *parent;    /* the parent header's JSON; NULL unless dropped */
};

struct hub_ring *hub_ring_new(int spill_dir_fd);    /* borrowed; -1: see spill_file.h */
struct hub_ring *hub_ring_free(struct hub_ring *r); /* NULL ok */
/* Returns its number. No ceiling is looked at before hub_ring_limit(). */
uint64_t hub_ring_append(struct hub_ring *r, uint32_t to, enum hub_weight weight, char *v1_take,
                         size_t len);
/* Brings it below the ceilings; connected readers need what comes from `live_from` on. */
void hub_ring_limit(struct hub_ring *r, uint64_t live_from);
/* Nobody needs entries up to `seq` any more. */
void hub_ring_trim(struct hub_ring *r, uint64_t seq);
uint64_t hub_ring_first(const struct hub_ring *r); /* the oldest there is; = _next() when empty */
uint64_t hub_ring_next(const struct hub_ring *r);  /* the number the next entry gets */
/* first ≤ seq < next; valid until the next append, limit or trim. */
const struct hub_entry *hub_ring_at(const struct hub_ring *r, uint64_t seq);
/*
 * The entry's message, read back when it was spilled; false: it was dropped. Valid until the next
 * call of this or of what changes the ring.
 */
bool hub_ring_read(struct hub_ring *r, uint64_t seq, struct slice *ret);
size_t hub_ring_bytes(const struct hub_ring *r);
