#pragma once
/*
 * A stand-in for ipykernel in unit tests of the runner: a test program becomes it when it is
 * started as the interpreter of a kernel, with the command line that the runner gives one. Real
 * sockets (jp_server.h), no Python. Every request gets busy, its reply and idle; the code of an
 * execute_request, behind its execute_input, says what else happens:
 *
 *   "out TEXT"    a stream message
 *   "hang"        no answer, and nothing else is read, until SIGINT: then an error
 *   "fail"        an error
 *   "exit N"      the process ends, its request unanswered
 *   "kill"        so does SIGKILL
 *
 * CAESARION_STUB of its environment: "die" (says so and ends with status 3 at once), "mute" (never
 * answers). A shutdown_request is answered, then it exits with 0, unless it is "deaf".
 */
#include "lib/base/clk.h"
#include "lib/base/mem.h"
#include "lib/json/jsonx.h"
#include "lib/jupyter/jp_server.h"
#include "lib/loop/loop.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct kernel_stub {
    struct loop *loop;
    struct jp_server *server;
    const char *how;
    long long count;
    char *hanging; /* the header of the request that is not answered */
    struct stub_asker {
        enum jp_channel channel;
        char idents[JP_IDENTS_MAX][JP_IDENT_MAX + 1];
        size_t n_idents;
    } asker;
};

static inline void stub_send(struct kernel_stub *s, enum jp_channel channel, const char *type,
                             struct slice parent, const char *content)
{
    char id[ID_UUID_SIZE];
    struct slice idents[JP_IDENTS_MAX], json[JP_JSON_FRAMES];
    struct buf header;
    crypto_new_uuid(id);
    buf_init(&header, JP_HEADER_MAX);
    jp_wire_header(&header, id, "stub-session", type, clk_wall_us());
    for (size_t i = 0; i < s->asker.n_idents; i++)
        idents[i] = slice_str(s->asker.idents[i]);
    json[JP_HEADER] = buf_slice(&header);
    json[JP_PARENT] = parent;
    json[JP_METADATA] = slice_str("{}");
    json[JP_CONTENT] = slice_str(content);
    const struct jp_outgoing out = {.json = json};
    if (channel == JP_IOPUB)
        jp_server_publish(s->server, slice_str("kernel.stub"), &out, /* lossy= */ true);
    else
        jp_server_reply(s->server, channel, idents, s->asker.n_idents, &out);
    buf_done(&header);
}

static inline void stub_status(struct kernel_stub *s, const char *state, struct slice parent)
{
    char content[64];
    snprintf(content, sizeof(content), "{\"execution_state\":\"%s\"}", state);
    stub_send(s, JP_IOPUB, "status", parent, content);
}

static inline void stub_reply(struct kernel_stub *s, const char *type, struct slice parent,
                              const char *content)
{
    char name[80];
    size_t stem = strlen(type) > 8 ? strlen(type) - strlen("_request") : 0;
    snprintf(name, sizeof(name), "%.*s_reply", (int)stem, type);
    stub_send(s, s->asker.channel, name, parent, content);
    stub_status(s, "idle", parent);
}

static inline void stub_execute(struct kernel_stub *s, const struct jp_msg *msg)
{
    char code[200] = "", content[400];
    jsonx_decode(jsonx_find(msg->content, "code"), code, sizeof(code));
    if (!slice_eq_str(jsonx_find(msg->content, "silent"), "true")) {
        snprintf(content, sizeof(content), "{\"code\":\"%s\",\"execution_count\":%lld}", code,
                 ++s->count);
        stub_send(s, JP_IOPUB, "execute_input", msg->header, content);
    }
    if (strncmp(code, "out ", 4) == 0) {
        snprintf(content, sizeof(content), "{\"name\":\"stdout\",\"text\":\"%s\"}", code + 4);
        stub_send(s, JP_IOPUB, "stream", msg->header, content);
    }
    if (strncmp(code, "exit ", 5) == 0)
        _exit(code[5] - '0');
    if (strcmp(code, "kill") == 0)
        kill(getpid(), SIGKILL);
    if (strcmp(code, "hang") == 0) {
        free(s->hanging);
        s->hanging = mem_dup_n(msg->header.ptr, msg->header.len);
        jp_server_hold(s->server, true); /* one after the other, as a kernel's shell has it */
        return;
    }
    bool fails = strcmp(code, "fail") == 0;
    snprintf(content, sizeof(content),
             "{\"status\":\"%s\",\"execution_count\":%lld,\"ename\":\"E\",\"evalue\":\"v\","
             "\"traceback\":[]}",
             fails ? "error" : "ok", s->count);
    stub_reply(s, "execute_request", msg->header, content);
}

static inline void stub_on_request(void *ctx, const struct jp_request *req)
{
    struct kernel_stub *s = ctx;
    const struct jp_msg *msg = &req->msg;
    if (strcmp(s->how, "mute") == 0)
        return;
    s->asker = (struct stub_asker){.channel = msg->channel, .n_idents = req->n_idents};
    for (size_t i = 0; i < req->n_idents; i++)
        memcpy(s->asker.idents[i], req->idents[i].ptr, MIN(req->idents[i].len, JP_IDENT_MAX));
    stub_status(s, "busy", msg->header);
    if (strcmp(msg->msg_type, "execute_request") == 0) {
        stub_execute(s, msg);
        return;
    }
    if (strcmp(msg->msg_type, "withdraw_request") != 0)
        stub_reply(s, msg->msg_type, msg->header, "{\"status\":\"ok\"}");
    if (strcmp(msg->msg_type, "shutdown_request") == 0 && strcmp(s->how, "deaf") != 0)
        loop_stop(s->loop);
}

static inline void stub_on_signal(void *ctx, const struct signalfd_siginfo *info)
{
    struct kernel_stub *s = ctx;
    _cleanup_(freep) char *hanging = TAKE_PTR(s->hanging);
    if (!hanging)
        return;
    jp_server_hold(s->server, false);
    stub_reply(s, "execute_request", slice_str(hanging),
               "{\"status\":\"error\",\"ename\":\"KeyboardInterrupt\",\"evalue\":\"\","
               "\"traceback\":[]}");
}

/* Returns when this program is a test; else it is the kernel, and ends with it. */
static inline void kernel_stub_main(int argc, char **argv)
{
    const char *conn_file = NULL;
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], "-f") == 0)
            conn_file = argv[i + 1];
    if (!conn_file)
        return;
    const char *how = getenv("CAESARION_STUB");
    struct kernel_stub s = {.how = how ? how : ""};
    static const int sigs[] = {SIGINT, 0};
    struct jp_context *context = NULL;
    struct loop_signals *signals = NULL;
    struct jp_conn conn = {0};
    struct err err = {0};
    if (strcmp(s.how, "die") == 0) {
        fputs("the stub dies\n", stderr);
        _exit(3);
    }
    loop_signals_block(sigs);
    struct jp_server_cfg cfg = {.conn = &conn, .on_request = stub_on_request, .ctx = &s};
    if (crypto_init(&err) < 0 || loop_new(&s.loop, &err) < 0 ||
        loop_signals_new(&signals, s.loop, sigs, stub_on_signal, &s, &err) < 0 ||
        jp_context_new(&context, s.loop, &err) < 0 ||
        jp_conn_file_read(&conn, conn_file, &err) < 0 ||
        jp_server_new(&s.server, context, &cfg, &err) < 0) {
        fprintf(stderr, "stub: %s\n", err.text);
        _exit(4);
    }
    loop_run(s.loop);
    jp_server_free(s.server);
    jp_context_free(context);
    _exit(0);
}

/* This program's own path, for kernel_cfg.python. */
static inline const char *kernel_stub_path(void)
{
    static char path[512];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
    path[n > 0 ? n : 0] = '\0';
    return path;
}
