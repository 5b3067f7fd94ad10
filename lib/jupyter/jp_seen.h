#pragma once
#include "lib/base/slice.h"

#include <stdbool.h>

/* Digests that were there before: the last JP_SEEN_MAX of them; the oldest go. Pure. */
struct jp_seen;

#define JP_SEEN_MAX 65536 /* as many signatures as jupyter_client remembers */

struct jp_seen *jp_seen_new(void);
struct jp_seen *jp_seen_free(struct jp_seen *s);
/* `hex`: 64 lower-case digits. False: it was there; else it is remembered. */
bool jp_seen_add(struct jp_seen *s, struct slice hex);
