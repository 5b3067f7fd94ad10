#include "kernel-runner/kernel/mem_objects.h"

#include "kernel-runner/kernel/mem_scan.h"
#include "kernel-runner/kernel/mem_sockets.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void objects_sums_of_sysv(void **state)
{
    static const char shm[] =
        "       key      shmid perms       size  cpid  lpid nattch   uid   "
        "gid  cuid  cgid      atime      dtime      ctime        rss       swap\n"
        "         0          1  1600       4096  5     5      0      0     0     "
        "0     0          1          2          3       8192          0\n"
        "         0          2  1600       4096  5     5      0      0     0     "
        "0     0          1          2          3       4096          0\n";
    assert_int_equal(mem_objects_sysv_sum(shm, 14), 12288);
    assert_int_equal(mem_objects_sysv_sum("heading\n", 14), 0);
    assert_int_equal(mem_objects_sysv_sum("", 14), 0);
    assert_int_equal(mem_objects_sysv_sum("heading\n1 2 3\n", 14), 0); /* shorter than asked */
}

/* A memory file counts once, however many descriptors there are, and its mapping not again. */
static void objects_counts_a_memory_file_once(void **state)
{
    static const char *const none[] = {NULL};
    struct mem_objects o;
    struct stat st;
    size_t size = 8 << 20;

    int fd = memfd_create("x", MFD_CLOEXEC);
    int twin = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    memset(p, 1, size);

    mem_objects_read(&o, none);
    mem_objects_add(&o, getpid());
    mem_objects_settle(&o);
    assert_in_range(o.object_bytes, size, size + (1 << 20));
    assert_int_equal(fstat(fd, &st), 0);
    assert_true(mem_objects_covers(&o, st.st_dev, st.st_ino, ""));
    assert_false(mem_objects_covers(&o, st.st_dev, st.st_ino + 1000000, ""));
    assert_true(mem_objects_covers(&o, 1, 1, "/SYSV00000000"));
    uint64_t with = mem_scan_smaps("/proc/self/smaps", &o, 0);
    mem_objects_done(&o);

    struct mem_objects empty = {0};
    uint64_t all = mem_scan_smaps("/proc/self/smaps", &empty, 0);
    assert_true(all >= with + size);
    munmap(p, size);
    close(fd);
    close(twin);
}

/* What a file's name says in the middle of a line is no mapping. */
static void scan_believes_no_name(void **state)
{
    char path[] = "/tmp/cz-smaps-XXXXXX", name[600];
    struct mem_objects o = {.shm = 1};
    int fd = mkstemp(path);
    memset(name, 'a', sizeof(name));
    /* fgets() cuts there: the rest looks like a mapping of /dev/shm, which would cover what
     * follows. */
    const char header[] = "00400000-00500000 rw-p 00000000 08:01 77 ";
    memcpy(name, header, strlen(header));
    snprintf(name + 511, sizeof(name) - 511, "00400000-00500000 rw-p 00000000 00:01 5 x\n");
    assert_true(write(fd, name, strlen(name)) > 0);
    assert_true(write(fd, "Pss:      12 kB\n", 16) == 16);
    close(fd);
    assert_int_equal(mem_scan_smaps(path, &o, 5), 12 * 1024);
    unlink(path);
    assert_int_equal(mem_scan_smaps(path, &o, 5), 5); /* it cannot be read */
}

static void sockets_do_not_fail(void **state)
{
    (void)mem_sockets_bytes();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(objects_sums_of_sysv),
        cmocka_unit_test(objects_counts_a_memory_file_once),
        cmocka_unit_test(scan_believes_no_name),
        cmocka_unit_test(sockets_do_not_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
