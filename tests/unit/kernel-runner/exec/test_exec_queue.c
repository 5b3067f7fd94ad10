/*
 * Executions on a kernel that does what the test says: every state with every event, and the
 * stories that the rules of the header tell.
 */
#include "tests/unit/kernel-runner/exec/exec_fixture.h"

#include "lib/api/limits.h"

static int setup(void **state)
{
    *state = exec_fixture_new();
    return 0;
}

static int teardown(void **state)
{
    exec_fixture_free(*state);
    return 0;
}

static const char *state_of_current(const struct exec_fixture *f)
{
    const struct exec *e = f->queue->current;
    return e ? exec_state_detail(e->state) : "none";
}

/* ---- every state and event ---- */

static const char *const clocks[] = {"", "stopped", "grace", "deadline", "kill"};

/* How execution 2 comes into a state; 3 waits behind it. */
static const struct {
    const char *state, *script;
} reach[] = {
    {"queued", "push:1 push:2i"},
    {"behind", "push:1 push:2i ask-A ok:1 idle:1"},
    {"sent", "push:2i"},
    {"started", "push:2i busy:2"},
    {"running", "push:2i busy:2 input:2"},
    {"awaiting_input", "push:2i busy:2 input:2 ask:2"},
    {"interrupt_held", "push:2i interrupt"},
    {"interrupted", "push:2i input:2 interrupt"},
    {"end_held", "push:2i cancel:2"},
    {"ending", "push:2i input:2 cancel:2"},
    {"killing", "push:2i input:2 cancel:2 late"},
    {"withdrawn", "push:1 push:2i ask-A ok:1 idle:1 cancel:2"},
    {"done", "push:2i ok:2 idle:2"},
};

static const char *const events[] = {
    "busy:2",   "input:2",     "out:2",         "ask:2",
    "answer:2", "ok:2 idle:2", "idle:2 fail:2", "aborted:2 idle:2",
    "cancel:2", "interrupt",   "late",          "restart",
    "exit",     "down",        "died",          "dead",
    "A-over",   "close",
};
#define N_EVENTS ARRAY_LEN(events)

/* clang-format off */
/* In the order of `reach` and `events`: the state, the clock, what happened. */
static const char *const expected[ARRAY_LEN(reach)][N_EVENTS] = {
    {
        /* queued */
        "sent, grace", /* busy:2 */
        "sent, grace", /* input:2 */
        "sent, grace", /* out:2 */
        "sent, grace", /* ask:2 */
        "sent, grace: no_question", /* answer:2 */
        "sent, grace", /* ok:2 idle:2 */
        "sent, grace", /* idle:2 fail:2 */
        "sent, grace", /* aborted:2 idle:2 */
        "sent, grace: 2=cancelled", /* cancel:2 */
        "interrupt_held, deadline", /* interrupt */
        "started, deadline", /* late */
        "killing, stopped: 2=cancelled 3=cancelled KILL", /* restart */
        "killing, stopped: 2=cancelled 3=cancelled EXIT", /* exit */
        "none, stopped: 1=kernel_died", /* down */
        "none, stopped: 1=kernel_died 2=cancelled 3=cancelled", /* died */
        "none, stopped: 1=kernel_died 2=cancelled 3=cancelled", /* dead */
        "sent, grace", /* A-over */
        "none, stopped: 2=cancelled 3=cancelled 1=cancelled", /* close */
    },
    {
        /* behind */
        "started, deadline", /* busy:2 */
        "running, deadline", /* input:2 */
        "started, deadline", /* out:2 */
        "behind, stopped", /* ask:2 */
        "behind, stopped: no_question", /* answer:2 */
        "none, stopped: 2=ok", /* ok:2 idle:2 */
        "none, stopped: 2=error", /* idle:2 fail:2 */
        "behind, stopped: >2", /* aborted:2 idle:2 */
        "withdrawn, stopped: 2=cancelled withdraw:2", /* cancel:2 */
        "behind, stopped", /* interrupt */
        "behind, stopped", /* late */
        "killing, stopped: 2=cancelled withdraw:2 3=cancelled KILL", /* restart */
        "killing, stopped: 2=cancelled withdraw:2 3=cancelled EXIT", /* exit */
        "none, stopped: 2=cancelled", /* down */
        "none, stopped: 2=cancelled 3=cancelled", /* died */
        "none, stopped: 2=cancelled 3=cancelled", /* dead */
        "sent, grace", /* A-over */
        "none, stopped: 3=cancelled 2=cancelled", /* close */
    },
    {
        /* sent */
        "started, deadline", /* busy:2 */
        "running, deadline", /* input:2 */
        "started, deadline", /* out:2 */
        "sent, grace", /* ask:2 */
        "sent, grace: no_question", /* answer:2 */
        "sent, grace: 2=ok >3", /* ok:2 idle:2 */
        "sent, grace: 2=error >3", /* idle:2 fail:2 */
        "sent, grace: >2", /* aborted:2 idle:2 */
        "end_held, kill", /* cancel:2 */
        "interrupt_held, deadline", /* interrupt */
        "started, deadline", /* late */
        "killing, stopped: 3=cancelled KILL", /* restart */
        "killing, stopped: 3=cancelled EXIT", /* exit */
        "none, stopped: 2=kernel_died", /* down */
        "none, stopped: 2=kernel_died 3=cancelled", /* died */
        "none, stopped: 2=kernel_died 3=cancelled", /* dead */
        "sent, grace", /* A-over */
        "none, stopped: 3=cancelled 2=cancelled", /* close */
    },
    {
        /* started */
        "started, deadline", /* busy:2 */
        "running, deadline", /* input:2 */
        "started, deadline", /* out:2 */
        "started, deadline", /* ask:2 */
        "started, deadline: no_question", /* answer:2 */
        "sent, grace: 2=ok >3", /* ok:2 idle:2 */
        "sent, grace: 2=error >3", /* idle:2 fail:2 */
        "sent, grace: >2", /* aborted:2 idle:2 */
        "end_held, kill", /* cancel:2 */
        "interrupt_held, deadline", /* interrupt */
        "end_held, kill", /* late */
        "killing, stopped: 3=cancelled KILL", /* restart */
        "killing, stopped: 3=cancelled EXIT", /* exit */
        "none, stopped: 2=kernel_died", /* down */
        "none, stopped: 2=kernel_died 3=cancelled", /* died */
        "none, stopped: 2=kernel_died 3=cancelled", /* dead */
        "started, deadline", /* A-over */
        "none, stopped: 3=cancelled 2=cancelled", /* close */
    },
    {
        /* running */
        "running, deadline", /* busy:2 */
        "running, deadline", /* input:2 */
        "running, deadline", /* out:2 */
        "awaiting_input, deadline", /* ask:2 */
        "running, deadline: no_question", /* answer:2 */
        "sent, grace: 2=ok >3", /* ok:2 idle:2 */
        "sent, grace: 2=error >3", /* idle:2 fail:2 */
        "sent, grace: 2=aborted >3", /* aborted:2 idle:2 */
        "ending, kill: SIGINT", /* cancel:2 */
        "interrupted, deadline: SIGINT", /* interrupt */
        "ending, kill: SIGINT", /* late */
        "killing, stopped: 3=cancelled KILL", /* restart */
        "killing, stopped: 3=cancelled EXIT", /* exit */
        "none, stopped: 2=kernel_died", /* down */
        "none, stopped: 2=kernel_died 3=cancelled", /* died */
        "none, stopped: 2=kernel_died 3=cancelled", /* dead */
        "running, deadline", /* A-over */
        "none, stopped: 3=cancelled 2=cancelled", /* close */
    },
    {
        /* awaiting_input */
        "awaiting_input, deadline", /* busy:2 */
        "awaiting_input, deadline", /* input:2 */
        "awaiting_input, deadline", /* out:2 */
        "awaiting_input, deadline", /* ask:2 */
        "running, deadline: input_reply answered", /* answer:2 */
        "sent, grace: 2=ok >3", /* ok:2 idle:2 */
        "sent, grace: 2=error >3", /* idle:2 fail:2 */
        "sent, grace: 2=aborted >3", /* aborted:2 idle:2 */
        "ending, kill: SIGINT", /* cancel:2 */
        "interrupted, deadline: SIGINT", /* interrupt */
        "ending, kill: SIGINT", /* late */
        "killing, stopped: 3=cancelled KILL", /* restart */
        "killing, stopped: 3=cancelled EXIT", /* exit */
        "none, stopped: 2=kernel_died", /* down */
        "none, stopped: 2=kernel_died 3=cancelled", /* died */
        "none, stopped: 2=kernel_died 3=cancelled", /* dead */
        "awaiting_input, deadline", /* A-over */
        "none, stopped: 3=cancelled 2=cancelled", /* close */
    },
    {
        /* interrupt_held */
        "interrupt_held, deadline", /* busy:2 */
        "interrupted, deadline: SIGINT", /* input:2 */
        "interrupt_held, deadline", /* out:2 */
        "interrupt_held, deadline", /* ask:2 */
        "interrupt_held, deadline: no_question", /* answer:2 */
        "sent, grace: 2=interrupted >3", /* ok:2 idle:2 */
        "sent, grace: 2=interrupted >3", /* idle:2 fail:2 */
        "sent, grace: 2=interrupted >3", /* aborted:2 idle:2 */
        "end_held, kill", /* cancel:2 */
        "interrupt_held, deadline", /* interrupt */
        "end_held, kill", /* late */
        "killing, stopped: 3=cancelled KILL", /* restart */
        "killing, stopped: 3=cancelled EXIT", /* exit */
        "none, stopped: 2=interrupted", /* down */
        "none, stopped: 2=kernel_died 3=cancelled", /* died */
        "none, stopped: 2=kernel_died 3=cancelled", /* dead */
        "interrupt_held, deadline", /* A-over */
        "none, stopped: 3=cancelled 2=cancelled", /* close */
    },
    {
        /* interrupted */
        "interrupted, deadline", /* busy:2 */
        "interrupted, deadline", /* input:2 */
        "interrupted, deadline", /* out:2 */
        "interrupted, deadline", /* ask:2 */
        "interrupted, deadline: no_question", /* answer:2 */
        "sent, grace: 2=interrupted >3", /* ok:2 idle:2 */
        "sent, grace: 2=interrupted >3", /* idle:2 fail:2 */
        "sent, grace: 2=interrupted >3", /* aborted:2 idle:2 */
        "ending, kill: SIGINT", /* cancel:2 */
        "interrupted, deadline: SIGINT", /* interrupt */
        "ending, kill: SIGINT", /* late */
        "killing, stopped: 3=cancelled KILL", /* restart */
        "killing, stopped: 3=cancelled EXIT", /* exit */
        "none, stopped: 2=interrupted", /* down */
        "none, stopped: 2=kernel_died 3=cancelled", /* died */
        "none, stopped: 2=kernel_died 3=cancelled", /* dead */
        "interrupted, deadline", /* A-over */
        "none, stopped: 3=cancelled 2=cancelled", /* close */
    },
    {
        /* end_held */
        "end_held, kill", /* busy:2 */
        "ending, kill: SIGINT", /* input:2 */
        "end_held, kill", /* out:2 */
        "end_held, kill", /* ask:2 */
        "end_held, kill: no_question", /* answer:2 */
        "sent, grace: 2=interrupted >3", /* ok:2 idle:2 */
        "sent, grace: 2=interrupted >3", /* idle:2 fail:2 */
        "sent, grace: 2=interrupted >3", /* aborted:2 idle:2 */
        "end_held, kill", /* cancel:2 */
        "end_held, kill", /* interrupt */
        "killing, stopped: 3=cancelled KILL", /* late */
        "killing, stopped: 3=cancelled KILL", /* restart */
        "killing, stopped: 3=cancelled EXIT", /* exit */
        "none, stopped: 2=interrupted", /* down */
        "none, stopped: 2=kernel_died 3=cancelled", /* died */
        "none, stopped: 2=kernel_died 3=cancelled", /* dead */
        "end_held, kill", /* A-over */
        "none, stopped: 3=cancelled 2=cancelled", /* close */
    },
    {
        /* ending */
        "ending, kill", /* busy:2 */
        "ending, kill", /* input:2 */
        "ending, kill", /* out:2 */
        "ending, kill", /* ask:2 */
        "ending, kill: no_question", /* answer:2 */
        "sent, grace: 2=interrupted >3", /* ok:2 idle:2 */
        "sent, grace: 2=interrupted >3", /* idle:2 fail:2 */
        "sent, grace: 2=interrupted >3", /* aborted:2 idle:2 */
        "ending, kill: SIGINT", /* cancel:2 */
        "ending, kill: SIGINT", /* interrupt */
        "killing, stopped: 3=cancelled KILL", /* late */
        "killing, stopped: 3=cancelled KILL", /* restart */
        "killing, stopped: 3=cancelled EXIT", /* exit */
        "none, stopped: 2=interrupted", /* down */
        "none, stopped: 2=kernel_died 3=cancelled", /* died */
        "none, stopped: 2=kernel_died 3=cancelled", /* dead */
        "ending, kill", /* A-over */
        "none, stopped: 3=cancelled 2=cancelled", /* close */
    },
    {
        /* killing */
        "killing, stopped", /* busy:2 */
        "killing, stopped", /* input:2 */
        "killing, stopped", /* out:2 */
        "killing, stopped", /* ask:2 */
        "killing, stopped: no_question", /* answer:2 */
        "none, stopped: 2=interrupted", /* ok:2 idle:2 */
        "none, stopped: 2=interrupted", /* idle:2 fail:2 */
        "none, stopped: 2=interrupted", /* aborted:2 idle:2 */
        "killing, stopped", /* cancel:2 */
        "killing, stopped", /* interrupt */
        "killing, stopped", /* late */
        "killing, stopped: 3=cancelled KILL", /* restart */
        "killing, stopped: 3=cancelled EXIT", /* exit */
        "none, stopped: 2=interrupted", /* down */
        "none, stopped: 2=kernel_died 3=cancelled", /* died */
        "none, stopped: 2=kernel_died 3=cancelled", /* dead */
        "killing, stopped", /* A-over */
        "none, stopped: 3=cancelled 2=cancelled", /* close */
    },
    {
        /* withdrawn */
        "end_held, kill", /* busy:2 */
        "ending, kill: SIGINT", /* input:2 */
        "end_held, kill", /* out:2 */
        "withdrawn, stopped", /* ask:2 */
        "withdrawn, stopped: no_question", /* answer:2 */
        "none, stopped", /* ok:2 idle:2 */
        "none, stopped", /* idle:2 fail:2 */
        "none, stopped", /* aborted:2 idle:2 */
        "withdrawn, stopped", /* cancel:2 */
        "withdrawn, stopped", /* interrupt */
        "withdrawn, stopped", /* late */
        "killing, stopped: 3=cancelled KILL", /* restart */
        "killing, stopped: 3=cancelled EXIT", /* exit */
        "none, stopped", /* down */
        "none, stopped: 3=cancelled", /* died */
        "none, stopped: 3=cancelled", /* dead */
        "end_held, kill", /* A-over */
        "none, stopped: 3=cancelled", /* close */
    },
    {
        /* done */
        "sent, grace", /* busy:2 */
        "sent, grace", /* input:2 */
        "sent, grace", /* out:2 */
        "sent, grace", /* ask:2 */
        "sent, grace: no_question", /* answer:2 */
        "sent, grace", /* ok:2 idle:2 */
        "sent, grace", /* idle:2 fail:2 */
        "sent, grace", /* aborted:2 idle:2 */
        "sent, grace", /* cancel:2 */
        "interrupt_held, deadline", /* interrupt */
        "started, deadline", /* late */
        "killing, stopped: KILL", /* restart */
        "killing, stopped: EXIT", /* exit */
        "none, stopped: 3=kernel_died", /* down */
        "none, stopped: 3=kernel_died", /* died */
        "none, stopped: 3=kernel_died", /* dead */
        "sent, grace", /* A-over */
        "none, stopped: 3=cancelled", /* close */
    },
};
/* clang-format on */

static void every_state_and_event(void **state)
{
    for (size_t s = 0; s < ARRAY_LEN(reach); s++)
        for (size_t ev = 0; ev < N_EVENTS; ev++) {
            struct exec_fixture *f = exec_fixture_new();
            play(f, reach[s].script);
            play(f, "push:3");
            bool timed = f->queue->clock.now != EXEC_CLOCK_STOP;
            bool behind = f->n_foreign > 0;
            f->trace[0] = '\0';
            if (strcmp(events[ev], "late") == 0     ? timed
                : strcmp(events[ev], "A-over") == 0 ? behind
                                                    : true)
                play(f, events[ev]);
            char got[2100];
            snprintf(got, sizeof(got), "%s, %s%s%s", state_of_current(f),
                     clocks[f->queue->clock.now], f->trace[0] ? ": " : "", f->trace);
            if (strcmp(got, expected[s][ev]) != 0)
                fail_msg("%s in %s: \"%s\"; expected: \"%s\"", events[ev], reach[s].state, got,
                         expected[s][ev]);
            exec_fixture_free(f);
        }
}

/* ---- stories ---- */

#define BEHIND_A "push:1 push:2 ask-A ok:1 idle:1 "

static const struct {
    const char *what, *script, *trace, *state;
} stories[] = {
    {"one after the other", "push:1 push:2 busy:1 input:1 ok:1 idle:1 idle:2 ok:2",
     ">1 1=ok >2 2=ok", "none"},
    {"behind what came before", "ask-A push:1 A-input A-reply A-idle A-over", "A=ok >1", "sent"},
    {"later requests are ahead in the shell", BEHIND_A, ">1 1=ok >2", "behind"},
    {"until they are over", BEHIND_A "A-over", ">1 1=ok >2", "sent"},
    {"what comes then is not waited for", BEHIND_A "ask-B A-over", ">1 1=ok >2", "sent"},
    {"the clock runs out in silence", "push:1 late late late", ">1 KILL", "killing"},

    /* cancelled behind another's request */
    {"it is passed over", BEHIND_A "cancel:2 push:3 A-over busy:2 aborted:2 idle:2",
     ">1 1=ok >2 2=cancelled withdraw:2 >3", "sent"},
    {"nothing is sent while the kernel has it", BEHIND_A "cancel:2 push:3 A-over",
     ">1 1=ok >2 2=cancelled withdraw:2", "end_held"},
    {"it runs all the same", BEHIND_A "cancel:2 push:3 busy:2 input:2 out:2 fail:2 idle:2 A-over",
     ">1 1=ok >2 2=cancelled withdraw:2 SIGINT >3", "sent"},
    {"and ignores the interrupt", BEHIND_A "cancel:2 push:3 input:2 late down ready",
     ">1 1=ok >2 2=cancelled withdraw:2 SIGINT 3=cancelled KILL", "none"},
    {"the kernel never comes to it", BEHIND_A "cancel:2 A-over late",
     ">1 1=ok >2 2=cancelled withdraw:2 KILL", "killing"},
    {"an interrupt meanwhile is the notebook's", BEHIND_A "cancel:2 A-input interrupt",
     ">1 1=ok >2 2=cancelled withdraw:2 SIGINT", "withdrawn"},
    {"twice is once", BEHIND_A "cancel:2 cancel:2", ">1 1=ok >2 2=cancelled withdraw:2",
     "withdrawn"},

    /* aborted by another's failure */
    {"it is sent again", "push:1 busy:1 aborted:1 idle:1 busy:1 input:1 ok:1 idle:1", ">1 >1 1=ok",
     "none"},
    {"behind what has come meanwhile, untimed", "push:1 busy:1 ask-A aborted:1 idle:1", ">1 >1",
     "behind"},
    {"a silent one, too", "push:1s busy:1 ask-A aborted:1 idle:1 A-over", ">1 >1", "sent"},
    {"not one that was to stop", "push:1 interrupt aborted:1 idle:1", ">1 1=interrupted", "none"},
    {"not one that ran", "push:1 input:1 aborted:1 idle:1", ">1 1=aborted", "none"},

    /* generations */
    {"the kernel's own", "push:1g1", ">1", "sent"},
    {"another's", "push:1g2", "refused:generation_mismatch", "none"},
    {"the old one during a restart", "stopping push:1g1", "refused:generation_mismatch", "none"},
    {"the coming one during a restart", "stopping push:1g2 down ready", ">1", "sent"},
    {"the coming one after a shutdown_request", "exit push:1g2 push:2g1 down ready",
     "EXIT refused:generation_mismatch >1", "sent"},
    {"while the next one starts", "push:9 restart down push:1g1 push:2g2 ready",
     ">9 KILL 9=interrupted refused:generation_mismatch >2", "sent"},
    {"one whose generation has gone meanwhile", "starting push:1g1 push:2 stopping down ready",
     "1=cancelled >2", "sent"},
    {"a restart ends all that waits", "push:1 push:2g1 restart push:3g2 down ready",
     ">1 2=cancelled KILL 1=interrupted >3", "sent"},

    /* interrupts */
    {"held until its code is seen", "push:1 busy:1 interrupt input:1", ">1 SIGINT", "interrupted"},
    {"then its deadline counts, and it is killed", "push:1 interrupt input:1 late late",
     ">1 SIGINT SIGINT KILL", "killing"},
    {"not after the reply: it would be another's", "push:1 input:1 ok:1 interrupt idle:1",
     ">1 1=interrupted", "none"},
    {"nor a cancel's", "push:1 input:1 idle:1 cancel:1 ok:1", ">1 1=interrupted", "none"},
    {"who cancels again does not put off the kill", "push:1 input:1 cancel:1 cancel:1 late",
     ">1 SIGINT SIGINT KILL", "killing"},
    {"of an idle kernel", "interrupt", "SIGINT", "none"},
    {"for a notebook's cell that runs", "ask-A A-input interrupt", "SIGINT", "none"},
    {"for one that is not seen yet", "ask-A ask-B interrupt A-input", "SIGINT", "none"},
    {"for a silent one", "ask-A interrupt held", "SIGINT", "none"},
    {"not for the next cell", "ask-A ask-B interrupt A-idle B-input held", "", "none"},
    {"not for the next cell, the reply first", "ask-A ask-B interrupt A-reply A-idle A-over held",
     "", "none"},
    {"nor for an execution of ours", "ask-A push:1 interrupt A-idle A-over input:1 held", ">1",
     "running"},
    {"nor for the next process", "ask-A interrupt died held", "", "none"},

    /* the rest */
    {"stop_on_error", "push:1e push:2 push:3 input:1 fail:1 idle:1 push:4",
     ">1 1=error 2=aborted 3=aborted >4", "sent"},
    {"callers are independent", "push:1 push:2 input:1 fail:1 idle:1", ">1 1=error >2", "sent"},
    {"a question that overtakes", "push:1i ask:1 answer:1 input:1 answer:1 answer:1",
     ">1 no_question input_reply answered no_question", "running"},
    {"a question of one that may not ask", "push:1 input:1 ask:1 answer:1", ">1 no_question",
     "running"},
    {"a death", "push:1 input:1 push:2 died ready push:3", ">1 1=kernel_died 2=cancelled >3",
     "sent"},
    {"the last death", "push:1 dead push:2", ">1 1=kernel_died refused:kernel_dead", "none"},
    {"a timeout that no interrupt ends", "push:1 input:1 late late down ready",
     ">1 SIGINT KILL 1=timeout", "none"},
    {"the end of the sandbox", "push:1 push:2 ask-A A-input close",
     ">1 A=cancelled 2=cancelled 1=cancelled", "none"},
};

static void every_story(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(stories); i++) {
        struct exec_fixture *f = exec_fixture_new();
        play(f, stories[i].script);
        if (strcmp(f->trace, stories[i].trace) != 0 ||
            strcmp(state_of_current(f), stories[i].state) != 0)
            fail_msg("%s: %s: \"%s\", %s; expected: \"%s\", %s\n", stories[i].what,
                     stories[i].script, f->trace, state_of_current(f), stories[i].trace,
                     stories[i].state);
        exec_fixture_free(f);
    }
}

static void a_kernel_that_aborts_for_ever_ends_it(void **state)
{
    struct exec_fixture *f = *state;
    play(f, "push:1");
    for (int i = 0; i < EXEC_AGAIN_MAX; i++) {
        assert_string_equal(state_of_current(f), "sent");
        f->trace[0] = '\0';
        play(f, "busy:1 aborted:1 idle:1");
        assert_string_equal(f->trace, ">1");
    }
    play(f, "busy:1 aborted:1 idle:1");
    assert_string_equal(find(f, "1")->status, "aborted");
}

/* What is sent again has used nothing of its time. */
static void the_clock_of_one_that_is_sent_again_begins_anew(void **state)
{
    struct exec_fixture *f = *state;
    play(f, "push:1 busy:1");
    assert_int_equal(f->queue->clock.now, EXEC_CLOCK_DEADLINE);
    assert_int_not_equal(find(f, "1")->started_us, 0);
    play(f, "ask-A aborted:1 idle:1");
    assert_int_equal(f->queue->clock.now, EXEC_CLOCK_STOP);
    assert_int_equal(find(f, "1")->started_us, 0);
    assert_string_equal(exec_state_name(find(f, "1")->state), "queued");
    play(f, "A-over");
    assert_int_equal(f->queue->clock.now, EXEC_CLOCK_GRACE);
    play(f, "busy:1");
    assert_int_equal(f->queue->clock.now, EXEC_CLOCK_DEADLINE);
}

static void what_a_withdrawn_one_says_goes_nowhere(void **state)
{
    struct exec_fixture *f = *state;
    play(f, BEHIND_A "cancel:2");
    const struct exec *e = find(f, "2");
    uint64_t lines = event_log_lines(e->log);
    play(f, "busy:2 input:2 out:2 ask:2 fail:2");
    assert_int_equal(event_log_lines(e->log), lines);
    assert_int_equal(spill_len(&e->kept), e->code_kept);
    assert_int_equal(e->started_us, 0);
    assert_null(e->error_json);
    assert_int_equal(exec_queue_outstanding(f->queue), 2); /* A, and the husk */
    play(f, "idle:2 A-over");
    assert_int_equal(exec_queue_outstanding(f->queue), 0);
}

static void the_queue_is_full_at_its_limit(void **state)
{
    struct exec_fixture *f = *state;
    struct exec_request *r = NULL;
    char id[24];
    for (unsigned i = 0; i <= LIMIT_EXEC_QUEUE + 1; i++) {
        snprintf(id, sizeof(id), "e%u", i);
        assert_int_equal(exec_request_parse(&r, slice_str("{\"code\":\"1\"}"), NULL), 0);
        struct exec *e = exec_store_add(f->store, id, "hash", r);
        int got = exec_queue_push(f->queue, e, 1000, &f->err);
        assert_int_equal(got, i <= LIMIT_EXEC_QUEUE ? 0 : -ERR_LIMIT);
        if (got < 0)
            exec_store_forget(f->store, e);
    }
    assert_int_equal(exec_queue_outstanding(f->queue), LIMIT_EXEC_QUEUE + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_state_and_event),
        cmocka_unit_test(every_story),
        cmocka_unit_test_setup_teardown(a_kernel_that_aborts_for_ever_ends_it, setup, teardown),
        cmocka_unit_test_setup_teardown(the_clock_of_one_that_is_sent_again_begins_anew, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_a_withdrawn_one_says_goes_nowhere, setup, teardown),
        cmocka_unit_test_setup_teardown(the_queue_is_full_at_its_limit, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
