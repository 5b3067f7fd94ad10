#include "lib/base/ids.h"

#include "lib/base/macros.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <string.h>

static const uint8_t bytes[16] = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
                                  0xff, 0xee, 0xdd, 0xcc, 0xbb, 0xaa, 0x99, 0x88};

static void uuids_are_of_version_4(void **state)
{
    char out[ID_UUID_SIZE];
    uint8_t zero[16] = {0};
    id_uuid_format(bytes, out);
    assert_string_equal(out, "01234567-89ab-4def-bfee-ddccbbaa9988");
    assert_true(id_is_uuid(out));
    id_uuid_format(zero, out);
    assert_string_equal(out, "00000000-0000-4000-8000-000000000000");
}

static void only_the_form_is_a_uuid(void **state)
{
    static const char *const bad[] = {"",
                                      "01234567-89ab-4def-bfee-ddccbbaa998",
                                      "01234567-89ab-4def-bfee-ddccbbaa99888",
                                      "01234567-89AB-4def-bfee-ddccbbaa9988",
                                      "01234567089ab-4def-bfee-ddccbbaa9988",
                                      "0123456g-89ab-4def-bfee-ddccbbaa9988",
                                      "{1234567-89ab-4def-bfee-ddccbbaa9988"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(id_is_uuid(bad[i]));
}

static void a_sandbox_id_ends_in_three_zeros(void **state)
{
    char out[ID_SANDBOX_SIZE];
    id_sandbox_format(bytes, out);
    assert_string_equal(out, "sb-01234567-89ab-4def-bfee-ddccbbaa9000");
    assert_true(id_is_sandbox(out));
    out[38] = '1';
    assert_false(id_is_sandbox(out));
    assert_false(id_is_sandbox(""));
    assert_false(id_is_sandbox("sb-"));
    assert_false(id_is_sandbox("01234567-89ab-4def-bfee-ddccbbaa9000"));
    assert_false(id_is_sandbox("sb-01234567-89ab-4def-bfee-ddccbbaa90000"));
}

static void a_kernel_id_names_its_sandbox(void **state)
{
    char sandbox[ID_SANDBOX_SIZE], kernel[ID_UUID_SIZE], back[ID_SANDBOX_SIZE];
    id_sandbox_format(bytes, sandbox);
    static const struct {
        unsigned n;
        const char *end;
    } rows[] = {{0, "000"}, {1, "001"}, {15, "00f"}, {4095, "fff"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        id_kernel_format(sandbox, rows[i].n, kernel);
        assert_true(id_is_uuid(kernel));
        assert_string_equal(kernel + 33, rows[i].end);
        assert_true(id_kernel_sandbox(kernel, back));
        assert_string_equal(back, sandbox);
    }
    id_kernel_format(sandbox, 0, kernel);
    assert_string_equal(id_main_kernel(sandbox), kernel);
    assert_false(id_kernel_sandbox("nothing", back));
    assert_false(id_kernel_sandbox(sandbox, back));
}

static void execution_ids_have_safe_characters(void **state)
{
    char id[ID_EXEC_MAX + 2];
    memset(id, 'x', sizeof(id));
    id[ID_EXEC_MAX] = '\0';
    assert_true(id_is_exec(id));
    id[ID_EXEC_MAX] = 'x';
    id[ID_EXEC_MAX + 1] = '\0';
    assert_false(id_is_exec(id));
    assert_true(id_is_exec("a"));
    assert_true(id_is_exec("A-Z_0.9"));
    static const char *const bad[] = {"", ".", ".a", "..", "a/b", "a b", "ä", "a\n", "a%"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(id_is_exec(bad[i]));
}

static void session_ids_name_their_sandbox(void **state)
{
    char id[ID_UUID_SIZE], sandbox[ID_SANDBOX_SIZE];
    id_session_format("sb-01234567-89ab-4def-8123-456789abc000", 4095, id);
    assert_string_equal(id, "01234567-89ab-8def-8123-456789abcfff");
    assert_true(id_session_sandbox(id, sandbox));
    assert_string_equal(sandbox, "sb-01234567-89ab-4def-8123-456789abc000");
    assert_false(id_session_sandbox("01234567-89ab-4def-8123-456789abc000", sandbox));
    assert_false(id_session_sandbox("01234567-89ab-8def-8123-456789abc00", sandbox));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uuids_are_of_version_4),
        cmocka_unit_test(only_the_form_is_a_uuid),
        cmocka_unit_test(a_sandbox_id_ends_in_three_zeros),
        cmocka_unit_test(a_kernel_id_names_its_sandbox),
        cmocka_unit_test(execution_ids_have_safe_characters),
        cmocka_unit_test(session_ids_name_their_sandbox),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
