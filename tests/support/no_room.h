#pragma once
#include <signal.h>
#include <sys/resource.h>

/*
 * A disk without room, wherever the tests run: no file of this process grows above `bytes`. What
 * writes see is EFBIG, after a part was written, as ENOSPC comes.
 */
static inline void no_room_above(rlim_t bytes)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    struct rlimit all;
    sigaction(SIGXFSZ, &ignore, NULL);
    getrlimit(RLIMIT_FSIZE, &all);
    all.rlim_cur = bytes;
    setrlimit(RLIMIT_FSIZE, &all);
}

static inline void room_is_back(void)
{
    struct rlimit all;
    getrlimit(RLIMIT_FSIZE, &all);
    all.rlim_cur = all.rlim_max;
    setrlimit(RLIMIT_FSIZE, &all);
}
