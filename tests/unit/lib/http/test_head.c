/*
 * Heads that two readers could understand differently: each is refused, its connection ends, and
 * what is behind it is not taken for a request. The same for ten thousand heads made by mutation
 * (always the same ones), judged by a strict reader of this file's own.
 */
#include "tests/unit/lib/http/fixture.h"

static unsigned handled;

static void hello(void *ctx, struct http_request *req)
{
    handled++;
    http_answer_bytes(req, 200, "text/plain", "hello", 5);
}

static const struct http_route routes[] = {
    {"GET", "/hello", HTTP_BODY_NONE, 0, hello, 0},
    {"POST", "/echo", HTTP_BODY_BUFFER, 1000, hello, 0},
};

static struct fixture fx;
static struct answer an;
static struct client *cl; /* closed by teardown, so that a failed test ends */

#define BATCH 500

struct mutant {
    struct buf bytes;
    struct client *client;
};

static struct mutant mutants[BATCH];

static int setup(void **state)
{
    /* What is not whole, or kept, ends soon. */
    const struct http_server_cfg cfg = {.routes = routes,
                                        .n_routes = ARRAY_LEN(routes),
                                        .header_deadline_ms = 300,
                                        .body_deadline_ms = 300,
                                        .keepalive_ms = 300};
    handled = 0;
    fx_start(&fx, &cfg);
    return 0;
}

static int teardown(void **state)
{
    cl_close(cl);
    cl = NULL;
    for (size_t i = 0; i < BATCH; i++) {
        cl_close(mutants[i].client);
        buf_done(&mutants[i].bytes);
        mutants[i] = (struct mutant){0};
    }
    fx_stop(&fx);
    an_done(&an);
    return 0;
}

#define GET    "GET /hello HTTP/1.1\r\n"
#define POST   "POST /echo HTTP/1.1\r\n"
#define BEHIND "GET /hello HTTP/1.1\r\n" HOST "\r\n"
#define RAW(text)                                                                                  \
    {                                                                                              \
        text, sizeof(text) - 1                                                                     \
    }

static const struct raw {
    const char *bytes;
    size_t len;
} bad[] = {
    /* lone CR, lone LF, NUL */
    RAW(GET HOST "X: a\rY: b\r\n\r\n"),
    RAW(GET HOST "X: a\r\n\rY: b\r\n\r\n"),
    RAW(GET HOST "X: a\r\r\n\r\n"),
    RAW(GET HOST "X:\r\r\n\r\n"),
    RAW(GET "Host: x\r\r\n\r\n"),
    RAW(GET HOST "X: a\nY: b\r\n\r\n"),
    RAW(GET HOST "X: a\n\r\n"),
    RAW(GET HOST "X: a\r\n\n"),
    RAW(GET "Host: x\n\n"),
    RAW("GET /hello HTTP/1.1\n" HOST "\r\n"),
    RAW("GET /hello HTTP/1.1\r" HOST "\r\n"),
    RAW("GET /hello HTTP/1.1\r\r\n" HOST "\r\n"),
    RAW(GET HOST "X: a\0\r\n\r\n"),
    RAW(GET HOST "X: a\0b\r\n\r\n"),
    RAW(GET HOST "X\0: a\r\n\r\n"),
    RAW(GET HOST "\0X: a\r\n\r\n"),
    RAW(GET "Host: x\0y\r\n\r\n"),
    RAW("GET /hello\0 HTTP/1.1\r\n" HOST "\r\n"),
    RAW("GET /hel\0lo HTTP/1.1\r\n" HOST "\r\n"),
    RAW("GET /hello?a\0b HTTP/1.1\r\n" HOST "\r\n"),
    RAW("G\0ET /hello HTTP/1.1\r\n" HOST "\r\n"),
    RAW(POST HOST "Content-Length: 4\0"
                  "4\r\n\r\nabcd"),
    RAW(POST HOST "X: a\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    RAW(POST HOST "X: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    /* folded lines */
    RAW(GET HOST "X: a\r\n b\r\n\r\n"),
    RAW(GET HOST "X: a\r\n\tb\r\nY: c\r\n\r\n"),
    RAW(GET HOST "X: a\r\n \r\n\r\n"),
    RAW(GET "Host:\r\n x\r\n\r\n"),
    RAW(GET " X: a\r\n" HOST "\r\n"),
    RAW(POST HOST "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    RAW(POST HOST "Content-Length: 1\r\n 0\r\n\r\na"),
    /* names */
    RAW(GET HOST "X : a\r\n\r\n"),
    RAW(GET HOST "X\t: a\r\n\r\n"),
    RAW(GET HOST "X Y: a\r\n\r\n"),
    RAW(GET HOST ": a\r\n\r\n"),
    RAW(GET HOST "X(: a\r\n\r\n"),
    RAW(GET HOST "X\x01: a\r\n\r\n"),
    RAW(GET HOST "\xc3\xa4: a\r\n\r\n"),
    RAW(POST HOST "Content-Length : 4\r\n\r\nabcd"),
    RAW(POST HOST "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    /* values */
    RAW(GET HOST "X: a\x01\r\n\r\n"),
    RAW(GET HOST "X: a\x7f\r\n\r\n"),
    RAW(GET HOST "X: a\x0b\x0c\r\n\r\n"),
    /* request lines */
    RAW("GET  /hello HTTP/1.1\r\n" HOST "\r\n"),
    RAW("GET /hello  HTTP/1.1\r\n" HOST "\r\n"),
    RAW("GET /hello HTTP/1.1 \r\n" HOST "\r\n"),
    RAW("GET /hello /x HTTP/1.1\r\n" HOST "\r\n"),
    RAW("GET /hello\t HTTP/1.1\r\n" HOST "\r\n"),
    RAW("GET /hel\x01lo HTTP/1.1\r\n" HOST "\r\n"),
    RAW("GET /hello\x7f HTTP/1.1\r\n" HOST "\r\n"),
    RAW("G(T /hello HTTP/1.1\r\n" HOST "\r\n"),
    /* lengths */
    RAW(POST HOST "Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd"),
    RAW(POST HOST "Content-Length: 4\r\ncontent-length: 5\r\n\r\nabcd"),
    RAW(POST HOST "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    RAW(POST HOST "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n"),
    RAW(POST HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    RAW(POST HOST "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    RAW(POST HOST "Transfer-Encoding: identity\r\n\r\n0\r\n\r\n"),
    RAW(POST HOST "Transfer-Encoding: chunked \r\n\r\n0\r\n\r\n"),
    RAW(POST HOST "Transfer-Encoding: \r\n\r\n0\r\n\r\n"),
    RAW("POST /echo HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    /* hosts */
    RAW(GET "X: y\r\n\r\n"),
    RAW(GET HOST HOST "\r\n"),
    RAW(GET "Host: x\r\nhOsT: y\r\n\r\n"),
};

/* The page of libmicrohttpd's own 400s is its own; whose it is, there is one head, and then the
 * end. */
static bool is_refused(void)
{
    return run_until(&fx, 5000, cl_ended, cl) && an_parse(&an, &cl->in, false) &&
           an.status == 400 && an.total == cl->in.len &&
           strcmp(an_header(&an, "Connection"), "close") == 0;
}

static void next_client(void)
{
    cl_close(cl);
    cl = cl_open(&fx);
}

static void check_serves(void)
{
    assert_int_equal(ask(&fx, &an, BEHIND), 200);
}

static void an_ambiguous_head_is_refused_and_ends_its_connection(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        next_client();
        cl_send_n(cl, bad[i].bytes, bad[i].len);
        cl_send(cl, BEHIND);
        if (!is_refused() || handled)
            fail_msg("head %zu: %.*s", i, (int)cl->in.len, cl->in.ptr);
    }
    check_serves();
}

static bool sent_all(void *ctx)
{
    return ((struct client *)ctx)->out.len == 0;
}

static void so_it_is_when_it_comes_in_two_pieces(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        next_client();
        cl_send(cl, BEHIND); /* a good one first: the buffer is no longer new */
        assert_int_equal(cl_answer(cl, &an), 200);
        size_t half = bad[i].len / 2;
        cl_send_n(cl, bad[i].bytes, half);
        assert_true(run_until(&fx, 1000, sent_all, cl));
        check_serves(); /* so it has been read */
        handled = 0;
        cl_send_n(cl, bad[i].bytes + half, bad[i].len - half);
        cl_send(cl, BEHIND);
        if (!is_refused() || handled)
            fail_msg("head %zu: %.*s", i, (int)cl->in.len, cl->in.ptr);
    }
    check_serves();
}

static const struct raw good[] = {
    RAW(GET HOST "\r\n"),
    RAW("\r\n\r\n" GET HOST "\r\n"),
    RAW("GET /hello?a=b&c=%20&d HTTP/1.1\r\n" HOST "\r\n"),
    RAW("GET /hello? HTTP/1.1\r\n" HOST "\r\n"),
    RAW("GET /hello?\xc3\xa4 HTTP/1.1\r\n" HOST "\r\n"),
    RAW("GET http://x/hello?a HTTP/1.1\r\n" HOST "\r\n"),
    RAW(GET "Host:x\r\nX:\r\nY: \r\nZ: \t a b \t\r\n\r\n"),
    RAW(GET HOST "X: \xe4\xff:::\t,;\"\r\nx: again\r\nCookie: a=b; c=\"d\"; e\r\n\r\n"),
    RAW(GET HOST "!#$%&'*+-.^_`|~09azAZ: a\r\n\r\n"),
    RAW("GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
    RAW("GET /hello HTTP/1.2\r\n" HOST "\r\n"),
    RAW(POST HOST "Content-Length: 0\r\n\r\n"),
    RAW(POST HOST "Content-Length: 004\r\n\r\nabcd"),
    RAW(POST HOST "Transfer-Encoding: CHUNKED\r\n\r\n1;x=\"y\"\r\na\r\n0\r\nT: u\r\n\r\n"),
};

static void a_well_formed_head_is_taken_whatever_is_in_it(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        next_client();
        for (int twice = 0; twice < 2; twice++) {
            cl_send_n(cl, good[i].bytes, good[i].len);
            cl_send(cl, BEHIND);
            for (int answers = 0; answers < 2; answers++)
                if (cl_answer(cl, &an) != 200)
                    fail_msg("head %zu: %d", i, an.status);
        }
    }
    assert_int_equal(handled, ARRAY_LEN(good) * 4);
}

/* A length that is none is answered by libmicrohttpd, with two heads; nothing behind it runs. */
static void a_malformed_length_ends_its_connection(void **state)
{
    static const char *const lengths[] = {"x",    "-1",  "+1", "1 ",  "0x1",
                                          "4, 4", "4 4", "",   "1e3", "99999999999999999999999"};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        next_client();
        char *text = mem_printf(POST HOST "Content-Length: %s\r\n\r\n" BEHIND, lengths[i]);
        cl_send(cl, text);
        free(text);
        assert_true(run_until(&fx, 5000, cl_ended, cl));
        assert_true(an_parse(&an, &cl->in, false));
        assert_true(an.status == 400 || an.status == 413);
        assert_int_equal(handled, 0);
    }
    check_serves();
}

/* ---- ten thousand mutations ---- */

static uint64_t seed;

static size_t dice(size_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (size_t)(seed % n);
}

static void insert(struct buf *b, size_t at, const char *bytes, size_t len)
{
    struct buf out;
    buf_init(&out, KIB(64));
    buf_append(&out, b->ptr, at);
    buf_append(&out, bytes, len);
    buf_append(&out, b->ptr + at, b->len - at);
    buf_done(b);
    *b = out;
}

static void cut(struct buf *b, size_t at, size_t len)
{
    memmove(b->ptr + at, b->ptr + at + len, b->len - at - len);
    b->len -= len;
}

static void mutate(struct buf *b)
{
    static const char special[] = "\r\n\0 \t:,;/?%\x01\x7f\xff"
                                  "a0=*";
    static const struct raw pieces[] = {
        RAW("\r\n"),
        RAW("\r\n "),
        RAW("\r\n\r\n"),
        RAW("\n\n"),
        RAW("Content-Length: 4\r\n"),
        RAW("Transfer-Encoding: chunked\r\n"),
        RAW("Host: y\r\n"),
        RAW("Expect: 100-continue\r\n"),
        RAW("Connection: Upgrade\r\nUpgrade: x\r\n"),
        RAW("Cookie: ==;;\"\r\n"),
        RAW("GET /hello HTTP/1.1\r\n"),
        RAW("http://"),
        RAW("18446744073709551616"),
        RAW("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
    };
    size_t at = dice(b->len + 1);
    switch (dice(5)) {
    case 0:
        insert(b, at, &special[dice(sizeof(special) - 1)], 1);
        break;
    case 1:
        if (at < b->len)
            b->ptr[at] = special[dice(sizeof(special) - 1)];
        break;
    case 2:
        if (at < b->len)
            cut(b, at, 1 + dice(MIN(b->len - at, 3U)));
        break;
    case 3: {
        const struct raw *piece = &pieces[dice(ARRAY_LEN(pieces))];
        insert(b, at, piece->bytes, piece->len);
        break;
    }
    default:
        if (at < b->len)
            b->ptr[at] = (char)dice(256);
    }
}

static bool is_token_char(char c)
{
    return c > ' ' && c < 0x7f && !strchr("\"(),/:;<=>?@[\\]{}", c);
}

static bool strict_field(const char *p, size_t len, unsigned *hosts, unsigned *lengths)
{
    size_t n = 0;
    while (n < len && is_token_char(p[n]))
        n++;
    if (n == 0 || n == len || p[n] != ':')
        return false;
    *hosts += n == 4 && strncasecmp(p, "host", 4) == 0;
    *lengths += (n == 14 && strncasecmp(p, "content-length", 14) == 0) ||
                (n == 17 && strncasecmp(p, "transfer-encoding", 17) == 0);
    for (; n < len; n++)
        if (((unsigned char)p[n] < ' ' && p[n] != '\t') || p[n] == 0x7f)
            return false;
    return true;
}

static bool strict_request_line(const char *p, size_t len)
{
    size_t spaces = 0, n = 0;
    for (size_t i = 0; i < len; i++) {
        spaces += p[i] == ' ';
        if ((unsigned char)p[i] < ' ' || p[i] == 0x7f)
            return false;
    }
    while (n < len && is_token_char(p[n]))
        n++;
    return spaces == 2 && n > 0 && p[n] == ' ' && len > n + 10 && p[len - 9] == ' ' &&
           memcmp(p + len - 8, "HTTP/1.", 7) == 0;
}

/* The first head of these bytes is whole and can be read in one way only. */
static bool strict_head(const char *p, size_t len)
{
    unsigned hosts = 0, lengths = 0;
    bool first = true, old = false;
    for (; len > 0 && (*p == '\r' || *p == '\n'); p++)
        len--;
    for (;;) {
        const char *end = memmem(p, len, "\r\n", 2);
        size_t n = end ? (size_t)(end - p) : 0;
        if (!end)
            return false;
        if (!first && n == 0)
            return lengths <= 1 && (hosts == 1 || (old && hosts == 0));
        if (first ? !strict_request_line(p, n) : !strict_field(p, n, &hosts, &lengths))
            return false;
        old |= first && p[n - 1] == '0';
        first = false;
        p += n + 2;
        len -= n + 2;
    }
}

static void send_mutant(struct mutant *m)
{
    static const struct raw bases[] = {
        RAW("GET /hello?a=b HTTP/1.1\r\n" HOST "Accept: */*\r\nCookie: a=b\r\n\r\n" BEHIND),
        RAW("POST /echo HTTP/1.1\r\n" HOST "Content-Length: 4\r\nX: y\r\n\r\nabcd" BEHIND),
        RAW("POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
            "2\r\nab\r\n0\r\nT: u\r\n\r\n" BEHIND),
        RAW("GET http://x/hello HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n"),
        RAW("GET /hello HTTP/1.0\r\nX-Request-Id: a\r\n\r\n"),
    };
    const struct raw *base = &bases[dice(ARRAY_LEN(bases))];
    buf_init(&m->bytes, KIB(64));
    buf_append(&m->bytes, base->bytes, base->len);
    for (size_t n = 1 + dice(3); n > 0; n--)
        mutate(&m->bytes);
    m->client = cl_open(&fx);
    cl_send_n(m->client, m->bytes.ptr, m->bytes.len);
}

static bool batch_ended(void *ctx)
{
    for (size_t i = 0; i < BATCH; i++)
        if (!cl_ended(mutants[i].client))
            return false;
    return true;
}

static void judge_mutant(const struct mutant *m, unsigned *refused, unsigned *taken)
{
    const struct buf *in = &m->client->in;
    /* As http_head.c says, it cannot tell these from CR LF. */
    char *p = m->bytes.ptr;
    for (size_t k = 0; k + 2 < m->bytes.len; k++)
        if (p[k + 2] == '\n' && (p[k + 1] == '\0' || (p[k + 1] == ':' && p[k] == '\n')))
            p[k + 1] = '\r';
    bool strict = strict_head(m->bytes.ptr, m->bytes.len);
    bool was_taken = in->len && memmem(in->ptr, in->len, "HTTP/1.1 200", 12);
    if (was_taken && !strict)
        fail_msg("taken: %.*s\nanswered: %.*s", (int)m->bytes.len, m->bytes.ptr, (int)in->len,
                 in->ptr);
    *refused += !strict;
    *taken += was_taken;
}

static void ten_thousand_mutated_heads(void **state)
{
    unsigned refused = 0, taken = 0;
    seed = 0x9E3779B97F4A7C15ULL;
    for (int round = 0; round < 10000 / BATCH; round++) {
        for (size_t i = 0; i < BATCH; i++)
            send_mutant(&mutants[i]);
        assert_true(run_until(&fx, 20000, batch_ended, NULL));
        for (size_t i = 0; i < BATCH; i++)
            judge_mutant(&mutants[i], &refused, &taken);
        for (size_t i = 0; i < BATCH; i++) {
            cl_close(mutants[i].client);
            buf_done(&mutants[i].bytes);
            mutants[i] = (struct mutant){0};
        }
        check_serves();
    }
    /* They are neither all nonsense nor all harmless. */
    assert_in_range(refused, 3000, 9500);
    assert_in_range(taken, 1000, 7000);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(an_ambiguous_head_is_refused_and_ends_its_connection),
        T(so_it_is_when_it_comes_in_two_pieces),
        T(a_well_formed_head_is_taken_whatever_is_in_it),
        T(a_malformed_length_ends_its_connection),
        T(ten_thousand_mutated_heads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
