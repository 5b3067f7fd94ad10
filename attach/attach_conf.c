/* One table of options, and what it takes to make sense of them together. */
#include "attach/attach_conf.h"

#include "lib/base/ids.h"
#include "lib/base/macros.h"
#include "lib/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define AT(member) CONF_AT(struct attach_conf, member)
#define TOKEN_MAX  4096

static const char *const transports[] = {"tcp", "ipc", NULL};
static const char *const log_levels[] = {"error", "warn", "info", "debug", NULL};

/* clang-format off */
static const struct conf_option options[] = {
    {"sandbox", CONF_STRING, AT(sandbox), .arg = "SANDBOX", .bare = true,
     .help = "the sandbox whose kernel is wanted"},
    {"url", CONF_STRING, AT(url), .def = "http://127.0.0.1:8080", .arg = "URL",
     .help = "where Caesarion is"},
    {"token", CONF_STRING, AT(token), .secret = true,
     .help = "who calls"},
    {"token-file", CONF_STRING, AT(token_file), .arg = "FILE",
     .help = "a file with nothing but the token, which is used in place of another"},
    {"connection-file", CONF_STRING, AT(connection_file), .arg = "FILE", .letter = 'f',
     .help = "where to write the connection file, by default kernel-<sandbox>.json where Jupyter "
             "looks; with --new, the one to serve"},
    {"transport", CONF_ENUM, AT(transport), .def = "tcp", .words = transports,
     .help = "ports on the loopback interface, or sockets in a directory of one's own"},
    {"kernel", CONF_STRING, AT(kernel), .arg = "KERNEL_ID",
     .help = "one of the sandbox's kernels, by default its main one"},
    {"new", CONF_BOOL, AT(make_new),
     .help = "make a sandbox and end it with this program; Jupyter starts kernels so"},
    {"install-kernelspec", CONF_BOOL, AT(install_kernelspec),
     .help = "let this machine's Jupyter offer Python in sandboxes"},
    {"user", CONF_BOOL, AT(user),
     .help = "install it for the user, which is the default"},
    {"sys-prefix", CONF_BOOL, AT(sys_prefix),
     .help = "install it into the active virtual environment"},
    {"prefix", CONF_STRING, AT(prefix), .arg = "DIR",
     .help = "install it below DIR/share/jupyter"},
    {"name", CONF_STRING, AT(name), .def = ATTACH_NAME, .max = 128,
     .help = "what the kernelspec is called"},
    {"log-level", CONF_ENUM, AT(log_level), .def = "warn", .words = log_levels,
     .help = "least level of the log on stderr"},
};
/* clang-format on */

const struct conf_program attach_program = {
    .name = "caesarion-attach",
    .version = "2.0.0",
    .summary = "lets ZeroMQ clients of Jupyter reach the kernel of a sandbox",
    .env_prefix = "CAESARION_",
    .options = options,
    .n_options = ARRAY_LEN(options),
};

/* A token goes into a header: one line of visible characters. */
static int check_token(const char *token, const char *where, struct err *err)
{
    for (const char *p = token; *p; p++)
        if (*p <= ' ' || *p > '~')
            return err_set(err, ERR_INVALID, "%s is not a token: it holds blanks or worse", where);
    if (!*token)
        return err_set(err, ERR_INVALID, "%s is empty", where);
    return 0;
}

static int read_token(struct attach_conf *conf, struct err *err)
{
    if (!conf->token_file)
        return conf->token ? check_token(conf->token, "CAESARION_TOKEN", err) : 0;
    _cleanup_(closep) int fd = open(conf->token_file, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return err_errno(err, "cannot open the token file %s", conf->token_file);
    char text[TOKEN_MAX + 1];
    size_t len = 0;
    for (ssize_t n; len < sizeof(text) && (n = read(fd, text + len, sizeof(text) - len)) != 0;) {
        if (n < 0 && errno != EINTR)
            return err_errno(err, "cannot read the token file %s", conf->token_file);
        len += n > 0 ? (size_t)n : 0;
    }
    if (len > TOKEN_MAX)
        return err_set(err, ERR_INVALID, "%s is too long for a token file", conf->token_file);
    while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
        len--;
    text[len] = '\0';
    mem_free_secret(conf->token);
    conf->token = mem_dup_str(text);
    explicit_bzero(text, sizeof(text));
    return check_token(conf->token, conf->token_file, err);
}

static int check_mode(const struct attach_conf *c, struct err *err)
{
    if (c->make_new && (c->sandbox || c->kernel || c->install_kernelspec))
        return err_set(err, ERR_INVALID, "--new makes a sandbox of its own; it goes with no other");
    if (c->install_kernelspec && (c->sandbox || c->kernel || c->connection_file))
        return err_set(err, ERR_INVALID, "--install-kernelspec installs and attaches nothing");
    if (c->user + c->sys_prefix + (c->prefix != NULL) > 1)
        return err_set(err, ERR_INVALID, "--user, --sys-prefix and --prefix exclude each other");
    if (c->make_new && !c->connection_file)
        return err_set(err, ERR_INVALID, "--new needs the connection file: -f FILE");
    if (!c->make_new && !c->install_kernelspec && !c->sandbox)
        return err_set(err, ERR_INVALID, "which sandbox? caesarion-attach SANDBOX; see --help");
    return 0;
}

static int check_ids(const struct attach_conf *c, struct err *err)
{
    if (c->sandbox && !id_is_sandbox(c->sandbox))
        return err_set(err, ERR_INVALID, "\"%.64s\" is not a sandbox's id (sb-…)", c->sandbox);
    if (c->kernel && !id_is_uuid(c->kernel))
        return err_set(err, ERR_INVALID, "\"%.64s\" is not a kernel's id", c->kernel);
    return 0;
}

int attach_conf_check(struct attach_conf *conf, struct err *err)
{
    int r = check_mode(conf, err);
    if (r == 0)
        r = check_ids(conf, err);
    return r < 0 ? r : read_token(conf, err);
}
