/*
 * As little of RFC 6455 as a client needs. All that comes lies in one buffer, in order: a message
 * in fragments is closed up over its frames' heads, and nothing is moved otherwise.
 */
#include "tests/bench/ws_wire.h"

#include "tests/bench/measure.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { PATIENCE_S = 120, HEAD_MAX = 14, READ_AT_ONCE = 1 << 20 };
enum { CONTINUATION = 0, TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10, FIN = 0x80 };

static const unsigned char mask[4] = {0x37, 0xfa, 0x21, 0x3d};

struct wire {
    int fd;
    char *in;
    size_t len, cap;
    size_t pos;         /* the next frame's head */
    size_t at, at_len;  /* the message so far */
    bool open, binary;  /* fragments of a message have come */
    unsigned char *out; /* scratch for one frame */
    size_t out_cap;
};

/* Requests */

static char *request_text(const char *address, const char *line, const char *more, const char *body)
{
    const char *token = getenv("BENCH_TOKEN");
    char *out = NULL;
    bool local = strncmp(address, "unix:", 5) == 0;
    if (asprintf(&out, "%s HTTP/1.1\r\nHost: %s\r\nAuthorization: token %s\r\n%s\r\n%s", line,
                 local ? "localhost" : address, token ? token : "", more, body) < 0)
        measure_die("out of memory");
    return out;
}

static void send_all(int fd, const void *data, size_t len)
{
    for (const char *p = data; len > 0;) {
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR)
            measure_die("the connection broke while sending");
        p += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
}

static int dial(const char *address)
{
    struct timeval patience = {.tv_sec = PATIENCE_S};
    int fd = measure_connect(address);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    return fd;
}

int wire_ask(const char *address, const char *request_line, const char *body, char **ret_body)
{
    char more[128];
    snprintf(more, sizeof(more),
             "Connection: close\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n",
             strlen(body));
    char *text = request_text(address, request_line, more, body);
    int fd = dial(address);
    send_all(fd, text, strlen(text));
    free(text);
    size_t cap = 1 << 20, len = 0;
    char *in = measure_must(malloc(cap));
    for (ssize_t n = 1; n > 0 && len<cap - 1; len += n> 0 ? (size_t)n : 0)
        n = recv(fd, in + len, cap - 1 - len, 0);
    in[len] = '\0';
    close(fd);
    char *end = strstr(in, "\r\n\r\n");
    if (strncmp(in, "HTTP/1.1 ", 9) != 0 || !end)
        measure_die("an answer is none");
    int status = (int)strtoul(in + 9, NULL, 10);
    *ret_body = measure_must(strdup(end + 4));
    free(in);
    return status;
}

/* Bytes */

static void more(struct wire *w)
{
    size_t room = w->cap - w->len;
    if (room == 0)
        measure_die("more came than there is room for");
    ssize_t n = recv(w->fd, w->in + w->len, room < READ_AT_ONCE ? room : READ_AT_ONCE, 0);
    if (n < 0 && errno == EINTR)
        return;
    if (n <= 0)
        measure_die("the server closed the connection, or was silent for two minutes");
    w->len += (size_t)n;
}

/* Until the head of the answer is here; what lies behind it are frames. */
static void shake_hands(struct wire *w, const char *protocol)
{
    char *end;
    while (!(end = memmem(w->in, w->len, "\r\n\r\n", 4)))
        more(w);
    *end = '\0';
    if (strncmp(w->in, "HTTP/1.1 101", 12) != 0) {
        fprintf(stderr, "%.300s\n", w->in);
        measure_die("the server does not upgrade");
    }
    bool has = strcasestr(w->in, "\r\nsec-websocket-protocol:") != NULL;
    if (has != (protocol != NULL) || (protocol && !strstr(w->in, protocol)))
        measure_die("the server speaks another protocol");
    w->pos = (size_t)(end - w->in) + 4;
}

struct wire *wire_open(const char *address, const char *path, const char *protocol, size_t cap)
{
    struct wire *w = measure_must(calloc(1, sizeof(*w)));
    char line[1024], more_lines[512];
    w->fd = dial(address);
    w->cap = cap;
    w->in = measure_must(malloc(cap));
    memset(w->in, 1, cap); /* the kernel gives the pages now, not while the clock runs */
    snprintf(line, sizeof(line), "GET %s", path);
    snprintf(more_lines, sizeof(more_lines),
             "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
             "Sec-WebSocket-Key: YSBjbGllbnQgaW4gQyE+Cg==\r\n%s%s%s",
             protocol ? "Sec-WebSocket-Protocol: " : "", protocol ? protocol : "",
             protocol ? "\r\n" : "");
    char *text = request_text(address, line, more_lines, "");
    send_all(w->fd, text, strlen(text));
    free(text);
    shake_hands(w, protocol);
    return w;
}

void wire_close(struct wire *w)
{
    close(w->fd);
    free(w->in);
    free(w->out);
    free(w);
}

int wire_fd(const struct wire *w)
{
    return w->fd;
}

/* Frames */

static void send_frame(struct wire *w, int opcode, const void *data, size_t len)
{
    if (len + HEAD_MAX > w->out_cap) {
        w->out_cap = len + HEAD_MAX;
        w->out = measure_must(realloc(w->out, w->out_cap));
    }
    unsigned char *p = w->out;
    *p++ = (unsigned char)(FIN | opcode);
    int bytes = len < 126 ? 0 : len < 65536 ? 2 : 8;
    *p++ = (unsigned char)(0x80 | (bytes == 0 ? (int)len : bytes == 2 ? 126 : 127));
    for (int i = bytes - 1; i >= 0; i--)
        *p++ = (unsigned char)((uint64_t)len >> (8 * i));
    p = mempcpy(p, mask, 4);
    const unsigned char *from = data;
    for (size_t i = 0; i < len; i++)
        *p++ = from[i] ^ mask[i & 3];
    send_all(w->fd, w->out, (size_t)(p - w->out));
}

void wire_send(struct wire *w, const void *data, size_t len, bool binary)
{
    send_frame(w, binary ? BINARY : TEXT, data, len);
}

struct frame {
    int opcode;
    bool fin;
    size_t head, len;
};

/* False: not all of it is here. */
static bool frame_here(const struct wire *w, struct frame *f)
{
    const unsigned char *p = (const unsigned char *)w->in + w->pos;
    size_t here = w->len - w->pos;
    if (here < 2)
        return false;
    f->opcode = p[0] & 0xf;
    f->fin = p[0] & FIN;
    size_t bytes = (p[1] & 0x7f) == 126 ? 2 : (p[1] & 0x7f) == 127 ? 8 : 0;
    f->head = 2 + bytes;
    if (here < f->head)
        return false;
    f->len = bytes ? 0 : p[1];
    for (size_t i = 0; i < bytes; i++)
        f->len = f->len << 8 | p[2 + i];
    return here - f->head >= f->len;
}

/* True when it ended a message. */
static bool take_frame(struct wire *w, const struct frame *f)
{
    char *data = w->in + w->pos + f->head;
    w->pos += f->head + f->len;
    if (f->opcode == PING)
        send_frame(w, PONG, data, f->len);
    if (f->opcode == CLOSE)
        measure_die("the server sent a close frame");
    if (f->opcode >= CLOSE)
        return false;
    if (!w->open) {
        w->at = (size_t)(data - w->in);
        w->at_len = 0;
        w->binary = f->opcode == BINARY;
    } else {
        memmove(w->in + w->at + w->at_len, data, f->len);
    }
    w->at_len += f->len;
    w->open = !f->fin;
    return f->fin;
}

void wire_next(struct wire *w, struct wire_msg *ret)
{
    struct frame f;
    for (;;) {
        while (!frame_here(w, &f))
            more(w);
        if (!take_frame(w, &f))
            continue;
        *ret = (struct wire_msg){w->in + w->at, w->at_len, w->binary};
        return;
    }
}

void wire_idle(struct wire *w)
{
    struct frame f;
    more(w);
    while (frame_here(w, &f))
        take_frame(w, &f);
    wire_forget(w);
}

void wire_forget(struct wire *w)
{
    if (w->open)
        return;
    memmove(w->in, w->in + w->pos, w->len - w->pos);
    w->len -= w->pos;
    w->pos = 0;
}
