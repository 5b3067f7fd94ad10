#pragma once
#include <stdbool.h>
#include <stddef.h>

/*
 * A blocking WebSocket client that does what it must: masked frames out, whole messages in, pings
 * answered. Errors end the program, as in measure.h.
 */
struct wire;

struct wire_msg {
    char *data; /* not terminated */
    size_t len;
    bool binary;
};

/*
 * Opens PATH at ADDRESS (measure_connect()) with the token in BENCH_TOKEN. protocol: what to offer
 * and insist on, NULL for none. `cap` bytes are kept for what comes.
 */
struct wire *wire_open(const char *address, const char *path, const char *protocol, size_t cap);
void wire_close(struct wire *w);
int wire_fd(const struct wire *w);

/* Sends one message in one write. */
void wire_send(struct wire *w, const void *data, size_t len, bool binary);
/*
 * The next message. Its data stay where they are until wire_forget(), so that what came can be
 * looked at when the clock has stopped.
 */
void wire_next(struct wire *w, struct wire_msg *ret);
/* One read, and pings answered; for connections on which nothing else is expected. */
void wire_idle(struct wire *w);
void wire_forget(struct wire *w);

/* One request on a connection of its own: "METHOD PATH"; returns the status, *ret_body to free. */
int wire_ask(const char *address, const char *request_line, const char *body, char **ret_body);
