/* No cell is trusted because a file says so. */
#include "kernel-runner/attach/contents_notebook.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four headers it needs */
#include <cmocka.h>

static void expect(const char *text, const char *want)
{
    struct buf out;
    buf_init(&out, KIB(4));
    assert_int_equal(contents_notebook_untrust(&out, slice_str(text)), 0);
    assert_string_equal(out.ptr, want);
    buf_done(&out);
}

static void the_mark_is_dropped(void **state)
{
    expect("{\"cells\":[{\"metadata\":{\"trusted\":true},\"source\":\"x\"}],\"nbformat\":4}",
           "{\"cells\":[{\"metadata\":{},\"source\":\"x\"}],\"nbformat\":4}");
    expect("{\"cells\":[{\"metadata\":{\"a\":1,\"trusted\":true}},{\"metadata\":{\"trusted\":false,"
           "\"b\":[2]}},{\"metadata\":{\"a\":1,\"trusted\":true,\"b\":2}}]}",
           "{\"cells\":[{\"metadata\":{\"a\":1}},{\"metadata\":{\"b\":[2]}},"
           "{\"metadata\":{\"a\":1,\"b\":2}}]}");
}

static void no_spelling_saves_it(void **state)
{
    expect("{\"cells\":[{\"metadata\":{\"tru\\u0073ted\":true,\"trusted\":1,\"trusted\":true}}]}",
           "{\"cells\":[{\"metadata\":{}}]}");
    expect("{\"cel\\u006cs\":[{\"\\u006detadata\":{\"trusted\":true}}]}",
           "{\"cel\\u006cs\":[{\"\\u006detadata\":{}}]}");
    expect("{\"cells\":[],\"cells\":[{\"metadata\":{},\"metadata\":{\"trusted\":true}}]}",
           "{\"cells\":[],\"cells\":[{\"metadata\":{},\"metadata\":{}}]}");
}

static void all_else_stays(void **state)
{
    static const char *const same[] = {
        "{}",
        "{\"cells\":[]}",
        "{\"cells\":[1,null,[{\"metadata\":{\"trusted\":true}}],{}]}",
        "{\"cells\":{\"metadata\":{\"trusted\":true}}}",
        "{\"metadata\":{\"trusted\":true},\"trusted\":true}",
        "{\"cells\":[{\"metadata\":{\"x\":{\"trusted\":true}},\"trusted\":true}]}",
        "{\"cells\":[{\"metadata\":{\"trusted2\":1.50,\"not trusted\":1e9}}]}",
        "{\"cells\":[{\"metadata\":\"trusted\",\"outputs\":[{\"metadata\":{\"trusted\":true}}]}]}",
        "{\"a\\\\\":\"\\\"}],\",\"cells\":[{\"source\":[\"\\u00e9{\",\"]\"]}]}",
    };
    for (size_t i = 0; i < ARRAY_LEN(same); i++)
        expect(same[i], same[i]);
}

static void the_ceiling_of_the_output_holds(void **state)
{
    struct buf out;
    buf_init(&out, 12);
    assert_int_equal(contents_notebook_untrust(&out, slice_str("{\"cells\":[1]}")),
                     -ERR_TOO_LARGE); /* 13 */
    assert_int_equal(contents_notebook_untrust(&out, slice_str("{\"cells\":[]}")), 0);
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_mark_is_dropped),
        cmocka_unit_test(no_spelling_saves_it),
        cmocka_unit_test(all_else_stays),
        cmocka_unit_test(the_ceiling_of_the_output_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
