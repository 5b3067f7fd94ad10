/* Who descends from whom, on literal tables and on real processes. */
#include "kernel-runner/kernel/proc_table.h"
#include "lib/base/macros.h"
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
/* after the four headers it needs */
#include <cmocka.h>

static void descent_by_parent_and_session(void **state)
{
    struct proc_entry entries[] = {
        {.pid = 1, .ppid = 0, .session = 1},    {.pid = 10, .ppid = 1, .session = 10},
        {.pid = 11, .ppid = 10, .session = 10}, {.pid = 12, .ppid = 11, .session = 12},
        {.pid = 13, .ppid = 1, .session = 10}, /* its parent died; the session stays */
        {.pid = 20, .ppid = 1, .session = 20},  {.pid = 21, .ppid = 20, .session = 20},
        {.pid = 30, .ppid = 1, .session = 30}, /* a daemon of nobody */
    };
    struct proc_table t = {entries, ARRAY_LEN(entries)};
    static const pid_t of_10[] = {10, 11, 12, 13};
    for (size_t i = 0; i < ARRAY_LEN(of_10); i++)
        assert_true(proc_table_descends(&t, of_10[i], 10));
    static const pid_t not_of_10[] = {1, 20, 21, 30, 99};
    for (size_t i = 0; i < ARRAY_LEN(not_of_10); i++)
        assert_false(proc_table_descends(&t, not_of_10[i], 10));
}

static void a_circle_of_parents_ends(void **state)
{
    struct proc_entry entries[] = {{.pid = 5, .ppid = 6, .session = 5},
                                   {.pid = 6, .ppid = 5, .session = 6}};
    struct proc_table t = {entries, ARRAY_LEN(entries)};
    assert_false(proc_table_descends(&t, 5, 7));
}

static void real_processes_are_found_and_swept(void **state)
{
    pid_t leader = fork();
    if (leader == 0) {
        setsid();
        if (fork() == 0)
            for (;;)
                pause();
        for (;;)
            pause();
    }
    int status;
    struct proc_table t;
    size_t found = 0;
    /* The child makes its session and child in its own time. */
    for (int i = 0; i < 20000 && found < 2; i++) {
        proc_table_read(&t);
        found = 0;
        for (size_t k = 0; k < t.len; k++)
            if (t.entries[k].session == leader)
                found++;
        proc_table_done(&t);
    }
    assert_int_equal(found, 2);
    int fds[2];
    assert_int_equal(proc_swept(/* is_init= */ false, leader, NULL, 0, fds, 0), 0);
    assert_int_equal(proc_swept(/* is_init= */ false, leader, NULL, 0, fds, 1), 1);
    close(fds[0]);
    proc_sweep(/* is_init= */ false, leader, NULL, 0);
    size_t n = proc_swept(/* is_init= */ false, leader, NULL, 0, fds, 2);
    assert_in_range(n, 1, 2); /* the leader at least is not reaped */
    while (n > 0)
        close(fds[--n]);
    assert_int_equal(waitpid(leader, &status, 0), leader);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static volatile sig_atomic_t interrupts;

static void on_interrupt(int sig)
{
    interrupts++;
}

/* Counts its SIGINTs until SIGTERM comes (which is blocked); then exits with that number. */
static void count_interrupts(const sigset_t *term)
{
    int sig = 0;
    sigwait(term, &sig);
    _exit(interrupts);
}

static void interrupts_of_a_group(void **state)
{
    int ready[2], status;
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t leader = fork();
    if (leader == 0) {
        sigset_t term;
        sigemptyset(&term);
        sigaddset(&term, SIGTERM);
        sigprocmask(SIG_BLOCK, &term, NULL);
        signal(SIGINT, on_interrupt);
        setsid();
        pid_t child = fork();
        if (write(ready[1], "x", 1) != 1)
            _exit(99);
        if (child == 0)
            count_interrupts(&term);
        while (waitpid(child, &status, 0) != child)
            continue; /* interrupted */
        _exit(WEXITSTATUS(status) * 10 + interrupts);
    }
    for (int i = 0; i < 2; i++)
        assert_int_equal(read(ready[0], &byte, 1), 1);
    proc_interrupt(leader);
    struct proc_table t;
    proc_table_read(&t);
    for (size_t i = 0; i < t.len; i++)
        if (t.entries[i].group == leader && t.entries[i].pid != leader)
            kill(t.entries[i].pid, SIGTERM);
    proc_table_done(&t);
    assert_int_equal(waitpid(leader, &status, 0), leader);
    assert_int_equal(WEXITSTATUS(status), 11);
    close(ready[0]);
    close(ready[1]);
}

static void memory_of_this_process(void **state)
{
    struct proc_table t;
    proc_table_read(&t);
    bool seen = false;
    for (size_t i = 0; i < t.len; i++) {
        if (t.entries[i].pid != getpid())
            continue;
        seen = true;
        assert_true(t.entries[i].rss_bytes > 0);
        assert_true(proc_page_tables_bytes(t.entries[i].pid) > 0);
        assert_int_equal(t.entries[i].ppid, getppid());
    }
    assert_true(seen);
    proc_table_done(&t);
    uint64_t before = proc_own_bytes();
    char *held = malloc(64 << 20);
    memset(held, 1, 64 << 20);
    assert_in_range(proc_own_bytes(), before + (64 << 20), before + (80 << 20));
    free(held);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(descent_by_parent_and_session),
        cmocka_unit_test(a_circle_of_parents_ends),
        cmocka_unit_test(real_processes_are_found_and_swept),
        cmocka_unit_test(interrupts_of_a_group),
        cmocka_unit_test(memory_of_this_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
