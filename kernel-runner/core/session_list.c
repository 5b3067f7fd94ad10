/* Each session is one label: its id is the key's end, its value {kernel_id, path, name, type}. */
#include "kernel-runner/core/session_list.h"

#include "lib/api/jupyter_api.h"
#include "lib/api/limits.h"
#include "lib/base/mem.h"

#define KEY_SIZE (sizeof(JUPYTER_SESSION_LABEL) + ID_UUID_SIZE)

void jupyter_session_done(struct jupyter_session *s)
{
    free(s->path);
    free(s->name);
    free(s->type);
    *s = (struct jupyter_session){0};
}

static bool is_session_key(const char *key)
{
    return strncmp(key, JUPYTER_SESSION_LABEL, strlen(JUPYTER_SESSION_LABEL)) == 0;
}

static char *key_of(const char *id, char key[KEY_SIZE])
{
    snprintf(key, KEY_SIZE, "%s%s", JUPYTER_SESSION_LABEL, id);
    return key;
}

static char *member(const json_t *value, const char *name)
{
    const char *text = json_string_value(json_object_get(value, name));
    return mem_dup_str(text ? text : "");
}

static bool read_label(const char *key, const json_t *label, struct jupyter_session *ret)
{
    _cleanup_(json_decrefp) json_t *value = NULL;
    const char *text = json_string_value(label);
    if (!is_session_key(key) || !text || jsonx_parse(&value, slice_str(text), NULL) < 0)
        return false;
    const char *kernel = json_string_value(json_object_get(value, "kernel_id"));
    snprintf(ret->id, sizeof(ret->id), "%s", key + strlen(JUPYTER_SESSION_LABEL));
    snprintf(ret->kernel_id, sizeof(ret->kernel_id), "%s", kernel ? kernel : "");
    ret->path = member(value, "path");
    ret->name = member(value, "name");
    ret->type = member(value, "type");
    return true;
}

static bool lives(struct runner *r, const struct jupyter_session *s)
{
    const struct kernel *k = kernel_table_find(runner_kernels(r), s->kernel_id);
    return k && !kernel_is_ended(k);
}

void session_list_each(struct runner *r, void (*fn)(void *ctx, const struct jupyter_session *s),
                       void *ctx)
{
    json_t *labels = runner_labels(r);
    const char *key;
    json_t *label;
    void *next;
    json_object_foreach_safe (labels, next, key, label) {
        struct jupyter_session s = {0};
        if (!read_label(key, label, &s))
            continue;
        if (lives(r, &s))
            fn(ctx, &s);
        else
            json_object_del(labels, key);
        jupyter_session_done(&s);
    }
}

int session_list_get(struct runner *r, const char *id, struct jupyter_session *ret, struct err *err)
{
    char key[KEY_SIZE];
    *ret = (struct jupyter_session){0};
    const json_t *label =
        id_is_uuid(id) ? json_object_get(runner_labels(r), key_of(id, key)) : NULL;
    if (label && read_label(key, label, ret) && lives(r, ret))
        return 0;
    jupyter_session_done(ret);
    return err_set(err, ERR_NOT_FOUND, "there is no session \"%.40s\" here", id);
}

struct search {
    const char *path, *kernel_id; /* one of the two */
    char id[ID_UUID_SIZE];
};

static void search_one(void *ctx, const struct jupyter_session *s)
{
    struct search *search = ctx;
    bool found = search->path ? strcmp(s->path, search->path) == 0
                              : strcmp(s->kernel_id, search->kernel_id) == 0;
    if (found && !search->id[0])
        memcpy(search->id, s->id, sizeof(search->id));
}

int session_list_find_path(struct runner *r, const char *path, struct jupyter_session *ret)
{
    struct search search = {.path = path};
    session_list_each(r, search_one, &search);
    *ret = (struct jupyter_session){0};
    return search.id[0] ? session_list_get(r, search.id, ret, NULL) : -ERR_NOT_FOUND;
}

bool session_list_has_kernel(struct runner *r, const char *kernel_id)
{
    struct search search = {.kernel_id = kernel_id};
    session_list_each(r, search_one, &search);
    return search.id[0] != '\0';
}

static void count_one(void *ctx, const struct jupyter_session *s)
{
    ++*(size_t *)ctx;
}

/* There is room for one more; without an id it gets one. */
static int admit(struct runner *r, char id[ID_UUID_SIZE], struct err *err)
{
    size_t n = 0;
    char key[KEY_SIZE];
    if (id[0] && json_object_get(runner_labels(r), key_of(id, key)))
        return 0;
    session_list_each(r, count_one, &n);
    if (n >= LIMIT_SESSIONS)
        return err_set(err, ERR_LIMIT, "a sandbox has at most %d sessions; delete one first",
                       LIMIT_SESSIONS);
    if (id[0])
        return 0;
    do
        id_session_format(runner_id(r), runner_next_session(r), id);
    while (json_object_get(runner_labels(r), key_of(id, key)));
    return 0;
}

int session_list_put(struct runner *r, struct jupyter_session *s, struct err *err)
{
    char key[KEY_SIZE];
    if (strlen(s->path) + strlen(s->name) + strlen(s->type) > LIMIT_SESSION_BYTES)
        return err_field(err, "path", "path, name and type of a session have at most %zu bytes",
                         LIMIT_SESSION_BYTES);
    int e = admit(r, s->id, err);
    if (e < 0)
        return e;
    _cleanup_(json_decrefp) json_t *value =
        json_pack("{s:s, s:s, s:s, s:s}", "kernel_id", s->kernel_id, "path", s->path, "name",
                  s->name, "type", s->type);
    _cleanup_(freep) char *text = jsonx_dump(value);
    json_object_set_new(runner_labels(r), key_of(s->id, key), json_string(text));
    return 0;
}

void session_list_remove(struct runner *r, const char *id)
{
    char key[KEY_SIZE];
    json_object_del(runner_labels(r), key_of(id, key));
}
