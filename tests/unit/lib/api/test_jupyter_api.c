/* The kernelspec as clients check it, and its logos. */
#include "lib/api/jupyter_api.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four headers it needs */
#include <cmocka.h>

static const char *string_at(const json_t *json, const char *key)
{
    const char *text = json_string_value(json_object_get(json, key));
    assert_non_null(text);
    return text;
}

static void check_model(const json_t *model)
{
    assert_string_equal(string_at(model, "name"), JUPYTER_KERNEL_NAME);
    const json_t *spec = json_object_get(model, "spec");
    assert_string_equal(string_at(spec, "language"), "python");
    assert_string_equal(string_at(spec, "display_name"), "Python 3 (Caesarion)");
    assert_string_equal(string_at(spec, "interrupt_mode"), "message");
    assert_string_equal(string_at(spec, "kernel_protocol_version"), "5.5");
    const json_t *argv = json_object_get(spec, "argv");
    assert_int_equal(json_array_size(argv), 5);
    assert_string_equal(json_string_value(json_array_get(argv, 4)), "{connection_file}");
    assert_true(json_is_object(json_object_get(spec, "env")));
    assert_true(json_is_true(json_object_get(json_object_get(spec, "metadata"), "debugger")));
}

static void there_is_one_kernelspec(void **state)
{
    json_t *all = jupyter_kernelspecs_json("/jupyter");
    assert_string_equal(string_at(all, "default"), JUPYTER_KERNEL_NAME);
    const json_t *specs = json_object_get(all, "kernelspecs");
    assert_int_equal(json_object_size(specs), 1);
    check_model(json_object_get(specs, JUPYTER_KERNEL_NAME));
    json_t *one = jupyter_kernelspec_json("python3", "/jupyter");
    assert_true(json_equal(one, json_object_get(specs, JUPYTER_KERNEL_NAME)));
    json_decref(one);
    json_decref(all);
    assert_null(jupyter_kernelspec_json("python2", "/jupyter"));
    assert_null(jupyter_kernelspec_json("", "/jupyter"));
}

static void addresses_of_the_logos_begin_with_the_prefix(void **state)
{
    json_t *one = jupyter_kernelspec_json("python3", "/api/sandboxes/sb-1/jupyter");
    const json_t *resources = json_object_get(one, "resources");
    assert_int_equal(json_object_size(resources), 3);
    assert_string_equal(string_at(resources, "logo-64x64"),
                        "/api/sandboxes/sb-1/jupyter/kernelspecs/python3/logo-64x64.png");
    assert_string_equal(string_at(resources, "logo-svg"),
                        "/api/sandboxes/sb-1/jupyter/kernelspecs/python3/logo-svg.svg");
    json_decref(one);
}

static void each_logo_named_is_there(void **state)
{
    static const char base[] = "/p/kernelspecs/python3/";
    json_t *one = jupyter_kernelspec_json("python3", "/p");
    const char *key;
    json_t *value;
    json_object_foreach (json_object_get(one, "resources"), key, value) {
        struct slice data;
        const char *type = NULL, *path = json_string_value(value);
        assert_int_equal(strncmp(path, base, strlen(base)), 0);
        assert_true(jupyter_kernelspec_resource("python3", path + strlen(base), &data, &type));
        assert_true(data.len > 100);
        if (strcmp(type, "image/png") == 0)
            assert_true(slice_starts(data, "\x89PNG\r\n\x1a\n"));
        else
            assert_true(slice_starts(data, "<svg ") && strcmp(type, "image/svg+xml") == 0);
    }
    json_decref(one);
}

static void what_is_not_there_is_not_found(void **state)
{
    struct slice data;
    const char *type;
    assert_false(jupyter_kernelspec_resource("python2", "logo-64x64.png", &data, &type));
    assert_false(jupyter_kernelspec_resource("python3", "logo-64x64", &data, &type));
    assert_false(jupyter_kernelspec_resource("python3", "../python3/logo-svg.svg", &data, &type));
    assert_false(jupyter_kernelspec_resource("python3", "", &data, &type));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_is_one_kernelspec),
        cmocka_unit_test(addresses_of_the_logos_begin_with_the_prefix),
        cmocka_unit_test(each_logo_named_is_there),
        cmocka_unit_test(what_is_not_there_is_not_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
