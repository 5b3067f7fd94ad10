#pragma once
#include "lib/base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Bytes on their way from a runner to a reader. In an event stream it follows where events end and
 * the last `seq`, lets only whole events through, and can therefore go on with another source
 * where one broke, or end a broken stream properly. Pure: knows no connection.
 */
enum stream_format {
    STREAM_RAW,    /* any body: all bytes may go on at once */
    STREAM_NDJSON, /* one event a line; an empty line is a keep-alive */
    STREAM_SSE,    /* events end with an empty line; lines that begin with ":" are comments */
};

#define STREAM_TAIL_HOLD_MAX KIB(256) /* a longer event passes in parts */
#define STREAM_TAIL_MAX      (STREAM_TAIL_HOLD_MAX + KIB(64))
#define STREAM_TAIL_LOW      KIB(64) /* below this, ask for more */
#define STREAM_TAIL_HEAD     64

struct stream_tail {
    struct buf buf;
    enum stream_format format;
    size_t ready;      /* bytes at the front that may go on */
    size_t scanned;    /* bytes looked at */
    uint64_t last_seq; /* of the last whole event */
    bool done;         /* the event that ends the log has passed */
    /* the line being read, and the event it belongs to */
    char head[STREAM_TAIL_HEAD];
    size_t line_len;
    uint64_t event_seq;
    size_t event_len; /* bytes of it that came */
    size_t skip;      /* bytes to come that are out already */
    uint64_t taking;  /* seq of the event that is being taken in parts, or 0 */
    bool event_done;
    bool in_event; /* STREAM_SSE: a field came since the last empty line */
    bool in_parts; /* some of this event has been let through */
};

/* last_seq: what the reader already has (0: nothing). */
void stream_tail_init(struct stream_tail *t, enum stream_format format, uint64_t last_seq);
void stream_tail_done(struct stream_tail *t);
/* Takes all the bytes, or none when there is no room (then there are ready ones to pull). */
bool stream_tail_push(struct stream_tail *t, const char *p, size_t len);
/* Moves out at most max ready bytes. */
size_t stream_tail_pull(struct stream_tail *t, char *out, size_t max);
/* There is so little that more should be asked for. */
bool stream_tail_wants_more(const struct stream_tail *t);
/* The source ended well: what is held back may go on. */
void stream_tail_end(struct stream_tail *t);
/*
 * The source of an event stream broke, and another will follow that begins behind `last_seq`: half
 * an event is forgotten, or, where some of it is out already, its beginning when it comes again.
 */
void stream_tail_resume(struct stream_tail *t);
/*
 * The source of an event stream is gone for good and its `done` has not passed: in place of half an
 * event it gets one with the status sandbox_lost and the next seq.
 */
void stream_tail_lose(struct stream_tail *t, const char *evalue);

/* The other way to take what is ready, of STREAM_NDJSON: one event at a time. */
struct stream_event {
    uint64_t seq;
    struct slice bytes; /* borrowed until the next call; with the newline at the end */
    bool first, last;   /* one above STREAM_TAIL_HOLD_MAX comes in parts */
};
bool stream_tail_event(struct stream_tail *t, struct stream_event *ret); /* false: none is ready */
void stream_tail_took(struct stream_tail *t, const struct stream_event *e);
