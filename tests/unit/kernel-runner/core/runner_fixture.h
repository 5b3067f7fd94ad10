#pragma once
/* A real runner whose kernels are stubs (tests/support/kernel_stub.h), and waiting with a bound. */
#include "tests/support/kernel_stub.h"

#include "kernel-runner/core/runner.h"
#include "kernel-runner/kernel/kernel_walls.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four headers it needs */
#include <cmocka.h>

#define RUNNER_ID   "sb-11111111-1111-4111-8111-111111111000"
#define WATCHDOG_MS 20000

struct runner_fixture {
    char dir[32], files[40], run[40];
    struct loop *loop;
    struct runner *runner;
    struct kernel_walls *walls;
    struct loop_timer *watchdog, *beat;
    char expired[40]; /* why the runner's time was over */
    bool quick;       /* an unclaimed one lives 100 ms */
};

static inline void fixture_late(void *ctx)
{
    fail_msg("nothing came for %d ms", WATCHDOG_MS);
}

static inline void fixture_beat(void *ctx)
{
    loop_stop(((struct runner_fixture *)ctx)->loop);
}

static inline void fixture_expired(void *ctx, const char *why)
{
    struct runner_fixture *f = ctx;
    snprintf(f->expired, sizeof(f->expired), "%s", why);
    loop_stop(f->loop);
}

/* Turns the loop until the condition holds; it is looked at every few ms. */
#define AWAIT(f, condition)                                                                        \
    do {                                                                                           \
        loop_timer_start((f)->watchdog, WATCHDOG_MS, 0);                                           \
        loop_timer_start((f)->beat, 2, 2);                                                         \
        while (!(condition))                                                                       \
            loop_run((f)->loop);                                                                   \
        loop_timer_stop((f)->beat);                                                                \
        loop_timer_stop((f)->watchdog);                                                            \
    } while (0)

static inline void runner_fixture_start(struct runner_fixture *f, const char *python)
{
    struct err err;
    snprintf(f->dir, sizeof(f->dir), "/tmp/cr-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->files, sizeof(f->files), "%s/f", f->dir);
    snprintf(f->run, sizeof(f->run), "%s/r", f->dir);
    assert_int_equal(mkdir(f->files, 0700), 0);
    assert_int_equal(mkdir(f->run, 0700), 0);
    assert_int_equal(loop_new(&f->loop, NULL), 0);
    assert_int_equal(kernel_walls_new(&f->walls, NULL), 0);
    f->watchdog = loop_timer_new(f->loop, fixture_late, f);
    f->beat = loop_timer_new(f->loop, fixture_beat, f);
    struct runner_cfg cfg = {.id = RUNNER_ID,
                             .kernel = {.python = python,
                                        .run_dir = f->run,
                                        .cwd = f->files,
                                        .walls = f->walls,
                                        .start_timeout_ms = WATCHDOG_MS},
                             .files_dir = f->files,
                             .files_max_bytes = MIB(1),
                             .output_bytes = MIB(1),
                             .total_output_bytes = MIB(4),
                             .held_bytes = MIB(64),
                             .spill_dir_fd = -1,
                             .exec_timeout_ms = 60000,
                             .idle_timeout_ms = 60000,
                             .unclaimed_timeout_ms = f->quick ? 100 : 60000,
                             .on_expired = fixture_expired,
                             .ctx = f};
    if (runner_new(&f->runner, f->loop, &cfg, &err) < 0)
        fail_msg("%s", err.text);
}

static inline struct kernel *main_kernel(struct runner_fixture *f)
{
    return kernel_table_main(runner_kernels(f->runner));
}

static inline void await_live(struct runner_fixture *f)
{
    AWAIT(f, kernel_state_live(kernel_state(main_kernel(f))));
}

static inline int run_code(struct runner_fixture *f, const char *id, const char *code,
                           const char *kernel, struct exec **ret, struct err *err)
{
    struct exec_request *r = NULL;
    char body[200];
    snprintf(body, sizeof(body), "{\"code\":\"%s\"}", code);
    assert_int_equal(exec_request_parse(&r, slice_str(body), NULL), 0);
    r->kernel_id = mem_dup_str(kernel);
    return runner_execute(f->runner, id, code, r, ret, err);
}

static inline void runner_fixture_stop(struct runner_fixture *f)
{
    runner_free(f->runner);
    kernel_walls_free(f->walls);
    loop_timer_free(f->watchdog);
    loop_timer_free(f->beat);
    loop_free(f->loop); /* the kernels' directories are removed on its pool */
    assert_int_equal(rmdir(f->run), 0);
    assert_int_equal(rmdir(f->files), 0);
    assert_int_equal(rmdir(f->dir), 0);
}
