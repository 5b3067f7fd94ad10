#pragma once
struct local_backend;
struct local_clearing;

/* failed: 0, or an errno. */
typedef void (*local_clearing_fn)(void *ctx, int failed);

/*
 * Removes what sandbox `id` left on disk, however much that is, on other threads: a few sandboxes
 * at a time, the others in the order they came. `fn` comes on the loop's thread, in a later turn.
 */
struct local_clearing *local_clearing_start(struct local_backend *b, const char *id,
                                            local_clearing_fn fn, void *ctx);
/* No callback comes any more; what was begun goes on. NULL ok. */
void local_clearing_forget(struct local_clearing *c);
/* Before the backend is freed: what has not begun is left to the next controller. */
void local_clearing_close(struct local_backend *b);
