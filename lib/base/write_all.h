#pragma once
#include "lib/base/slice.h"

/* Writes all of it to a descriptor that blocks, or to a file. 0, or -1 with errno. */
int write_all(int fd, struct slice s);
