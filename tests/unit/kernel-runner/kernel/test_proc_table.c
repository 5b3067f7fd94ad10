/* Who descends from whom, on literal tables and on real processes. */
#include "kernel-runner/kernel/proc_table.h"
#include "lib/base/macros.h"
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
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
    proc_sweep(/* is_init= */ false, leader, NULL, 0);
    assert_int_equal(waitpid(leader, &status, 0), leader);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
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
        assert_true(proc_pss_bytes(&t.entries[i]) > 0);
        assert_int_equal(t.entries[i].ppid, getppid());
    }
    assert_true(seen);
    proc_table_done(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(descent_by_parent_and_session),
        cmocka_unit_test(a_circle_of_parents_ends),
        cmocka_unit_test(real_processes_are_found_and_swept),
        cmocka_unit_test(memory_of_this_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
