#pragma once
#include "lib/base/buf.h"

/*
 * Appends a notebook without the `trusted` marks of its cells. `text` is a JSON object as
 * jsonx_compact() writes it; no other token changes. Pure. ERR_TOO_LARGE.
 */
int contents_notebook_untrust(struct buf *out, struct slice text);
