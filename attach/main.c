/* caesarion-attach: see attach.c. */
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "attach/attach.h"
#include "attach/kernelspec_install.h"
#include "lib/base/log.h"
#include "lib/base/macros.h"

static void print_text(int what)
{
    struct buf text;

    buf_init(&text, MIB(1));
    if (what == CONF_HELP)
        conf_help(&attach_program, &text);
    else
        conf_version(&attach_program, &text);
    fwrite(text.ptr, 1, text.len, stdout);
    buf_done(&text);
}

/* To a person in words, to a program as every other line of the log. */
static void report(const struct err *err)
{
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "caesarion-attach: %s\n", err->text);
    else
        log_event(LOG_ERROR, "attach_failed", "code", err_code_name(err->code), "reason", err->text,
                  NULL);
}

static int run(struct attach_conf *conf, struct err *err)
{
    int r = attach_conf_check(conf, err);
    if (r < 0)
        return r;
    log_init("caesarion-attach", (enum log_level)conf->log_level);
    return conf->install_kernelspec ? kernelspec_install(conf, err) : attach_run(conf, err);
}

int main(int argc, char **argv)
{
    struct attach_conf conf = {0};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    struct err err = {0};
    int status = 0;

    log_init("caesarion-attach", LOG_WARN);
    attach_block_signals();
    sigaction(SIGPIPE, &ignore, NULL);
    int r = conf_parse(&attach_program, argc, argv, &conf, &err);
    if (r > 0) {
        print_text(r);
    } else if (r < 0 || run(&conf, &err) < 0) {
        report(&err);
        /* A value can be malformed in ways that only its user sees: it is a bad flag too. */
        status = err.code == ERR_INVALID ? 2 : 1;
    }
    conf_done(&attach_program, &conf);
    return status;
}
