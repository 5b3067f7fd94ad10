#include "lib/base/write_all.h"

#include "lib/base/cleanup.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

static char sent[1 << 20], got[1 << 20];

static void *read_slowly(void *fd)
{
    size_t len = 0;
    ssize_t n;

    while ((n = read(*(int *)fd, got + len, 1000)) > 0)
        len += (size_t)n;
    return NULL;
}

static void more_than_a_pipe_holds_is_written_whole(void **state)
{
    int ends[2];
    pthread_t reader;

    for (size_t i = 0; i < sizeof(sent); i++)
        sent[i] = (char)(i * 31 % 251);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(pthread_create(&reader, NULL, read_slowly, &ends[0]), 0);
    assert_int_equal(write_all(ends[1], slice_make(sent, sizeof(sent))), 0);
    close(ends[1]);
    pthread_join(reader, NULL);
    close(ends[0]);
    assert_memory_equal(sent, got, sizeof(sent));
}

static void nothing_is_written_of_nothing(void **state)
{
    assert_int_equal(write_all(-1, slice_make("", 0)), 0);
}

static void a_failure_keeps_its_errno(void **state)
{
    _cleanup_(closep) int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

    assert_int_equal(write_all(full, slice_str("x")), -1);
    assert_int_equal(errno, ENOSPC);
    assert_int_equal(write_all(-1, slice_str("x")), -1);
    assert_int_equal(errno, EBADF);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(more_than_a_pipe_holds_is_written_whole),
        cmocka_unit_test(nothing_is_written_of_nothing),
        cmocka_unit_test(a_failure_keeps_its_errno),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
