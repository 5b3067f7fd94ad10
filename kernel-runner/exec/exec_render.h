#pragma once
#include "kernel-runner/exec/exec.h"

/*
 * The execution as one JSON object (API contract §3): `outputs` as a notebook would have saved
 * them, `stdout` and `stderr` whole, the rest from the execution itself. Works from the log's own
 * escaped bytes, in bounded memory, whatever the length.
 */
struct exec_render;

/* Above this many bytes of log and what is kept beside it, rendering is streamed. */
#define EXEC_RENDER_AT_ONCE_BYTES KIB(64)

/* All of it is in memory, and little. */
bool exec_render_is_small(const struct exec *e);
/* The whole text, of a small one. */
char *exec_render_text(const struct exec *e, size_t *ret_len);

/* Streamed: the execution must be held (exec_store_hold) until _free(). */
int exec_render_new(struct exec_render **ret, const struct exec *e, struct err *err);
/* The same without outputs and what belongs to them, for lists. */
struct exec_render *exec_render_new_summary(const struct exec *e);
struct exec_render *exec_render_free(struct exec_render *r);
/*
 * Fills up to max bytes. EXEC_RENDER_AGAIN: it has only looked through a part of the log so far,
 * call again in another turn. EXEC_RENDER_END: all was given. EXEC_RENDER_FAILED: a file could not
 * be read, what was given is not whole.
 */
enum { EXEC_RENDER_AGAIN = 0, EXEC_RENDER_END = -1, EXEC_RENDER_FAILED = -2 };
ssize_t exec_render_pull(struct exec_render *r, char *out, size_t max);
