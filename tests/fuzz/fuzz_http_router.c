/* LINK: lib_http lib_base */
/*
 * Targets: http_router_match(), http_query_parse(). Input: a method, a line feed, a request target.
 * Properties: what matches has non-empty decoded parameters without a slash or NUL; a raw parameter
 * decodes to its text and stands in the path; HEAD goes where GET goes; a match implies a known
 * path; nothing of the query decides the route; a query's value is no longer than the query.
 */
#include "lib/base/parse.h"
#include "lib/http/http_query.h"
#include "lib/http/http_router.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond))                                                                               \
            abort();                                                                               \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct http_route routes[] = {
    {"GET", "/", HTTP_BODY_NONE, 0, NULL, 0},
    {"GET", "/a", HTTP_BODY_NONE, 0, NULL, 0},
    {"POST", "/a/up", HTTP_BODY_NONE, 0, NULL, 0},
    {"GET", "/a/{id}", HTTP_BODY_NONE, 0, NULL, 0},
    {"DELETE", "/a/{id}/b/{x}", HTTP_BODY_NONE, 0, NULL, 0},
    {"GET", "/a/{id}/{x}/{y}/c", HTTP_BODY_NONE, 0, NULL, 0},
    {"GET", "/a/{id}/{x}/d/{y}", HTTP_BODY_NONE, 0, NULL, 0},
    {"PUT", "/a/{id}/f/{path...}", HTTP_BODY_NONE, 0, NULL, 0},
    {"*", "/p/{path...}", HTTP_BODY_NONE, 0, NULL, 0},
};

static void check_params(const struct http_match *m, const char *path)
{
    for (size_t i = 0; i < m->n_params; i++) {
        const struct http_param *p = &m->params[i];
        if (slice_eq_str(p->name, "path")) {
            CHECK(p->raw == p->text && strstr(path, p->raw));
            continue;
        }
        size_t len = 0;
        char *decoded = malloc(strlen(p->raw) + 1);
        CHECK(decoded && parse_percent(p->raw, strlen(p->raw), decoded, &len, NULL) == 0);
        CHECK(len == strlen(p->text) && memcmp(decoded, p->text, len) == 0);
        CHECK(len > 0 && !strchr(p->text, '/') && strstr(path, p->raw));
        free(decoded);
    }
}

static void check_query(const char *query)
{
    struct http_query *q = http_query_parse(query);
    const char *value = http_query_get(q, "a");
    CHECK(!value || strlen(value) <= strlen(query));
    CHECK(!value || strstr(query, "a") || strchr(query, '%'));
    http_query_free(q);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct http_router *router;
    if (!router)
        router = http_router_new(routes, ARRAY_LEN(routes));
    if (size > 8192)
        return 0;
    char *text = malloc(size + 2);
    CHECK(text);
    memcpy(text, data, size);
    text[size] = text[size + 1] = '\0';
    char *path = text + strcspn(text, "\n");
    if (*path)
        *path++ = '\0';
    char *query = path + strcspn(path, "?");
    if (*query)
        *query++ = '\0';

    struct http_match m, head;
    char *scratch = malloc(http_router_scratch(path));
    CHECK(scratch);
    http_router_match(router, text, path, scratch, &m);
    check_params(&m, path);
    CHECK(!m.route || m.path_known);
    CHECK(!m.route || strcmp(m.route->method, "*") == 0 || strcmp(text, m.route->method) == 0 ||
          strcmp(text, "HEAD") == 0);
    http_router_match(router, "GET", path, scratch, &m);
    http_router_match(router, "HEAD", path, scratch, &head);
    CHECK(m.route == head.route);
    check_query(query);
    free(scratch);
    free(text);
    return 0;
}
