/* The machine of one question as a table. What its changes do stands in runner_ask.c. */
#include "controller/exec/runner_ask.h"
#include "lib/base/macros.h"

struct edge {
    enum runner_ask_state from;
    enum runner_ask_event event;
    enum runner_ask_state to;
};

static const struct edge edges[] = {
    {RUNNER_ASK_STARTING, RUNNER_ASK_EV_STREAM, RUNNER_ASK_STREAMING},
    {RUNNER_ASK_STARTING, RUNNER_ASK_EV_ANSWER, RUNNER_ASK_HOLDING},
    {RUNNER_ASK_STARTING, RUNNER_ASK_EV_BROKE, RUNNER_ASK_BROKEN},
    {RUNNER_ASK_STARTING, RUNNER_ASK_EV_GONE, RUNNER_ASK_ENDING},
    {RUNNER_ASK_STARTING, RUNNER_ASK_EV_FAILED, RUNNER_ASK_OVER},
    {RUNNER_ASK_HOLDING, RUNNER_ASK_EV_LONG, RUNNER_ASK_PASSING},
    {RUNNER_ASK_HOLDING, RUNNER_ASK_EV_END, RUNNER_ASK_OVER},
    {RUNNER_ASK_HOLDING, RUNNER_ASK_EV_BROKE, RUNNER_ASK_BROKEN},
    {RUNNER_ASK_HOLDING, RUNNER_ASK_EV_GONE, RUNNER_ASK_ENDING},
    {RUNNER_ASK_HOLDING, RUNNER_ASK_EV_FAILED, RUNNER_ASK_OVER},
    {RUNNER_ASK_PASSING, RUNNER_ASK_EV_END, RUNNER_ASK_OVER},
    {RUNNER_ASK_PASSING, RUNNER_ASK_EV_GONE, RUNNER_ASK_ENDING},
    {RUNNER_ASK_PASSING, RUNNER_ASK_EV_FAILED, RUNNER_ASK_OVER},
    {RUNNER_ASK_STREAMING, RUNNER_ASK_EV_END, RUNNER_ASK_OVER},
    {RUNNER_ASK_STREAMING, RUNNER_ASK_EV_BROKE, RUNNER_ASK_BROKEN},
    {RUNNER_ASK_STREAMING, RUNNER_ASK_EV_GONE, RUNNER_ASK_ENDING},
    {RUNNER_ASK_STREAMING, RUNNER_ASK_EV_FAILED, RUNNER_ASK_OVER},
    {RUNNER_ASK_BROKEN, RUNNER_ASK_EV_AGAIN, RUNNER_ASK_ATTACHING},
    {RUNNER_ASK_BROKEN, RUNNER_ASK_EV_GONE, RUNNER_ASK_OVER},
    {RUNNER_ASK_BROKEN, RUNNER_ASK_EV_FAILED, RUNNER_ASK_OVER},
    {RUNNER_ASK_ATTACHING, RUNNER_ASK_EV_STREAM, RUNNER_ASK_STREAMING},
    {RUNNER_ASK_ATTACHING, RUNNER_ASK_EV_ANSWER, RUNNER_ASK_HOLDING},
    {RUNNER_ASK_ATTACHING, RUNNER_ASK_EV_BROKE, RUNNER_ASK_BROKEN},
    {RUNNER_ASK_ATTACHING, RUNNER_ASK_EV_GONE, RUNNER_ASK_ENDING},
    {RUNNER_ASK_ATTACHING, RUNNER_ASK_EV_FAILED, RUNNER_ASK_OVER},
    {RUNNER_ASK_ENDING, RUNNER_ASK_EV_STREAM, RUNNER_ASK_ENDING},
    {RUNNER_ASK_ENDING, RUNNER_ASK_EV_ANSWER, RUNNER_ASK_ENDING},
    {RUNNER_ASK_ENDING, RUNNER_ASK_EV_LONG, RUNNER_ASK_ENDING},
    {RUNNER_ASK_ENDING, RUNNER_ASK_EV_END, RUNNER_ASK_OVER},
    {RUNNER_ASK_ENDING, RUNNER_ASK_EV_FAILED, RUNNER_ASK_OVER},
};

bool runner_ask_next_state(enum runner_ask_state from, enum runner_ask_event ev,
                           enum runner_ask_state *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(edges); i++) {
        if (edges[i].from == from && edges[i].event == ev) {
            *ret = edges[i].to;
            return true;
        }
    }
    return false;
}

const char *runner_ask_state_name(enum runner_ask_state s)
{
    static const char *const names[RUNNER_ASK_STATES] = {
        [RUNNER_ASK_STARTING] = "starting", [RUNNER_ASK_HOLDING] = "holding",
        [RUNNER_ASK_PASSING] = "passing",   [RUNNER_ASK_STREAMING] = "streaming",
        [RUNNER_ASK_BROKEN] = "broken",     [RUNNER_ASK_ATTACHING] = "attaching",
        [RUNNER_ASK_ENDING] = "ending",     [RUNNER_ASK_OVER] = "over",
    };
    return names[s];
}

const char *runner_ask_event_name(enum runner_ask_event e)
{
    static const char *const names[RUNNER_ASK_EVENTS] = {
        [RUNNER_ASK_EV_STREAM] = "stream", [RUNNER_ASK_EV_ANSWER] = "answer",
        [RUNNER_ASK_EV_LONG] = "long",     [RUNNER_ASK_EV_END] = "end",
        [RUNNER_ASK_EV_BROKE] = "broke",   [RUNNER_ASK_EV_AGAIN] = "again",
        [RUNNER_ASK_EV_GONE] = "gone",     [RUNNER_ASK_EV_FAILED] = "failed",
    };
    return names[e];
}
