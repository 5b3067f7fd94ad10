/*
 * The benchmark's client of the kernels' WebSockets, for Caesarion and for its competitors alike:
 * one write a request, blocking reads, no JSON tree. What came is checked afterwards.
 *
 *   ws_client ADDRESS latency N PATH PROTOCOL CODE   executes CODE N times, one after the other
 *   ws_client ADDRESS throughput PATH PROTOCOL CODE  once: text, hash, rate
 *   ws_client ADDRESS start BASE PROTOCOL CODE       POST BASE/api/kernels, CODE, DELETE
 *   ws_client ADDRESS idle N PATH PROTOCOL           opens N, says so, closes them at end of input
 *
 * ADDRESS is HOST:PORT or unix:PATH, PROTOCOL v1 or legacy. The token is in BENCH_TOKEN. Prints one
 * line of JSON. An execution ends when both its reply and its `idle` are here, in either order.
 */
#include "lib/crypto/crypto.h"
#include "tests/bench/measure.h"
#include "tests/bench/ws_wire.h"

#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    SMALL = 1 << 20,
    LARGE = 1 << 26,
    TINY = 1 << 12,
    WARM_UP = 2,
    KIND_WITHIN = 1024,
    PARTS = 5
};

static const char v1_name[] = "v1.kernel.websocket.jupyter.org";

struct client {
    struct wire *wire;
    bool v1;
    char session[ID_UUID_SIZE], msg_id[ID_UUID_SIZE + 24];
    unsigned long count;
    bool replied, idle, failed;
    struct wire_msg *streams;
    size_t n_streams, max_streams;
};

static const char *protocol_of(const char *name)
{
    if (strcmp(name, "v1") == 0)
        return v1_name;
    if (strcmp(name, "legacy") != 0)
        measure_die("the protocol is v1 or legacy");
    return NULL;
}

static void client_open(struct client *c, const char *address, const char *path,
                        const char *protocol, size_t cap)
{
    char whole[1024];
    crypto_new_uuid(c->session);
    snprintf(whole, sizeof(whole), "%s?session_id=%s", path, c->session);
    c->v1 = protocol_of(protocol) != NULL;
    c->wire = wire_open(address, whole, protocol_of(protocol), cap);
}

/* Requests */

static char *put_u64(char *p, uint64_t v)
{
    for (int i = 0; i < 8; i++, v >>= 8)
        *p++ = (char)(v & 0xff);
    return p;
}

/* channel, header, parent header, metadata, content, with the table of offsets before them */
static void send_v1(struct client *c, const char *const parts[PARTS])
{
    size_t len = 8 * (PARTS + 2), at = len;
    for (int i = 0; i < PARTS; i++)
        len += strlen(parts[i]);
    char *out = measure_must(malloc(len)), *p = put_u64(out, PARTS + 1);
    for (int i = 0; i < PARTS; i++) {
        p = put_u64(p, at);
        at += strlen(parts[i]);
    }
    p = put_u64(p, at);
    for (int i = 0; i < PARTS; i++)
        p = mempcpy(p, parts[i], strlen(parts[i]));
    wire_send(c->wire, out, len, /* binary= */ true);
    free(out);
}

static void send_legacy(struct client *c, const char *const parts[PARTS])
{
    char *out = NULL;
    int n = asprintf(&out,
                     "{\"channel\":\"%s\",\"header\":%s,\"parent_header\":%s,\"metadata\":%s,"
                     "\"content\":%s,\"buffers\":[]}",
                     parts[0], parts[1], parts[2], parts[3], parts[4]);
    if (n < 0)
        measure_die("out of memory");
    wire_send(c->wire, out, (size_t)n, /* binary= */ false);
    free(out);
}

static void send_request(struct client *c, const char *kind, const char *content)
{
    char header[512];
    snprintf(c->msg_id, sizeof(c->msg_id), "%s_%lu", c->session, ++c->count);
    snprintf(header, sizeof(header),
             "{\"msg_id\":\"%s\",\"session\":\"%s\",\"username\":\"bench\",\"date\":\"\","
             "\"msg_type\":\"%s\",\"version\":\"5.3\"}",
             c->msg_id, c->session, kind);
    const char *parts[PARTS] = {"shell", header, "{}", "{}", content};
    c->replied = c->idle = false;
    if (c->v1)
        send_v1(c, parts);
    else
        send_legacy(c, parts);
}

/* Messages */

static bool has(const struct wire_msg *m, const char *text)
{
    return memmem(m->data, m->len, text, strlen(text)) != NULL;
}

/* Whether the first "msg_type" is this; a message's own comes before its parent's. */
static bool is(const struct wire_msg *m, const char *kind)
{
    size_t within = m->len < KIND_WITHIN ? m->len : KIND_WITHIN, n = strlen(kind);
    const char *p = memmem(m->data, within, "\"msg_type\"", 10), *end = m->data + within;
    if (!p)
        return false;
    for (p += 10; p < end && (*p == ':' || *p == ' '); p++)
        ;
    return (size_t)(end - p) > n + 2 && p[0] == '"' && memcmp(p + 1, kind, n) == 0 &&
           p[n + 1] == '"';
}

static void keep_stream(struct client *c, const struct wire_msg *m)
{
    if (c->n_streams == c->max_streams) {
        c->max_streams = c->max_streams ? c->max_streams * 2 : 1024;
        c->streams = measure_must(realloc(c->streams, c->max_streams * sizeof(*c->streams)));
    }
    c->streams[c->n_streams++] = *m;
}

static void finish(struct client *c, const char *reply)
{
    struct wire_msg m;
    while (!c->replied || !c->idle) {
        wire_next(c->wire, &m);
        if (is(&m, "stream")) {
            keep_stream(c, &m);
        } else if (is(&m, "status")) {
            c->idle = c->idle || (has(&m, "\"idle\"") && has(&m, c->msg_id));
        } else if (is(&m, reply) && has(&m, c->msg_id)) {
            c->replied = true;
            c->failed = has(&m, "\"ename\"");
        }
    }
}

static void execute(struct client *c, const char *content)
{
    send_request(c, "execute_request", content);
    finish(c, "execute_reply");
}

/* All that the streams said; the caller frees it. */
static char *text_of(const struct client *c, size_t *ret_len)
{
    size_t max = 1;
    for (size_t i = 0; i < c->n_streams; i++)
        max += c->streams[i].len;
    char *text = measure_must(malloc(max)), *end = text;
    for (size_t i = 0; i < c->n_streams; i++) {
        const struct wire_msg *m = &c->streams[i];
        const char *content = memmem(m->data, m->len, "\"content\"", 9);
        content = content && !c->v1 ? content : m->data;
        end = measure_stream_text(content, m->len - (size_t)(content - m->data), end);
    }
    *ret_len = (size_t)(end - text);
    return text;
}

static void forget(struct client *c)
{
    c->n_streams = 0;
    wire_forget(c->wire);
}

static void check(const struct client *c)
{
    if (c->failed)
        measure_die("an execution failed");
}

/* A server may take its time until a new connection works: its own matter, and not measured. */
static void await_kernel(struct client *c)
{
    send_request(c, "kernel_info_request", "{}");
    finish(c, "kernel_info_reply");
    forget(c);
}

/* Modes */

static void latency(struct client *c, size_t n, const char *content)
{
    double *us = measure_must(calloc(n, sizeof(double)));
    await_kernel(c);
    for (size_t i = 0; i < n + WARM_UP; i++) {
        double t = measure_now_us();
        execute(c, content);
        if (i >= WARM_UP)
            us[i - WARM_UP] = measure_now_us() - t;
        check(c);
        forget(c);
    }
    measure_print_latency(us, n);
    free(us);
}

static void throughput(struct client *c, const char *content)
{
    await_kernel(c);
    double t = measure_now_us();
    execute(c, content);
    double seconds = (measure_now_us() - t) / 1e6;
    check(c);
    size_t len, largest = 0;
    for (size_t i = 0; i < c->n_streams; i++)
        largest = c->streams[i].len > largest ? c->streams[i].len : largest;
    char *text = text_of(c, &len);
    printf("\"messages\":%zu,\"largest\":%zu,", c->n_streams, largest);
    measure_print_text(text, len, seconds);
    free(text);
}

static void kernel_id(const char *body, char *out, size_t size)
{
    const char *p = strstr(body, "\"id\"");
    p = p ? strchr(p + 4, '"') : NULL;
    if (!p)
        measure_die("the answer names no kernel");
    snprintf(out, size, "%.*s", (int)strcspn(p + 1, "\""), p + 1);
}

static void start(const char *address, const char *base, const char *protocol, const char *content)
{
    char line[1024], id[128], *body;
    struct client c = {0};
    double t = measure_now_us();
    snprintf(line, sizeof(line), "POST %s/api/kernels", base);
    if (wire_ask(address, line, "{\"name\":\"python3\"}", &body) != 201)
        measure_die("the server makes no kernel");
    double created_us = measure_now_us() - t;
    kernel_id(body, id, sizeof(id));
    free(body);
    snprintf(line, sizeof(line), "%s/api/kernels/%s/channels", base, id);
    client_open(&c, address, line, protocol, SMALL);
    execute(&c, content);
    double us[] = {measure_now_us() - t};
    check(&c);
    if (c.n_streams == 0)
        measure_die("the first execution printed nothing");
    wire_close(c.wire);
    free(c.streams);
    t = measure_now_us();
    snprintf(line, sizeof(line), "DELETE %s/api/kernels/%s", base, id);
    if (wire_ask(address, line, "", &body) != 204)
        measure_die("the server does not end the kernel");
    free(body);
    printf("\"created_us\":%.1f,\"deleted_us\":%.1f,", created_us, measure_now_us() - t);
    measure_print_latency(us, 1);
}

static void idle(const char *address, size_t n, const char *path, const char *protocol)
{
    struct client *all = measure_must(calloc(n, sizeof(*all)));
    struct pollfd *fds = measure_must(calloc(n + 1, sizeof(*fds)));
    for (size_t i = 0; i < n; i++) {
        client_open(&all[i], address, path, protocol, TINY);
        fds[i] = (struct pollfd){wire_fd(all[i].wire), POLLIN, 0};
    }
    fds[n] = (struct pollfd){STDIN_FILENO, POLLIN, 0};
    printf("\"open\":%zu}\n", n);
    fflush(stdout);
    while (poll(fds, n + 1, -1) >= 0 && !fds[n].revents)
        for (size_t i = 0; i < n; i++)
            if (fds[i].revents)
                wire_idle(all[i].wire);
    for (size_t i = 0; i < n; i++)
        wire_close(all[i].wire);
    free(fds);
    free(all);
}

/* What the modes on one connection have in common: their last arguments. */
static void on_one(const char *address, char **last, size_t n)
{
    struct client c = {0};
    char *content = measure_execute_content(last[2]);
    client_open(&c, address, last[0], last[1], n ? SMALL : LARGE);
    if (n)
        latency(&c, n, content);
    else
        throughput(&c, content);
    puts("}");
    wire_close(c.wire);
    free(c.streams);
    free(content);
}

static bool run(int argc, char **argv)
{
    const char *address = argv[1], *mode = argv[2];
    printf("{\"mode\":\"%s\",", mode);
    if (strcmp(mode, "latency") == 0 && argc == 7 && strtoul(argv[3], NULL, 10) > 0) {
        on_one(address, argv + 4, strtoul(argv[3], NULL, 10));
    } else if (strcmp(mode, "throughput") == 0 && argc == 6) {
        on_one(address, argv + 3, 0);
    } else if (strcmp(mode, "start") == 0 && argc == 6) {
        char *content = measure_execute_content(argv[5]);
        start(address, argv[3], argv[4], content);
        puts("}");
        free(content);
    } else if (strcmp(mode, "idle") == 0 && argc == 6) {
        idle(address, strtoul(argv[3], NULL, 10), argv[4], argv[5]);
    } else {
        return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    if (argc < 6 || !run(argc, argv))
        measure_die("usage: see the head of ws_client.c");
    return 0;
}
