#pragma once
/* A sandbox as the table would hold it, without the table. */
#include <stdio.h>

#include "controller/sandbox/sandbox.h"

static inline void sandbox_stub(struct sandbox *sb, const char *id, const char *token,
                                const char *runner_path)
{
    snprintf(sb->id, sizeof(sb->id), "%s", id);
    snprintf(sb->token, sizeof(sb->token), "%s", token);
    snprintf(sb->endpoint.unix_path, sizeof(sb->endpoint.unix_path), "%s", runner_path);
    sb->state = SANDBOX_READY;
}

/* As the table does when a sandbox ends. */
static inline void sandbox_stub_end(struct sandbox *sb, enum err_code code, const char *text)
{
    struct err err = {0};
    err_set(&err, code, "%s", text);
    sb->state = SANDBOX_GONE;
    while (sb->watches) {
        struct sandbox_watch *w = sb->watches;
        sandbox_watch_stop(w);
        w->fn(w->ctx, &err);
    }
}
