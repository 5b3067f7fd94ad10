#pragma once
#include "lib/base/err.h"
#include "lib/base/macros.h"
struct loop;

/*
 * A private 0700 directory for one kernel process (its sockets, connection file and temporary
 * files), made anew at each start below `run_dir`: user code may have deleted or replaced
 * whatever stood there. It is held by descriptor: what the runner makes, connects to or removes in
 * it is reached by kernel_dir_fd(), never by the path, which is for the kernel's eyes.
 */
struct kernel_dir;

/* `run_dir` absolute; whatever stands in its place is replaced; its parent must exist. */
int kernel_dir_make(struct kernel_dir **ret, const char *run_dir, struct err *err);
const char *kernel_dir_path(const struct kernel_dir *d);
int kernel_dir_fd(const struct kernel_dir *d);
/*
 * Room on the file system of `run_dir` that user code cannot take: unlinked files, which only this
 * process reaches. It is given up while a kernel starts and taken again when that is ready, so that
 * a full file system, of bytes or of inodes, stops no restart. As much as can be had; never fails.
 */
#define KERNEL_ROOM_FILES 32 /* a private directory with what IPython makes in it */
#define KERNEL_ROOM_BYTES KIB(512)
struct kernel_room {
    int fds[KERNEL_ROOM_FILES];
    unsigned len;
};
void kernel_room_take(struct kernel_room *room, const char *run_dir); /* again: no change */
void kernel_room_give(struct kernel_room *room);

/*
 * Makes a file in it that did not exist, with all of `len` bytes.
 */
int kernel_dir_write(const struct kernel_dir *d, const char *name, unsigned mode, const void *bytes,
                     size_t len, struct err *err);
/*
 * Removes the tree on the loop's pool, as user code may have left any number of files in it, and
 * frees `d`. NULL ok; returns NULL.
 */
struct kernel_dir *kernel_dir_free(struct kernel_dir *d, struct loop *loop);
