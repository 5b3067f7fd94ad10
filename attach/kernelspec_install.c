/*
 * A kernelspec is a directory, kernels/<name>, with kernel.json and logos (jupyter_client
 * docs/kernels.rst). Others may read it, and its argv shows in the list of processes: the token is
 * never in it, only the file's name.
 */
#include "attach/kernelspec_install.h"

#include "attach/attach_dirs.h"
#include "attach/attach_url.h"
#include "lib/api/jupyter_api.h"
#include "lib/base/cleanup.h"
#include "lib/base/mem.h"
#include "lib/crypto/crypto.h"
#include "lib/json/jsonx.h"

#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#define DISPLAY_NAME "Python (Caesarion)"
#define TOKEN_FILE   "token"

static int check_name(const char *name, struct err *err)
{
    for (const char *p = name; *p; p++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", *p))
            return err_set(err, ERR_INVALID,
                           "--name: a kernelspec's name has letters, digits, \".\", \"_\", \"-\"");
    if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return err_set(err, ERR_INVALID, "--name: \"%s\" cannot be a kernelspec's name", name);
    return 0;
}

/* The directory that holds kernels/. */
static int choose_dir(const struct attach_conf *conf, char **ret, struct err *err)
{
    const char *prefix = conf->prefix;
    if (conf->sys_prefix) {
        prefix = getenv("VIRTUAL_ENV");
        if (!prefix || !*prefix)
            prefix = getenv("CONDA_PREFIX");
        if (!prefix || !*prefix)
            return err_set(err, ERR_INVALID,
                           "--sys-prefix: no virtual environment is active (VIRTUAL_ENV, "
                           "CONDA_PREFIX); give its directory with --prefix");
    }
    if (!prefix)
        return attach_data_dir(ret, err);
    *ret = mem_printf("%s/share/jupyter", prefix);
    return 0;
}

/* Each kernelspec may call somebody else: the default one's token has the plain name. */
static int store_token(const struct attach_conf *conf, char **ret, struct err *err)
{
    _cleanup_(freep) char *dir = NULL;
    int r = attach_config_dir(&dir, err);
    if (r < 0 || (r = attach_make_dirs(dir, 0700, err)) < 0)
        return r;
    bool plain = strcmp(conf->name, ATTACH_NAME) == 0;
    _cleanup_(freep) char *path =
        mem_printf("%s/" TOKEN_FILE "%s%s", dir, plain ? "" : "-", plain ? "" : conf->name);
    char *line = mem_printf("%s\n", conf->token);
    r = attach_write_file(path, 0600, slice_str(line), err);
    mem_free_secret(line);
    if (r == 0)
        *ret = TAKE_PTR(path);
    return r;
}

static int find_token_file(const struct attach_conf *conf, char **ret, struct err *err)
{
    *ret = NULL;
    if (!conf->token_file)
        return conf->token ? store_token(conf, ret, err) : 0;
    *ret = realpath(conf->token_file, NULL);
    return *ret ? 0 : err_errno(err, "token file %s", conf->token_file);
}

static int find_program(char **ret, struct err *err)
{
    *ret = realpath("/proc/self/exe", NULL);
    return *ret ? 0 : err_errno(err, "where this program is");
}

static json_t *spec_json(const struct attach_conf *conf, const char *program,
                         const char *token_file)
{
    json_t *argv =
        json_pack("[s,s,s,s,s,s]", program, "--new", "-f", "{connection_file}", "--url", conf->url);
    if (token_file) {
        json_array_append_new(argv, json_string("--token-file"));
        json_array_append_new(argv, json_string(token_file));
    }
    return json_pack("{s:o,s:s,s:s,s:s,s:{s:b}}", "argv", argv, "display_name", DISPLAY_NAME,
                     "language", "python", "interrupt_mode", "message", "metadata", "debugger", 1);
}

static int write_spec(const struct attach_conf *conf, const char *dir, const char *token_file,
                      struct err *err)
{
    _cleanup_(freep) char *program = NULL;
    int r = find_program(&program, err);
    if (r < 0)
        return r;
    _cleanup_(json_decrefp) json_t *spec = spec_json(conf, program, token_file);
    if (!spec)
        return err_set(err, ERR_INVALID, "the program's or the token file's path is not UTF-8");
    _cleanup_(freep) char *text = json_dumps(spec, JSON_INDENT(1));
    _cleanup_(freep) char *path = mem_printf("%s/kernel.json", dir);
    return attach_write_file(path, 0644, slice_str(text), err);
}

static int write_logos(const char *dir, struct err *err)
{
    static const char *const files[] = {"logo-32x32.png", "logo-64x64.png", "logo-svg.svg"};
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        struct slice data;
        const char *type;
        if (!jupyter_kernelspec_resource(JUPYTER_KERNEL_NAME, files[i], &data, &type))
            continue;
        _cleanup_(freep) char *path = mem_printf("%s/%s", dir, files[i]);
        int r = attach_write_file(path, 0644, data, err);
        if (r < 0)
            return r;
    }
    return 0;
}

int kernelspec_install(const struct attach_conf *conf, struct err *err)
{
    struct attach_url url;
    _cleanup_(freep) char *data = NULL;
    _cleanup_(freep) char *token_file = NULL;
    int r = attach_url_parse(&url, conf->url, err);
    if (r < 0)
        return r;
    attach_url_done(&url);
    if ((r = crypto_init(err)) < 0 || (r = check_name(conf->name, err)) < 0 ||
        (r = choose_dir(conf, &data, err)) < 0 || (r = find_token_file(conf, &token_file, err)) < 0)
        return r;
    _cleanup_(freep) char *dir = mem_printf("%s/kernels/%s", data, conf->name);
    if ((r = attach_make_dirs(dir, 0755, err)) < 0 || (r = write_logos(dir, err)) < 0 ||
        (r = write_spec(conf, dir, token_file, err)) < 0)
        return r;
    printf("caesarion-attach: Jupyter now lists \"" DISPLAY_NAME "\" (%s)\n", dir);
    if (!token_file)
        printf("caesarion-attach: without a token; Jupyter must be started with CAESARION_TOKEN\n");
    return 0;
}
