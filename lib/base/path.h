#pragma once
#include "lib/base/err.h"

#define PATH_USER_MAX 4096 /* longest path of a user, in bytes */
#define PATH_PART_MAX 255

/*
 * Checks a decoded path that a user gave, relative to a root: 1–4096 bytes of UTF-8 without NUL or
 * control characters, not absolute, no empty part, no "." or "..", no part over 255 bytes.
 * It does not touch the file system: links are the business of openat2(RESOLVE_BENEATH).
 */
int path_check_relative(const char *path, size_t len, struct err *err);
