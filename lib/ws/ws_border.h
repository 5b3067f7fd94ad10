#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Where the frames of one direction of a WebSocket begin and end, for who passes its bytes on
 * unread and may have to end it. Pure; costs a few instructions a frame, none a byte.
 */
struct ws_border {
    uint64_t left; /* bytes of the frame under way still to come */
    unsigned char head[14];
    unsigned n_head; /* of a head that is not whole */
    bool closed;     /* a close frame has begun: nothing may follow */
};

/* The next bytes of the direction; *b zeroed before the first. */
void ws_border_pass(struct ws_border *b, const char *p, size_t len);
/* No frame is under way, and none was the last: one may be put here. */
bool ws_border_is_free(const struct ws_border *b);

#define WS_BORDER_CLOSE_MAX 127
/* A close frame as servers send it, of a reason of at most 123 bytes; returns its length. */
size_t ws_border_close(char out[WS_BORDER_CLOSE_MAX], unsigned code, const char *reason);
