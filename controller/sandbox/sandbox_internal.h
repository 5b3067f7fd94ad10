#pragma once
/* Between the files of this folder. */
#include "controller/sandbox/runner_client.h"
#include "controller/sandbox/sandbox_table.h"
#include "lib/loop/loop.h"

struct backend_op;

struct sandbox_table {
    struct loop *loop;
    struct sandbox_table_cfg cfg;
    struct sandbox_table_hooks hooks;
    void *hooks_ctx;
    struct sandbox *by_id;
    size_t counts[SANDBOX_STATES];
    size_t n_owned;
    struct backend_op *backend_ops; /* under way at the backend */
    struct adoption *adoption;
    struct removal_of_all *removal_of_all;
};

/* Takes over what a runner says about itself: owner, name, labels, timeouts, clocks. */
int sandbox_learn(struct sandbox *sb, const json_t *info, struct err *err);
/* Tells every watch once. */
void sandbox_notify(struct sandbox *sb, const struct err *err);
bool sandbox_is_visible(const struct sandbox *sb, const char *owner);
/* RFC 3339 in UTC → µs; 0 when it is not. */
int64_t rfc3339_parse(const char *s);
