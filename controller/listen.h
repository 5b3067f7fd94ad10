#pragma once
#include "lib/base/err.h"

#include <stdint.h>

/* The socket the controller serves on, listening, and how to say where it is. */
struct listen_socket {
    int fd;
    char *host;      /* of HOST:PORT, without brackets; NULL: a Unix socket */
    char *url;       /* "http://127.0.0.1:8080/" or "http+unix:///run/c.sock" */
    char *unix_path; /* to be removed at the end, or NULL */
};

/* "HOST:PORT", "[::1]:PORT", "unix:PATH". The error says what to do. */
int listen_socket_open(struct listen_socket *ret, const char *text, struct err *err);
/* Closes the fd (unless it was taken: -1) and removes the path. */
void listen_socket_close(struct listen_socket *s);
