/*
 * The routing table as a tree of path parts. Built once, read only afterwards. A match splits and
 * decodes the path once, then walks the tree; it may step back where two patterns overlap, which
 * is bounded by the table, never by the request.
 */
#include "lib/http/http_router.h"

#include "lib/base/mem.h"
#include "lib/base/parse.h"

#include <assert.h>
#include <utlist.h>

struct pattern_param {
    struct slice name;
    size_t depth;
    bool rest;
};

struct pattern {
    const struct http_route *route;
    size_t n_params;
    struct pattern_param params[HTTP_PARAMS_MAX];
    struct pattern *next;
};

struct node {
    struct slice literal;
    struct node *literals; /* children with a literal part */
    struct node *param;    /* the child of any one part */
    struct pattern *here;  /* patterns that end at this node */
    struct pattern *rest;  /* patterns that take what follows */
    struct node *next;
};

struct http_router {
    struct node root;
    struct pattern *patterns;
};

static struct slice next_part(const char **p)
{
    const char *start = *p;
    size_t len = strcspn(start, "/");
    *p = start[len] ? start + len + 1 : NULL;
    return slice_make(start, len);
}

static struct node *literal_child(const struct node *node, struct slice part)
{
    struct node *child;
    LL_FOREACH (node->literals, child) {
        if (slice_eq(child->literal, part))
            return child;
    }
    return NULL;
}

static struct node *grow(struct node *node, struct slice part, bool is_param)
{
    if (is_param) {
        if (!node->param)
            node->param = MEM_NEW(struct node);
        return node->param;
    }
    struct node *child = literal_child(node, part);
    if (!child) {
        child = MEM_NEW(struct node);
        child->literal = part;
        LL_PREPEND(node->literals, child);
    }
    return child;
}

static void add(struct http_router *r, const struct http_route *route, struct pattern *pattern)
{
    struct node *node = &r->root;
    const char *p = route->path + 1;
    pattern->route = route;
    assert(route->path[0] == '/');
    for (size_t depth = 0; p; depth++) {
        struct slice part = next_part(&p);
        bool is_param = part.len >= 2 && part.ptr[0] == '{';
        assert(depth < HTTP_SEGS_MAX);
        if (is_param) {
            bool rest = part.len > 5 && memcmp(part.ptr + part.len - 4, "...}", 4) == 0;
            size_t name_len = part.len - (rest ? 5 : 2);
            assert(pattern->n_params < HTTP_PARAMS_MAX && (!rest || !p));
            pattern->params[pattern->n_params++] = (struct pattern_param){
                .name = {part.ptr + 1, name_len}, .depth = depth, .rest = rest};
            if (rest) {
                LL_APPEND(node->rest, pattern);
                return;
            }
        }
        node = grow(node, part, is_param);
    }
    LL_APPEND(node->here, pattern);
}

struct http_router *http_router_new(const struct http_route *routes, size_t n_routes)
{
    struct http_router *r = MEM_NEW(struct http_router);
    r->patterns = MEM_NEW_N(struct pattern, n_routes ? n_routes : 1);
    for (size_t i = 0; i < n_routes; i++)
        add(r, &routes[i], &r->patterns[i]);
    return r;
}

static void free_children(struct node *node)
{
    struct node *child, *tmp;
    LL_FOREACH_SAFE (node->literals, child, tmp) {
        free_children(child);
        free(child);
    }
    if (node->param)
        free_children(node->param);
    free(node->param);
}

struct http_router *http_router_free(struct http_router *r)
{
    if (!r)
        return NULL;
    free_children(&r->root);
    free(r->patterns);
    free(r);
    return NULL;
}

struct seg {
    const char *raw; /* in the scratch, ended by NUL */
    const char *text;
    size_t len;
    bool usable;        /* decodes to text without a slash */
    const char *behind; /* in the path: this part and all that follows */
};

struct walk {
    const char *method;
    struct seg segs[HTTP_SEGS_MAX];
    size_t n;
    bool deeper; /* the path has more parts than segs */
    bool path_known;
    unsigned allow; /* bit i: allow_names[i] */
};

size_t http_router_scratch(const char *path)
{
    return 2 * (strlen(path) + HTTP_SEGS_MAX + 1);
}

static void split(struct walk *w, const char *path, char *scratch)
{
    const char *p = path[0] == '/' ? path + 1 : NULL;
    while (p) {
        if (w->n == HTTP_SEGS_MAX) {
            w->deeper = true;
            return;
        }
        struct seg *seg = &w->segs[w->n++];
        seg->behind = p;
        struct slice part = next_part(&p);
        memcpy(scratch, part.ptr, part.len);
        scratch[part.len] = '\0';
        seg->raw = scratch;
        scratch += part.len + 1;
        size_t len = 0;
        scratch[0] = '\0';
        seg->usable = parse_percent(part.ptr, part.len, scratch, &len, NULL) == 0 &&
                      !memchr(scratch, '/', len);
        seg->text = scratch;
        seg->len = len;
        scratch += len + 1;
    }
}

static const char *const allow_names[] = {"GET",   "HEAD",   "POST",   "PUT",
                                          "PATCH", "DELETE", "OPTIONS"};

static void note_allowed(struct walk *w, const char *method)
{
    for (unsigned i = 0; i < ARRAY_LEN(allow_names); i++)
        if (strcmp(method, allow_names[i]) == 0)
            w->allow |= 1U << i;
    if (strcmp(method, "GET") == 0)
        w->allow |= 1U << 1; /* HEAD comes with it */
}

static const struct pattern *pick(struct walk *w, const struct pattern *list)
{
    const struct pattern *p, *get = NULL;
    bool head = strcmp(w->method, "HEAD") == 0;
    LL_FOREACH (list, p) {
        const char *method = p->route->method;
        w->path_known = true;
        note_allowed(w, method);
        if (strcmp(method, w->method) == 0 || strcmp(method, "*") == 0)
            return p;
        if (head && strcmp(method, "GET") == 0)
            get = p;
    }
    return get;
}

static const struct pattern *walk(struct walk *w, const struct node *node, size_t depth)
{
    if (depth == w->n && !w->deeper)
        return pick(w, node->here);
    if (depth < w->n) {
        const struct seg *seg = &w->segs[depth];
        const struct node *child =
            seg->usable ? literal_child(node, slice_make(seg->text, seg->len)) : NULL;
        const struct pattern *found = child ? walk(w, child, depth + 1) : NULL;
        if (!found && node->param && seg->usable && seg->len > 0)
            found = walk(w, node->param, depth + 1);
        if (found)
            return found;
        return pick(w, node->rest);
    }
    return NULL;
}

static void write_allow(const struct walk *w, char *out, size_t size)
{
    size_t len = 0;
    out[0] = '\0';
    for (unsigned i = 0; i < ARRAY_LEN(allow_names); i++) {
        if (!(w->allow & (1U << i)))
            continue;
        size_t n = strlen(allow_names[i]);
        if (len + n + 3 > size)
            return;
        if (len > 0) {
            memcpy(out + len, ", ", 2);
            len += 2;
        }
        memcpy(out + len, allow_names[i], n + 1);
        len += n;
    }
}

void http_router_match(const struct http_router *r, const char *method, const char *path,
                       char *scratch, struct http_match *ret)
{
    struct walk w = {.method = method};
    split(&w, path, scratch);
    const struct pattern *found = walk(&w, &r->root, 0);
    ret->route = found ? found->route : NULL;
    ret->path_known = w.path_known;
    ret->n_params = found ? found->n_params : 0;
    write_allow(&w, ret->allow, sizeof(ret->allow));
    for (size_t i = 0; found && i < found->n_params; i++) {
        const struct pattern_param *param = &found->params[i];
        const struct seg *seg = &w.segs[param->depth];
        ret->params[i] = (struct http_param){.name = param->name,
                                             .text = param->rest ? seg->behind : seg->text,
                                             .raw = param->rest ? seg->behind : seg->raw};
    }
}
