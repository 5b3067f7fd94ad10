#include "kernel-runner/kernel/mem_watch.h"

#include "lib/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void watch_states(void **state)
{
    enum { R = MEM_WATCH_RESTING, L = MEM_WATCH_LOOKING, S = MEM_WATCH_SETTLING, X = -1 };
    static const int expected[MEM_WATCH_STATES][MEM_WATCH_EVENTS] = {
        /*      LOOK FITS KILL GONE */
        [R] = {L, R, S, X},
        [L] = {X, R, S, X},
        [S] = {X, X, X, R},
    };
    for (int from = 0; from < MEM_WATCH_STATES; from++)
        for (int ev = 0; ev < MEM_WATCH_EVENTS; ev++)
            assert_int_equal(mem_watch_next(from, ev), expected[from][ev]);
}

struct bed {
    struct loop *loop;
    struct mem_watch *watch;
    struct mem_root roots[2];
    size_t n_roots;
    struct mem_root killed;
    uint64_t bytes;
    unsigned kills;
    bool refuse;
    uint64_t known;
};

static uint64_t known(void *ctx)
{
    return ((struct bed *)ctx)->known;
}

static bool busy(void *ctx)
{
    return true;
}

static size_t roots(void *ctx, struct mem_root *out, size_t max)
{
    struct bed *b = ctx;
    memcpy(out, b->roots, b->n_roots * sizeof(*out));
    return b->n_roots;
}

static bool on_kill(void *ctx, const struct mem_root *whom, uint64_t bytes)
{
    struct bed *b = ctx;
    b->killed = *whom;
    b->bytes = bytes;
    b->kills++;
    if (b->refuse && b->kills < 3)
        return false;
    loop_stop(b->loop);
    return true;
}

static void on_late(void *ctx)
{
    loop_stop(((struct bed *)ctx)->loop);
}

static pid_t child_that_holds(size_t bytes)
{
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        char *p = mmap(NULL, bytes + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        memset(p, 1, bytes);
        _Exit(write(ready[1], "x", 1) == 1 ? pause() : 1);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return pid;
}

static void begin(struct bed *b, uint64_t limit)
{
    struct mem_watch_cfg cfg = {.limit_bytes = limit,
                                .busy = busy,
                                .roots = roots,
                                .kill = on_kill,
                                .ctx = b,
                                .known = known};
    assert_int_equal(loop_new(&b->loop, NULL), 0);
    cfg.loop = b->loop;
    b->watch = mem_watch_new(&cfg);
}

static void run(struct bed *b, int64_t at_most_ms)
{
    struct loop_timer *late = loop_timer_new(b->loop, on_late, b);
    loop_timer_start(late, at_most_ms, 0);
    loop_run(b->loop);
    loop_timer_free(late);
}

static void end(struct bed *b)
{
    mem_watch_free(b->watch);
    loop_free(b->loop);
    for (size_t i = 0; i < b->n_roots; i++) {
        kill(b->roots[i].pid, 9);
        waitpid(b->roots[i].pid, NULL, 0);
    }
}

static void watch_kills_who_holds_most(void **state)
{
    struct bed b = {.n_roots = 2};
    /* Sanitized children are large themselves; what one holds beyond that decides. */
    b.roots[0] = (struct mem_root){.id = "small", .generation = 4, .pid = child_that_holds(0)};
    b.roots[1] =
        (struct mem_root){.id = "large", .generation = 5, .pid = child_that_holds(64 << 20)};
    begin(&b, 48 << 20);
    run(&b, 20000);
    assert_int_equal(b.kills, 1);
    assert_string_equal(b.killed.id, "large");
    assert_int_equal(b.killed.generation, 5);
    assert_true(b.bytes >= 64 << 20);
    end(&b);
}

/* Its process ended meanwhile, so nothing was killed: it is looked again, not waited. */
static void watch_looks_again_after_a_stale_verdict(void **state)
{
    struct bed b = {.n_roots = 1, .refuse = true};
    b.roots[0] = (struct mem_root){.id = "one", .generation = 1, .pid = child_that_holds(64 << 20)};
    begin(&b, 48 << 20);
    run(&b, 20000);
    assert_int_equal(b.kills, 3);
    end(&b);
}

static void watch_kills_once_until_it_is_gone(void **state)
{
    struct bed b = {.n_roots = 1};
    b.roots[0] = (struct mem_root){.id = "one", .generation = 1, .pid = child_that_holds(64 << 20)};
    begin(&b, 48 << 20);
    run(&b, 20000);
    run(&b, 400);
    assert_int_equal(b.kills, 1);
    b.roots[0].generation = 2; /* the next process, which holds too much as well */
    run(&b, 20000);
    assert_int_equal(b.kills, 2);
    assert_int_equal(b.killed.generation, 2);
    end(&b);
}

static void watch_leaves_alone_what_fits(void **state)
{
    struct bed b = {.n_roots = 1};
    b.roots[0] = (struct mem_root){.id = "one", .generation = 1, .pid = child_that_holds(0)};
    begin(&b, 1ULL << 40);
    run(&b, 350);
    assert_int_equal(b.kills, 0);
    end(&b);
}

/* What this process holds of its own accord is not the kernel's; what is beyond that is. */
static void watch_kills_nobody_for_what_is_held_by_the_rules(void **state)
{
    enum { HELD = 800 << 20 };
    struct bed b = {.n_roots = 1, .known = HELD};
    b.roots[0] = (struct mem_root){.id = "one", .generation = 1, .pid = child_that_holds(0)};
    char *p =
        mmap(NULL, HELD, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    assert_true(p != MAP_FAILED);
    begin(&b, 200 << 20);
    run(&b, 500);
    assert_int_equal(b.kills, 0);
    b.known = 0;
    run(&b, 20000);
    assert_int_equal(b.kills, 1);
    munmap(p, HELD);
    end(&b);
}

/* Freed in the middle of a look: no callback comes, nothing leaks. */
static void watch_freed_while_it_looks(void **state)
{
    struct bed b = {.n_roots = 1};
    b.roots[0] = (struct mem_root){.id = "one", .generation = 1, .pid = child_that_holds(64 << 20)};
    begin(&b, 48 << 20);
    run(&b, 101); /* the first beat comes at 100 ms */
    b.watch = mem_watch_free(b.watch);
    b.kills = 0;
    run(&b, 200);
    assert_int_equal(b.kills, 0);
    end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(watch_states),
        cmocka_unit_test(watch_kills_who_holds_most),
        cmocka_unit_test(watch_looks_again_after_a_stale_verdict),
        cmocka_unit_test(watch_kills_once_until_it_is_gone),
        cmocka_unit_test(watch_leaves_alone_what_fits),
        cmocka_unit_test(watch_kills_nobody_for_what_is_held_by_the_rules),
        cmocka_unit_test(watch_freed_while_it_looks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
