/* Heads of frames (RFC 6455 5.2), and nothing of what is in them. */
#include "lib/ws/ws_border.h"

#include <string.h>

#include "lib/base/macros.h"

#define OP_CLOSE 8

static unsigned head_size(unsigned char second)
{
    unsigned len = second & 0x7f;
    return 2U + (len == 127 ? 8U : len == 126 ? 2U : 0U) + (second & 0x80 ? 4U : 0U);
}

static uint64_t payload_size(const unsigned char *head)
{
    unsigned len = head[1] & 0x7f;
    uint64_t n = len;
    if (len >= 126) {
        n = 0;
        for (unsigned i = 0; i < (len == 127 ? 8U : 2U); i++)
            n = n << 8 | head[2 + i];
    }
    return n;
}

void ws_border_pass(struct ws_border *b, const char *p, size_t len)
{
    while (len > 0) {
        if (b->left > 0) {
            size_t n = (size_t)MIN((uint64_t)len, b->left);
            b->left -= n;
            p += n;
            len -= n;
            continue;
        }
        b->head[b->n_head++] = (unsigned char)*p++;
        len--;
        if (b->n_head < 2 || b->n_head < head_size(b->head[1]))
            continue;
        b->left = payload_size(b->head);
        b->closed = b->closed || (b->head[0] & 0x0f) == OP_CLOSE;
        b->n_head = 0;
    }
}

bool ws_border_is_free(const struct ws_border *b)
{
    return b->left == 0 && b->n_head == 0 && !b->closed;
}

size_t ws_border_close(char out[WS_BORDER_CLOSE_MAX], unsigned code, const char *reason)
{
    size_t n = MIN(strlen(reason), (size_t)WS_BORDER_CLOSE_MAX - 4);
    out[0] = (char)(0x80 | OP_CLOSE);
    out[1] = (char)(2 + n);
    out[2] = (char)(code >> 8);
    out[3] = (char)(code & 0xff);
    memcpy(out + 4, reason, n);
    return n + 4;
}
