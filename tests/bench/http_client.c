/*
 * The benchmark's client of the HTTP API: kept-alive connections, one write a request, blocking
 * reads, nothing parsed while the clock runs but the frames of HTTP. What came is checked
 * afterwards: the status, that no `seq` is missing, `done` with "ok", and the text byte by byte
 * (its hash).
 *
 *   http_client ADDRESS latency N PATH ACCEPT CODE   executes CODE N times, one after the other
 *   http_client ADDRESS throughput PATH ACCEPT CODE  once: text, hash, rate
 *   http_client ADDRESS live PATH ACCEPT CODE        CODE prints time.monotonic_ns(), line by line
 *   http_client ADDRESS get N PAUSE_MS PATH          GETs N times, with pauses between
 *   http_client ADDRESS storm N TEXT CODE PATH...    N streams at once, dealt to the paths; TEXT is
 *                                                    what each must print
 *
 * ADDRESS is HOST:PORT or unix:PATH. The token is in BENCH_TOKEN. Prints one line of JSON.
 */
#include "tests/bench/measure.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    PATIENCE_MS = 120000,
    SMALL = 1 << 16,
    LARGE = 1 << 26,
    READ_AT_ONCE = 1 << 20,
    WARM_UP = 2
};

enum state { HEAD, SIZED, CHUNK_HEAD, CHUNK_BODY, COMPLETE };

struct piece {
    size_t at, len; /* of `in`: a chunk of the body */
    double at_us;   /* when its end was here */
};

struct conn {
    int fd;
    char *in;
    size_t len, cap, pos, left;
    enum state state;
    bool chunked;
    struct piece *pieces;
    size_t n_pieces, max_pieces;
    double sent_us, first_us, done_us;
    bool failed;
};

/* Connections */

static struct conn *conn_new(const char *address, size_t cap)
{
    struct conn *c = measure_must(calloc(1, sizeof(*c)));
    c->fd = measure_connect(address);
    c->cap = cap;
    c->in = measure_must(malloc(cap));
    memset(c->in, 1, cap); /* the kernel gives the pages now, not while the clock runs */
    return c;
}

static void conn_free(struct conn *c)
{
    close(c->fd);
    free(c->in);
    free(c->pieces);
    free(c);
}

/* Requests */

static char *request_post(const char *path, const char *accept, const char *code)
{
    const char *token = getenv("BENCH_TOKEN");
    char *body = measure_code(code), *out = NULL;
    if (asprintf(&out,
                 "POST %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nAccept: %s\r\n"
                 "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s}",
                 path, token ? token : "", accept, strlen(body) + 1, body) < 0)
        measure_die("out of memory");
    free(body);
    return out;
}

static char *request_get(const char *path)
{
    const char *token = getenv("BENCH_TOKEN");
    char *out = NULL;
    if (asprintf(&out, "GET %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n",
                 path, token ? token : "") < 0)
        measure_die("out of memory");
    return out;
}

static void send_request(struct conn *c, const char *request)
{
    c->len = c->pos = c->n_pieces = 0;
    c->state = HEAD;
    c->first_us = c->done_us = 0;
    c->sent_us = measure_now_us();
    for (size_t n = strlen(request); n > 0;) {
        ssize_t w = send(c->fd, request, n, MSG_NOSIGNAL);
        if (w < 0 && errno != EINTR)
            measure_die("the server closed the connection before it had the request");
        request += w > 0 ? w : 0;
        n -= w > 0 ? (size_t)w : 0;
    }
}

/* Answers */

static void add_piece(struct conn *c, size_t len)
{
    if (c->n_pieces == c->max_pieces) {
        c->max_pieces = c->max_pieces ? c->max_pieces * 2 : 64;
        c->pieces = measure_must(realloc(c->pieces, c->max_pieces * sizeof(struct piece)));
    }
    c->pieces[c->n_pieces++] = (struct piece){c->pos, len, measure_now_us()};
}

static bool parse_head(struct conn *c)
{
    char *end = memmem(c->in, c->len, "\r\n\r\n", 4);
    if (!end)
        return false;
    *end = '\0';
    if (strncmp(c->in, "HTTP/1.1 200 ", 13) != 0) {
        fprintf(stderr, "http_client: the server answered: %.200s\n", c->in);
        c->failed = true;
    }
    c->pos = (size_t)(end - c->in) + 4;
    const char *sized = strcasestr(c->in, "\r\nContent-Length:");
    c->chunked = strcasestr(c->in, "\r\nTransfer-Encoding: chunked") != NULL;
    if (!c->chunked && !sized)
        measure_die("an answer without a length");
    c->left = c->chunked ? 0 : strtoul(sized + 17, NULL, 10);
    c->state = c->chunked ? CHUNK_HEAD : SIZED;
    return true;
}

static bool parse_chunk_head(struct conn *c)
{
    char *end = memchr(c->in + c->pos, '\n', c->len - c->pos);
    if (!end)
        return false;
    c->left = strtoul(c->in + c->pos, NULL, 16);
    if (c->left == 0 && c->len - c->pos < 5)
        return false; /* "0\r\n\r\n" */
    c->pos = (size_t)(end + 1 - c->in);
    c->state = c->left ? CHUNK_BODY : COMPLETE;
    return true;
}

static bool parse_body(struct conn *c)
{
    size_t tail = c->chunked ? 2 : 0; /* "\r\n" */
    if (c->len - c->pos < c->left + tail)
        return false;
    add_piece(c, c->left);
    c->pos += c->left + tail;
    c->state = c->chunked ? CHUNK_HEAD : COMPLETE;
    return true;
}

static void parse(struct conn *c)
{
    static bool (*const step[])(struct conn *) = {
        [HEAD] = parse_head,
        [SIZED] = parse_body,
        [CHUNK_HEAD] = parse_chunk_head,
        [CHUNK_BODY] = parse_body,
    };
    while (c->state != COMPLETE && step[c->state](c))
        ;
    if (c->state == COMPLETE)
        c->done_us = measure_now_us();
}

/* One read. */
static void receive(struct conn *c)
{
    if (c->cap - c->len < SMALL / 2) {
        c->cap *= 2;
        c->in = measure_must(realloc(c->in, c->cap));
    }
    size_t room = c->cap - c->len - 1;
    ssize_t n = recv(c->fd, c->in + c->len, room < READ_AT_ONCE ? room : READ_AT_ONCE, 0);
    if (n < 0 && errno == EINTR)
        return;
    if (n <= 0)
        measure_die("the server closed the connection in an answer");
    if (c->first_us <= 0)
        c->first_us = measure_now_us();
    c->len += (size_t)n;
    c->in[c->len] = '\0';
    parse(c);
}

static void finish(struct conn *c)
{
    struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    while (c->state != COMPLETE)
        receive(c);
}

/* What was in them */

static char *body(const struct conn *c)
{
    size_t len = 0;
    for (size_t i = 0; i < c->n_pieces; i++)
        len += c->pieces[i].len;
    char *out = measure_must(malloc(len + 1)), *p = out;
    for (size_t i = 0; i < c->n_pieces; i++)
        p = mempcpy(p, c->in + c->pieces[i].at, c->pieces[i].len);
    *p = '\0';
    return out;
}

/* The text of one event; false when it is not the next one. */
static bool event_text(const char *line, const char *end, unsigned long *seq, char **out)
{
    static const char stream[] = "\"output_type\":\"stream\"", text[] = "\"text\":\"";
    if (strncmp(line, "{\"seq\":", 7) != 0 || strtoul(line + 7, NULL, 10) != ++*seq)
        return false;
    const char *s = memmem(line, (size_t)(end - line), stream, sizeof(stream) - 1);
    const char *t = s ? memmem(s, (size_t)(end - s), text, sizeof(text) - 1) : NULL;
    if (t)
        *out = measure_json_text(t + sizeof(text) - 1, end, *out);
    return true;
}

/* All text of NDJSON or of server-sent events; false unless they are whole and end well. */
static bool events_text(const char *p, char **out)
{
    unsigned long seq = 0;
    bool done = false;
    for (const char *end; *p; p = end + 1) {
        end = strchrnul(p, '\n');
        if (!*end || done)
            return done && !*p;
        if (strncmp(p, "data: ", 6) == 0)
            p += 6;
        if (*p != '{')
            continue; /* id:, a comment, an empty line */
        if (!event_text(p, end, &seq, out))
            return false;
        done = memmem(p, (size_t)(end - p), "\"type\":\"done\",\"status\":\"ok\"", 27) != NULL;
        if (done && end[1] == '\n' && !end[2])
            return true; /* the empty line behind an SSE event */
    }
    return done;
}

/* Takes the answer apart; returns where the text ends, NULL for a failed execution. */
static char *answer_text(const char *answer, char *out)
{
    if (answer[0] == '{' && strncmp(answer, "{\"seq\":", 7) != 0) {
        const char *t = strstr(answer, "\"stdout\":\"");
        if (!t || !strstr(answer, "\"status\":\"ok\""))
            return NULL;
        return measure_json_text(t + 10, answer + strlen(answer), out);
    }
    return events_text(answer, &out) ? out : NULL;
}

static char *checked_text(const struct conn *c, size_t *ret_len)
{
    char *answer = body(c);
    char *text = measure_must(malloc(strlen(answer) + 1));
    char *end = c->failed ? NULL : answer_text(answer, text);
    if (!end) {
        size_t n = strlen(answer);
        fprintf(stderr, "http_client: the answer is not whole or not ok; it ends: %s\n",
                answer + (n > 300 ? n - 300 : 0));
        free(text);
        text = NULL;
    } else {
        *end = '\0';
        *ret_len = (size_t)(end - text);
    }
    free(answer);
    return text;
}

/* Modes */

static void latency(const char *address, size_t n, char *request)
{
    struct conn *c = conn_new(address, SMALL);
    double *us = measure_must(calloc(n, sizeof(double)));
    for (size_t i = 0; i < n + WARM_UP; i++) {
        send_request(c, request);
        finish(c);
        if (i >= WARM_UP)
            us[i - WARM_UP] = c->done_us - c->sent_us;
        size_t len;
        char *text = checked_text(c, &len);
        if (!text)
            measure_die("an execution failed");
        free(text);
    }
    measure_print_latency(us, n);
    free(us);
    conn_free(c);
}

static void get(const char *address, size_t n, int pause_ms, char *request)
{
    struct conn *c = conn_new(address, SMALL);
    double *us = measure_must(calloc(n, sizeof(double)));
    for (size_t i = 0; i < n; i++) {
        poll(NULL, 0, pause_ms);
        send_request(c, request);
        finish(c);
        if (c->failed)
            measure_die("a GET failed");
        us[i] = c->done_us - c->sent_us;
    }
    measure_print_latency(us, n);
    free(us);
    conn_free(c);
}

static void throughput(const char *address, char *request)
{
    struct conn *c = conn_new(address, LARGE);
    send_request(c, request);
    finish(c);
    size_t len;
    char *text = checked_text(c, &len);
    if (!text)
        measure_die("the execution failed");
    printf("\"chunks\":%zu,", c->n_pieces);
    measure_print_text(text, len, (c->done_us - c->sent_us) / 1e6);
    free(text);
    conn_free(c);
}

/* Each chunk holds whole events: those of one flush. */
static size_t piece_lags(const struct conn *c, const struct piece *p, double *lags, size_t n,
                         size_t max)
{
    static const char mark[] = "\"text\":\"";
    const char *at = c->in + p->at, *end = at + p->len;
    char *text = measure_must(malloc(p->len + 1));
    while ((at = memmem(at, (size_t)(end - at), mark, sizeof(mark) - 1))) {
        at += sizeof(mark) - 1;
        char *text_end = measure_json_text(at, end, text);
        *text_end = '\0';
        n = measure_lags(text, text_end, p->at_us, lags, n, max);
    }
    free(text);
    return n;
}

static void live(const char *address, char *request)
{
    struct conn *c = conn_new(address, SMALL * 16);
    send_request(c, request);
    finish(c);
    size_t len, n = 0, lines = 0;
    char *text = checked_text(c, &len);
    if (!text)
        measure_die("the execution failed");
    for (const char *p = text; (p = strchr(p, '\n')); p++)
        lines++;
    double *lags = measure_must(calloc(lines + 1, sizeof(double)));
    for (size_t i = 0; i < c->n_pieces; i++)
        n = piece_lags(c, &c->pieces[i], lags, n, lines);
    if (n != lines)
        measure_die("an event lies across two chunks");
    measure_print_latency(lags, n);
    free(lags);
    free(text);
    conn_free(c);
}

static void storm_run(struct conn **c, size_t n)
{
    struct pollfd *fds = measure_must(calloc(n, sizeof(struct pollfd)));
    for (size_t open = n; open > 0;) {
        open = 0;
        for (size_t i = 0; i < n; i++) {
            bool waits = c[i]->state != COMPLETE;
            fds[i] = (struct pollfd){waits ? c[i]->fd : -1, POLLIN, 0};
            open += waits;
        }
        if (open && poll(fds, n, PATIENCE_MS) <= 0)
            measure_die("no stream moved for two minutes");
        for (size_t i = 0; i < n; i++)
            if (fds[i].revents)
                receive(c[i]);
    }
    free(fds);
}

static void storm_report(struct conn **c, size_t n, const char *expected)
{
    size_t failed = 0, wrong = 0;
    double start = c[0]->sent_us, end = 0;
    double *first = measure_must(calloc(n * 2, sizeof(double))), *done = first + n;
    for (size_t i = 0; i < n; i++) {
        size_t len;
        char *text = checked_text(c[i], &len);
        failed += !text;
        wrong += text && strcmp(text, expected) != 0;
        free(text);
        first[i] = c[i]->first_us - c[i]->sent_us;
        done[i] = c[i]->done_us - c[i]->sent_us;
        end = c[i]->done_us > end ? c[i]->done_us : end;
    }
    printf("\"failed\":%zu,\"wrong\":%zu,\"seconds\":%.6f,\"first\":{", failed, wrong,
           (end - start) / 1e6);
    measure_print_latency(first, n);
    printf("},\"done\":{");
    measure_print_latency(done, n);
    printf("}");
    free(first);
}

static void storm(const char *address, size_t n, char **args, size_t n_paths)
{
    const char *text = args[0], *code = args[1];
    char **paths = args + 2;
    struct conn **c = measure_must(calloc(n, sizeof(struct conn *)));
    for (size_t i = 0; i < n; i++)
        c[i] = conn_new(address, SMALL);
    for (size_t i = 0; i < n; i++) {
        char *request = request_post(paths[i % n_paths], "application/x-ndjson", code);
        send_request(c[i], request);
        free(request);
    }
    storm_run(c, n);
    storm_report(c, n, text);
    for (size_t i = 0; i < n; i++)
        conn_free(c[i]);
    free(c);
}

static bool run(int argc, char **argv)
{
    const char *address = argv[1], *mode = argv[2];
    char *request = NULL;
    printf("{\"mode\":\"%s\",", mode);
    if (strcmp(mode, "latency") == 0 && argc == 7)
        latency(address, strtoul(argv[3], NULL, 10),
                request = request_post(argv[4], argv[5], argv[6]));
    else if (strcmp(mode, "throughput") == 0 && argc == 6)
        throughput(address, request = request_post(argv[3], argv[4], argv[5]));
    else if (strcmp(mode, "live") == 0 && argc == 6)
        live(address, request = request_post(argv[3], argv[4], argv[5]));
    else if (strcmp(mode, "get") == 0 && argc == 6)
        get(address, strtoul(argv[3], NULL, 10), (int)strtoul(argv[4], NULL, 10),
            request = request_get(argv[5]));
    else if (strcmp(mode, "storm") == 0 && argc >= 7)
        storm(address, strtoul(argv[3], NULL, 10), argv + 4, (size_t)argc - 6);
    else
        return false;
    puts("}");
    free(request);
    return true;
}

int main(int argc, char **argv)
{
    if (argc < 5 || !run(argc, argv))
        measure_die("usage: see the head of http_client.c");
    return 0;
}
