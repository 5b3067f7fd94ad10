#pragma once
#include "lib/base/err.h"

#include <stdint.h>

/*
 * Bytes that all files beneath the folder take, holes not counted; stops counting above `max`.
 * Blocks for as long as the tree is large.
 */
uint64_t file_usage(int dir_fd, uint64_t max);
/*
 * Bytes that may still be written where all files may take `max_bytes` together. A file system that
 * is itself no larger is not counted: it says ENOSPC.
 */
uint64_t file_room(int root_fd, uint64_t max_bytes);
int file_no_space(uint64_t max_bytes, uint64_t room, struct err *err); /* -ERR_NO_SPACE */
