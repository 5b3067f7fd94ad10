#pragma once
#include "lib/loop/loop.h"

/* What a process said at its end, or is said of it. The caller frees. */
char *kernel_words_clean(const char *words); /* whatever bytes become text of the same length */
/* How it ended where it did not say: of one that never served, as its words are all there is. */
char *kernel_words_of(const char *words, bool served, const struct loop_exit *exit);
