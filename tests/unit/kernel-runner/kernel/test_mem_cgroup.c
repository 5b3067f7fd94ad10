#include "kernel-runner/kernel/mem_cgroup.h"

#include "lib/base/mem.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void cgroup_fds_are_a_list(void **state)
{
    static const char *const bad[] = {"",  ",",  "7,", ",7",       "7,,8",
                                      "x", "-1", "2",  "7,8,9,10", "7 "};
    int fds[3];
    size_t n;

    assert_int_equal(mem_cgroup_parse_fds("7", fds, 3, &n, NULL), 0);
    assert_int_equal(n, 1);
    assert_int_equal(mem_cgroup_parse_fds("7,80,9", fds, 3, &n, NULL), 0);
    assert_int_equal(n, 3);
    assert_int_equal(fds[1], 80);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(mem_cgroup_parse_fds(bad[i], fds, 3, &n, NULL), -ERR_INVALID);
}

static void cgroup_fields(void **state)
{
    static const char text[] = "cache 12\nshmem 34\ntotal_shmem 56\noom_kill 7";
    assert_int_equal(mem_cgroup_field(text, "cache"), 12);
    assert_int_equal(mem_cgroup_field(text, "shmem"), 34);
    assert_int_equal(mem_cgroup_field(text, "oom_kill"), 7);
    assert_int_equal(mem_cgroup_field(text, "oom"), 0);
    assert_int_equal(mem_cgroup_field("", "cache"), 0);
}

static int file_with(const char *text)
{
    char path[] = "/tmp/cz-mem-XXXXXX";
    int fd = mkostemp(path, O_CLOEXEC);
    unlink(path);
    assert_true(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    return fd;
}

static struct mem_cgroup *made(const char *version, const char *const *texts, size_t n)
{
    struct mem_cgroup *m = NULL;
    char list[64] = "";
    for (size_t i = 0; i < n; i++)
        snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%d", i ? "," : "",
                 file_with(texts[i]));
    assert_int_equal(mem_cgroup_new(&m, version, list, NULL), 0);
    return m;
}

static void cgroup_v1_counts_tcp_and_not_the_files(void **state)
{
    static const char *const texts[] = {
        "1000000\n", "cache 700\nshmem 500\ninactive_file 20\nactive_file 30\n",
        "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", "shmem 100\n", "50\n"};
    struct mem_cgroup *m = made("v1", texts, ARRAY_LEN(texts));
    assert_int_equal(mem_cgroup_used(m), 1000050);
    assert_int_equal(mem_cgroup_oom_kills(m), 3);
    /* Of 400 in files 100 were written by the runner, and are charged to it. */
    assert_int_equal(mem_cgroup_not_held(m, 400), 50 + 300);
    assert_int_equal(mem_cgroup_not_held(m, 10), 50);
    /* No more than there is shared memory at all: the rest was never charged here. */
    assert_int_equal(mem_cgroup_not_held(m, 100000), 50 + 500);
    assert_string_equal(mem_cgroup_name(m), "cgroup v1");
    mem_cgroup_free(m);
}

static void cgroup_v2(void **state)
{
    static const char *const texts[] = {"5000\n", "anon 1\nfile 2\nshmem 9\n",
                                        "low 0\nhigh 0\nmax 2\noom 1\noom_kill 1\n", ""};
    struct mem_cgroup *m = made("v2", texts, ARRAY_LEN(texts));
    assert_int_equal(mem_cgroup_used(m), 5000);
    assert_int_equal(mem_cgroup_oom_kills(m), 1);
    assert_int_equal(mem_cgroup_not_held(m, 4), 4);
    mem_cgroup_free(m);
}

static void cgroup_options_that_are_wrong(void **state)
{
    struct mem_cgroup *m = NULL;
    assert_int_equal(mem_cgroup_new(&m, "v3", "7,8,9,10", NULL), -ERR_INVALID);
    assert_int_equal(mem_cgroup_new(&m, "v2", NULL, NULL), -ERR_INVALID);
    assert_int_equal(mem_cgroup_new(&m, "v2", "7,8,9", NULL), -ERR_INVALID);
    assert_int_equal(mem_cgroup_new(&m, "v1", "7,8,9,10", NULL), -ERR_INVALID);
    assert_true(mem_cgroup_new(&m, "v2", "1000,1001,1002,1003", NULL) < 0);
    assert_null(m);
}

static void put(const char *top, const char *name, const char *text)
{
    _cleanup_(freep) char *path = mem_printf("%s/%s", top, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void drop(const char *top, const char *name)
{
    _cleanup_(freep) char *path = mem_printf("%s/%s", top, name);
    unlink(path);
}

static void cgroup_of_a_pod(void **state)
{
    char top[] = "/tmp/cz-pod-XXXXXX";
    assert_non_null(mkdtemp(top));
    assert_null(mem_cgroup_of_pod(top)); /* nothing is shown */
    put(top, "memory.current", "777\n");
    put(top, "memory.stat", "shmem 5\n");
    put(top, "memory.events", "oom_kill 0\n");
    put(top, "memory.max", "max\n");
    assert_null(mem_cgroup_of_pod(top)); /* no limit */
    put(top, "memory.max", "1073741824\n");
    struct mem_cgroup *m = mem_cgroup_of_pod(top);
    assert_non_null(m);
    assert_int_equal(mem_cgroup_limit(m), 1073741824);
    assert_int_equal(mem_cgroup_used(m), 777);
    assert_string_equal(mem_cgroup_name(m), "pod's cgroup v2");
    mem_cgroup_free(m);
    static const char *const names[] = {"memory.current", "memory.stat", "memory.events",
                                        "memory.max"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        drop(top, names[i]);
    rmdir(top);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cgroup_fds_are_a_list),
        cmocka_unit_test(cgroup_fields),
        cmocka_unit_test(cgroup_v1_counts_tcp_and_not_the_files),
        cmocka_unit_test(cgroup_v2),
        cmocka_unit_test(cgroup_options_that_are_wrong),
        cmocka_unit_test(cgroup_of_a_pod),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
