#pragma once
#include "kernel-runner/exec/exec.h"

/*
 * Who is next on a kernel's main shell. Every request takes a ticket when it comes, of whichever
 * world: the API's executions wait here, those of notebook clients go straight to the kernel and
 * are known by what is asked of their keeper. An execution's turn has come when no request with a
 * lower ticket is unanswered. What came later may then be ahead of it in the shell.
 */
struct exec_foreign {
    size_t (*count)(void *ctx);    /* not over */
    uint64_t (*oldest)(void *ctx); /* the lowest ticket of those; UINT64_MAX: none */
    /* The ticket of the one that the shell is at, as far as it said: the oldest that was sent and
     * has no idle; UINT64_MAX: none. */
    uint64_t (*at)(void *ctx);
    uint64_t (*ticket_of)(void *ctx, const char *msg_id); /* 0: not of the main shell, or unknown */
    bool (*knows)(void *ctx, const char *msg_id);         /* of any shell, not over */
    void *ctx;
};

struct exec_order {
    struct exec_foreign foreign; /* all NULL: there are none */
    struct exec *waiting;        /* in order */
    unsigned n_waiting;
    uint64_t tickets;
};

uint64_t exec_order_ticket(struct exec_order *o);
bool exec_order_is_full(const struct exec_order *o); /* LIMIT_EXEC_QUEUE wait */
void exec_order_add(struct exec_order *o, struct exec *e);
void exec_order_remove(struct exec_order *o, struct exec *e);
/* The one whose turn it is; NULL: nobody waits, or something that came before is not over. */
struct exec *exec_order_next(const struct exec_order *o);
/* It is about to be sent: what has a ticket now is ahead of it. */
void exec_order_sent(const struct exec_order *o, struct exec *e);
bool exec_order_is_behind(const struct exec_order *o, const struct exec *e);

size_t exec_order_foreign(const struct exec_order *o); /* how many are not over */
uint64_t exec_order_at(const struct exec_order *o);
uint64_t exec_order_ticket_of(const struct exec_order *o, const char *msg_id);
bool exec_order_knows(const struct exec_order *o, const char *msg_id);
