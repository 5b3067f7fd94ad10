/*
 * The one kernelspec, as Jupyter Server's API describes it. Both
 * programs answer it, so that a client finds the same kernel at one sandbox and at all of them.
 *
 * `argv` is what a client would start by itself; none does, since kernels start here. The logos
 * stand beside this file and are embedded by CMake.
 */
#include "lib/api/jupyter_api.h"

#include <stdio.h>

#include "lib/base/macros.h"

#define PATH_MAX_BYTES 256 /* of a logo's address; a prefix is the program's own */

extern const unsigned char logo_32_png[], logo_64_png[], logo_svg[];
extern const size_t logo_32_png_len, logo_64_png_len, logo_svg_len;

static const struct {
    const char *key, *file, *type;
    const unsigned char *data;
    const size_t *len;
} resources[] = {
    {"logo-32x32", "logo-32x32.png", "image/png", logo_32_png, &logo_32_png_len},
    {"logo-64x64", "logo-64x64.png", "image/png", logo_64_png, &logo_64_png_len},
    {"logo-svg", "logo-svg.svg", "image/svg+xml", logo_svg, &logo_svg_len},
};

static json_t *resources_json(const char *prefix)
{
    json_t *json = json_object();
    for (size_t i = 0; i < ARRAY_LEN(resources); i++) {
        char path[PATH_MAX_BYTES];
        snprintf(path, sizeof(path), "%s/kernelspecs/" JUPYTER_KERNEL_NAME "/%s", prefix,
                 resources[i].file);
        json_object_set_new(json, resources[i].key, json_string(path));
    }
    return json;
}

/* interrupt_mode "message": /interrupt works without a signal from the client's machine. */
static json_t *spec_json(void)
{
    return json_pack("{s:[sssss],s:{},s:s,s:s,s:s,s:{s:b},s:s}", "argv", "python", "-m",
                     "ipykernel_launcher", "-f", "{connection_file}", "env", "display_name",
                     "Python 3 (Caesarion)", "language", "python", "interrupt_mode", "message",
                     "metadata", "debugger", 1, "kernel_protocol_version", "5.5");
}

json_t *jupyter_kernelspec_json(const char *name, const char *prefix)
{
    if (strcmp(name, JUPYTER_KERNEL_NAME) != 0)
        return NULL;
    return json_pack("{s:s,s:o,s:o}", "name", name, "spec", spec_json(), "resources",
                     resources_json(prefix));
}

json_t *jupyter_kernelspecs_json(const char *prefix)
{
    return json_pack("{s:s,s:{s:o}}", "default", JUPYTER_KERNEL_NAME, "kernelspecs",
                     JUPYTER_KERNEL_NAME, jupyter_kernelspec_json(JUPYTER_KERNEL_NAME, prefix));
}

bool jupyter_kernelspec_resource(const char *name, const char *file, struct slice *ret,
                                 const char **ret_type)
{
    if (strcmp(name, JUPYTER_KERNEL_NAME) != 0)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(resources); i++) {
        if (strcmp(file, resources[i].file) != 0)
            continue;
        const void *data = resources[i].data;
        *ret = slice_make(data, *resources[i].len);
        *ret_type = resources[i].type;
        return true;
    }
    return false;
}
