#pragma once
#include "kernel-runner/kernel/kernel.h"

/*
 * Who hears of a kernel, in the order in which they began to listen. A listener may leave, or
 * another one, while they are told, also while telling one of them leads to telling again.
 */
struct kernel_listeners {
    struct kernel_listener *first;
    struct kernel_listener *next; /* where telling goes on */
};

void kernel_listeners_add(struct kernel_listeners *ls, struct kernel_listener *l);
void kernel_listeners_remove(struct kernel_listeners *ls, struct kernel_listener *l);
void kernel_tell_msg(struct kernel_listeners *ls, const struct jp_msg *msg);
void kernel_tell_ready(struct kernel_listeners *ls);
void kernel_tell_down(struct kernel_listeners *ls, const struct kernel_death *death);
void kernel_tell_probed(struct kernel_listeners *ls);
void kernel_tell_gone(struct kernel_listeners *ls);
