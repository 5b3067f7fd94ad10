/* Requests to the kernel, and the one question that may come too early. */
#include "kernel-runner/exec/exec_sending.h"

#include "lib/base/mem.h"

int exec_sending_request(const struct exec_kernel *k, const struct exec *e)
{
    _cleanup_(freep) char *content = exec_request_content(e->request);
    struct jp_send send = {.channel = JP_SHELL,
                           .msg_type = "execute_request",
                           .msg_id = e->id,
                           .content = slice_str(content)};
    return k->ops->send(k->ctx, &send, NULL);
}

int exec_sending_input(const struct exec_kernel *k, struct slice value, struct err *err)
{
    struct buf content;
    buf_init(&content, value.len * 6 + 64);
    buf_append_str(&content, "{\"value\":");
    jsonx_append_string(&content, value);
    buf_append_str(&content, "}");
    struct jp_send send = {
        .channel = JP_STDIN, .msg_type = "input_reply", .content = buf_slice(&content)};
    int r = k->ops->send(k->ctx, &send, err);
    buf_done(&content);
    return r;
}

void exec_asked_init(struct exec_asked *a)
{
    buf_init(&a->content, EXEC_ASKED_MAX_BYTES);
}

void exec_asked_done(struct exec_asked *a)
{
    buf_done(&a->content);
}

void exec_asked_keep(struct exec_asked *a, struct slice content)
{
    buf_clear(&a->content);
    if (content.len == 0 || buf_append_slice(&a->content, content) < 0)
        buf_append_str(&a->content, "{}"); /* too long a prompt is none */
}

bool exec_asked_is_kept(const struct exec_asked *a)
{
    return a->content.len > 0;
}

void exec_asked_drop(struct exec_asked *a)
{
    buf_clear(&a->content);
}
