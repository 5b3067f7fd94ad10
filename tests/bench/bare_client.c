/*
 * The yardstick of the benchmark: as little as a C program can do between a kernel's ZeroMQ sockets
 * and the clock. Blocking poll, no JSON tree, no check of what comes in; requests are signed,
 * because a kernel drops them otherwise.
 *
 *   bare_client CONNECTION_FILE latency N CODE
 *   bare_client CONNECTION_FILE throughput CODE
 *
 * Each prints one line of JSON. An execution ends when both its reply and its `idle` are here.
 */
#include "lib/crypto/crypto.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zmq.h>

enum { FRAMES_MAX = 64, PATIENCE_MS = 120000, NUDGE_MS = 50 };

struct frames {
    zmq_msg_t f[FRAMES_MAX];
    int n;
    int header; /* index of the header frame, or -1 */
};

struct client {
    void *zmq, *shell, *iopub;
    struct crypto_hmac key;
    char *content;
    unsigned long count;
    char session[ID_UUID_SIZE]; /* new each run: a kernel drops a message it has seen before */
    char msg_id[ID_UUID_SIZE + 24];
    bool replied, idle;
    zmq_msg_t *streams; /* content frames of stream messages, kept for after the clock stops */
    size_t n_streams, max_streams;
    bool keep_streams;
};

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "bare_client: %s\n", what);
    exit(1);
}

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void *must(void *p)
{
    if (!p)
        die("out of memory");
    return p;
}

/* Connection file */

static char *read_file(const char *path)
{
    FILE *f = fopen(path, "re");
    if (!f)
        die("cannot open the connection file");
    char *text = must(calloc(1, 8192));
    if (fread(text, 1, 8191, f) == 0)
        die("the connection file is empty");
    fclose(f);
    return text;
}

/* What stands behind "name": as it is written, without quotes. */
static void member(const char *text, const char *name, char *out, size_t size)
{
    char quoted[64];
    snprintf(quoted, sizeof(quoted), "\"%s\"", name);
    const char *p = strstr(text, quoted);
    if (!p)
        die("the connection file lacks a member");
    p += strlen(quoted);
    p += strspn(p, " :\n\t\"");
    size_t n = strcspn(p, "\",}\n ");
    snprintf(out, size, "%.*s", (int)n, p);
}

static void *connect_socket(struct client *c, const char *file, const char *port_name, int type)
{
    char ip[256], port[16], transport[16], url[320];
    member(file, "transport", transport, sizeof(transport));
    member(file, "ip", ip, sizeof(ip));
    member(file, port_name, port, sizeof(port));
    bool ipc = strcmp(transport, "ipc") == 0;
    snprintf(url, sizeof(url), "%s://%s%s%s", transport, ip, ipc ? "-" : ":", port);
    void *s = must(zmq_socket(c->zmq, type));
    int zero = 0;
    zmq_setsockopt(s, ZMQ_RCVHWM, &zero, sizeof(zero));
    zmq_setsockopt(s, ZMQ_LINGER, &zero, sizeof(zero));
    if (type == ZMQ_SUB)
        zmq_setsockopt(s, ZMQ_SUBSCRIBE, "", 0);
    if (zmq_connect(s, url) < 0)
        die("cannot connect");
    return s;
}

/* Requests */

static void send_request(struct client *c, const char *type, const char *content)
{
    char header[512], sig[CRYPTO_HEX_SIZE];
    snprintf(c->msg_id, sizeof(c->msg_id), "%s_%lu", c->session, ++c->count);
    int n = snprintf(header, sizeof(header),
                     "{\"msg_id\":\"%s\",\"session\":\"%s\",\"username\":\"bench\",\"date\":\"\","
                     "\"msg_type\":\"%s\",\"version\":\"5.3\"}",
                     c->msg_id, c->session, type);
    const char *parts[] = {header, "{}", "{}", content};
    size_t lens[] = {(size_t)n, 2, 2, strlen(content)};
    for (int i = 0; i < 4; i++)
        crypto_hmac_update(&c->key, parts[i], lens[i]);
    crypto_hmac_hex(&c->key, sig);
    zmq_send(c->shell, "<IDS|MSG>", 9, ZMQ_SNDMORE);
    zmq_send(c->shell, sig, 64, ZMQ_SNDMORE);
    for (int i = 0; i < 4; i++)
        zmq_send(c->shell, parts[i], lens[i], i < 3 ? ZMQ_SNDMORE : 0);
    c->replied = c->idle = false;
}

/* {"code": …} with the code as a JSON string. */
static char *execute_content(const char *code)
{
    static const char rest[] = ",\"silent\":false,\"store_history\":true,\"user_expressions\":{},"
                               "\"allow_stdin\":false,\"stop_on_error\":true}";
    static const char start[] = "{\"code\":\"";
    char *out = must(malloc(strlen(code) * 6 + sizeof(start) + sizeof(rest) + 8));
    char *p = mempcpy(out, start, sizeof(start) - 1);
    for (; *code; code++) {
        if (*code == '"' || *code == '\\' || (unsigned char)*code < 0x20)
            p += snprintf(p, 7, "\\u%04x", (unsigned)(unsigned char)*code);
        else
            *p++ = *code;
    }
    *p++ = '"';
    memcpy(p, rest, sizeof(rest));
    return out;
}

/* Messages */

static bool frame_has(zmq_msg_t *f, const char *text)
{
    return memmem(zmq_msg_data(f), zmq_msg_size(f), text, strlen(text)) != NULL;
}

static bool receive(void *socket, struct frames *m)
{
    m->n = 0;
    m->header = -1;
    for (;;) {
        if (m->n == FRAMES_MAX)
            die("more frames than expected");
        zmq_msg_t *f = &m->f[m->n];
        zmq_msg_init(f);
        if (zmq_msg_recv(f, socket, ZMQ_DONTWAIT) < 0)
            return false;
        m->n++;
        if (m->header < 0 && zmq_msg_size(f) == 9 && memcmp(zmq_msg_data(f), "<IDS|MSG>", 9) == 0)
            m->header = m->n + 1;
        if (!zmq_msg_more(f))
            return m->header >= 0 && m->header + 4 <= m->n;
    }
}

static void release(struct frames *m)
{
    for (int i = 0; i < m->n; i++)
        zmq_msg_close(&m->f[i]);
}

static void keep_stream(struct client *c, zmq_msg_t *content)
{
    if (c->n_streams == c->max_streams) {
        c->max_streams = c->max_streams ? c->max_streams * 2 : 1024;
        c->streams = must(realloc(c->streams, c->max_streams * sizeof(zmq_msg_t)));
    }
    zmq_msg_t *kept = &c->streams[c->n_streams++];
    zmq_msg_init(kept);
    zmq_msg_move(kept, content);
}

static void on_iopub(struct client *c, struct frames *m)
{
    zmq_msg_t *header = &m->f[m->header], *content = &m->f[m->header + 3];
    if (frame_has(header, "\"stream\"")) {
        if (c->keep_streams)
            keep_stream(c, content);
    } else if (frame_has(header, "\"status\"") && frame_has(content, "\"idle\"") &&
               frame_has(&m->f[m->header + 1], c->msg_id)) {
        c->idle = true;
    }
}

/* False when nothing came in time. */
static bool pump(struct client *c, long timeout_ms)
{
    struct frames m;
    zmq_pollitem_t items[] = {{c->shell, 0, ZMQ_POLLIN, 0}, {c->iopub, 0, ZMQ_POLLIN, 0}};
    if (zmq_poll(items, 2, timeout_ms) <= 0)
        return false;
    while ((items[1].revents & ZMQ_POLLIN) && receive(c->iopub, &m)) {
        on_iopub(c, &m);
        release(&m);
    }
    while ((items[0].revents & ZMQ_POLLIN) && receive(c->shell, &m)) {
        if (frame_has(&m.f[m.header + 1], c->msg_id))
            c->replied = true;
        release(&m);
    }
    return true;
}

static void finish(struct client *c)
{
    while (!c->replied || !c->idle)
        if (!pump(c, PATIENCE_MS))
            die("no answer for two minutes");
}

/* Until the subscription is known to work: its request's idle has come. */
static void await_kernel(struct client *c)
{
    double deadline = now_us() + PATIENCE_MS * 1e3;
    while (!c->replied || !c->idle) {
        if (now_us() > deadline)
            die("the kernel does not answer");
        send_request(c, "kernel_info_request", "{}");
        while (!(c->replied && c->idle) && pump(c, NUDGE_MS))
            ;
    }
    while (pump(c, NUDGE_MS))
        ;
}

/* Modes */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void latency(struct client *c, size_t n)
{
    double *us = must(calloc(n * 2, sizeof(double))), *sorted = us + n;
    for (size_t i = 0; i < n; i++) {
        double t = now_us();
        send_request(c, "execute_request", c->content);
        finish(c);
        us[i] = now_us() - t;
    }
    memcpy(sorted, us, n * sizeof(double));
    qsort(sorted, n, sizeof(double), compare);
    printf("{\"mode\":\"latency\",\"n\":%zu,\"p50_us\":%.1f,\"p90_us\":%.1f,\"p99_us\":%.1f,"
           "\"min_us\":%.1f,\"max_us\":%.1f,\"us\":[",
           n, sorted[n / 2], sorted[n * 9 / 10], sorted[n * 99 / 100], sorted[0], sorted[n - 1]);
    for (size_t i = 0; i < n; i++)
        printf("%s%.1f", i ? "," : "", us[i]);
    puts("]}");
    free(us);
}

/* Bytes of UTF-8 that the "text" of a stream message stands for. */
static size_t text_bytes(zmq_msg_t *content)
{
    const char *p = zmq_msg_data(content), *end = p + zmq_msg_size(content);
    p = memmem(p, (size_t)(end - p), "\"text\"", 6);
    p = p ? memchr(p + 6, '"', (size_t)(end - p - 6)) : NULL;
    size_t n = 0;
    for (p = p ? p + 1 : end; p < end && *p != '"';) {
        if (*p != '\\') {
            p++;
            n++;
            continue;
        }
        if (end - p < 6 || p[1] != 'u') {
            p += 2;
            n++;
            continue;
        }
        char hex[5] = {p[2], p[3], p[4], p[5], 0};
        unsigned long u = strtoul(hex, NULL, 16);
        n += u < 0x80 ? 1 : u < 0x800 ? 2 : u >= 0xD800 && u <= 0xDFFF ? 2 : 3;
        p += 6;
    }
    return n;
}

static void throughput(struct client *c)
{
    c->keep_streams = true;
    double t = now_us();
    send_request(c, "execute_request", c->content);
    finish(c);
    double seconds = (now_us() - t) / 1e6;
    size_t bytes = 0;
    for (size_t i = 0; i < c->n_streams; i++) {
        bytes += text_bytes(&c->streams[i]);
        zmq_msg_close(&c->streams[i]);
    }
    printf("{\"mode\":\"throughput\",\"bytes\":%zu,\"messages\":%zu,\"seconds\":%.6f,"
           "\"mb_per_s\":%.1f}\n",
           bytes, c->n_streams, seconds, (double)bytes / 1e6 / seconds);
    free(c->streams);
}

int main(int argc, char **argv)
{
    bool lat = argc == 5 && strcmp(argv[2], "latency") == 0;
    if (!lat && !(argc == 4 && strcmp(argv[2], "throughput") == 0))
        die("usage: bare_client CONNECTION_FILE latency N CODE | throughput CODE");
    size_t n = lat ? strtoul(argv[3], NULL, 10) : 1;
    if (n == 0 || n > 1000000)
        die("N is from 1 to 1000000");
    struct client c = {.zmq = must(zmq_ctx_new())};
    crypto_new_uuid(c.session);
    char *file = read_file(argv[1]), key[256];
    member(file, "key", key, sizeof(key));
    crypto_hmac_init(&c.key, key, strlen(key));
    c.shell = connect_socket(&c, file, "shell_port", ZMQ_DEALER);
    c.iopub = connect_socket(&c, file, "iopub_port", ZMQ_SUB);
    c.content = execute_content(argv[argc - 1]);
    await_kernel(&c);
    if (lat)
        latency(&c, n);
    else
        throughput(&c);
    free(c.content);
    free(file);
    zmq_close(c.shell);
    zmq_close(c.iopub);
    zmq_ctx_term(c.zmq);
    return 0;
}
