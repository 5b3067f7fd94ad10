#pragma once
#include "kernel-runner/kernel/kernel.h"
#include "lib/jupyter/jp_ws.h"

/*
 * Messages that we make, in the kernel's name: their headers bear its process's session, or clients
 * take them for another kernel's (JupyterLab drops what it had queued). Each returns a message as
 * v1 has it, which the caller frees, and its length.
 */
struct hub_said {
    const struct kernel *kernel;
    enum jp_channel channel;
    const char *msg_type;
    struct slice parent;  /* empty: {} */
    struct slice content; /* JSON */
};
char *hub_say(const struct hub_said *said, size_t *ret_len);
char *hub_encode(const struct jp_ws_msg *msg, size_t *ret_len);
char *hub_say_status(const struct kernel *k, const char *state, struct slice parent,
                     size_t *ret_len);
/*
 * The pieces of a stream message whose text is too long for one: calls put with each, in order;
 * false when it is none. `max` bounds the text of one, in bytes of its JSON form.
 */
bool hub_split_stream(const struct jp_msg *msg, size_t max,
                      void (*put)(void *ctx, char *v1_take, size_t len), void *ctx);
