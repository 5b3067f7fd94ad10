#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Memory that no process has to map for it to stay: what lies in /dev/shm, System V's objects,
 * memory files (memfd, or deleted from a file system in memory), pipes, buffers of sockets. Read
 * from /proc and by sock_diag, of this sandbox's namespaces; takes as long as there are
 * descriptors, so never on the loop.
 */
struct mem_object {
    dev_t dev;
    ino_t ino;
    uint64_t bytes;
};

#define MEM_OBJECTS_MAX    262144
#define MEM_OBJECTS_FS_MAX 4

struct mem_objects {
    /* File systems in memory with a size of their own, which are no memory of processes. */
    dev_t files[MEM_OBJECTS_FS_MAX];
    size_t n_files;
    dev_t shm; /* /dev/shm; 0: there is none */
    uint64_t shm_bytes, sysv_bytes, socket_bytes;
    uint64_t object_bytes;   /* of the list, each once */
    struct mem_object *list; /* memory files that processes have open, sorted once _settle() ran */
    size_t len, cap;
};

/* Looks at all that no process is needed for; `files` ends with NULL. */
void mem_objects_read(struct mem_objects *o, const char *const *files);
/* Adds what one process has open. */
void mem_objects_add(struct mem_objects *o, pid_t pid);
/* Counts what was added, each object once. */
void mem_objects_settle(struct mem_objects *o);
uint64_t mem_objects_bytes(const struct mem_objects *o);
/* Is what a process maps counted here already, or of a file system that does not count? After
 * _settle(). */
bool mem_objects_covers(const struct mem_objects *o, dev_t dev, ino_t ino, const char *name);
void mem_objects_done(struct mem_objects *o);

/* Columns of /proc/sysvipc: the sum over the lines of one, or of its product with a constant. Pure.
 */
uint64_t mem_objects_sysv_sum(const char *text, unsigned column);
