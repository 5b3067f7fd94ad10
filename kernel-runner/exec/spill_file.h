#pragma once
#include <stddef.h>
#include <stdint.h>

/*
 * Files for what grows too long for memory: unlinked from the start, so that a crash leaves
 * nothing. Writing goes to the page cache and is done on the loop. All return < 0 with errno.
 */
/* dir_fd -1, or a file system that has no such files: a memfd. */
int spill_file_open(int dir_fd);
int spill_file_write(int fd, const char *p, size_t len, uint64_t offset); /* all of it */
int spill_file_read(int fd, char *out, size_t len, uint64_t offset);      /* all of it */
