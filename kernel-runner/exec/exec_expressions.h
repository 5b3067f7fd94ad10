#pragma once
#include "lib/base/slice.h"

#define EXEC_EXPRESSIONS_MAX_BYTES  MIB(8)
#define EXEC_EXPRESSIONS_NOTE_BYTES KIB(64) /* all of them replaced take at most this */

/*
 * The user_expressions of a reply (a well-formed object) as an answer has them: each value as it
 * came while all together have at most `room` bytes, else an error "TooLarge" in its place. At most
 * LIMIT_USER_EXPRESSIONS, what the request named; a forged reply's others are nobody's. NULL when
 * there are none. The caller frees.
 */
char *exec_expressions_fit(struct slice given, size_t room);
