#pragma once
#include "attach/attach_url.h"
#include "lib/base/slice.h"

#include <stdbool.h>
#include <stdint.h>
struct httpc;
struct loop;

/*
 * The WebSocket to a kernel, kept alive: when it breaks it is opened again, with the same session
 * id, so that the runner sends what was missed. Freeing is safe inside callbacks.
 */
struct attach_link;

struct attach_link_cfg {
    struct loop *loop;
    struct httpc *http;
    const struct attach_url *url; /* must outlive the link */
    const char *token;            /* or NULL; must outlive the link */
    const char *path;             /* "/api/sandboxes/…/channels"; copied */
    const char *what;             /* "sandbox sb-…", for errors; copied */
    void (*on_up)(void *ctx);     /* each time it is open */
    /* `refused`: the other side closed it because of what was sent. */
    void (*on_down)(void *ctx, bool refused, const char *why);
    void (*on_message)(void *ctx, struct slice data);
    void (*on_room)(void *ctx);                     /* attach_link_may_send() is true again */
    void (*on_arrived)(void *ctx, uint64_t number); /* the other side has what is before the mark */
    void (*on_failed)(void *ctx, const struct err *err); /* for good; nothing comes any more */
    void *ctx;
};

/* Callbacks never come before this returns. */
struct attach_link *attach_link_new(const struct attach_link_cfg *cfg);
struct attach_link *attach_link_free(struct attach_link *l);
bool attach_link_is_up(const struct attach_link *l);
bool attach_link_may_send(const struct attach_link *l);
void attach_link_send(struct attach_link *l, struct slice data);
/* Asks when all that was sent so far has arrived; numbers grow. */
void attach_link_mark(struct attach_link *l, uint64_t number);
/* While paused nothing is read; on_message may still come for what was read already. */
void attach_link_pause(struct attach_link *l, bool paused);
