#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

/*
 * What a generation of a kernel leaves behind in memory when all its processes are gone: System V's
 * objects, and what it put into /dev/shm. It would count against the next one for ever.
 *
 * Of System V's objects goes what a process made that is gone, unless one that lives uses it; of
 * /dev/shm, what no living process has open or mapped. Where no other kernel lives (`all`),
 * everything goes. What is younger than `before` stays: somebody else made it since.
 *
 * Blocks as long as there are many; touches nothing but what it is given, so it runs on the pool.
 * Only where IPC namespace and /dev/shm are the sandbox's own.
 */
struct leftovers {
    bool all;
    struct timespec before; /* CLOCK_REALTIME, after the last process was gone */
    size_t removed;         /* found: objects and files */
};

void leftovers_clear(struct leftovers *l);
/* Blocks until all processes (pidfds, borrowed) have ended: true; false after `timeout_ms`. */
bool leftovers_await(const int *pidfds, size_t n, int64_t timeout_ms);

/* ---- its parts, for tests ---- */

enum leftovers_kind { LEFTOVERS_SHM, LEFTOVERS_MSG, LEFTOVERS_SEM };
struct leftovers_object {
    int id;
    pid_t creator;     /* of a semaphore set: 0, unknown */
    uint64_t attached; /* processes; only of shared memory */
    int64_t made_at;   /* seconds; the last change */
};
/* One line of /proc/sysvipc/{shm,msg,sem}; false: the heading, or no such line. */
bool leftovers_parse(enum leftovers_kind kind, const char *line, struct leftovers_object *ret);
/* Clears one directory as /dev/shm is cleared. */
void leftovers_clear_dir(struct leftovers *l, const char *path);
