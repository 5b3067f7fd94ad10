#pragma once
#include "lib/base/err.h"
#include "lib/base/slice.h"
#include "lib/json/jsonx.h"
struct sandbox;
struct sandbox_table;

/*
 * One question to all ready sandboxes of a caller at once, whose answers are lists: the one list of
 * them all, oldest sandbox first. A runner that does not answer in time is represented by what the
 * controller knows, so that the list is complete.
 */
struct jupyter_gather;

#define GATHER_AT_ONCE    64
#define GATHER_MS         2000
#define GATHER_ANSWER_MAX KIB(256) /* of one runner */
#define GATHER_MAX        MIB(64)

struct jupyter_gather_cfg {
    struct sandbox_table *table;
    const char *owner; /* NULL: of all owners */
    const char *path;  /* at the runner; a constant */
    /* What stands for a silent runner: appended to a list. */
    void (*missing)(const struct sandbox *sb, json_t *list);
    /* `list` is the text of a JSON list, borrowed. Once, never before jupyter_gather() returns. */
    void (*done)(void *ctx, struct slice list, const struct err *err);
    void *ctx;
};

struct jupyter_gather *jupyter_gather(const struct jupyter_gather_cfg *cfg);
/* No callback comes any more. NULL ok. */
struct jupyter_gather *jupyter_gather_cancel(struct jupyter_gather *g);
