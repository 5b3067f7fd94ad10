/*
 * The controller's API over a real server, table and pool, with a backend that fakes runners: who
 * may do what, what each row answers, and that nothing else can be reached.
 */
#include "tests/unit/controller/routes/routes_fixture.h"

/* ---- who may call ---- */

static void callers_and_origins(void **state)
{
    static const struct {
        struct ask ask;
        int status;
        const char *code;
    } cases[] = {
        {{"GET", "/healthz"}, 200},
        {{"GET", "/readyz"}, 200},
        {{"HEAD", "/healthz"}, 200},
        {{"GET", "/"}, 401, "unauthorized"},
        {{"GET", "/", "a"}, 200},
        {{"GET", "/?token=token-0123456789-a"}, 200},
        {{"GET", "/?token=wrong"}, 401, "unauthorized"},
        {{"GET", "/", "wrong"}, 401, "unauthorized"},
        {{"GET", "/", NULL, "Authorization: token token-0123456789-a"}, 200},
        {{"GET", "/openapi.json"}, 401, "unauthorized"},
        {{"GET", "/openapi.json", "a"}, 200},
        {{"GET", "/metrics"}, 401, "unauthorized"},
        {{"GET", "/metrics", "a"}, 403, "forbidden"},
        {{"HEAD", "/metrics", "a"}, 403},
        {{"GET", "/metrics", "r"}, 200},
        {{"GET", "/api/sandboxes"}, 401, "unauthorized"},
        {{"GET", "/nothing"}, 401, "unauthorized"},
        {{"GET", "/nothing", "a"}, 404, "not_found"},
        {{"PATCH", "/api/sandboxes", "a"}, 405, "method_not_allowed"},
        {{"GET", "/healthz", NULL, "Origin: https://evil.example"}, 403, "forbidden"},
        {{"GET", "/api/sandboxes", "a", "Origin: https://evil.example"}, 403, "forbidden"},
        {{"GET", "/api/sandboxes", "a", "Origin: https://good.example"}, 200},
        {{"GET", "/api/sandboxes", "a", "Origin: http://front"}, 200},
        {{"OPTIONS", "/api/sandboxes", NULL, "Origin: https://evil.example"}, 403, "forbidden"},
        {{"OPTIONS", "/api/sandboxes", NULL, "Origin: https://good.example"}, 204},
        {{"OPTIONS", "/nothing", "a"}, 404, "not_found"},
        {{"GET", "/healthz", NULL, "Host: evil.example"}, 403, "forbidden"},
        {{"GET", "/nothing", NULL, "Host: evil.example"}, 403, "forbidden"},
        {{"GET", "/healthz", NULL, "Host: evil example"}, 400, "invalid"},
        {{"GET", "/healthz", NULL, "Host: 10.1.2.3:8080"}, 200},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct ask *q = &cases[i].ask;
        struct answer *a = ask(f, q->method, q->path, q->token, q->header, NULL);
        if (a->status != cases[i].status ||
            (cases[i].code && strcmp(text(a, "code"), cases[i].code) != 0))
            fail_msg("case %zu, %s %s: %d %s", i, q->method, q->path, a->status, a->data.ptr);
        bool cors = q->header && strstr(q->header, "good.example");
        assert_string_equal(a->cors, cors ? "https://good.example" : "");
    }
}

static void preflight_and_allow(void **state)
{
    struct fixture *f = *state;
    struct answer *a =
        ask(f, "OPTIONS", "/api/sandboxes", NULL, "Access-Control-Request-Method: POST", NULL);
    expect(a, 204, NULL);
    assert_string_equal(a->methods, "GET, HEAD, POST, PUT, PATCH, DELETE");
    a = ask(f, "PUT", "/api/sandboxes", "a", NULL, "");
    expect(a, 405, "method_not_allowed");
    assert_non_null(strstr(a->allow, "GET"));
    assert_non_null(strstr(a->allow, "POST"));
}

static void metrics_can_be_open(void **state)
{
    struct fixture *f = *state;
    char id[ID_SANDBOX_SIZE];
    create(f, "a", id);
    struct answer *a = ask(f, "GET", "/metrics", "r", NULL, NULL);
    expect(a, 200, NULL);
    assert_non_null(strstr(a->data.ptr, "caesarion_sandboxes{state=\"ready\"} 1\n"));
    assert_non_null(strstr(a->data.ptr, "caesarion_http_requests_total{code=\"2xx\"} 1\n"));
    stop_all(f);
    start_all(f, /* metrics_open= */ true);
    expect(ask(f, "GET", "/metrics", NULL, NULL, NULL), 200, NULL);
    expect(ask(f, "GET", "/metrics", "a", NULL, NULL), 200, NULL);
}

static void draining_shows_in_readyz(void **state)
{
    struct fixture *f = *state;
    routes_drain(f->routes);
    expect(ask(f, "GET", "/readyz", NULL, NULL, NULL), 503, "unavailable");
    expect(ask(f, "GET", "/healthz", NULL, NULL, NULL), 200, NULL);
}

/* ---- sandboxes ---- */

static void create_show_list_delete(void **state)
{
    struct fixture *f = *state;
    char id[ID_SANDBOX_SIZE];
    struct answer *a = ask(f, "POST", "/api/sandboxes", "a", "Content-Type: application/json",
                           "{\"name\":\"n\",\"labels\":{\"team\":\"x\"},\"exec_timeout_s\":1.5}");
    expect(a, 201, NULL);
    memcpy(id, text(a, "id"), sizeof(id));
    assert_string_equal(a->location, at(id, ""));
    assert_string_equal(text(a, "name"), "n");
    assert_string_equal(text(a, "owner"), "alice");
    assert_non_null(json_object_get(a->json, "kernel"));

    a = ask(f, "GET", at(id, ""), "a", NULL, NULL);
    expect(a, 200, NULL);
    assert_non_null(json_object_get(a->json, "kernel"));
    a = ask(f, "GET", "/api/sandboxes?label=team=x&status=ready&limit=1", "a", NULL, NULL);
    expect(a, 200, NULL);
    assert_int_equal(json_array_size(json_object_get(a->json, "sandboxes")), 1);
    assert_true(json_is_null(json_object_get(a->json, "continue")));
    a = ask(f, "GET", "/api/sandboxes?label=team=y", "a", NULL, NULL);
    assert_int_equal(json_array_size(json_object_get(a->json, "sandboxes")), 0);

    expect(ask(f, "DELETE", at(id, ""), "a", NULL, NULL), 204, NULL);
    assert_int_equal(fake_running(f->backend), 0);
    expect(ask(f, "GET", at(id, ""), "a", NULL, NULL), 404, "not_found");
    expect(ask(f, "DELETE", at(id, ""), "a", NULL, NULL), 204, NULL);
    expect(ask(f, "DELETE", "/api/sandboxes/sb-x", "a", NULL, NULL), 404, "not_found");
    expect(ask(f, "GET", "/api/sandboxes/sb-x", "a", NULL, NULL), 404, "not_found");
}

static void bad_creations_name_the_field(void **state)
{
    static const struct {
        const char *header, *body;
        int status;
        const char *code, *field;
    } cases[] = {
        {NULL, "{", 400, "invalid", ""},
        {NULL, "[]", 400, "invalid", ""},
        {NULL, "{\"nmae\":\"x\"}", 400, "invalid", "nmae"},
        {NULL, "{\"name\":1}", 400, "invalid", "name"},
        {NULL, "{\"exec_timeout_s\":0}", 400, "invalid", "exec_timeout_s"},
        {NULL, "{\"exec_timeout_s\":\"1\"}", 400, "invalid", "exec_timeout_s"},
        {NULL, "{\"labels\":{\"owner\":\"x\"}}", 400, "invalid", "labels"},
        {NULL, "{\"env\":{\"A\":1}}", 400, "invalid", "env"},
        {"Content-Type: text/plain", "{}", 415, "unsupported_media_type", ""},
        {"Idempotency-Key: a b", "{}", 400, "invalid", "Idempotency-Key"},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct answer *a = ask(f, "POST", "/api/sandboxes", "a", cases[i].header, cases[i].body);
        if (a->status != cases[i].status || strcmp(text(a, "code"), cases[i].code) != 0 ||
            strncmp(text(a, "field"), cases[i].field, strlen(cases[i].field)) != 0)
            fail_msg("%s: %d %s", cases[i].body, a->status, a->data.ptr);
    }
    expect(ask(f, "GET", "/api/sandboxes?limit=0", "a", NULL, NULL), 400, "invalid");
    expect(ask(f, "GET", "/api/sandboxes?status=odd", "a", NULL, NULL), 400, "invalid");
    expect(ask(f, "GET", "/api/sandboxes?continue=odd", "a", NULL, NULL), 400, "invalid");
    assert_int_equal(f->backend->creates, 0);
}

static void bodies_have_a_ceiling(void **state)
{
    struct fixture *f = *state;
    _cleanup_(freep) char *body = mem_alloc(SANDBOX_BODY_MAX + 2);
    memset(body, ' ', SANDBOX_BODY_MAX + 1);
    memcpy(body, "{}", 2);
    body[SANDBOX_BODY_MAX + 1] = '\0';
    expect(ask(f, "POST", "/api/sandboxes", "a", NULL, body), 413, "too_large");
    body[SANDBOX_BODY_MAX] = '\0';
    expect(ask(f, "POST", "/api/sandboxes", "a", NULL, body), 201, NULL);
}

static void too_many_sandboxes(void **state)
{
    struct fixture *f = *state;
    char id[ID_SANDBOX_SIZE];
    for (int i = 0; i < 3; i++)
        create(f, "a", id);
    expect(ask(f, "POST", "/api/sandboxes", "a", NULL, NULL), 429, "limit");
    expect(ask(f, "DELETE", at(id, ""), "a", NULL, NULL), 204, NULL);
    create(f, "a", id);
}

static void a_key_makes_one_sandbox(void **state)
{
    struct fixture *f = *state;
    char id[ID_SANDBOX_SIZE];
    const char *key = "Idempotency-Key: k1";
    const struct ask q = {"POST", "/api/sandboxes", "a", key, "{\"env\":{\"A\":\"1\"}}"};
    /* Two at once. */
    start(&f->a[0], &q);
    start(&f->a[1], &q);
    assert_true(fake_run_until(f->loop, all_done, f));
    assert_int_equal(f->a[0].status + f->a[1].status, 401); /* 200 and 201 */
    assert_string_equal(text(&f->a[0], "id"), text(&f->a[1], "id"));
    memcpy(id, text(&f->a[0], "id"), sizeof(id));
    /* Again, and with something else. */
    struct answer *a = ask(f, "POST", "/api/sandboxes", "a", key, q.body);
    expect(a, 200, NULL);
    assert_string_equal(text(a, "id"), id);
    assert_string_equal(a->location, at(id, ""));
    expect(ask(f, "POST", "/api/sandboxes", "a", key, "{\"env\":{\"A\":\"2\"}}"), 409, "conflict");
    expect(ask(f, "POST", "/api/sandboxes", "a", key, NULL), 409, "conflict");
    /* Another caller's key is another key. */
    a = ask(f, "POST", "/api/sandboxes", "b", key, NULL);
    expect(a, 201, NULL);
    assert_string_not_equal(text(a, "id"), id);
    /* It is forgotten with its sandbox. */
    expect(ask(f, "DELETE", at(id, ""), "a", NULL, NULL), 204, NULL);
    expect(ask(f, "POST", "/api/sandboxes", "a", key, NULL), 201, NULL);
}

static bool one_left(void *ctx)
{
    struct sandbox_list_query q = {0};
    json_t *json = NULL;
    assert_int_equal(sandbox_table_list(ctx, &q, &json, NULL), 0);
    size_t n = json_array_size(json_object_get(json, "sandboxes"));
    json_decref(json);
    return n == 1;
}

static void adopted(void *ctx, const struct err *err)
{
    *(bool *)ctx = true;
}

static void a_key_outlives_the_controller(void **state)
{
    struct fixture *f = *state;
    const char *key = "Idempotency-Key: k1";
    bool done = false;
    char id[ID_SANDBOX_SIZE];
    struct answer *a =
        ask(f, "POST", "/api/sandboxes", "a", key, "{\"name\":\"n\",\"labels\":{\"x\":\"y\"}}");
    expect(a, 201, NULL);
    memcpy(id, text(a, "id"), sizeof(id));
    stop_all(f);
    start_all(f, false);
    assert_int_equal(sandbox_table_adopt(f->table, adopted, &done, NULL), 0);
    assert_true(fake_run_until(f->loop, one_left, f->table));
    a = ask(f, "POST", "/api/sandboxes", "a", key, "{\"name\":\"n\",\"labels\":{\"x\":\"y\"}}");
    expect(a, 200, NULL);
    assert_string_equal(text(a, "id"), id);
    expect(ask(f, "POST", "/api/sandboxes", "a", key, "{\"name\":\"n\"}"), 409, "conflict");
    expect(ask(f, "POST", "/api/sandboxes", "a", key, "{\"name\":\"o\",\"labels\":{\"x\":\"y\"}}"),
           409, "conflict");
}

static void a_failed_creation_says_why(void **state)
{
    struct fixture *f = *state;
    f->backend->fail_creates = 1;
    struct answer *a =
        ask(f, "POST", "/api/sandboxes", "a", "Idempotency-Key: k", "{\"name\":\"1\"}");
    expect(a, 502, "sandbox_failed");
    assert_non_null(strstr(text(a, "detail"), "the fake's last words"));
    /* The key is free again. */
    expect(ask(f, "POST", "/api/sandboxes", "a", "Idempotency-Key: k", "{\"name\":\"2\"}"), 201,
           NULL);
}

static void others_sandboxes_do_not_exist(void **state)
{
    struct fixture *f = *state;
    char id[ID_SANDBOX_SIZE];
    create(f, "a", id);
    expect(ask(f, "GET", at(id, ""), "b", NULL, NULL), 404, "not_found");
    expect(ask(f, "GET", at(id, "/kernels"), "b", NULL, NULL), 404, "not_found");
    expect(ask(f, "POST", at(id, "/execute"), "b", NULL, "{}"), 404, "not_found");
    expect(ask(f, "PUT", at(id, "/files/x"), "b", NULL, "x"), 404, "not_found");
    expect(ask(f, "DELETE", at(id, ""), "b", NULL, NULL), 204, NULL);
    struct answer *a = ask(f, "GET", "/api/sandboxes", "b", NULL, NULL);
    assert_int_equal(json_array_size(json_object_get(a->json, "sandboxes")), 0);
    expect(ask(f, "GET", at(id, ""), "a", NULL, NULL), 200, NULL);
    expect(ask(f, "GET", at(id, "/kernels"), "a", NULL, NULL), 200, NULL);
    expect(ask(f, "GET", at(id, ""), "r", NULL, NULL), 200, NULL);
    a = ask(f, "GET", "/api/sandboxes", "r", NULL, NULL);
    assert_int_equal(json_array_size(json_object_get(a->json, "sandboxes")), 1);
    expect(ask(f, "DELETE", at(id, ""), "r", NULL, NULL), 204, NULL);
    expect(ask(f, "GET", at(id, ""), "a", NULL, NULL), 404, "not_found");
}

static void internal_paths_are_out_of_reach(void **state)
{
    static const char *const paths[] = {"/claim",
                                        "/sandbox",
                                        "/readyz",
                                        "/healthz",
                                        "/metrics",
                                        "/jupyter/../claim",
                                        "/%63laim",
                                        "//claim",
                                        "/files/../../claim",
                                        "/kernels/x/../../claim",
                                        "/execute/../claim"};
    static const char *const methods[] = {"GET", "POST"};
    struct fixture *f = *state;
    char id[ID_SANDBOX_SIZE];
    create(f, "a", id);
    unsigned claims = f->backend->claims;
    for (size_t i = 0; i < ARRAY_LEN(paths) * 2; i++) {
        const char *path = paths[i / 2];
        struct answer *a = ask(f, methods[i % 2], at(id, path), "a", NULL, NULL);
        /* Below files/ the runner judges, and gets the path as it came. */
        if (strncmp(path, "/files/", 7) != 0 && a->status != 404)
            fail_msg("%s %s: %d %s", methods[i % 2], path, a->status, a->data.ptr);
    }
    assert_int_equal(f->backend->claims, claims);
}

/* ---- documents ---- */

static bool is_documented(const json_t *paths, const struct http_route *route)
{
    char path[200], method[16] = "";
    snprintf(path, sizeof(path), "%s", route->path);
    char *dots = strstr(path, "...}");
    if (dots)
        memmove(dots, dots + 3, strlen(dots + 3) + 1);
    for (size_t i = 0; route->method[i]; i++)
        method[i] = (char)(route->method[i] | 0x20);
    return json_object_get(json_object_get(paths, path), method) != NULL;
}

static void every_row_is_documented(void **state)
{
    struct fixture *f = *state;
    struct answer *a = ask(f, "GET", "/openapi.json", "a", NULL, NULL);
    const json_t *paths = json_object_get(a->json, "paths");
    size_t rows = 0, documented = 0;
    assert_non_null(paths);
    for (size_t i = 0; i < f->server_cfg.n_routes; i++) {
        const struct http_route *route = &f->server_cfg.routes[i];
        if (strcmp(route->method, "OPTIONS") == 0)
            continue;
        rows++;
        if (!is_documented(paths, route))
            fail_msg("%s %s is not in openapi.json", route->method, route->path);
    }
    for (void *it = json_object_iter((json_t *)(uintptr_t)paths); it;
         it = json_object_iter_next((json_t *)(uintptr_t)paths, it)) {
        const json_t *item = json_object_iter_value(it);
        documented += json_object_size(item) - (json_object_get(item, "parameters") ? 1 : 0);
    }
    assert_int_equal(documented, rows);
}

static void every_problem_is_documented(void **state)
{
    struct fixture *f = *state;
    struct answer *a = ask(f, "GET", "/openapi.json", "a", NULL, NULL);
    json_t *codes = NULL;
    assert_int_equal(json_unpack(a->json, "{s:{s:{s:{s:{s:{s:o}}}}}}", "components", "schemas",
                                 "Problem", "properties", "code", "enum", &codes),
                     0);
    assert_int_equal(json_array_size(codes), ERR_CODE_MAX - 1);
    for (size_t i = 0; i < json_array_size(codes); i++) {
        const char *name = json_string_value(json_array_get(codes, i));
        assert_string_equal(err_code_name(err_code_from_name(name)), name);
    }
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(callers_and_origins),
        T(preflight_and_allow),
        T(metrics_can_be_open),
        T(draining_shows_in_readyz),
        T(create_show_list_delete),
        T(bad_creations_name_the_field),
        T(bodies_have_a_ceiling),
        T(too_many_sandboxes),
        T(a_key_makes_one_sandbox),
        T(a_key_outlives_the_controller),
        T(a_failed_creation_says_why),
        T(others_sandboxes_do_not_exist),
        T(internal_paths_are_out_of_reach),
        T(every_row_is_documented),
        T(every_problem_is_documented),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
