/* Why: POST /api/sandboxes says what is wrong before anything is made. Pure. */
#include "controller/sandbox/sandbox_spec.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/utf8.h"

static bool has_control(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            return true;
    return false;
}

int sandbox_label_check(const char *key, const char *value, const char *field, struct err *err)
{
    size_t len = strlen(key);
    const char *chars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./";

    if (len == 0 || len > LIMIT_LABEL_KEY_BYTES || strspn(key, chars) != len ||
        !isalnum((unsigned char)key[0]) || !isalnum((unsigned char)key[len - 1]))
        return err_field(
            err, field,
            "the label key \"%.80s\" must be 1 to %d letters, digits or \"-_./\", with "
            "a letter or digit at both ends",
            key, LIMIT_LABEL_KEY_BYTES);
    if (strncmp(key, "caesarion", 9) == 0 || strcmp(key, "owner") == 0)
        return err_field(err, field,
                         "the label key \"%s\" is reserved (\"owner\", and all that begin with "
                         "\"caesarion\")",
                         key);
    if (strlen(value) > LIMIT_LABEL_VALUE_BYTES || has_control(value))
        return err_field(err, field,
                         "the value of the label \"%s\" must be at most %d bytes without control "
                         "characters",
                         key, LIMIT_LABEL_VALUE_BYTES);
    return 0;
}

int idempotency_key_check(const char *key, struct err *err)
{
    size_t len = strlen(key);

    for (size_t i = 0; i < len; i++)
        if (key[i] <= 0x20 || key[i] >= 0x7f)
            len = 0;
    if (len == 0 || len > IDEMPOTENCY_KEY_MAX)
        return err_field(err, "Idempotency-Key",
                         "Idempotency-Key must be 1 to %d visible ASCII characters",
                         IDEMPOTENCY_KEY_MAX);
    return 0;
}

static int check_env(const json_t *env, struct err *err)
{
    const char *key;
    json_t *value;

    json_object_foreach ((json_t *)(uintptr_t)env, key, value) {
        size_t len = strlen(key);
        if (len == 0 || len > SANDBOX_ENV_KEY_MAX || strchr(key, '=') || has_control(key))
            return err_field(err, "env",
                             "the name \"%.80s\" of an environment variable must be 1 to %d bytes "
                             "without \"=\" or control characters",
                             key, SANDBOX_ENV_KEY_MAX);
        if (json_string_length(value) != strlen(json_string_value(value)))
            return err_field(err, "env", "the value of \"%.80s\" has a NUL", key);
    }
    return 0;
}

static int check_labels(const json_t *labels, struct err *err)
{
    const char *key;
    json_t *value;

    json_object_foreach ((json_t *)(uintptr_t)labels, key, value) {
        int r = sandbox_label_check(key, json_string_value(value), "labels", err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int read_body(struct sandbox_spec *s, const json_t *body, struct err *err)
{
    static const char *const known[] = {
        "name", "idle_timeout_s", "exec_timeout_s", "max_lifetime_s", "env", "labels", NULL};
    const char *name = NULL;
    json_t *labels = NULL, *env = NULL;
    int r = jsonx_object(body, err);

    if (r == 0)
        r = jsonx_only(body, known, err);
    if (r == 0)
        r = jsonx_get_string(body, "name", LIMIT_NAME_BYTES, &name, err);
    if (r == 0)
        r = jsonx_get_seconds(body, "exec_timeout_s", LIMIT_TIMEOUT_S, &s->exec_timeout_ms, err);
    if (r == 0)
        r = jsonx_get_seconds(body, "idle_timeout_s", LIMIT_LIFETIME_S, &s->idle_timeout_ms, err);
    if (r == 0)
        r = jsonx_get_seconds(body, "max_lifetime_s", LIMIT_LIFETIME_S, &s->max_lifetime_ms, err);
    if (r == 0)
        r = jsonx_get_string_map(body, "labels", LIMIT_LABELS, LIMIT_LABEL_VALUE_BYTES, &labels,
                                 err);
    if (r == 0)
        r = jsonx_get_string_map(body, "env", LIMIT_ENV_ENTRIES, LIMIT_ENV_VALUE_BYTES, &env, err);
    if (r < 0)
        return r;
    if (name && has_control(name))
        return err_field(err, "name", "name must not have control characters");
    if ((labels && (r = check_labels(labels, err)) < 0) || (env && (r = check_env(env, err)) < 0))
        return r;
    s->name = mem_dup_str(name && name[0] ? name : NULL);
    s->labels = labels ? json_deep_copy(labels) : json_object();
    s->env = env ? json_deep_copy(env) : json_object();
    return 0;
}

int sandbox_spec_parse(struct sandbox_spec *ret, const json_t *body,
                       const struct sandbox_defaults *defaults, struct err *err)
{
    struct sandbox_spec s = {.exec_timeout_ms = defaults->exec_timeout_ms,
                             .idle_timeout_ms = defaults->idle_timeout_ms};

    *ret = (struct sandbox_spec){0};
    if (body) {
        struct err why = {0};
        if (read_body(&s, body, &why) < 0) {
            why.code = ERR_INVALID; /* too long a name is a bad name; 413 is for whole bodies */
            if (err)
                *err = why;
            return -ERR_INVALID;
        }
    } else {
        s.labels = json_object();
        s.env = json_object();
    }
    *ret = s;
    return 0;
}

void sandbox_spec_done(struct sandbox_spec *s)
{
    free(s->name);
    json_decref(s->labels);
    json_decref(s->env);
    *s = (struct sandbox_spec){0};
}
