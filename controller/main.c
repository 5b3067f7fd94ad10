/* caesarion: the controller. See controller.c. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "controller/controller.h"
#include "controller/controller_conf.h"
#include "lib/base/log.h"
#include "lib/base/macros.h"
#include "lib/base/process.h"

/* What must be so before any thread or file is there. */
static void prepare_process(void)
{
    struct rlimit files;
    struct sigaction ignore = {.sa_handler = SIG_IGN};

    controller_block_signals();
    sigaction(SIGPIPE, &ignore, NULL);
    umask(077);
    process_hide();
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

static void print_text(int what)
{
    struct buf text;

    buf_init(&text, MIB(1));
    if (what == CONF_HELP)
        conf_help(&controller_program, &text);
    else
        conf_version(&controller_program, &text);
    fwrite(text.ptr, 1, text.len, stdout);
    buf_done(&text);
}

/* To a person in words, to a program as every other line of the log. */
static void report(const struct err *err)
{
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "caesarion: %s\n", err->text);
    else
        log_event(LOG_ERROR, "start_failed", "code", err_code_name(err->code), "reason", err->text,
                  NULL);
}

int main(int argc, char **argv)
{
    struct controller_conf conf = {0};
    struct err err = {0};
    int status = 0;

    log_init("caesarion", LOG_INFO);
    prepare_process();
    int r = conf_parse(&controller_program, argc, argv, &conf, &err);
    if (r > 0) {
        print_text(r);
    } else if (r < 0) {
        report(&err);
        status = 2;
    } else {
        log_init("caesarion", (enum log_level)conf.log_level);
        if (controller_run(&conf, &err) < 0) {
            report(&err);
            /* A value can be malformed in ways that only its user sees: it is a bad flag too. */
            status = err.code == ERR_INVALID ? 2 : 1;
        }
    }
    conf_done(&controller_program, &conf);
    return status;
}
