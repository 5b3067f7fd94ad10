/*
 * The yardstick of the benchmark: as little as a C program can do between a kernel's ZeroMQ sockets
 * and the clock. Blocking poll, no JSON tree, no check of what comes in; requests are signed,
 * because a kernel drops them otherwise.
 *
 *   bare_client CONNECTION_FILE latency N CODE
 *   bare_client CONNECTION_FILE first N CODE     the same, at once after the kernel's first answer
 *   bare_client CONNECTION_FILE throughput CODE
 *   bare_client CONNECTION_FILE live CODE        CODE prints time.monotonic_ns(), a line each time
 *
 * Each prints one line of JSON. An execution ends when both its reply and its `idle` are here.
 */
#include "lib/crypto/crypto.h"
#include "tests/bench/measure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

enum { FRAMES_MAX = 64, PATIENCE_MS = 120000, NUDGE_MS = 50, WARM_UP = 2 };

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
    double *stream_at_us;
    size_t n_streams, max_streams;
    bool keep_streams;
};

/* Connection file */

static char *read_file(const char *path)
{
    FILE *f = fopen(path, "re");
    if (!f)
        measure_die("cannot open the connection file");
    char *text = measure_must(calloc(1, 8192));
    if (fread(text, 1, 8191, f) == 0)
        measure_die("the connection file is empty");
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
        measure_die("the connection file lacks a member");
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
    void *s = measure_must(zmq_socket(c->zmq, type));
    int zero = 0, reconnect_ms = 2; /* by default ZeroMQ looks for a socket each 100 ms */
    zmq_setsockopt(s, ZMQ_RECONNECT_IVL, &reconnect_ms, sizeof(reconnect_ms));
    zmq_setsockopt(s, ZMQ_RCVHWM, &zero, sizeof(zero));
    zmq_setsockopt(s, ZMQ_LINGER, &zero, sizeof(zero));
    if (type == ZMQ_SUB)
        zmq_setsockopt(s, ZMQ_SUBSCRIBE, "", 0);
    if (zmq_connect(s, url) < 0)
        measure_die("cannot connect");
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
            measure_die("more frames than expected");
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
        c->streams = measure_must(realloc(c->streams, c->max_streams * sizeof(zmq_msg_t)));
        c->stream_at_us = measure_must(realloc(c->stream_at_us, c->max_streams * sizeof(double)));
    }
    c->stream_at_us[c->n_streams] = measure_now_us();
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
            measure_die("no answer for two minutes");
}

/* Until the subscription is known to work: its request's idle has come. */
static void await_kernel(struct client *c)
{
    double deadline = measure_now_us() + PATIENCE_MS * 1e3;
    while (!c->replied || !c->idle) {
        if (measure_now_us() > deadline)
            measure_die("the kernel does not answer");
        send_request(c, "kernel_info_request", "{}");
        while (!(c->replied && c->idle) && pump(c, NUDGE_MS))
            ;
    }
}

/* Until nothing comes any more: answers to other nudges. */
static void await_silence(struct client *c)
{
    while (pump(c, NUDGE_MS))
        ;
}

/* Modes */

static void latency(struct client *c, size_t n, size_t warm_up)
{
    double *us = measure_must(calloc(n, sizeof(double)));
    for (size_t i = 0; i < n + warm_up; i++) {
        double t = measure_now_us();
        send_request(c, "execute_request", c->content);
        finish(c);
        if (i >= warm_up)
            us[i - warm_up] = measure_now_us() - t;
    }
    measure_print_latency(us, n);
    free(us);
}

static char *stream_text(zmq_msg_t *content, char *out)
{
    return measure_stream_text(zmq_msg_data(content), zmq_msg_size(content), out);
}

static void report_text(struct client *c, double seconds)
{
    size_t max = 1;
    for (size_t i = 0; i < c->n_streams; i++)
        max += zmq_msg_size(&c->streams[i]);
    char *text = measure_must(malloc(max)), *end = text;
    for (size_t i = 0; i < c->n_streams; i++)
        end = stream_text(&c->streams[i], end);
    printf("\"messages\":%zu,", c->n_streams);
    measure_print_text(text, (size_t)(end - text), seconds);
    free(text);
}

static void report_lags(struct client *c)
{
    double *lags = measure_must(calloc(c->n_streams + 1, sizeof(double)));
    size_t n = 0;
    for (size_t i = 0; i < c->n_streams; i++) {
        char *text = measure_must(calloc(zmq_msg_size(&c->streams[i]) + 1, 1));
        char *end = stream_text(&c->streams[i], text);
        n = measure_lags(text, end, c->stream_at_us[i], lags, n, c->n_streams);
        free(text);
    }
    measure_print_latency(lags, n);
    free(lags);
}

/* The text is looked at after the clock has stopped. */
static void output(struct client *c, bool live)
{
    c->keep_streams = true;
    double t = measure_now_us();
    send_request(c, "execute_request", c->content);
    finish(c);
    double seconds = (measure_now_us() - t) / 1e6;
    if (live)
        report_lags(c);
    else
        report_text(c, seconds);
    for (size_t i = 0; i < c->n_streams; i++)
        zmq_msg_close(&c->streams[i]);
    free(c->streams);
    free(c->stream_at_us);
}

int main(int argc, char **argv)
{
    const char *mode = argc > 2 ? argv[2] : "";
    bool first = argc == 5 && strcmp(mode, "first") == 0;
    bool lat = argc == 5 && (first || strcmp(mode, "latency") == 0);
    bool live = argc == 4 && strcmp(mode, "live") == 0;
    if (!lat && !live && !(argc == 4 && strcmp(mode, "throughput") == 0))
        measure_die("usage: CONNECTION_FILE latency|first N CODE | throughput CODE | live CODE");
    size_t n = lat ? strtoul(argv[3], NULL, 10) : 1;
    if (n == 0 || n > 1000000)
        measure_die("N is from 1 to 1000000");
    struct client c = {.zmq = measure_must(zmq_ctx_new())};
    crypto_new_uuid(c.session);
    char *file = read_file(argv[1]), key[256];
    member(file, "key", key, sizeof(key));
    crypto_hmac_init(&c.key, key, strlen(key));
    c.shell = connect_socket(&c, file, "shell_port", ZMQ_DEALER);
    c.iopub = connect_socket(&c, file, "iopub_port", ZMQ_SUB);
    c.content = measure_execute_content(argv[argc - 1]);
    await_kernel(&c);
    if (!first)
        await_silence(&c);
    printf("{\"mode\":\"%s\",", mode);
    if (lat)
        latency(&c, n, first ? 0 : WARM_UP);
    else
        output(&c, live);
    puts("}");
    free(c.content);
    free(file);
    zmq_close(c.shell);
    zmq_close(c.iopub);
    zmq_ctx_term(c.zmq);
    return 0;
}
