#pragma once
#include "lib/base/err.h"

/*
 * A private 0700 directory for one kernel process (its sockets, connection file and temporary
 * files), made anew at each start below `run_dir`: user code may have deleted or replaced
 * whatever stood there. The caller frees the path and removes it with kernel_dir_remove().
 */
int kernel_dir_make(const char *run_dir, char **ret_path, struct err *err);
/* Removes the tree, best effort; never follows links. NULL ok. */
void kernel_dir_remove(const char *path);
