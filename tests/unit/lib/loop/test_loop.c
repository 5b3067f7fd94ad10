/* Watchers on a real loop: what they promise about freeing, processes and signals. */
#include "lib/base/clk.h"
#include "lib/loop/loop.h"
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
/* after the four headers it needs */
#include <cmocka.h>

struct seen {
    struct loop *loop;
    struct loop_timer *timer;
    struct loop_timer *deadline;
    struct loop_child *child;
    struct loop_poll *poll;
    struct loop_defer *defer;
    struct loop_exit exit;
    int count;
    int fd;
};

static void on_deadline(void *ctx)
{
    fail_msg("the loop waited too long");
}

static int setup(void **state)
{
    struct seen *s = calloc(1, sizeof(*s));
    assert_int_equal(loop_new(&s->loop, NULL), 0);
    s->deadline = loop_timer_new(s->loop, on_deadline, s);
    loop_timer_start(s->deadline, 20000, 0);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct seen *s = *state;
    loop_timer_free(s->deadline);
    assert_null(loop_free(s->loop));
    free(s);
    return 0;
}

static void on_beat(void *ctx)
{
    struct seen *s = ctx;
    if (++s->count == 3) {
        s->timer = loop_timer_free(s->timer); /* from its own callback */
        loop_stop(s->loop);
    }
}

static void a_timer_may_free_itself(void **state)
{
    struct seen *s = *state;
    s->timer = loop_timer_new(s->loop, on_beat, s);
    loop_timer_start(s->timer, 1, 1);
    loop_run(s->loop);
    assert_int_equal(s->count, 3);
}

static void on_defer(void *ctx)
{
    struct seen *s = ctx;
    s->count++;
    loop_stop(s->loop);
}

static void posting_twice_is_once(void **state)
{
    struct seen *s = *state;
    s->defer = loop_defer_new(s->loop, on_defer, s);
    loop_defer_post(s->defer);
    loop_defer_post(s->defer);
    assert_int_equal(s->count, 0);
    loop_run(s->loop);
    assert_int_equal(s->count, 1);
    loop_defer_free(s->defer);
}

struct told {
    struct loop *loop;
    struct loop_post post;
    struct told *next; /* told by this one */
    struct told *cancels;
    int *count;
    int at; /* its place in the order */
};

static void on_told(void *ctx)
{
    struct told *t = ctx;
    t->at = ++*t->count;
    if (t->cancels)
        loop_post_cancel(&t->cancels->post);
    if (t->next)
        loop_post(&t->next->post, t->loop, on_told, t->next);
    else if (!t->cancels)
        loop_stop(t->loop);
}

static void posts_come_in_order_and_once(void **state)
{
    struct seen *s = *state;
    struct told t[4] = {{0}};
    for (size_t i = 0; i < 4; i++) {
        t[i] = (struct told){.loop = s->loop, .count = &s->count};
        loop_post(&t[i].post, s->loop, on_told, &t[i]);
        loop_post(&t[i].post, s->loop, on_told, &t[0]);
        assert_true(loop_post_is_posted(&t[i].post));
    }
    t[0].cancels = &t[1];
    t[2].next = &t[0]; /* posted again from a post: later */
    loop_post_cancel(&t[1].post);
    loop_post_cancel(&t[1].post);
    assert_int_equal(s->count, 0);
    loop_run(s->loop);
    assert_int_equal(t[1].at, 0);
    assert_int_equal(t[2].at, 2);
    assert_int_equal(t[3].at, 3);
    loop_post_cancel(&t[0].post);
    assert_false(loop_post_is_posted(&t[0].post));
}

static void a_chain_of_posts_does_not_grow_the_stack(void **state)
{
    enum { N = 200000 };
    struct seen *s = *state;
    struct told *t = calloc(N, sizeof(*t));
    for (size_t i = 0; i < N; i++)
        t[i] = (struct told){
            .loop = s->loop, .count = &s->count, .next = i + 1 < N ? &t[i + 1] : NULL};
    loop_post(&t[0].post, s->loop, on_told, &t[0]);
    loop_run(s->loop);
    assert_int_equal(s->count, N);
    free(t);
}

static void on_readable(void *ctx, int events)
{
    struct seen *s = ctx;
    assert_int_equal(events & LOOP_READ, LOOP_READ);
    s->poll = loop_poll_free(s->poll);
    s->count++;
    loop_stop(s->loop);
}

static void a_poll_may_free_itself(void **state)
{
    struct seen *s = *state;
    s->fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    assert_int_equal(loop_poll_new(&s->poll, s->loop, s->fd, on_readable, s, NULL), 0);
    loop_poll_set(s->poll, LOOP_READ);
    loop_run(s->loop);
    assert_int_equal(s->count, 1);
    close(s->fd);
}

static void on_child(void *ctx, const struct loop_exit *exit)
{
    struct seen *s = ctx;
    s->exit = *exit;
    s->count++;
    s->child = loop_child_free(s->child);
    loop_stop(s->loop);
}

static pid_t spawn(int exit_code)
{
    pid_t pid = fork();
    if (pid == 0) {
        if (exit_code < 0)
            pause();
        _exit(exit_code);
    }
    assert_true(pid > 0);
    return pid;
}

static void an_exit_code_is_told_and_reaped(void **state)
{
    struct seen *s = *state;
    pid_t pid = spawn(7);
    assert_int_equal(loop_child_new(&s->child, s->loop, pid, on_child, s, NULL), 0);
    loop_run(s->loop);
    assert_true(s->exit.known);
    assert_int_equal(s->exit.exit_code, 7);
    assert_int_equal(s->exit.signal, 0);
    assert_int_equal(waitpid(pid, NULL, WNOHANG), -1);
}

static void a_killing_signal_is_told(void **state)
{
    struct seen *s = *state;
    pid_t pid = spawn(-1);
    assert_int_equal(loop_child_new(&s->child, s->loop, pid, on_child, s, NULL), 0);
    assert_int_equal(loop_child_kill(s->child, SIGKILL), 0);
    loop_run(s->loop);
    assert_int_equal(s->exit.signal, SIGKILL);
}

/* A grandchild that this process adopts as subreaper is nobody's watched child. */
static void orphans_are_reaped_and_watched_ones_told(void **state)
{
    struct seen *s = *state;
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    int pipe_fds[2];
    assert_int_equal(pipe(pipe_fds), 0);
    pid_t parent = fork();
    if (parent == 0) {
        pid_t orphan = fork();
        if (orphan == 0)
            _exit(0);
        ssize_t n = write(pipe_fds[1], &orphan, sizeof(orphan));
        _exit(n == (ssize_t)sizeof(orphan) ? 5 : 6);
    }
    pid_t orphan;
    assert_int_equal(read(pipe_fds[0], &orphan, sizeof(orphan)), (ssize_t)sizeof(orphan));
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    siginfo_t info;
    /* Both are dead before the reaper looks: it must find both, and tell the watched one's end. */
    assert_int_equal(waitid(P_PID, (id_t)parent, &info, WEXITED | WNOWAIT), 0);
    assert_int_equal(loop_child_new(&s->child, s->loop, parent, on_child, s, NULL), 0);
    assert_int_equal(waitid(P_PID, (id_t)orphan, &info, WEXITED | WNOWAIT), 0);
    loop_reap_orphans(s->loop);
    assert_int_equal(s->count, 0);
    loop_run(s->loop);
    assert_int_equal(s->count, 1);
    assert_int_equal(s->exit.exit_code, 5);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
}

static void on_signal(void *ctx, const struct signalfd_siginfo *info)
{
    struct seen *s = ctx;
    assert_int_equal(info->ssi_signo, SIGUSR1);
    assert_int_equal(info->ssi_pid, getpid());
    s->count++;
    loop_stop(s->loop);
}

static void a_signal_comes_with_its_sender(void **state)
{
    struct seen *s = *state;
    static const int sigs[] = {SIGUSR1, 0};
    loop_signals_block(sigs);
    struct loop_signals *signals = NULL;
    assert_int_equal(loop_signals_new(&signals, s->loop, sigs, on_signal, s, NULL), 0);
    kill(getpid(), SIGUSR1);
    loop_run(s->loop);
    assert_int_equal(s->count, 1);
    assert_null(loop_signals_free(signals));
}

static void do_work(void *ctx)
{
    ((struct seen *)ctx)->fd = 42;
}

static void work_done(void *ctx)
{
    struct seen *s = ctx;
    assert_int_equal(s->fd, 42);
    if (++s->count == 64)
        loop_stop(s->loop);
}

static void work_has_a_ceiling(void **state)
{
    struct seen *s = *state;
    struct err err;
    for (int i = 0; i < 64; i++)
        assert_int_equal(loop_work(s->loop, do_work, work_done, s, &err), 0);
    assert_int_equal(loop_work(s->loop, do_work, work_done, s, &err), -ERR_UNAVAILABLE);
    loop_run(s->loop);
    assert_int_equal(s->count, 64);
    s->count = 63;
    assert_int_equal(loop_work(s->loop, do_work, work_done, s, &err), 0);
    loop_run(s->loop);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_timer_may_free_itself),        T(posting_twice_is_once),
        T(posts_come_in_order_and_once),   T(a_chain_of_posts_does_not_grow_the_stack),
        T(a_poll_may_free_itself),         T(an_exit_code_is_told_and_reaped),
        T(a_killing_signal_is_told),       T(orphans_are_reaped_and_watched_ones_told),
        T(a_signal_comes_with_its_sender), T(work_has_a_ceiling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
