#pragma once
#include <stdint.h>

/*
 * Bytes that all files beneath the folder take, holes not counted; stops counting above `max`.
 * Blocks for as long as the tree is large.
 */
uint64_t file_usage(int dir_fd, uint64_t max);
