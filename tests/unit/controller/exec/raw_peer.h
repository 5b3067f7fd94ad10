#pragma once
/* A server that writes raw bytes: a thread with blocking sockets that runs one scenario. */
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct peer {
    char path[96];
    int listen_fd;
    pthread_t thread;
    void (*scenario)(struct peer *p);
    atomic_uint accepted;
    char request[4][16384]; /* heads, with the bytes that came along */
    unsigned n_requests;
    size_t body_len; /* of peer_drain() */
    int gate[2];     /* peer_wait() waits for a byte of the test */
};

static inline int peer_accept(struct peer *p)
{
    int fd = accept4(p->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
        p->accepted++;
    return fd;
}

static inline void say(int fd, const char *text, size_t len)
{
    while (len) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        text += n;
        len -= (size_t)n;
    }
}

static inline void says(int fd, const char *text)
{
    say(fd, text, strlen(text));
}

static inline void chunk(int fd, const char *text)
{
    char head[32];
    snprintf(head, sizeof(head), "%zx\r\n", strlen(text));
    says(fd, head);
    says(fd, text);
    says(fd, "\r\n");
}

/* Reads one head; the body, if it came along, stays behind it. False: the client left. */
static inline bool hear(struct peer *p, int fd)
{
    size_t len = 0;
    char *to = p->request[p->n_requests % 4];
    while (len < sizeof(p->request[0]) - 1) {
        ssize_t n = recv(fd, to + len, sizeof(p->request[0]) - 1 - len, 0);
        if (n <= 0)
            return false;
        len += (size_t)n;
        to[len] = '\0';
        char *end = strstr(to, "\r\n\r\n");
        if (end) {
            p->body_len = len - (size_t)(end + 4 - to);
            p->n_requests++;
            return true;
        }
    }
    return false;
}

/* Reads the rest of a body of `want` bytes. */
static inline void peer_drain(struct peer *p, int fd, size_t want)
{
    static char block[65536];
    while (p->body_len < want) {
        ssize_t n = recv(fd, block, sizeof(block), 0);
        if (n <= 0)
            return;
        p->body_len += (size_t)n;
    }
}

static inline void wait_closed(int fd)
{
    struct pollfd pf = {.fd = fd, .events = POLLRDHUP};
    poll(&pf, 1, 10000);
}

static inline void peer_wait(struct peer *p)
{
    char c;
    while (read(p->gate[0], &c, 1) < 0)
        ;
}

static inline void peer_go(struct peer *p)
{
    if (write(p->gate[1], "", 1) != 1)
        abort();
}

static inline void *peer_main(void *ctx)
{
    struct peer *p = ctx;
    p->scenario(p);
    return NULL;
}

static inline int peer_listen(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 64) < 0)
        abort();
    return fd;
}

static inline void peer_start_on(struct peer *p, int listen_fd, void (*scenario)(struct peer *p))
{
    p->listen_fd = listen_fd;
    p->scenario = scenario;
    if (pipe(p->gate) < 0 || pthread_create(&p->thread, NULL, peer_main, p) != 0)
        abort();
}

static inline void peer_start(struct peer *p, void (*scenario)(struct peer *p))
{
    peer_start_on(p, peer_listen(p->path), scenario);
}

static inline void peer_join(struct peer *p)
{
    if (!p->scenario)
        return;
    shutdown(p->listen_fd, SHUT_RDWR);
    peer_go(p);
    pthread_join(p->thread, NULL);
    p->scenario = NULL;
    close(p->listen_fd);
    close(p->gate[0]);
    close(p->gate[1]);
    unlink(p->path);
}
