#pragma once
#include "lib/base/mem_budget.h"

/* What callers make the runner hold, beside the event logs: the accounts of its one budget. */
enum held_account {
    HELD_CODE,     /* of executions that are not over */
    HELD_REPLIES,  /* user_expressions and errors, until they are in the log */
    HELD_BODIES,   /* of requests, while they come and are read */
    HELD_CONTENTS, /* what Jupyter's contents API saves and reads */
    HELD_ANSWERS,  /* that are made and not yet sent */
    HELD_MAX
};
#define HELD_NAMES "code", "replies", "bodies", "contents", "answers"
