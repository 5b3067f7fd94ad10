#pragma once
#include "controller/backends/backend_local.h"
#include "controller/backends/local_launch.h"
#include "controller/sandbox/backend.h"
#include "lib/loop/loop.h"

#include <stdbool.h>
struct local_adoption;
struct local_clearing;
struct local_later;
struct local_sandbox;

/* The local backend as its own files see it. */
struct local_backend {
    struct sandbox_backend base; /* first */
    struct loop *loop;
    struct backend_local_cfg cfg; /* strings are ours */
    struct local_host host;
    char *description;
    struct local_sandbox *sandboxes;  /* by id */
    struct local_clearing *clearings; /* files of ended ones, being removed or to be removed */
    struct loop_timer *clearing_retry;
    struct local_adoption *adoption; /* while an earlier controller's remains are looked at */
    struct local_later *later;       /* answers that may not come before their question returned */
    struct loop_defer *later_defer;
    bool warned_unbounded;
};

/* Answers in the next turn; err may be NULL and is copied. */
void local_later(struct local_backend *b, sandbox_backend_done_fn done, void *ctx,
                 const struct err *err);
