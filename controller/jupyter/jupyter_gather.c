/*
 * Why: lists over all sandboxes are asked for every few seconds by every open page, and there may
 * be a thousand. So the runners are asked side by side, and what they say is checked but neither
 * parsed nor written anew: the lists are joined as text.
 *
 * A sandbox is kept by its id, and looked up again whenever it is touched: it may end meanwhile,
 * and is then not in the list.
 */
#include "controller/jupyter/jupyter_gather.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "controller/sandbox/runner_client.h"
#include "controller/sandbox/sandbox_table.h"
#include "lib/base/buf.h"
#include "lib/base/mem.h"
#include "lib/loop/loop.h"

struct item {
    struct jupyter_gather *gather;
    char id[ID_SANDBOX_SIZE];
    int64_t created_at;
    struct httpc_call *call;
    char *text; /* members of its list; NULL: it did not answer */
    size_t len;
};

struct jupyter_gather {
    struct jupyter_gather_cfg cfg;
    char *owner;
    struct item *items;
    size_t n, next, n_open;
    struct loop_timer *deadline;
    struct loop_post turn; /* first to begin, then to tell */
};

struct jupyter_gather *jupyter_gather_cancel(struct jupyter_gather *g)
{
    if (!g)
        return NULL;
    for (size_t i = 0; i < g->n; i++) {
        httpc_cancel(g->items[i].call);
        free(g->items[i].text);
    }
    loop_timer_free(g->deadline);
    loop_post_cancel(&g->turn);
    free(g->items);
    free(g->owner);
    free(g);
    return NULL;
}

static struct sandbox *ready_sandbox(const struct jupyter_gather *g, const struct item *it)
{
    struct sandbox *sb = sandbox_table_find(g->cfg.table, it->id, g->owner);
    return sb && sb->state == SANDBOX_READY ? sb : NULL;
}

/* ---- the list ---- */

static int append_members(struct buf *out, const char *p, size_t len)
{
    if (len == 0)
        return 0;
    int r = out->len > 1 ? buf_append_char(out, ',') : 0;
    return r < 0 ? r : buf_append(out, p, len);
}

static int append_missing(const struct jupyter_gather *g, const struct item *it, struct buf *out)
{
    const struct sandbox *sb = ready_sandbox(g, it);
    if (!sb)
        return 0;
    _cleanup_(json_decrefp) json_t *list = json_array();
    g->cfg.missing(sb, list);
    _cleanup_(freep) char *text = jsonx_dump(list);
    return append_members(out, text + 1, strlen(text) - 2);
}

static void tell_list(void *ctx)
{
    struct jupyter_gather *g = ctx;
    struct buf out;
    struct err err = {0};
    buf_init(&out, GATHER_MAX);
    int r = buf_append_char(&out, '[');
    for (size_t i = 0; i < g->n && r == 0; i++) {
        const struct item *it = &g->items[i];
        r = it->text ? append_members(&out, it->text, it->len) : append_missing(g, it, &out);
    }
    if (r == 0)
        r = buf_append_char(&out, ']');
    if (r < 0)
        err_set(&err, ERR_TOO_LARGE, "the list is longer than %zu bytes", GATHER_MAX);
    void (*done)(void *ctx, struct slice list, const struct err *err) = g->cfg.done;
    void *done_ctx = g->cfg.ctx;
    jupyter_gather_cancel(g);
    done(done_ctx, buf_slice(&out), r < 0 ? &err : NULL);
    buf_done(&out);
}

/* ---- the questions ---- */

/* What is between the brackets of a well-formed list; false otherwise. */
static bool trim_list(struct slice *s)
{
    while (s->len > 0 && isspace((unsigned char)s->ptr[s->len - 1]))
        s->len--;
    for (; s->len > 0 && isspace((unsigned char)*s->ptr); s->len--)
        s->ptr++;
    if (s->len < 2 || s->ptr[0] != '[' || !jsonx_valid(*s))
        return false;
    *s = slice_make(s->ptr + 1, s->len - 2);
    for (; s->len > 0 && isspace((unsigned char)*s->ptr); s->len--)
        s->ptr++;
    return true;
}

static void go_on(struct jupyter_gather *g);

static void on_answer(void *ctx, int status, struct slice body, const struct err *err)
{
    struct item *it = ctx;
    struct jupyter_gather *g = it->gather;
    it->call = NULL;
    g->n_open--;
    if (!err && status == 200 && trim_list(&body)) {
        it->text = mem_dup_n(body.ptr, body.len);
        it->len = body.len;
    }
    go_on(g);
}

static void ask(struct jupyter_gather *g, struct item *it)
{
    char url[RUNNER_URL_MAX], auth[RUNNER_AUTH_SIZE];
    const char *const headers[] = {auth, NULL};
    struct httpc_request req = {.method = "GET", .headers = headers, .total_timeout_ms = GATHER_MS};
    const struct sandbox *sb = ready_sandbox(g, it);
    if (!sb || runner_address(sb, g->cfg.path, url, auth, &req, NULL) < 0)
        return;
    if (httpc_exchange(&it->call, sandbox_table_http(g->cfg.table), &req, GATHER_ANSWER_MAX,
                       on_answer, it, NULL) == 0)
        g->n_open++;
    explicit_bzero(auth, sizeof(auth));
}

static void go_on(struct jupyter_gather *g)
{
    while (g->next < g->n && g->n_open < GATHER_AT_ONCE)
        ask(g, &g->items[g->next++]);
    if (g->n_open == 0)
        loop_post(&g->turn, sandbox_table_loop(g->cfg.table), tell_list, g);
}

static void begin(void *ctx)
{
    struct jupyter_gather *g = ctx;
    loop_timer_start(g->deadline, GATHER_MS, 0);
    go_on(g);
}

static void add_item(void *ctx, struct sandbox *sb)
{
    struct jupyter_gather *g = ctx;
    struct item *it = &g->items[g->n++];
    it->gather = g;
    it->created_at = sb->created_at;
    memcpy(it->id, sb->id, sizeof(it->id));
}

static int compare(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    if (x->created_at != y->created_at)
        return x->created_at < y->created_at ? -1 : 1;
    return strcmp(x->id, y->id);
}

struct jupyter_gather *jupyter_gather(const struct jupyter_gather_cfg *cfg)
{
    struct jupyter_gather *g = MEM_NEW(struct jupyter_gather);
    g->cfg = *cfg;
    g->owner = mem_dup_str(cfg->owner);
    g->items = MEM_NEW_N(struct item, sandbox_table_count(cfg->table, SANDBOX_READY) + 1);
    sandbox_table_each_ready(cfg->table, cfg->owner, add_item, g);
    qsort(g->items, g->n, sizeof(struct item), compare);
    g->deadline = loop_timer_new(sandbox_table_loop(cfg->table), tell_list, g);
    loop_post(&g->turn, sandbox_table_loop(cfg->table), begin, g);
    return g;
}
