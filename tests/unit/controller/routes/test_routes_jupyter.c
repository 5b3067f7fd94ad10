/*
 * Jupyter's API at /jupyter/ over a real server, table and pool. The fake runners keep sessions as
 * a real one does; what a runner is asked for is otherwise given back as text.
 */
#include "tests/unit/controller/routes/routes_fixture.h"

#include <sys/resource.h>

#include "lib/api/jupyter_api.h"
#include "lib/api/limits.h"

#define KERNELS  "/jupyter/api/kernels"
#define SESSIONS "/jupyter/api/sessions"
#define NOBODYS  "12345678-1234-4234-8234-123456789000"

/* ---- the runner's side ---- */

static unsigned n_posts, n_lists, n_session_gets;
static bool silent;         /* no runner answers */
static bool refuses;        /* POST sessions: 503 */
static bool keeps_ids;      /* POST sessions takes an id */
static const char *garbage; /* as list of kernels */

static json_t *kernel_json(const char *id)
{
    return json_pack("{s:s,s:s,s:s,s:s,s:i}", "id", id, "name", "python3", "last_activity",
                     "2099-01-02T03:04:05.123456Z", "execution_state", "idle", "connections", 2);
}

static void send_json(struct fake_conn *c, int status, json_t *json_take)
{
    char *out = jsonx_dump(json_take);
    fake_send(c, status, out);
    free(out);
    json_decref(json_take);
}

static json_t *find_session(struct fake_runner *r, const char *id, size_t *ret_at)
{
    size_t i;
    json_t *s;
    json_array_foreach (r->jupyter, i, s) {
        *ret_at = i;
        if (strcmp(json_string_value(json_object_get(s, "id")), id) == 0)
            return s;
    }
    return NULL;
}

static void post_session(struct fake_conn *c, const char *body)
{
    struct fake_runner *r = c->runner;
    char sid[ID_UUID_SIZE];
    json_t *json = NULL;
    n_posts++;
    if (refuses) {
        fake_send(c, 503, "{\"code\":\"unavailable\",\"detail\":\"not now\"}");
        return;
    }
    assert_int_equal(jsonx_parse(&json, slice_str(body), NULL), 0);
    id_session_format(r->id, (unsigned)json_array_size(r->jupyter), sid);
    const char *kid = json_string_value(json_object_get(json_object_get(json, "kernel"), "id"));
    assert_non_null(kid);
    json_object_set_new(json, "kernel", kernel_json(kid));
    if (!keeps_ids || !json_object_get(json, "id"))
        json_object_set_new(json, "id", json_string(sid));
    json_array_append(r->jupyter, json);
    send_json(c, 201, json);
}

static void one_session(struct fake_conn *c, const char *method, const char *id, const char *body)
{
    json_t *patch = NULL;
    size_t at = 0;
    json_t *s = find_session(c->runner, id, &at);
    n_session_gets += strcmp(method, "GET") == 0 ? 1 : 0;
    if (!s) {
        fake_send(c, 404, "{\"code\":\"not_found\",\"detail\":\"the runner knows no session\"}");
        return;
    }
    if (strcmp(method, "DELETE") == 0) {
        json_array_remove(c->runner->jupyter, at);
        fake_send(c, 204, "");
        return;
    }
    if (strcmp(method, "PATCH") == 0) {
        assert_int_equal(jsonx_parse(&patch, slice_str(body), NULL), 0);
        json_object_update(s, patch);
        json_decref(patch);
    }
    send_json(c, 200, json_incref(s));
}

static void runner_answers(struct fake_conn *c, const char *body)
{
    struct fake_runner *r = c->runner;
    char method[16], path[256];
    bool scoped = strstr(c->in, JUPYTER_SCOPE_HEADER ": all\r\n") != NULL;
    assert_int_equal(sscanf(c->in, "%15s %255s", method, path), 2);
    r->jupyter = r->jupyter ? r->jupyter : json_array();
    bool lists =
        strcmp(method, "GET") == 0 && (strcmp(path, KERNELS) == 0 || strcmp(path, SESSIONS) == 0);
    n_lists += lists;
    if (silent && lists)
        return;
    if (lists && garbage)
        fake_send(c, 200, garbage);
    else if (lists && strcmp(path, KERNELS) == 0)
        send_json(c, 200, json_pack("[o]", kernel_json(r->id + 3)));
    else if (lists)
        send_json(c, 200, json_incref(r->jupyter));
    else if (strcmp(path, SESSIONS) == 0)
        post_session(c, body);
    else if (strncmp(path, SESSIONS "/", strlen(SESSIONS) + 1) == 0)
        one_session(c, method, path + strlen(SESSIONS) + 1, body);
    else
        send_json(c, 200,
                  json_pack("{s:s,s:s,s:b,s:s}", "method", method, "path", path, "scoped", scoped,
                            "body", body));
}

static int begin(void **state)
{
    setup(state);
    struct fixture *f = *state;
    f->backend->jupyter = runner_answers;
    n_posts = n_lists = n_session_gets = 0;
    silent = refuses = keeps_ids = false;
    garbage = NULL;
    return 0;
}

/* ---- the caller's ---- */

/* `path` with its "%s" replaced. */
static const char *below(const char *path, const char *id)
{
    static char out[256];
    const char *at_id = strstr(path, "%s");
    assert_non_null(at_id);
    snprintf(out, sizeof(out), "%.*s%s%s", (int)(at_id - path), path, id, at_id + 2);
    return out;
}

static void new_kernel(struct fixture *f, const char *token, char kid[ID_UUID_SIZE])
{
    struct answer *a = ask(f, "POST", KERNELS, token, NULL, NULL);
    expect(a, 201, NULL);
    assert_true(id_is_uuid(text(a, "id")));
    snprintf(kid, ID_UUID_SIZE, "%s", text(a, "id"));
}

static void new_session(struct fixture *f, const char *path, char sid[ID_UUID_SIZE],
                        char kid[ID_UUID_SIZE])
{
    _cleanup_(freep) char *body = mem_printf("{\"path\":\"%s\",\"type\":\"notebook\"}", path);
    struct answer *a = ask(f, "POST", SESSIONS, "a", NULL, body);
    expect(a, 201, NULL);
    snprintf(sid, ID_UUID_SIZE, "%s", text(a, "id"));
    const char *k = json_string_value(json_object_get(json_object_get(a->json, "kernel"), "id"));
    snprintf(kid, ID_UUID_SIZE, "%s", k);
    assert_string_equal(a->location, below(SESSIONS "/%s", sid));
}

static size_t count(struct fixture *f, const char *path, const char *token)
{
    struct answer *a = ask(f, "GET", path, token, NULL, NULL);
    expect(a, 200, NULL);
    assert_true(json_is_array(a->json));
    return json_array_size(a->json);
}

/* ---- what needs no sandbox ---- */

static void who_may_ask(void **state)
{
    static const struct {
        struct ask ask;
        int status;
    } cases[] = {
        {{"GET", "/jupyter/"}, 401},
        {{"GET", "/jupyter/", "a"}, 200},
        {{"GET", "/jupyter/?1795421544360", "a"}, 200},
        {{"GET", "/jupyter/api", "a"}, 200},
        {{"GET", "/jupyter/api?token=token-0123456789-a&179", NULL}, 200},
        {{"GET", "/jupyter/api?token=wrong", NULL}, 401},
        {{"GET", "/jupyter/api", NULL, "Authorization: token token-0123456789-a"}, 200},
        {{"GET", "/jupyter/api", NULL, "Authorization: TOKEN wrong"}, 401},
        {{"GET", "/jupyter/api/terminals", "a"}, 404},
        {{"GET", "/jupyter/api/nothing", "a"}, 404},
        {{"GET", "/jupyter/api/kernelspecs", "a"}, 200},
        {{"GET", "/jupyter/api/kernelspecs/python3", "a"}, 200},
        {{"GET", "/jupyter/api/kernelspecs/other", "a"}, 404},
        {{"GET", "/jupyter/kernelspecs/python3/logo-64x64.png", "a"}, 200},
        {{"GET", "/jupyter/kernelspecs/python3/none.png", "a"}, 404},
        {{"GET", KERNELS "/" NOBODYS, "a"}, 404},
        {{"GET", KERNELS "/no-uuid", "a"}, 404},
        {{"GET", KERNELS "/../../x", "a"}, 404},
        {{"DELETE", KERNELS "/" NOBODYS, "a"}, 404},
        {{"DELETE", KERNELS "/no-uuid", "a"}, 404},
        {{"POST", KERNELS "/" NOBODYS "/interrupt", "a", NULL, ""}, 404},
        {{"POST", KERNELS "/" NOBODYS "/restart", "a", NULL, ""}, 404},
        {{"GET", KERNELS "/" NOBODYS "/channels", "a"}, 404},
        {{"GET", SESSIONS "/no-uuid", "a"}, 404},
        {{"DELETE", SESSIONS "/" NOBODYS, "a"}, 404},
        {{"PATCH", SESSIONS "/no-uuid", "a", NULL, "{}"}, 404},
        {{"PUT", KERNELS, "a", NULL, ""}, 405},
        {{"GET", KERNELS, "a", "Origin: https://evil.example"}, 403},
        {{"GET", KERNELS, "a", "Origin: https://good.example"}, 200},
        {{"OPTIONS", SESSIONS "/x", NULL, "Origin: https://good.example"}, 204},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct ask *q = &cases[i].ask;
        struct answer *a = ask(f, q->method, q->path, q->token, q->header, q->body);
        if (a->status != cases[i].status)
            fail_msg("%s %s: %d %s", q->method, q->path, a->status, a->data.ptr);
        if (a->status >= 400 &&
            (!text(a, "message")[0] || strcmp(text(a, "message"), text(a, "detail")) != 0 ||
             strcmp(text(a, "reason"), text(a, "title")) != 0))
            fail_msg("%s %s: no message: %s", q->method, q->path, a->data.ptr);
    }
    struct answer *a = ask(f, "GET", "/api/sandboxes/x", "a", NULL, NULL);
    assert_string_equal(text(a, "message"), ""); /* only below /jupyter/ */
}

static void a_websocket_of_a_foreign_page(void **state)
{
    struct fixture *f = *state;
    char kid[ID_UUID_SIZE];
    new_kernel(f, "a", kid);
    static const char *const headers[] = {"Upgrade: websocket\r\nConnection: Upgrade\r\n"
                                          "Origin: https://evil.example",
                                          NULL};
    struct answer *a = ask(f, "GET", below(KERNELS "/%s/channels", kid), "a", headers[0], NULL);
    expect(a, 403, "forbidden");
    a = ask(f, "GET", below(KERNELS "/%s/channels", kid), "a", NULL, NULL);
    expect(a, 400, "invalid");
}

static void preflights(void **state)
{
    struct fixture *f = *state;
    struct answer *a =
        ask(f, "OPTIONS", SESSIONS "/x", NULL, "Access-Control-Request-Method: PATCH", NULL);
    expect(a, 204, NULL);
    assert_non_null(strstr(a->methods, "PATCH"));
}

static void who_am_i(void **state)
{
    struct fixture *f = *state;
    struct answer *a =
        ask(f, "GET", "/jupyter/api/me?permissions=%7B%22contents%22%3A%5B%22read%22%5D%7D", "a",
            NULL, NULL);
    expect(a, 200, NULL);
    const json_t *who = json_object_get(a->json, "identity");
    static const char *const keys[] = {"username", "name", "display_name"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        assert_string_equal(json_string_value(json_object_get(who, keys[i])), "alice");
    assert_string_equal(json_string_value(json_object_get(who, "initials")), "al");
    const json_t *may = json_object_get(a->json, "permissions");
    assert_int_equal(json_array_size(json_object_get(may, "contents")), 1);
    a = ask(f, "GET", "/jupyter/api/me?permissions=nonsense", "a", NULL, NULL);
    expect(a, 200, NULL);
    assert_true(json_is_object(json_object_get(a->json, "permissions")));
}

static void logos_are_where_the_specs_say(void **state)
{
    struct fixture *f = *state;
    struct answer *a = ask(f, "GET", "/jupyter/api/kernelspecs", "a", NULL, NULL);
    const json_t *spec =
        json_object_get(json_object_get(a->json, "kernelspecs"), JUPYTER_KERNEL_NAME);
    const char *logo =
        json_string_value(json_object_get(json_object_get(spec, "resources"), "logo-64x64"));
    assert_non_null(logo);
    _cleanup_(freep) char *copy = mem_dup_str(logo);
    expect(ask(f, "GET", copy, "a", NULL, NULL), 200, NULL);
}

/* ---- kernels ---- */

static void a_kernel_is_a_sandbox(void **state)
{
    struct fixture *f = *state;
    char kid[ID_UUID_SIZE], id[ID_SANDBOX_SIZE];
    new_kernel(f, "a", kid);
    struct answer *a = &f->a[0];
    assert_string_equal(a->location, below(KERNELS "/%s", kid));
    assert_string_equal(text(a, "name"), "python3");
    const char *at_time = text(a, "last_activity");
    assert_int_equal(strlen(at_time), strlen("2026-01-02T03:04:05.123456Z"));
    assert_int_equal(at_time[19], '.');
    assert_int_equal(at_time[26], 'Z');
    assert_true(id_kernel_sandbox(kid, id));
    expect(ask(f, "GET", at(id, ""), "a", NULL, NULL), 200, NULL);
    assert_string_equal(text(&f->a[0], "name"), "jupyter");

    a = ask(f, "GET", below(KERNELS "/%s?1795421544360", kid), "a", NULL, NULL);
    expect(a, 200, NULL);
    assert_string_equal(text(a, "path"), below(KERNELS "/%s?1795421544360", kid));
    assert_true(json_is_true(json_object_get(a->json, "scoped")));
    expect(ask(f, "GET", below(KERNELS "/%s", kid), "b", NULL, NULL), 404, "not_found");
    expect(ask(f, "DELETE", below(KERNELS "/%s", kid), "b", NULL, NULL), 404, "not_found");
    expect(ask(f, "GET", below(KERNELS "/%s", kid), "r", NULL, NULL), 200, NULL);

    a = ask(f, "POST", below(KERNELS "/%s/interrupt", kid), "a", "Content-Type: text/plain", "{}");
    expect(a, 200, NULL);
    assert_string_equal(text(a, "path"), below(KERNELS "/%s/interrupt", kid));
    assert_string_equal(text(a, "body"), "{}");

    expect(ask(f, "DELETE", below(KERNELS "/%s", kid), "a", NULL, NULL), 204, NULL);
    expect(ask(f, "DELETE", below(KERNELS "/%s", kid), "a", NULL, NULL), 404, "not_found");
    assert_int_equal(fake_running(f->backend), 0);
}

static void a_further_kernel_is_its_runners(void **state)
{
    struct fixture *f = *state;
    char id[ID_SANDBOX_SIZE], kid[ID_UUID_SIZE];
    create(f, "a", id);
    id_kernel_format(id, 3, kid);
    struct answer *a = ask(f, "DELETE", below(KERNELS "/%s", kid), "a", NULL, NULL);
    expect(a, 200, NULL); /* the fake's */
    assert_string_equal(text(a, "method"), "DELETE");
    assert_int_equal(fake_running(f->backend), 1);
}

static void bodies_of_post_kernels(void **state)
{
    static const struct {
        const char *type, *body;
        int status;
        const char *code;
    } cases[] = {
        {NULL, "", 201, NULL},
        {"Content-Type: text/plain;charset=UTF-8", "{\"name\":\"python3\",\"path\":\"a\"}", 201},
        {NULL,
         "{\"name\":null,\"kernel_id\":\"x\",\"unknown\":[],\"env\":{\"KERNEL_USERNAME\":\"u\"}}",
         201},
        {NULL, "{\"name\":\"ir\"}", 404, "not_found"},
        {NULL, "{\"name\":7}", 400, "invalid"},
        {NULL, "{\"env\":[]}", 400, "invalid"},
        {NULL, "{\"env\":{\"A\":1}}", 400, "invalid"},
        {NULL, "{\"env\":{\"A=B\":\"1\"}}", 400, "invalid"},
        {NULL, "[]", 400, "invalid"},
        {NULL, "{", 400, "invalid"},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct answer *a = ask(f, "POST", KERNELS, "a", cases[i].type, cases[i].body);
        if (a->status != cases[i].status ||
            (cases[i].code && strcmp(text(a, "code"), cases[i].code) != 0))
            fail_msg("%s: %d %s", cases[i].body, a->status, a->data.ptr);
    }
    const struct fake_runner *last = f->backend->runners->prev;
    const json_t *env = json_object_get(last->identity, "env");
    assert_string_equal(json_string_value(json_object_get(env, "KERNEL_USERNAME")), "u");
    /* Three is this fixture's limit. */
    struct answer *a = ask(f, "POST", KERNELS, "a", NULL, NULL);
    expect(a, 429, "limit");
    assert_true(text(a, "message")[0]);
}

static void lists_are_of_all_sandboxes(void **state)
{
    struct fixture *f = *state;
    char a1[ID_UUID_SIZE], a2[ID_UUID_SIZE], b1[ID_UUID_SIZE];
    assert_int_equal(count(f, KERNELS, "a"), 0);
    new_kernel(f, "a", a1);
    new_kernel(f, "b", b1);
    new_kernel(f, "a", a2);
    assert_int_equal(count(f, KERNELS, "a"), 2);
    assert_int_equal(count(f, KERNELS, "b"), 1);
    assert_int_equal(count(f, KERNELS, "r"), 3);
    struct answer *a = ask(f, "GET", "/jupyter/api/status", "a", NULL, NULL);
    expect(a, 200, NULL);
    assert_int_equal(json_integer_value(json_object_get(a->json, "kernels")), 2);
    assert_int_equal(json_integer_value(json_object_get(a->json, "connections")), 4);
    assert_string_equal(text(a, "last_activity"), "2099-01-02T03:04:05.123456Z");
    assert_int_equal(strlen(text(a, "started")), 27);
}

static void a_silent_runner_is_in_the_list(void **state)
{
    struct fixture *f = *state;
    char kid[ID_UUID_SIZE];
    new_kernel(f, "a", kid);
    silent = true;
    struct answer *a = ask(f, "GET", KERNELS, "a", NULL, NULL);
    expect(a, 200, NULL);
    const json_t *k = json_array_get(a->json, 0);
    assert_string_equal(json_string_value(json_object_get(k, "id")), kid);
    assert_string_equal(json_string_value(json_object_get(k, "execution_state")), "busy");
    assert_string_equal(json_string_value(json_object_get(k, "name")), "python3");
}

static void a_runners_garbage_spoils_nothing(void **state)
{
    static const char *const texts[] = {"", "[", "{}", "null", "[}", "[1,]", "[1],[2]", "x"};
    struct fixture *f = *state;
    char kid[ID_UUID_SIZE];
    new_kernel(f, "a", kid);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        garbage = texts[i];
        assert_int_equal(count(f, KERNELS, "a"), 1);
    }
    garbage = " [ ] \n";
    assert_int_equal(count(f, KERNELS, "a"), 0);
}

/* ---- sessions ---- */

static void a_session_from_first_to_last(void **state)
{
    struct fixture *f = *state;
    char sid[ID_UUID_SIZE], kid[ID_UUID_SIZE], again[ID_UUID_SIZE], k2[ID_UUID_SIZE];
    new_session(f, "a.ipynb", sid, kid);
    assert_int_equal(count(f, SESSIONS, "a"), 1);
    assert_int_equal(count(f, SESSIONS, "b"), 0);
    new_session(f, "a.ipynb", again, k2); /* there already */
    assert_string_equal(again, sid);
    assert_string_equal(k2, kid);
    assert_int_equal(n_posts, 1);
    struct answer *a = ask(f, "GET", below(SESSIONS "/%s", sid), "a", NULL, NULL);
    expect(a, 200, NULL);
    assert_string_equal(text(a, "path"), "a.ipynb");
    expect(ask(f, "GET", below(SESSIONS "/%s", sid), "b", NULL, NULL), 404, "not_found");
    a = ask(f, "PATCH", below(SESSIONS "/%s", sid), "a", NULL, "{\"path\":\"b.ipynb\"}");
    expect(a, 200, NULL);
    assert_string_equal(text(a, "path"), "b.ipynb");
    assert_string_equal(text(a, "id"), sid);
    expect(ask(f, "DELETE", below(SESSIONS "/%s", sid), "b", NULL, NULL), 404, "not_found");
    expect(ask(f, "DELETE", below(SESSIONS "/%s", sid), "a", NULL, NULL), 204, NULL);
    expect(ask(f, "DELETE", below(SESSIONS "/%s", sid), "a", NULL, NULL), 404, "not_found");
    assert_int_equal(fake_running(f->backend), 0); /* it was the main kernel's */
}

static void a_session_of_a_given_kernel(void **state)
{
    struct fixture *f = *state;
    char id[ID_SANDBOX_SIZE], kid[ID_UUID_SIZE], sid[ID_UUID_SIZE], b[ID_UUID_SIZE];
    create(f, "a", id);
    new_kernel(f, "b", b);
    id_kernel_format(id, 2, kid);
    _cleanup_(freep) char *body = mem_printf(
        "{\"path\":\"x\",\"type\":\"console\",\"name\":\"n\",\"kernel\":{\"id\":\"%s\"}}", kid);
    struct answer *a = ask(f, "POST", SESSIONS, "a", "Content-Type: text/plain", body);
    expect(a, 201, NULL);
    snprintf(sid, sizeof(sid), "%s", text(a, "id"));
    assert_string_equal(text(a, "name"), "n");
    assert_int_equal(fake_running(f->backend), 2);
    /* Deleting it leaves the sandbox: the kernel is a further one. */
    expect(ask(f, "DELETE", below(SESSIONS "/%s", sid), "a", NULL, NULL), 204, NULL);
    assert_int_equal(fake_running(f->backend), 2);
    _cleanup_(freep) char *theirs =
        mem_printf("{\"path\":\"x\",\"type\":\"console\",\"kernel\":{\"id\":\"%s\"}}", b);
    expect(ask(f, "POST", SESSIONS, "a", NULL, theirs), 404, "not_found");
}

static void bodies_of_post_sessions(void **state)
{
    static const struct {
        const char *body;
        int status;
    } cases[] = {
        {"", 400},
        {"{}", 400},
        {"{\"path\":\"a\"}", 400},
        {"{\"type\":\"notebook\"}", 400},
        {"{\"path\":7,\"type\":\"notebook\"}", 400},
        {"{\"path\":\"\",\"type\":\"notebook\"}", 400},
        {"{\"path\":\"a\",\"type\":\"notebook\",\"kernel\":7}", 400},
        {"{\"path\":\"a\",\"type\":\"notebook\",\"kernel\":{\"name\":\"ir\"}}", 404},
        {"{\"path\":\"a\",\"type\":\"notebook\",\"kernel\":{\"id\":\"x\"}}", 404},
        {"{\"path\":\"a\",\"type\":\"notebook\",\"kernel\":{\"id\":null,\"name\":\"python3\"}}",
         201},
        {"{\"notebook\":{\"path\":\"b\"},\"kernel\":null,\"unknown\":1}", 201},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct answer *a = ask(f, "POST", SESSIONS, "a", NULL, cases[i].body);
        if (a->status != cases[i].status)
            fail_msg("%s: %d %s", cases[i].body, a->status, a->data.ptr);
    }
    const size_t longest = LIMIT_SESSION_BYTES - strlen("notebook");
    _cleanup_(freep) char *path = mem_alloc(longest + 2);
    memset(path, 'p', longest + 1);
    path[longest] = '\0';
    _cleanup_(freep) char *most = mem_printf("{\"path\":\"%s\",\"type\":\"notebook\"}", path);
    expect(ask(f, "POST", SESSIONS, "a", NULL, most), 201, NULL);
    path[longest] = 'p';
    path[longest + 1] = '\0';
    _cleanup_(freep) char *more = mem_printf("{\"path\":\"%s\",\"type\":\"notebook\"}", path);
    expect(ask(f, "POST", SESSIONS, "a", NULL, more), 400, "invalid");
}

static void two_at_once_are_one(void **state)
{
    struct fixture *f = *state;
    const struct ask q = {"POST", SESSIONS, "a", NULL, "{\"path\":\"p\",\"type\":\"notebook\"}"};
    start(&f->a[0], &q);
    start(&f->a[1], &q);
    assert_true(fake_run_until(f->loop, all_done, f));
    expect(&f->a[0], 201, NULL);
    expect(&f->a[1], 201, NULL);
    assert_string_equal(text(&f->a[0], "id"), text(&f->a[1], "id"));
    assert_int_equal(n_posts, 1);
    assert_int_equal(fake_running(f->backend), 1);
}

static void two_callers_are_two(void **state)
{
    struct fixture *f = *state;
    struct ask q = {"POST", SESSIONS, "a", NULL, "{\"path\":\"p\",\"type\":\"notebook\"}"};
    start(&f->a[0], &q);
    q.token = "b";
    start(&f->a[1], &q);
    assert_true(fake_run_until(f->loop, all_done, f));
    expect(&f->a[0], 201, NULL);
    expect(&f->a[1], 201, NULL);
    assert_string_not_equal(text(&f->a[0], "id"), text(&f->a[1], "id"));
}

static bool none_runs(void *ctx)
{
    return fake_running(((struct fixture *)ctx)->backend) == 0;
}

static void a_refused_session_leaves_no_sandbox(void **state)
{
    struct fixture *f = *state;
    refuses = true;
    struct answer *a =
        ask(f, "POST", SESSIONS, "a", NULL, "{\"path\":\"p\",\"type\":\"notebook\"}");
    expect(a, 503, "unavailable");
    assert_true(fake_run_until(f->loop, none_runs, f));
    refuses = false;
    char sid[ID_UUID_SIZE], kid[ID_UUID_SIZE];
    new_session(f, "p", sid, kid);
}

static void a_silent_runners_sessions_are_its_labels(void **state)
{
    struct fixture *f = *state;
    char sid[ID_UUID_SIZE], kid[ID_UUID_SIZE], id[ID_SANDBOX_SIZE];
    create(f, "a", id);
    id_session_format(id, 0, sid);
    struct sandbox *sb = sandbox_table_find(f->table, id, NULL);
    _cleanup_(freep) char *key = mem_printf(JUPYTER_SESSION_LABEL "%s", sid);
    json_object_set_new(sb->labels, key,
                        json_string("{\"kernel_id\":null,\"path\":\"p\",\"name\":\"\","
                                    "\"type\":\"notebook\"}"));
    json_object_set_new(sb->labels, JUPYTER_SESSION_LABEL "x", json_string("{no json"));
    snprintf(kid, sizeof(kid), "%s", id + 3);
    silent = true;
    struct answer *a = ask(f, "GET", SESSIONS, "a", NULL, NULL);
    expect(a, 200, NULL);
    assert_int_equal(json_array_size(a->json), 1);
    const json_t *s = json_array_get(a->json, 0);
    assert_string_equal(json_string_value(json_object_get(s, "id")), sid);
    const char *k = json_string_value(json_object_get(json_object_get(s, "kernel"), "id"));
    assert_string_equal(k, kid);
}

static bool one_runs(void *ctx)
{
    return fake_running(((struct fixture *)ctx)->backend) == 1;
}

static void a_session_gets_a_new_kernel(void **state)
{
    struct fixture *f = *state;
    char sid[ID_UUID_SIZE], kid[ID_UUID_SIZE];
    for (int i = 0; i < 2; i++) {
        keeps_ids = i == 1;
        new_session(f, keeps_ids ? "kept" : "new", sid, kid);
        struct answer *a = ask(f, "PATCH", below(SESSIONS "/%s", sid), "a", NULL,
                               "{\"kernel\":{\"id\":null,\"name\":\"python3\"}}");
        expect(a, 200, NULL);
        assert_string_equal(text(a, "path"), keeps_ids ? "kept" : "new");
        const json_t *k = json_object_get(a->json, "kernel");
        assert_string_not_equal(json_string_value(json_object_get(k, "id")), kid);
        assert_int_equal(strcmp(text(a, "id"), sid) == 0, keeps_ids);
        char now[ID_UUID_SIZE];
        snprintf(now, sizeof(now), "%s", text(a, "id"));
        assert_true(fake_run_until(f->loop, one_runs, f)); /* the old sandbox has ended */
        a = ask(f, "GET", below(SESSIONS "/%s", now), "a", NULL, NULL);
        expect(a, 200, NULL);
        expect(ask(f, "DELETE", below(SESSIONS "/%s", now), "a", NULL, NULL), 204, NULL);
        assert_int_equal(fake_running(f->backend), 0);
    }
}

static void a_session_goes_to_another_kernel(void **state)
{
    struct fixture *f = *state;
    char sid[ID_UUID_SIZE], kid[ID_UUID_SIZE], other[ID_UUID_SIZE], theirs[ID_UUID_SIZE];
    new_session(f, "p", sid, kid);
    new_kernel(f, "a", other);
    new_kernel(f, "b", theirs);
    _cleanup_(freep) char *no = mem_printf("{\"kernel\":{\"id\":\"%s\"}}", theirs);
    expect(ask(f, "PATCH", below(SESSIONS "/%s", sid), "a", NULL, no), 404, "not_found");
    _cleanup_(freep) char *same = mem_printf("{\"kernel\":{\"id\":\"%s\"}}", kid);
    expect(ask(f, "PATCH", below(SESSIONS "/%s", sid), "a", NULL, same), 200, NULL);
    _cleanup_(freep) char *yes = mem_printf("{\"name\":\"new\",\"kernel\":{\"id\":\"%s\"}}", other);
    struct answer *a = ask(f, "PATCH", below(SESSIONS "/%s", sid), "a", NULL, yes);
    expect(a, 200, NULL);
    assert_string_equal(text(a, "name"), "new");
    assert_string_equal(text(a, "path"), "p");
    const char *k = json_string_value(json_object_get(json_object_get(a->json, "kernel"), "id"));
    assert_string_equal(k, other);
    assert_int_equal(count(f, SESSIONS, "a"), 1);
}

/* ---- many ---- */

#define MANY 1000

static void a_key_makes_one_kernel(void **state)
{
    struct fixture *f = *state;
    static const char key[] = "Idempotency-Key: k1", bad[] = "Idempotency-Key: a b";
    char id[ID_UUID_SIZE];
    const struct ask q = {"POST", KERNELS, "a", key, "{\"env\":{\"A\":\"1\"}}"};
    start(&f->a[0], &q);
    start(&f->a[1], &q); /* at once */
    assert_true(fake_run_until(f->loop, all_done, f));
    expect(&f->a[0], 201, NULL);
    expect(&f->a[1], 201, NULL);
    assert_string_equal(text(&f->a[0], "id"), text(&f->a[1], "id"));
    snprintf(id, sizeof(id), "%s", text(&f->a[0], "id"));
    struct answer *a = ask(f, "POST", KERNELS, "a", key, "{\"env\": {\"A\": \"1\"}}");
    expect(a, 201, NULL);
    assert_string_equal(text(a, "id"), id);
    assert_string_equal(a->location, below(KERNELS "/%s", id));
    expect(ask(f, "POST", KERNELS, "a", key, "{\"env\":{\"A\":\"2\"}}"), 409, "conflict");
    expect(ask(f, "POST", KERNELS, "a", key, "{\"path\":\"p\"}"), 409, "conflict");
    expect(ask(f, "POST", KERNELS, "a", bad, NULL), 400, "invalid");
    assert_int_equal(fake_running(f->backend), 1);
    /* Keys are a caller's and a path's. */
    expect(ask(f, "POST", KERNELS, "b", key, "{\"env\":{\"A\":\"2\"}}"), 201, NULL);
    expect(ask(f, "POST", "/api/sandboxes", "a", key, NULL), 201, NULL);
    assert_int_equal(fake_running(f->backend), 3);
    /* It ends with its sandbox. */
    expect(ask(f, "DELETE", below(KERNELS "/%s", id), "a", NULL, NULL), 204, NULL);
    a = ask(f, "POST", KERNELS, "a", key, NULL);
    expect(a, 201, NULL);
    assert_string_not_equal(text(a, "id"), id);
}

static void a_key_makes_one_session(void **state)
{
    struct fixture *f = *state;
    static const char key[] = "Idempotency-Key: k1", bad[] = "Idempotency-Key: a b";
    static const char body[] = "{\"path\":\"p\",\"type\":\"notebook\"}";
    static const char other[] = "{\"path\":\"q\",\"type\":\"notebook\"}";
    char sid[ID_UUID_SIZE];
    struct ask q = {"POST", SESSIONS, "a", key, body};
    start(&f->a[0], &q);
    q.body = other;
    start(&f->a[1], &q); /* at once */
    assert_true(fake_run_until(f->loop, all_done, f));
    expect(&f->a[0], 201, NULL);
    expect(&f->a[1], 409, "conflict");
    snprintf(sid, sizeof(sid), "%s", text(&f->a[0], "id"));
    struct answer *a = ask(f, "POST", SESSIONS, "a", key, body);
    expect(a, 201, NULL);
    assert_string_equal(text(a, "id"), sid);
    expect(ask(f, "POST", SESSIONS, "a", key, other), 409, "conflict");
    expect(ask(f, "POST", SESSIONS, "a", bad, body), 400, "invalid");
    /* It was renamed: the repeated request makes no second sandbox. */
    expect(ask(f, "PATCH", below(SESSIONS "/%s", sid), "a", NULL, "{\"path\":\"r\"}"), 200, NULL);
    expect(ask(f, "POST", SESSIONS, "a", key, body), 201, NULL);
    assert_int_equal(fake_running(f->backend), 1);
    expect(ask(f, "POST", SESSIONS, "b", key, other), 201, NULL);
    assert_int_equal(fake_running(f->backend), 2);
    expect(ask(f, "DELETE", below(SESSIONS "/%s", sid), "a", NULL, NULL), 204, NULL);
    expect(ask(f, "POST", SESSIONS, "a", key, other), 201, NULL);
}

#define STORM       600 /* on a stack of STORM_STACK: one frame a waiter would not fit */
#define STORM_STACK KIB(1024)
#define STORM_BATCH 8

struct storm {
    struct fixture *f;
    struct answer a[STORM];
    unsigned n; /* so many have asked */
};

static bool all_wait(void *ctx)
{
    struct storm *s = ctx;
    return n_session_gets >= s->n && http_server_active(s->f->server) >= s->n;
}

static bool storm_is_over(void *ctx)
{
    struct storm *s = ctx;
    for (unsigned i = 0; i < STORM; i++)
        if (!s->a[i].done)
            return false;
    return true;
}

static void many_waiters_that_fail_do_not_grow_the_stack(void **state)
{
    struct fixture *f = *state;
    struct rlimit before, small;
    char sid[ID_UUID_SIZE], kid[ID_UUID_SIZE];
    struct storm *s = MEM_NEW(struct storm);
    unsigned moved = 0, refused = 0;
    s->f = f;
    httpc_free(f->client);
    assert_int_equal(httpc_new(&f->client, f->loop, STORM, NULL), 0);
    new_session(f, "a.ipynb", sid, kid);
    char other[ID_SANDBOX_SIZE];
    create(f, "b", other);
    /* The third and last place goes to the first, and stays taken while the others queue. */
    f->backend->hold_creates = true;
    const struct ask q = {"PATCH", below(SESSIONS "/%s", sid), "a", NULL,
                          "{\"kernel\":{\"name\":\"python3\"}}"};
    while (s->n < STORM) {
        for (unsigned i = 0; i < STORM_BATCH; i++, s->n++) {
            s->a[s->n].f = f;
            buf_init(&s->a[s->n].data, KIB(64));
            start(&s->a[s->n], &q);
        }
        assert_true(fake_run_until(f->loop, all_wait, s));
    }
    getrlimit(RLIMIT_STACK, &before);
    small = before;
    small.rlim_cur = STORM_STACK;
    setrlimit(RLIMIT_STACK, &small);
    f->backend->hold_creates = false;
    f->backend->fail_removes = 1; /* the old sandbox keeps its place for a second */
    fake_release_create(f->backend);
    assert_true(fake_run_until(f->loop, storm_is_over, s));
    setrlimit(RLIMIT_STACK, &before);
    for (unsigned i = 0; i < STORM; i++) {
        moved += s->a[i].status == 200;
        refused += s->a[i].status == 429;
        buf_done(&s->a[i].data);
        json_decref(s->a[i].json);
    }
    assert_int_equal(moved, 1);
    assert_int_equal(refused, STORM - 1);
    free(s);
    expect(ask(f, "GET", SESSIONS, "a", NULL, NULL), 200, NULL);
}

static void on_adopted(void *ctx, const struct err *err)
{
    *(bool *)ctx = true;
}

static bool is_adopted(void *ctx)
{
    return *(bool *)ctx;
}

static void a_thousand_sandboxes(void **state)
{
    struct fixture *f = *state;
    struct answer *a;
    stop_all(f);
    for (unsigned i = 0; i < MANY; i++) {
        const uint8_t bytes[16] = {1, 2, 3, (uint8_t)(i >> 8), (uint8_t)i};
        char id[ID_SANDBOX_SIZE];
        id_sandbox_format(bytes, id);
        fake_leave(f->backend, id, "{\"owner\":\"alice\"}");
    }
    f->max_sandboxes = MANY;
    start_all(f, false);
    bool adopted = false;
    assert_int_equal(sandbox_table_adopt(f->table, on_adopted, &adopted, NULL), 0);
    assert_true(fake_run_until(f->loop, is_adopted, &adopted));
    assert_int_equal(sandbox_table_count(f->table, SANDBOX_READY), MANY);
    for (int i = 0; i < 3; i++) {
        a = ask(f, "GET", KERNELS, "a", NULL, NULL);
        expect(a, 200, NULL);
        assert_int_equal(json_array_size(a->json), MANY);
    }
    assert_int_equal(n_lists, 3 * MANY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, teardown)
        TEST(who_may_ask),
        TEST(a_websocket_of_a_foreign_page),
        TEST(preflights),
        TEST(who_am_i),
        TEST(logos_are_where_the_specs_say),
        TEST(a_kernel_is_a_sandbox),
        TEST(a_further_kernel_is_its_runners),
        TEST(bodies_of_post_kernels),
        TEST(lists_are_of_all_sandboxes),
        TEST(a_silent_runner_is_in_the_list),
        TEST(a_runners_garbage_spoils_nothing),
        TEST(a_session_from_first_to_last),
        TEST(a_session_of_a_given_kernel),
        TEST(bodies_of_post_sessions),
        TEST(two_at_once_are_one),
        TEST(two_callers_are_two),
        TEST(a_refused_session_leaves_no_sandbox),
        TEST(a_silent_runners_sessions_are_its_labels),
        TEST(a_session_gets_a_new_kernel),
        TEST(a_session_goes_to_another_kernel),
        TEST(a_key_makes_one_kernel),
        TEST(a_key_makes_one_session),
        TEST(many_waiters_that_fail_do_not_grow_the_stack),
        TEST(a_thousand_sandboxes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
