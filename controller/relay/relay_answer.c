/* What the client of a relayed request has got, as a table. */
#include "controller/relay/relay_internal.h"
#include "lib/base/macros.h"

static const struct {
    enum relay_answer_state from;
    enum relay_answer_event event;
    enum relay_answer_state to;
} edges[] = {
    {RELAY_ANSWER_NONE, RELAY_ANSWER_EV_HEAD, RELAY_ANSWER_KNOWN},
    {RELAY_ANSWER_NONE, RELAY_ANSWER_EV_PROBLEM, RELAY_ANSWER_GIVEN},
    {RELAY_ANSWER_NONE, RELAY_ANSWER_EV_LEFT, RELAY_ANSWER_LEFT},
    {RELAY_ANSWER_KNOWN, RELAY_ANSWER_EV_FLOWS, RELAY_ANSWER_FLOWING},
    {RELAY_ANSWER_KNOWN, RELAY_ANSWER_EV_WHOLE, RELAY_ANSWER_GIVEN},
    {RELAY_ANSWER_KNOWN, RELAY_ANSWER_EV_PROBLEM, RELAY_ANSWER_GIVEN},
    {RELAY_ANSWER_KNOWN, RELAY_ANSWER_EV_LEFT, RELAY_ANSWER_LEFT},
    {RELAY_ANSWER_FLOWING, RELAY_ANSWER_EV_LEFT, RELAY_ANSWER_LEFT},
    {RELAY_ANSWER_GIVEN, RELAY_ANSWER_EV_LEFT, RELAY_ANSWER_LEFT},
    {RELAY_ANSWER_LEFT, RELAY_ANSWER_EV_LEFT, RELAY_ANSWER_LEFT},
};

bool relay_answer_next_state(enum relay_answer_state from, enum relay_answer_event ev,
                             enum relay_answer_state *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(edges); i++) {
        if (edges[i].from == from && edges[i].event == ev) {
            *ret = edges[i].to;
            return true;
        }
    }
    return false;
}

const char *relay_answer_state_name(enum relay_answer_state s)
{
    static const char *const names[RELAY_ANSWER_STATES] = {
        [RELAY_ANSWER_NONE] = "none",       [RELAY_ANSWER_KNOWN] = "known",
        [RELAY_ANSWER_FLOWING] = "flowing", [RELAY_ANSWER_GIVEN] = "given",
        [RELAY_ANSWER_LEFT] = "left",
    };
    return names[s];
}

const char *relay_answer_event_name(enum relay_answer_event e)
{
    static const char *const names[RELAY_ANSWER_EVENTS] = {
        [RELAY_ANSWER_EV_HEAD] = "head",   [RELAY_ANSWER_EV_FLOWS] = "flows",
        [RELAY_ANSWER_EV_WHOLE] = "whole", [RELAY_ANSWER_EV_PROBLEM] = "problem",
        [RELAY_ANSWER_EV_LEFT] = "left",
    };
    return names[e];
}
