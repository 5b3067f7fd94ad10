/*
 * Why: what one sandbox is to the rest of the controller: the API's object, and a way to be told
 * of its end. Everything here is a cache; the runner's own words replace it whenever they come.
 */
#include "controller/sandbox/sandbox.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <utlist.h>

#include "controller/sandbox/sandbox_internal.h"
#include "lib/base/clk.h"
#include "lib/base/mem.h"

void sandbox_touch(struct sandbox *sb)
{
    sb->last_activity_at = clk_wall_us();
}

void sandbox_watch_start(struct sandbox_watch *w, struct sandbox *sb,
                         void (*fn)(void *ctx, const struct err *err), void *ctx)
{
    *w = (struct sandbox_watch){.fn = fn, .ctx = ctx, .sandbox = sb};
    DL_APPEND(sb->watches, w);
}

void sandbox_watch_stop(struct sandbox_watch *w)
{
    if (!w->sandbox)
        return;
    loop_post_cancel(&w->tell);
    DL_DELETE(w->sandbox->watches, w);
    w->sandbox = NULL;
}

static void tell_watch(void *ctx)
{
    struct sandbox_watch *w = ctx;
    const struct err *err = w->sandbox->ended;

    sandbox_watch_stop(w);
    w->fn(w->ctx, err);
}

void sandbox_notify(struct sandbox *sb, const struct err *err)
{
    struct sandbox_watch *w;

    if (!sb->ended) {
        sb->ended = MEM_NEW(struct err);
        *sb->ended = *err;
    }
    DL_FOREACH (sb->watches, w)
        loop_post(&w->tell, sb->table->loop, tell_watch, w);
}

bool sandbox_is_visible(const struct sandbox *sb, const char *owner)
{
    return sb->owner && (!owner || strcmp(sb->owner, owner) == 0);
}

/* Whole seconds as an integer, others as a real: 300, 0.25. */
static json_t *seconds(int64_t ms)
{
    return ms % 1000 == 0 ? json_integer(ms / 1000) : json_real((double)ms / 1000.0);
}

static json_t *time_or_null(int64_t at)
{
    char text[CLK_RFC3339_SIZE];

    return at > 0 ? json_string(clk_rfc3339(at, text)) : json_null();
}

static int64_t expires_at(const struct sandbox *sb)
{
    int64_t idle = sb->idle_timeout_ms > 0 ? sb->last_activity_at + sb->idle_timeout_ms * 1000 : 0;
    int64_t life = sb->max_lifetime_ms > 0 ? sb->claimed_at + sb->max_lifetime_ms * 1000 : 0;

    if (idle == 0 || life == 0)
        return MAX(idle, life);
    return MIN(idle, life);
}

static void set_from(json_t *out, const char *key, const json_t *fresh, json_t *otherwise_take)
{
    json_t *v = fresh ? json_object_get(fresh, key) : NULL;

    if (!v) {
        json_object_set_new(out, key, otherwise_take);
        return;
    }
    json_object_set(out, key, v);
    json_decref(otherwise_take);
}

json_t *sandbox_to_json(const struct sandbox *sb, const json_t *fresh)
{
    json_t *o = json_object(), *kernel = fresh ? json_object_get(fresh, "kernel") : NULL;

    json_object_set_new(o, "id", json_string(sb->id));
    json_object_set_new(o, "name", sb->name && sb->name[0] ? json_string(sb->name) : json_null());
    json_object_set_new(o, "owner", sb->owner ? json_string(sb->owner) : json_null());
    json_object_set_new(o, "status", json_string(sandbox_status_name(sb->state)));
    json_object_set_new(o, "ready", json_boolean(sb->state == SANDBOX_READY));
    json_object_set_new(o, "created_at", time_or_null(sb->created_at));
    set_from(o, "last_activity_at", fresh, time_or_null(sb->last_activity_at));
    set_from(o, "expires_at", fresh, time_or_null(expires_at(sb)));
    json_object_set_new(o, "session_id",
                        sb->session_id ? json_string(sb->session_id) : json_null());
    json_object_set_new(o, "labels", sb->labels ? json_copy(sb->labels) : json_object());
    json_object_set_new(o, "exec_timeout_s", seconds(sb->exec_timeout_ms));
    json_object_set_new(o, "idle_timeout_s", seconds(sb->idle_timeout_ms));
    if (kernel)
        json_object_set(o, "kernel", kernel);
    return o;
}

int64_t rfc3339_parse(const char *s)
{
    struct tm tm = {0};
    const char *rest = s ? strptime(s, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;
    int64_t us = 0, unit = 100000;

    if (!rest)
        return 0;
    if (*rest == '.')
        for (rest++; *rest >= '0' && *rest <= '9'; rest++, unit /= 10)
            us += (*rest - '0') * unit;
    if (strcmp(rest, "Z") != 0)
        return 0;
    return (int64_t)timegm(&tm) * 1000000 + us;
}

static void learn_string(char **field, const json_t *info, const char *key)
{
    const json_t *v = json_object_get(info, key);

    if (!v)
        return;
    free(*field);
    *field = mem_dup_str(json_string_value(v)); /* null: NULL */
}

static void learn_seconds(int64_t *ms, const json_t *info, const char *key)
{
    const json_t *v = json_object_get(info, key);

    if (json_is_number(v) && json_number_value(v) >= 0.0 && json_number_value(v) <= 1e9)
        *ms = (int64_t)(json_number_value(v) * 1000.0 + 0.5);
}

static void learn_time(int64_t *at, const json_t *info, const char *key)
{
    int64_t t = rfc3339_parse(json_string_value(json_object_get(info, key)));

    if (t > 0)
        *at = t;
}

int sandbox_learn(struct sandbox *sb, const json_t *info, struct err *err)
{
    const char *id = json_string_value(json_object_get(info, "id"));
    json_t *labels = json_object_get(info, "labels");

    if (id && strcmp(id, sb->id) != 0)
        return err_set(err, ERR_INTERNAL, "the runner says it is %.40s, not %s", id, sb->id);
    if (!json_string_value(json_object_get(info, "owner")))
        return err_set(err, ERR_INTERNAL, "the runner does not say whose it is");
    bool was_owned = sb->owner != NULL;
    learn_string(&sb->owner, info, "owner");
    sb->table->n_owned += was_owned ? 0 : 1;
    learn_string(&sb->name, info, "name");
    learn_string(&sb->session_id, info, "session_id");
    learn_string(&sb->idempotency_key, info, "idempotency_key");
    learn_seconds(&sb->exec_timeout_ms, info, "exec_timeout_s");
    learn_seconds(&sb->idle_timeout_ms, info, "idle_timeout_s");
    learn_seconds(&sb->max_lifetime_ms, info, "max_lifetime_s");
    learn_time(&sb->created_at, info, "created_at");
    learn_time(&sb->claimed_at, info, "claimed_at");
    learn_time(&sb->last_activity_at, info, "last_activity_at");
    if (sb->claimed_at == 0)
        sb->claimed_at = sb->created_at;
    if (json_is_object(labels)) {
        json_decref(sb->labels);
        sb->labels = json_deep_copy(labels);
    }
    return 0;
}
