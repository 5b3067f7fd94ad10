/* The list of a kernel's listeners, and the telling. */
#include "kernel-runner/kernel/kernel_listeners.h"

#include <utlist.h>

void kernel_listeners_add(struct kernel_listeners *ls, struct kernel_listener *l)
{
    DL_APPEND(ls->first, l);
}

void kernel_listeners_remove(struct kernel_listeners *ls, struct kernel_listener *l)
{
    if (ls->next == l)
        ls->next = l->next;
    DL_DELETE(ls->first, l);
}

/* Calls the event of each listener; `fn` picks and calls it. */
static void tell(struct kernel_listeners *ls,
                 void (*fn)(const struct kernel_events *e, const void *arg), const void *arg)
{
    struct kernel_listener *outer = ls->next;
    for (struct kernel_listener *l = ls->first; l; l = ls->next) {
        ls->next = l->next;
        fn(&l->events, arg);
    }
    ls->next = outer;
}

static void one_msg(const struct kernel_events *e, const void *msg)
{
    if (e->on_msg)
        e->on_msg(e->ctx, msg);
}

static void one_ready(const struct kernel_events *e, const void *arg)
{
    if (e->on_ready)
        e->on_ready(e->ctx);
}

static void one_down(const struct kernel_events *e, const void *death)
{
    if (e->on_down)
        e->on_down(e->ctx, death);
}

static void one_probed(const struct kernel_events *e, const void *arg)
{
    if (e->on_probed)
        e->on_probed(e->ctx);
}

static void one_gone(const struct kernel_events *e, const void *arg)
{
    if (e->on_gone)
        e->on_gone(e->ctx);
}

void kernel_tell_msg(struct kernel_listeners *ls, const struct jp_msg *msg)
{
    tell(ls, one_msg, msg);
}

void kernel_tell_ready(struct kernel_listeners *ls)
{
    tell(ls, one_ready, NULL);
}

void kernel_tell_down(struct kernel_listeners *ls, const struct kernel_death *death)
{
    tell(ls, one_down, death);
}

void kernel_tell_probed(struct kernel_listeners *ls)
{
    tell(ls, one_probed, NULL);
}

void kernel_tell_gone(struct kernel_listeners *ls)
{
    tell(ls, one_gone, NULL);
}
