/* Whole answers: routing, bodies, errors, limits of headers. */
#include "tests/unit/lib/http/fixture.h"

static struct http_request *pending;
static unsigned closed, gone, afters;
static int after_status;

static void on_close(void *ctx)
{
    closed++;
    pending = NULL;
}

static void on_gone(void *ctx)
{
    gone++;
}

static void hello(void *ctx, struct http_request *req)
{
    http_answer_bytes(req, 200, "text/plain", "hello", 5);
}

static void echo(void *ctx, struct http_request *req)
{
    struct slice body = http_body(req);
    http_answer_bytes(req, 200, "application/octet-stream", body.ptr, body.len);
}

static void item(void *ctx, struct http_request *req)
{
    const char *q = http_query(req, "q");
    json_t *json =
        json_pack("{s:s, s:s, s:s, s:s}", "id", http_param(req, "id"), "raw",
                  http_param_raw(req, "id"), "q", q ? q : "-", "none", http_param(req, "nothing"));
    http_answer_json(req, 200, json);
}

static void authority(void *ctx, struct http_request *req)
{
    const char *name = http_authority(req);
    http_answer_json(req, 200, json_pack("{s:s?}", "authority", name));
}

static void later(void *ctx, struct http_request *req)
{
    pending = req;
    http_on_gone(req, on_gone, NULL);
    http_on_close(req, on_close, NULL);
}

static void nothing(void *ctx, struct http_request *req)
{
    http_answer_empty(req, 204);
}

static void limited(void *ctx, struct http_request *req)
{
    struct err err;
    err_set(&err, ERR_LIMIT, "too \"many\"");
    http_answer_err(req, &err);
}

static void field(void *ctx, struct http_request *req)
{
    struct err err;
    err_field(&err, "code", "bad \xff byte");
    http_answer_err(req, &err);
}

static void file(void *ctx, struct http_request *req)
{
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    http_answer_fd(req, 200, "application/octet-stream", fd, 1, 3);
}

static const struct http_route routes[] = {
    {"GET", "/hello", HTTP_BODY_NONE, 0, hello, 0},
    {"POST", "/echo", HTTP_BODY_BUFFER, 1000, echo, 0},
    {"GET", "/items/{id}", HTTP_BODY_NONE, 0, item, 0},
    {"GET", "/later", HTTP_BODY_NONE, 0, later, 0},
    {"DELETE", "/items/{id}", HTTP_BODY_NONE, 0, nothing, 0},
    {"GET", "/limited", HTTP_BODY_NONE, 0, limited, 0},
    {"GET", "/field", HTTP_BODY_NONE, 0, field, 0},
    {"GET", "/file", HTTP_BODY_NONE, 0, file, 0},
    {"GET", "/authority", HTTP_BODY_NONE, 0, authority, 0},
};

static int before(void *ctx, struct http_request *req, const struct http_route *route,
                  struct err *err)
{
    if (http_header(req, "X-Refuse"))
        return err_set(err, ERR_UNAUTHORIZED, "no");
    return 0;
}

static void after(void *ctx, struct http_request *req, int status, int64_t duration_us)
{
    assert_true(duration_us >= 0 && duration_us < 60000000);
    assert_non_null(http_path(req));
    afters++;
    after_status = status;
}

static struct fixture fx;
static struct answer an;

static int setup(void **state)
{
    const struct http_server_cfg cfg = {
        .routes = routes, .n_routes = ARRAY_LEN(routes), .before = before, .after = after};
    closed = gone = afters = 0;
    pending = NULL;
    fx_start(&fx, &cfg);
    return 0;
}

static int teardown(void **state)
{
    fx_stop(&fx);
    an_done(&an);
    return 0;
}

static json_t *body_json(void)
{
    json_t *j = json_loadb(an.body.ptr, an.body.len, 0, NULL);
    assert_non_null(j);
    return j;
}

/* Checks the problem in `an`. */
static void check_problem(int status, const char *code)
{
    assert_int_equal(an.status, status);
    assert_string_equal(an_header(&an, "Content-Type"), "application/problem+json");
    assert_non_null(an_header(&an, "X-Request-Id"));
    json_t *j = body_json();
    assert_string_equal(json_string_value(json_object_get(j, "code")), code);
    assert_int_equal(json_integer_value(json_object_get(j, "status")), status);
    assert_true(json_is_boolean(json_object_get(j, "retryable")));
    assert_true(json_is_string(json_object_get(j, "detail")));
    assert_true(json_is_string(json_object_get(j, "title")));
    assert_true(json_is_string(json_object_get(j, "type")));
    json_decref(j);
}

static void get_answers(void **state)
{
    assert_int_equal(ask(&fx, &an, "GET /hello HTTP/1.1\r\n" HOST "\r\n"), 200);
    assert_string_equal(an.body.ptr, "hello");
    assert_string_equal(an_header(&an, "Content-Type"), "text/plain");
    assert_int_equal(strlen(an_header(&an, "X-Request-Id")), 16);
    assert_non_null(an_header(&an, "Date"));
    assert_int_equal(afters, 1);
    assert_int_equal(after_status, 200);
}

static void head_has_no_body(void **state)
{
    assert_int_equal(ask(&fx, &an, "HEAD /hello HTTP/1.1\r\n" HOST "\r\n"), 200);
    assert_string_equal(an_header(&an, "Content-Length"), "5");
}

static void request_id_is_kept_when_sane(void **state)
{
    ask(&fx, &an, "GET /hello HTTP/1.1\r\n" HOST "X-Request-Id: ab-1.2_x:y\r\n\r\n");
    assert_string_equal(an_header(&an, "X-Request-Id"), "ab-1.2_x:y");
    ask(&fx, &an, "GET /hello HTTP/1.1\r\n" HOST "X-Request-Id: a b\r\n\r\n");
    assert_int_equal(strlen(an_header(&an, "X-Request-Id")), 16);
}

static void no_answer_may_be_sniffed(void **state)
{
    static const char *const heads[] = {
        "GET /hello",   "HEAD /hello",  "GET /file",   "GET /authority", "DELETE /items/a",
        "GET /nowhere", "GET /limited", "POST /hello", "GET /field",
    };
    for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
        char *request = mem_printf("%s HTTP/1.1\r\n" HOST "\r\n", heads[i]);
        ask(&fx, &an, request);
        free(request);
        assert_string_equal(an_header(&an, "X-Content-Type-Options"), "nosniff");
    }
}

static void the_authority_is_the_targets_or_hosts(void **state)
{
    static const struct {
        const char *request, *authority;
    } cases[] = {
        {"GET /authority HTTP/1.1\r\nHost: a.example:80\r\n\r\n", "a.example:80"},
        {"GET /authority HTTP/1.1\r\nHost:\r\n\r\n", ""},
        {"GET /authority HTTP/1.0\r\n\r\n", NULL},
        {"GET http://b/authority HTTP/1.1\r\nHost: B\r\n\r\n", "b"},
        {"GET HTTPS://b:1/authority?x HTTP/1.1\r\nHost: b:1\r\n\r\n", "b:1"},
        {"GET http://b/authority HTTP/1.0\r\n\r\n", "b"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(ask(&fx, &an, cases[i].request), 200);
        json_t *j = body_json();
        const char *name = json_string_value(json_object_get(j, "authority"));
        if (cases[i].authority)
            assert_string_equal(name, cases[i].authority);
        else
            assert_null(name);
        json_decref(j);
    }
}

static void params_and_queries_are_decoded(void **state)
{
    ask(&fx, &an, "GET /items/a%20b?x=1&q=c+d%26&y HTTP/1.1\r\n" HOST "\r\n");
    json_t *j = body_json();
    assert_string_equal(json_string_value(json_object_get(j, "id")), "a b");
    assert_string_equal(json_string_value(json_object_get(j, "raw")), "a%20b");
    assert_string_equal(json_string_value(json_object_get(j, "q")), "c d&");
    assert_string_equal(json_string_value(json_object_get(j, "none")), "");
    json_decref(j);
    assert_string_equal(an_header(&an, "Cache-Control"), "no-store");
    ask(&fx, &an, "GET http://x/items/a?q=1 HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(an.status, 200);
    ask(&fx, &an, "GET /items/a?q=a%00b HTTP/1.1\r\n" HOST "\r\n");
    j = body_json();
    assert_string_equal(json_string_value(json_object_get(j, "q")), "a%00b");
    json_decref(j);
}

static void unknown_path_and_method(void **state)
{
    ask(&fx, &an, "GET /nowhere HTTP/1.1\r\n" HOST "\r\n");
    check_problem(404, "not_found");
    ask(&fx, &an, "GET /items/a%2Fb HTTP/1.1\r\n" HOST "\r\n");
    check_problem(404, "not_found");
    ask(&fx, &an, "PUT /items/a HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n");
    check_problem(405, "method_not_allowed");
    assert_string_equal(an_header(&an, "Allow"), "GET, HEAD, DELETE");
    assert_int_equal(afters, 3);
}

static void before_refuses(void **state)
{
    ask(&fx, &an, "GET /hello HTTP/1.1\r\n" HOST "X-Refuse: 1\r\n\r\n");
    check_problem(401, "unauthorized");
    assert_string_equal(an_header(&an, "WWW-Authenticate"), "Bearer");
}

static void problems_carry_their_members(void **state)
{
    ask(&fx, &an, "GET /limited HTTP/1.1\r\n" HOST "\r\n");
    check_problem(429, "limit");
    assert_string_equal(an_header(&an, "Retry-After"), "1");
    ask(&fx, &an, "GET /field HTTP/1.1\r\n" HOST "\r\n");
    check_problem(400, "invalid");
    json_t *j = body_json();
    assert_string_equal(json_string_value(json_object_get(j, "field")), "code");
    assert_string_equal(json_string_value(json_object_get(j, "detail")), "bad \xEF\xBF\xBD byte");
    json_decref(j);
}

static void empty_answer(void **state)
{
    assert_int_equal(ask(&fx, &an, "DELETE /items/a HTTP/1.1\r\n" HOST "\r\n"), 204);
    assert_null(an_header(&an, "Content-Length"));
}

static void file_answer(void **state)
{
    assert_int_equal(ask(&fx, &an, "GET /file HTTP/1.1\r\n" HOST "\r\n"), 200);
    assert_string_equal(an.body.ptr, "ELF");
}

static void bodies_with_length_and_chunked(void **state)
{
    ask(&fx, &an, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc");
    assert_string_equal(an.body.ptr, "abc");
    ask(&fx, &an, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n");
    assert_int_equal(an.status, 200);
    assert_int_equal(an.body.len, 0);
    ask(&fx, &an,
        "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
        "3\r\nabc\r\n10;ext=1\r\n0123456789abcdef\r\n0\r\nTrailer: x\r\n\r\n");
    assert_string_equal(an.body.ptr, "abc0123456789abcdef");
}

static bool is_pending(void *ctx)
{
    return pending != NULL;
}

static bool is_closed(void *ctx)
{
    return closed == *(unsigned *)ctx;
}

static void answer_comes_later(void **state)
{
    struct client *c = cl_open(&fx);
    unsigned one = 1;
    cl_send(c, "GET /later HTTP/1.1\r\n" HOST "\r\n");
    assert_true(run_until(&fx, 1000, is_pending, NULL));
    assert_int_equal(http_server_active(fx.server), 1);
    http_answer_bytes(pending, 201, "text/plain", "late", 4);
    assert_int_equal(cl_answer(c, &an), 201);
    assert_true(run_until(&fx, 1000, is_closed, &one));
    assert_int_equal(gone, 0);
    assert_int_equal(http_server_active(fx.server), 0);
    cl_close(c);
}

static void keepalive_requests_in_a_row(void **state)
{
    struct client *c = cl_open(&fx);
    for (int i = 0; i < 1000; i++) {
        cl_send(c, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
        assert_int_equal(cl_answer(c, &an), 200);
    }
    assert_int_equal(afters, 1000);
    cl_close(c);
}

static void pipelined_requests(void **state)
{
    struct client *c = cl_open(&fx);
    for (int i = 0; i < 50; i++)
        cl_send(c, "GET /hello HTTP/1.1\r\n" HOST "\r\n"
                   "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\nhi");
    for (int i = 0; i < 50; i++) {
        assert_int_equal(cl_answer(c, &an), 200);
        assert_string_equal(an.body.ptr, "hello");
        assert_int_equal(cl_answer(c, &an), 200);
        assert_string_equal(an.body.ptr, "hi");
    }
    cl_close(c);
}

static void connection_close_and_http_1_0(void **state)
{
    struct client *c = cl_open(&fx);
    cl_send(c, "GET /hello HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
    assert_int_equal(cl_answer(c, &an), 200);
    assert_true(run_until(&fx, 1000, cl_ended, c));
    cl_close(c);
    c = cl_open(&fx);
    cl_send(c, "GET /hello HTTP/1.0\r\n\r\n");
    assert_int_equal(cl_answer(c, &an), 200);
    assert_true(run_until(&fx, 1000, cl_ended, c));
    assert_true(c->eof);
    cl_close(c);
}

/* The end of what a client says, in one edge of the server's epoll with the last of it. */
static struct client *half_close_after(const char *text)
{
    struct client *cl = cl_open(&fx);
    assert_int_equal(send(cl->fd, text, strlen(text), 0), strlen(text));
    assert_int_equal(shutdown(cl->fd, SHUT_WR), 0);
    return cl;
}

static void clients_that_left_are_not_kept(void **state)
{
    struct client *cl = half_close_after("GET /hello HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(cl_answer(cl, &an), 200);
    assert_true(run_until(&fx, 4000, cl_ended, cl));
    cl_close(cl);
}

static void clients_that_left_in_their_headers_are_not_kept(void **state)
{
    struct client *cl = half_close_after("GET /hello HTTP/1.1\r\nHo");
    assert_true(run_until(&fx, 4000, cl_ended, cl));
    cl_close(cl);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(get_answers),
        T(head_has_no_body),
        T(request_id_is_kept_when_sane),
        T(no_answer_may_be_sniffed),
        T(the_authority_is_the_targets_or_hosts),
        T(params_and_queries_are_decoded),
        T(unknown_path_and_method),
        T(before_refuses),
        T(problems_carry_their_members),
        T(empty_answer),
        T(file_answer),
        T(bodies_with_length_and_chunked),
        T(answer_comes_later),
        T(keepalive_requests_in_a_row),
        T(pipelined_requests),
        T(connection_close_and_http_1_0),
        T(clients_that_left_are_not_kept),
        T(clients_that_left_in_their_headers_are_not_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
