#pragma once
#include "lib/api/limits.h"
#include "lib/base/err.h"
#include "lib/json/jsonx.h"

#include <stdint.h>

/* Ceilings of what a caller may ask of a new sandbox: lib/api/limits.h, and these. */
#define SANDBOX_ENV_KEY_MAX LIMIT_ENV_NAME_BYTES
#define SANDBOX_BODY_MAX    LIMIT_JSON_BODY_BYTES /* of POST /api/sandboxes */
#define IDEMPOTENCY_KEY_MAX 255                   /* bytes of visible ASCII */

/* What the body of POST /api/sandboxes says, checked, with the controller's defaults filled in. */
struct sandbox_spec {
    char *name;
    json_t *labels; /* object of strings, never NULL after parsing */
    json_t *env;
    int64_t exec_timeout_ms;
    int64_t idle_timeout_ms;
    int64_t max_lifetime_ms; /* 0: none */
};

struct sandbox_defaults {
    int64_t exec_timeout_ms;
    int64_t idle_timeout_ms;
};

/* body NULL: everything by default. On failure *ret holds nothing. */
int sandbox_spec_parse(struct sandbox_spec *ret, const json_t *body,
                       const struct sandbox_defaults *defaults, struct err *err);
void sandbox_spec_done(struct sandbox_spec *spec);
/* A label a caller may set or ask for: ERR_INVALID naming `field` otherwise. */
int sandbox_label_check(const char *key, const char *value, const char *field, struct err *err);
int idempotency_key_check(const char *key, struct err *err);
