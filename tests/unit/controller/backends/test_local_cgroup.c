#include "controller/backends/local_cgroup.h"

#include "controller/backends/local_dir.h"
#include "lib/base/cleanup.h"
#include "lib/base/mem.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define ID "sb-00000000-0000-4000-8000-000000000000"

static const char hybrid[] = "9:name=systemd:/\n4:memory:/jobs/a1\n2:cpuacct,cpu:/\n0::/init\n";
static const char mounts_v1[] =
    "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:7 - cgroup cgroup rw,memory\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n";

static void own(const char *cgroup, const char *mounts, const char *controller,
                const char *expected)
{
    _cleanup_(freep) char *found = local_cgroup_own(cgroup, mounts, controller);
    if (expected)
        assert_string_equal(found, expected);
    else
        assert_null(found);
}

static void cgroup_own_place_in_each_tree(void **state)
{
    own(hybrid, mounts_v1, "memory", "/sys/fs/cgroup/memory/jobs/a1");
    own(hybrid, mounts_v1, "cpu", "/sys/fs/cgroup/cpu");
    own(hybrid, mounts_v1, "pids", NULL);
    own(hybrid, mounts_v1, NULL, "/sys/fs/cgroup/unified/init");
    /* Neither a part of a name nor a name of version 1 without controllers. */
    own(hybrid, mounts_v1, "mem", NULL);
    own(hybrid, mounts_v1, "systemd", NULL);
    own("", mounts_v1, "memory", NULL);
    own(hybrid, "", "memory", NULL);
}

static void cgroup_own_place_of_a_unified_host(void **state)
{
    static const char mounts[] =
        "30 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    own("0::/system.slice/caesarion.service\n", mounts, NULL,
        "/sys/fs/cgroup/system.slice/caesarion.service");
    own("0::/\n", mounts, NULL, "/sys/fs/cgroup");
    own("0::/system.slice/caesarion.service\n", mounts, "memory", NULL);
}

/* In a container only what lies below the mount's root can be reached. */
static void cgroup_own_place_below_a_mounts_root(void **state)
{
    static const char mounts[] =
        "50 40 0:26 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
    own("4:memory:/docker/abc/x\n", mounts, "memory", "/sys/fs/cgroup/memory/x");
    own("4:memory:/docker/abc\n", mounts, "memory", "/sys/fs/cgroup/memory");
    own("4:memory:/docker/abcdef\n", mounts, "memory", NULL);
    own("4:memory:/\n", mounts, "memory", NULL);
    own("4:memory:/../other\n", mounts, "memory", NULL);
}

static void cgroup_words(void **state)
{
    assert_true(local_cgroup_has_word("cpuset cpu io memory pids\n", "memory"));
    assert_true(local_cgroup_has_word("memory", "memory"));
    assert_false(local_cgroup_has_word("cpuset\n", "cpu"));
    assert_false(local_cgroup_has_word("cpu\nmemory\n", "memory"));
    assert_false(local_cgroup_has_word("", "memory"));
}

/* ---- on this host's own ---- */

struct fixture {
    struct local_cgroups cgroups;
    struct local_dir dir;
    char state[64];
};

static int setup(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    struct err why = {0};

    local_cgroups_find(&f->cgroups, &why);
    if (f->cgroups.version == LOCAL_CGROUP_NONE)
        print_message("no cgroup can be made here: %s\n", why.text);
    snprintf(f->state, sizeof(f->state), "/tmp/cz-cgroup-XXXXXX");
    if (!mkdtemp(f->state))
        return -1;
    local_dir_init(&f->dir, f->state, f->state, ID);
    _cleanup_(freep) char *above = mem_printf("%s/sandboxes", f->state);
    if (mkdir(above, 0700) < 0 || mkdir(f->dir.path, 0700) < 0)
        return -1;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    (void)local_cgroup_remove(&f->dir, 0);
    _cleanup_(freep) char *list = mem_printf("%s/cgroups", f->dir.path);
    _cleanup_(freep) char *above = mem_printf("%s/sandboxes", f->state);
    unlink(list);
    rmdir(f->dir.path);
    rmdir(above);
    rmdir(f->state);
    local_dir_done(&f->dir);
    local_cgroups_done(&f->cgroups);
    free(f);
    return 0;
}

static char *path_of(const struct fixture *f, const char *below)
{
    return mem_printf("%s/" ID "/%s", f->cgroups.places[0], below);
}

static void contents(const struct fixture *f, const char *below, char *out, size_t size)
{
    _cleanup_(freep) char *path = path_of(f, below);
    _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, out, size - 1);

    out[n > 0 ? n : 0] = '\0';
}

static void cgroup_of_a_sandbox(void **state)
{
    struct fixture *f = *state;
    struct local_cgroup_limits limits = {
        .memory_bytes = 64 << 20, .files_bytes = 32 << 20, .pids = 7};
    struct local_cgroup g;
    struct err err = {0};
    char text[256];

    if (f->cgroups.version == LOCAL_CGROUP_NONE)
        skip();
    bool v1 = f->cgroups.version == LOCAL_CGROUP_V1;
    assert_int_equal(local_cgroup_make(&g, &f->cgroups, &f->dir, ID, &limits, &err), 0);
    contents(f, v1 ? "kernels/memory.limit_in_bytes" : "kernels/memory.max", text, sizeof(text));
    assert_string_equal(text, "100663296\n");
    if (v1) {
        contents(f, "kernels/memory.kmem.tcp.limit_in_bytes", text, sizeof(text));
        assert_string_equal(text, "67108864\n");
    }
    /* The runner has no limit: nothing can kill it for what kernels take. */
    contents(f, v1 ? "runner/memory.limit_in_bytes" : "runner/memory.max", text, sizeof(text));
    assert_true(strcmp(text, "100663296\n") != 0);

    /* Another user, in another process, moves itself by the descriptor alone. */
    pid_t pid = fork();
    if (pid == 0) {
        bool ok = setresgid(12345, 12345, 12345) == 0 && setresuid(12345, 12345, 12345) == 0;
        _Exit(ok && write(g.join[0], "0", 1) == 1 ? pause() : 1);
    }
    /* It is there when its line is: the kernel writes it before the write returns. */
    char line[32];
    snprintf(line, sizeof(line), "%d\n", (int)pid);
    for (int i = 0; i < 10000 && !strstr(text, line); i++) {
        assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
        contents(f, "kernels/cgroup.procs", text, sizeof(text));
    }
    assert_non_null(strstr(text, line));
    assert_true(local_cgroup_remove(&f->dir, 0) != 0); /* busy */
    /* It is told to end and seen by nobody to have ended: that is waited for. */
    local_cgroup_close(&g);
    assert_int_equal(kill(pid, 9), 0);
    assert_int_equal(local_cgroup_remove(&f->dir, 60000), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    _cleanup_(freep) char *gone = path_of(f, "");
    assert_int_not_equal(access(gone, F_OK), 0);
    assert_int_equal(local_cgroup_remove(&f->dir, 0), 0); /* and once more */
}

/* The list is in a folder that only we write to; still, nothing else is removed by it. */
static void cgroup_remove_touches_nothing_else(void **state)
{
    struct fixture *f = *state;
    _cleanup_(freep) char *list = mem_printf("%s/cgroups", f->dir.path);
    _cleanup_(freep) char *other = mem_printf("%s/" ID, f->state);

    assert_int_equal(mkdir(other, 0700), 0);
    FILE *out = fopen(list, "w");
    fprintf(out, "%s\n%s\n/\n\n", other, f->state);
    fclose(out);
    assert_int_equal(local_cgroup_remove(&f->dir, 0), 0);
    assert_int_equal(rmdir(other), 0); /* it was still there */
}

static void cgroup_none_is_nothing(void **state)
{
    struct fixture *f = *state;
    struct local_cgroups none = {0};
    struct local_cgroup_limits limits = {.memory_bytes = 1};
    struct local_cgroup g;

    assert_int_equal(local_cgroup_make(&g, &none, &f->dir, ID, &limits, NULL), 0);
    assert_int_equal(g.n_trees + g.n_reads, 0);
    assert_null(local_cgroups_holder(&none, LOCAL_CGROUP_MEMORY));
    local_cgroup_close(&g);
    assert_int_equal(local_cgroup_remove(&f->dir, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cgroup_own_place_in_each_tree),
        cmocka_unit_test(cgroup_own_place_of_a_unified_host),
        cmocka_unit_test(cgroup_own_place_below_a_mounts_root),
        cmocka_unit_test(cgroup_words),
        cmocka_unit_test_setup_teardown(cgroup_of_a_sandbox, setup, teardown),
        cmocka_unit_test_setup_teardown(cgroup_remove_touches_nothing_else, setup, teardown),
        cmocka_unit_test_setup_teardown(cgroup_none_is_nothing, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
