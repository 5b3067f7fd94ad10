/*
 * Why: GET /api/sandboxes in pages that stay right while sandboxes come and go: the place to go on
 * from is a point in the order (created_at, id), not a sandbox that might be gone.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controller/sandbox/sandbox_internal.h"
#include "lib/base/mem.h"
#include "lib/base/parse.h"

#define LIST_DEFAULT 100
#define LIST_MAX     1000

struct filter {
    const char *owner;
    char *label_key; /* NULL: any */
    const char *label_value;
    const char *status;
    int64_t after_created_at; /* with after_id: only what comes behind it */
    const char *after_id;
};

static int compare(const void *a, const void *b)
{
    const struct sandbox *x = *(struct sandbox *const *)a, *y = *(struct sandbox *const *)b;

    if (x->created_at != y->created_at)
        return x->created_at < y->created_at ? -1 : 1;
    return strcmp(x->id, y->id);
}

static bool matches(const struct sandbox *sb, const struct filter *f)
{
    if (!sandbox_is_visible(sb, f->owner))
        return false;
    if (f->status && strcmp(sandbox_status_name(sb->state), f->status) != 0)
        return false;
    if (f->label_key) {
        const char *v = json_string_value(json_object_get(sb->labels, f->label_key));
        if (!v || strcmp(v, f->label_value) != 0)
            return false;
    }
    if (!f->after_id)
        return true;
    return sb->created_at > f->after_created_at ||
           (sb->created_at == f->after_created_at && strcmp(sb->id, f->after_id) > 0);
}

static int parse_query(const struct sandbox_list_query *q, struct filter *f, uint64_t *limit,
                       struct err *err)
{
    static const char *const statuses[] = {"creating", "ready", "terminating", "failed"};
    bool known = !q->status;

    *f = (struct filter){.owner = q->owner, .status = q->status};
    *limit = LIST_DEFAULT;
    if (q->limit && parse_u64(q->limit, 1, LIST_MAX, limit, NULL) < 0)
        return err_field(err, "limit", "limit must be a number from 1 to %d", LIST_MAX);
    for (size_t i = 0; i < ARRAY_LEN(statuses) && !known; i++)
        known = strcmp(statuses[i], q->status) == 0;
    if (!known)
        return err_field(err, "status", "status must be creating, ready, terminating or failed");
    if (q->label) {
        const char *eq = strchr(q->label, '=');
        if (!eq || eq == q->label)
            return err_field(err, "label", "label must be key=value");
        f->label_key = mem_dup_n(q->label, (size_t)(eq - q->label));
        f->label_value = eq + 1;
    }
    if (q->cont) {
        char *end = NULL;
        errno = 0;
        f->after_created_at = strtoll(q->cont, &end, 10);
        if (errno != 0 || end == q->cont || *end != '.' || !id_is_sandbox(end + 1))
            return err_field(err, "continue", "continue is not one that this API gave");
        f->after_id = end + 1;
    }
    return 0;
}

int sandbox_table_list(struct sandbox_table *t, const struct sandbox_list_query *q, json_t **ret,
                       struct err *err)
{
    _cleanup_(freep) struct sandbox **found = MEM_NEW_N(struct sandbox *, HASH_COUNT(t->by_id) + 1);
    struct sandbox *sb, *next;
    size_t n = 0;
    uint64_t limit;
    struct filter f;

    int r = parse_query(q, &f, &limit, err);
    if (r < 0) {
        free(f.label_key);
        return r;
    }
    HASH_ITER (hh, t->by_id, sb, next)
        if (matches(sb, &f))
            found[n++] = sb;
    free(f.label_key);
    qsort(found, n, sizeof(struct sandbox *), compare);

    json_t *list = json_array(), *o = json_object();
    for (size_t i = 0; i < n && i < limit; i++)
        json_array_append_new(list, sandbox_to_json(found[i], NULL));
    json_object_set_new(o, "sandboxes", list);
    if (n > limit) {
        const struct sandbox *last = found[limit - 1];
        json_object_set_new(o, "continue",
                            json_sprintf("%" PRId64 ".%s", last->created_at, last->id));
    } else {
        json_object_set_new(o, "continue", json_null());
    }
    *ret = o;
    return 0;
}
