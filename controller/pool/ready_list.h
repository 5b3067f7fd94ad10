#pragma once
#include "controller/sandbox/sandbox.h"

/*
 * The sandboxes that are ready and nobody's, oldest first; borrowed. One that is removed
 * meanwhile is skipped when its turn comes; its end is told by ready_list_forget().
 */
struct ready;
struct ready_list {
    struct ready *first;
};

void ready_list_add(struct ready_list *l, struct sandbox *sb);
struct sandbox *ready_list_take(struct ready_list *l); /* NULL: none that is still warm */
void ready_list_forget(struct ready_list *l, const struct sandbox *sb); /* may be in none */
unsigned ready_list_count(const struct ready_list *l);
void ready_list_clear(struct ready_list *l);
