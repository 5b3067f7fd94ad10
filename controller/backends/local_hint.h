#pragma once
#include <stddef.h>

/*
 * Why bubblewrap could not make a sandbox, and what to do about it: a sentence for its words, or
 * NULL when they are not known. `sysctls` is the root of /proc/sys (a test gives its own).
 */
const char *local_hint(const char *words, const char *sysctls, char *out, size_t size);
