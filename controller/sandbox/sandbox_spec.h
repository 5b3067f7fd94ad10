#pragma once
#include "lib/base/err.h"
#include "lib/json/jsonx.h"

#include <stdint.h>

/* Ceilings of what a caller may ask of a new sandbox. */
#define SANDBOX_NAME_MAX        128 /* bytes */
#define SANDBOX_LABELS_MAX      32
#define SANDBOX_LABEL_KEY_MAX   63  /* letters, digits, "-_./", alphanumeric at both ends */
#define SANDBOX_LABEL_VALUE_MAX 253 /* bytes */
#define SANDBOX_ENV_MAX         128
#define SANDBOX_ENV_KEY_MAX     256
#define SANDBOX_ENV_VALUE_MAX   (32 * 1024)
#define SANDBOX_TIMEOUT_MAX_S   (30.0 * 24 * 3600)
#define SANDBOX_BODY_MAX        (6 * 1024 * 1024) /* of POST /api/sandboxes */
#define IDEMPOTENCY_KEY_MAX     255               /* bytes of visible ASCII */

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
