#pragma once
#include "kernel-runner/attach/hub.h"
#include "kernel-runner/attach/hub_requests.h"
#include "kernel-runner/attach/hub_say.h"

#define HUB_WATCH_MS 1000 /* how often a silent kernel is asked for a sign */
#define HUB_RECENT   1024 /* requests that are known when they come again */

/* Between hub.c (sessions and the ring), hub_send.c (from clients) and hub_hear.c (the kernel). */
struct hub_session {
    struct hub *hub;
    uint32_t number;     /* never 0 */
    char id[JP_ID_SIZE]; /* "": cannot come back */
    bool connected;
    bool all;  /* it speaks for all of a user's kernels */
    bool full; /* it was told HUB_FULL */
    struct hub_front front;
    uint64_t next;   /* the entry to be sent next */
    uint64_t sent;   /* the last one that was ever sent to it */
    uint64_t missed; /* entries that were gone when it came back: not yet said */
    uint64_t acked;  /* its client is known to have everything up to here */
    bool acks;       /* it does acknowledge */
    int64_t detached_ms;
    struct hub_session *prev, *next_session;
};

struct hub {
    struct hub_cfg cfg;
    struct loop *loop;
    struct kernel_listener listener;
    struct hub_ring *ring;
    struct hub_requests requests;
    struct hub_session *sessions;
    unsigned n_connected, n_detached, n_full;
    uint32_t last_number;
    struct loop_timer *expiry;  /* of detached sessions */
    struct loop_timer *watch;   /* while something is unanswered: does the kernel still owe it? */
    struct loop_defer *trimmer; /* after acknowledgements */
    struct loop_post room;      /* a request is over: others may go on */
    uint64_t probe_order;
    uint64_t recent[HUB_RECENT]; /* ring of digests */
    size_t n_recent;
    bool ending; /* a client asked for the end of the kernel */
    bool ending_all;
    bool gone;
};

/* hub.c: puts a message into the ring and wakes those it is for. v1 is taken over. */
void hub_put(struct hub *h, uint32_t to, enum hub_weight weight, char *v1_take, size_t len);

/* hub_send.c */
void hub_send_held(struct hub *h); /* the kernel takes requests now */
/* An error, the reply and idle for a request that gets none from the kernel; removes it. */
void hub_fail(struct hub *h, struct hub_request *r, const char *ename, const char *evalue);
/* It is over, in whatever way. */
void hub_request_over(struct hub *h, struct hub_request *r);

/* hub_hear.c */
void hub_listen(struct hub *h);
