/*
 * Why: a port that is taken must be a sentence at once, and a socket file that a dead controller
 * left must be no obstacle. The socket listens before sandboxes are adopted: who connects early
 * waits in its queue instead of being refused.
 */
#include "controller/listen.h"

#include <errno.h>
#include <netdb.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/mem.h"
#include "lib/base/parse.h"

/* Nobody answers at this socket file: its owner is dead. */
static bool is_stale(const struct sockaddr_un *addr)
{
    struct stat st;
    _cleanup_(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0 || lstat(addr->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
        return false;
    return connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 && errno == ECONNREFUSED;
}

static int open_unix(struct listen_socket *ret, const char *path, struct err *err)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    _cleanup_(freep) char *cwd = path[0] == '/' ? NULL : realpath(".", NULL);
    _cleanup_(freep) char *full = cwd ? mem_printf("%s/%s", cwd, path) : mem_dup_str(path);

    if (!path[0] || strlen(full) >= sizeof(addr.sun_path))
        return err_set(err, ERR_INVALID,
                       "--listen unix:%s: the path of a socket is 1 to %zu bytes long", path,
                       sizeof(addr.sun_path) - 1);
    memcpy(addr.sun_path, full, strlen(full) + 1);
    _cleanup_(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_errno(err, "cannot make a socket");
    int r = bind(fd, (struct sockaddr *)&addr, sizeof(addr));
    if (r < 0 && errno == EADDRINUSE && is_stale(&addr)) {
        unlink(full);
        r = bind(fd, (struct sockaddr *)&addr, sizeof(addr));
    }
    if (r < 0 && errno == EADDRINUSE)
        return err_set(err, ERR_CONFLICT,
                       "%s exists and is in use; choose another with --listen unix:PATH", full);
    if (r < 0 || listen(fd, SOMAXCONN) < 0)
        return err_errno(err, "cannot listen on %s", full);
    ret->url = mem_printf("http+unix://%s", full);
    ret->unix_path = TAKE_PTR(full);
    ret->fd = TAKE_FD(fd);
    return 0;
}

static int bind_one(const struct addrinfo *ai)
{
    static const int on = 1;
    int fd = socket(ai->ai_family, ai->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, ai->ai_protocol);

    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 && listen(fd, SOMAXCONN) == 0)
        return fd;
    int e = errno;
    close(fd);
    errno = e;
    return -1;
}

static unsigned bound_port(int fd)
{
    struct sockaddr_storage addr = {0};
    socklen_t len = sizeof(addr);
    char port[NI_MAXSERV] = "0";

    if (getsockname(fd, (struct sockaddr *)&addr, &len) < 0 ||
        getnameinfo((struct sockaddr *)&addr, len, NULL, 0, port, sizeof(port), NI_NUMERICSERV) !=
            0)
        return 0;
    return (unsigned)strtoul(port, NULL, 10);
}

static int open_tcp(struct listen_socket *ret, const char *host, const char *port, struct err *err)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    int fd = -1, e = 0;

    int r = getaddrinfo(host, port, &hints, &list);
    if (r != 0)
        return err_set(err, ERR_INVALID, "--listen: the host \"%s\" is not known: %s", host,
                       gai_strerror(r));
    for (const struct addrinfo *ai = list; ai && fd < 0; ai = ai->ai_next) {
        fd = bind_one(ai);
        e = errno;
    }
    freeaddrinfo(list);
    errno = e;
    if (fd < 0 && errno == EADDRINUSE)
        return err_set(err, ERR_CONFLICT,
                       "port %s of %s is taken by another program; choose another with --listen "
                       "(port 0 takes a free one)",
                       port, host);
    if (fd < 0)
        return err_errno(err, "cannot listen on %s port %s", host, port);
    ret->fd = fd;
    ret->host = mem_dup_str(host);
    ret->url =
        mem_printf(strchr(host, ':') ? "http://[%s]:%u/" : "http://%s:%u/", host, bound_port(fd));
    return 0;
}

int listen_socket_open(struct listen_socket *ret, const char *text, struct err *err)
{
    uint64_t port;

    *ret = (struct listen_socket){.fd = -1};
    if (strncmp(text, "unix:", 5) == 0)
        return open_unix(ret, text + 5, err);
    const char *colon = strrchr(text, ':');
    if (!colon || colon == text || parse_u64(colon + 1, 0, 65535, &port, NULL) < 0)
        return err_set(err, ERR_INVALID,
                       "--listen %s: it must be HOST:PORT (port 0 to 65535) or unix:PATH", text);
    size_t len = (size_t)(colon - text);
    if (text[0] == '[' && text[len - 1] == ']') {
        text++;
        len -= 2;
    } else if (memchr(text, ':', len)) {
        return err_set(err, ERR_INVALID, "--listen %s: write an IPv6 address as [ADDRESS]:PORT",
                       text);
    }
    _cleanup_(freep) char *host = mem_dup_n(text, len);
    return open_tcp(ret, host, colon + 1, err);
}

void listen_socket_close(struct listen_socket *s)
{
    if (s->fd >= 0)
        close(s->fd);
    if (s->unix_path)
        unlink(s->unix_path);
    free(s->unix_path);
    free(s->url);
    free(s->host);
    *s = (struct listen_socket){.fd = -1};
}
