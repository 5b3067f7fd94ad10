/*
 * The runner's own memory counts above what it needs for itself: a kernel can make it grow without
 * bounds, as ZeroMQ gathers a message of any number of frames before it hands over the first. With
 * the kernel its connection goes, and with that what was gathered, in ZeroMQ's own time.
 *
 * A look outlives the watch when that is freed meanwhile: it is then nobody's.
 */
#include "kernel-runner/kernel/mem_watch.h"

#include "kernel-runner/kernel/proc_table.h"
#include "lib/base/macros.h"
#include "lib/base/mem.h"

#include <assert.h>
#include <linux/magic.h>
#include <malloc.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#define BUSY_MS        100
#define NEAR_MS        20
#define BUSY_CGROUP_MS 10 /* a read costs microseconds; in 100 ms code takes gigabytes */
#define IDLE_MS        1000
#define SETTLE_MS      2000 /* a killed kernel, and what ZeroMQ holds of it, is gone by then */
#define DYING_MS       250
#define OOM_IS_NEW_MS  2000   /* a death that follows it within this is its */
#define INODE_BYTES    KIB(1) /* what a file without contents costs the kernel, at most */
/* A sanitizer holds freed memory back. */
#define OWN_BYTES (CAESARION_SANITIZED ? MIB(512) : MIB(64))

struct look {
    struct mem_scan scan;
    struct mem_watch *watch; /* NULL: freed */
};

struct mem_watch {
    struct mem_watch_cfg cfg;
    enum mem_watch_state state;
    struct loop_timer *timer;
    int64_t beat_ms;
    struct look *look;
    bool is_near; /* the last look found more than half of the limit */
    struct mem_root killed;
    int64_t settled_at_ms; /* at the latest */
    bool is_dying;         /* what was killed is replaced; its memory is being freed */
    uint64_t oom_kills;
    int64_t oom_until_ms;
};

int mem_watch_next(enum mem_watch_state from, enum mem_watch_event ev)
{
    static const int next[MEM_WATCH_STATES][MEM_WATCH_EVENTS] = {
        [MEM_WATCH_RESTING] = {[MEM_WATCH_LOOK] = MEM_WATCH_LOOKING,
                               [MEM_WATCH_FITS] = MEM_WATCH_RESTING,
                               [MEM_WATCH_KILL] = MEM_WATCH_SETTLING,
                               [MEM_WATCH_GONE] = -1},
        [MEM_WATCH_LOOKING] = {[MEM_WATCH_LOOK] = -1,
                               [MEM_WATCH_FITS] = MEM_WATCH_RESTING,
                               [MEM_WATCH_KILL] = MEM_WATCH_SETTLING,
                               [MEM_WATCH_GONE] = -1},
        [MEM_WATCH_SETTLING] = {[MEM_WATCH_LOOK] = -1,
                                [MEM_WATCH_FITS] = -1,
                                [MEM_WATCH_KILL] = -1,
                                [MEM_WATCH_GONE] = MEM_WATCH_RESTING},
    };
    return next[from][ev];
}

static void move(struct mem_watch *w, enum mem_watch_event ev)
{
    int next = mem_watch_next(w->state, ev);
    assert(next >= 0);
    w->state = next < 0 ? MEM_WATCH_RESTING : (enum mem_watch_state)next;
}

static void rest(struct mem_watch *w)
{
    int64_t busy = w->cfg.cgroup ? BUSY_CGROUP_MS : w->is_near ? NEAR_MS : BUSY_MS;
    w->beat_ms = w->state == MEM_WATCH_SETTLING || w->cfg.busy(w->cfg.ctx) ? busy : IDLE_MS;
    loop_timer_start(w->timer, w->beat_ms, 0);
}

/* What the kernels made this process hold, against its rules. */
static uint64_t own_bytes(const struct mem_watch *w)
{
    uint64_t fair = OWN_BYTES + (w->cfg.known ? w->cfg.known(w->cfg.ctx) : 0);
    if (proc_own_bytes() <= fair)
        return 0;
    malloc_trim(0);
    uint64_t own = proc_own_bytes();
    return own > fair ? own - fair : 0;
}

/* ---- with a cgroup ---- */

/* What the file systems in memory hold, and what the kernel holds for their files. */
static void files_bytes(const struct mem_watch *w, uint64_t *ret_bytes, uint64_t *ret_inodes)
{
    struct statfs fs;
    struct stat st;
    dev_t seen[ARRAY_LEN(w->cfg.files)];
    size_t n = 0;
    *ret_bytes = *ret_inodes = 0;
    for (const char *const *f = w->cfg.files; *f; f++) {
        if (stat(*f, &st) < 0 || statfs(*f, &fs) < 0 || fs.f_type != TMPFS_MAGIC)
            continue;
        bool again = false; /* two folders of one file system */
        for (size_t i = 0; i < n; i++)
            again = again || seen[i] == st.st_dev;
        if (again)
            continue;
        seen[n++] = st.st_dev;
        *ret_bytes += (uint64_t)(fs.f_blocks - fs.f_bfree) * (uint64_t)fs.f_bsize;
        *ret_inodes += (uint64_t)(fs.f_files - fs.f_ffree) * INODE_BYTES;
    }
}

static uint64_t held_bytes(const struct mem_watch *w, uint64_t own)
{
    const struct mem_cgroup *g = w->cfg.cgroup;
    uint64_t used = mem_cgroup_used(g), files, inodes;
    /* A pod's cgroup holds the runner, too. */
    uint64_t mine = mem_cgroup_limit(g) ? proc_own_bytes() : 0;
    if (used + own <= w->cfg.limit_bytes)
        return used + own;
    files_bytes(w, &files, &inodes);
    uint64_t not_held = mem_cgroup_not_held(g, files) + inodes + mine;
    return used - MIN(used, not_held) + own;
}

/* ---- verdicts ---- */

static void kill_root(struct mem_watch *w, const struct mem_root *whom, uint64_t bytes)
{
    if (!w->cfg.kill(w->cfg.ctx, whom, bytes)) {
        move(w, MEM_WATCH_FITS); /* its process ended meanwhile: look anew */
        return;
    }
    w->killed = *whom;
    w->is_dying = false;
    w->settled_at_ms = loop_now_ms(w->cfg.loop) + SETTLE_MS;
    move(w, MEM_WATCH_KILL);
}

static void look_run(void *ctx)
{
    mem_scan_run(&((struct look *)ctx)->scan);
}

static void look_done(void *ctx)
{
    struct look *l = ctx;
    struct mem_watch *w = l->watch;
    if (w) {
        const struct mem_scan *s = &l->scan;
        w->look = NULL;
        w->is_near = s->bytes > w->cfg.limit_bytes / 2;
        if (s->n_roots > 0 && s->bytes > w->cfg.limit_bytes)
            kill_root(w, &s->roots[s->worst], s->bytes);
        else
            move(w, MEM_WATCH_FITS);
        rest(w);
    }
    free(l);
}

/* `bytes` > 0: so much it is, and only who holds most of it is asked. */
static void start_look(struct mem_watch *w, uint64_t bytes, uint64_t own)
{
    struct look *l = MEM_NEW(struct look);
    l->scan = (struct mem_scan){.is_init = w->cfg.is_init,
                                .only_blame = bytes > 0,
                                .limit_bytes = w->cfg.limit_bytes,
                                .own_bytes = own,
                                .bytes = bytes};
    memcpy(l->scan.files, w->cfg.files, sizeof(l->scan.files));
    l->scan.n_roots = w->cfg.roots(w->cfg.ctx, l->scan.roots, LIMIT_KERNELS);
    l->watch = w;
    if (loop_work(w->cfg.loop, look_run, look_done, l, NULL) < 0) {
        free(l); /* the pool is full: at the next beat */
        move(w, MEM_WATCH_FITS);
        rest(w);
        return;
    }
    w->look = l;
    move(w, MEM_WATCH_LOOK);
}

static void judge(struct mem_watch *w)
{
    struct mem_root roots[LIMIT_KERNELS];
    uint64_t own = own_bytes(w);
    if (!w->cfg.cgroup) {
        start_look(w, 0, own);
        return;
    }
    uint64_t bytes = held_bytes(w, own);
    if (bytes > w->cfg.limit_bytes) {
        size_t n = w->cfg.roots(w->cfg.ctx, roots, ARRAY_LEN(roots));
        if (n > 1) {
            start_look(w, bytes, own);
            return;
        }
        if (n == 1)
            kill_root(w, &roots[0], bytes);
    }
    rest(w);
}

static bool is_replaced(const struct mem_watch *w)
{
    struct mem_root roots[LIMIT_KERNELS];
    size_t n = w->cfg.roots(w->cfg.ctx, roots, ARRAY_LEN(roots));
    for (size_t i = 0; i < n; i++)
        if (strcmp(roots[i].id, w->killed.id) == 0)
            return roots[i].generation != w->killed.generation;
    return true;
}

/*
 * The process is gone at once; what it and its children held goes while they end. Its successor
 * must not be killed for that: it gets DYING_MS, in which it cannot have come to run anything.
 */
static bool is_settled(struct mem_watch *w)
{
    int64_t now = loop_now_ms(w->cfg.loop);
    if (now >= w->settled_at_ms)
        return true;
    uint64_t own = own_bytes(w);
    if (own > 0 || !is_replaced(w))
        return false;
    if (w->cfg.cgroup && held_bytes(w, own) <= w->cfg.limit_bytes)
        return true;
    if (!w->is_dying)
        w->settled_at_ms = MIN(w->settled_at_ms, now + DYING_MS);
    w->is_dying = true;
    return false;
}

static void note_oom(struct mem_watch *w)
{
    uint64_t n = w->cfg.cgroup ? mem_cgroup_oom_kills(w->cfg.cgroup) : 0;
    if (n == w->oom_kills)
        return;
    w->oom_kills = n;
    w->oom_until_ms = loop_now_ms(w->cfg.loop) + OOM_IS_NEW_MS;
}

bool mem_watch_was_oom(struct mem_watch *w)
{
    note_oom(w);
    return loop_now_ms(w->cfg.loop) < w->oom_until_ms;
}

static void on_beat(void *ctx)
{
    struct mem_watch *w = ctx;
    note_oom(w);
    if (w->state == MEM_WATCH_LOOKING)
        return;
    if (w->state == MEM_WATCH_SETTLING) {
        if (is_settled(w))
            move(w, MEM_WATCH_GONE);
        rest(w);
        return;
    }
    judge(w);
}

void mem_watch_hurry(struct mem_watch *w)
{
    if (!w || w->state == MEM_WATCH_LOOKING || w->beat_ms != IDLE_MS)
        return;
    w->beat_ms = w->cfg.cgroup ? BUSY_CGROUP_MS : BUSY_MS;
    loop_timer_start(w->timer, w->beat_ms, 0);
}

struct mem_watch *mem_watch_new(const struct mem_watch_cfg *cfg)
{
    struct mem_watch *w = MEM_NEW(struct mem_watch);
    w->cfg = *cfg;
    w->timer = loop_timer_new(cfg->loop, on_beat, w);
    w->beat_ms = BUSY_MS;
    loop_timer_start(w->timer, BUSY_MS, 0);
    return w;
}

struct mem_watch *mem_watch_free(struct mem_watch *w)
{
    if (!w)
        return NULL;
    if (w->look)
        w->look->watch = NULL;
    loop_timer_free(w->timer);
    free(w);
    return NULL;
}
