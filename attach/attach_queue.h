#pragma once
#include "lib/base/buf.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * Messages on their way, in order: those behind the cursor still have to be sent, those before it
 * were sent and wait until the other side is known to have them.
 */
struct attach_queue;

struct attach_queue *attach_queue_new(size_t max_messages, size_t max_bytes);
struct attach_queue *attach_queue_free(struct attach_queue *q);
/* Takes the buffer's bytes; goes above the ceiling by this one message. */
void attach_queue_push(struct attach_queue *q, struct buf *take);
/* At or above a ceiling: ask before pushing. */
bool attach_queue_full(const struct attach_queue *q);
size_t attach_queue_count(const struct attach_queue *q);

/* The message at the cursor; false: all were sent. */
bool attach_queue_next(const struct attach_queue *q, struct slice *ret);
/* It was sent: the cursor moves. Returns its number, which only grows. */
uint64_t attach_queue_sent(struct attach_queue *q);
/* All messages up to this number have arrived; what was not sent stays. */
void attach_queue_arrived(struct attach_queue *q, uint64_t number);
/* The other side did not want one of those that were sent: none of them is sent again. */
void attach_queue_give_up(struct attach_queue *q);
/* The connection broke: what has not arrived is sent again. */
void attach_queue_rewind(struct attach_queue *q);
