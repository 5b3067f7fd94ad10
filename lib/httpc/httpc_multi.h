#pragma once
/* A multi handle of libcurl on the loop: its sockets and its one timer. For this folder. */
#include "lib/loop/loop.h"

#include <curl/curl.h>

struct httpc_sock;
/* Something is due: to be passed to curl_multi_socket_action(). Never from inside libcurl. */
typedef void (*httpc_multi_run_fn)(void *ctx, curl_socket_t fd, int mask);

struct httpc_multi {
    CURLM *curl;
    struct loop *loop;
    struct loop_timer *timer;
    struct httpc_sock *socks;
    httpc_multi_run_fn run;
    void *ctx;
};

/* libcurl keeps the address: `m` must not move. */
void httpc_multi_init(struct httpc_multi *m, struct loop *loop, httpc_multi_run_fn run, void *ctx);
void httpc_multi_done(struct httpc_multi *m);
