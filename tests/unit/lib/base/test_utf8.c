#include "lib/base/utf8.h"

#include "lib/base/macros.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

/* A second, slow decoder: the number, then whether it may stand there. */
static size_t model(const unsigned char *p, size_t len)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (len == 0)
        return 0;
    size_t n = p[0] < 0x80 ? 1 : (p[0] & 0xE0) == 0xC0 ? 2 : (p[0] & 0xF0) == 0xE0 ? 3 : 4;
    if (n == 1)
        return 1;
    if ((n == 4 && (p[0] & 0xF8) != 0xF0) || n > len)
        return 0;
    uint32_t c = p[0] & (0xFFU >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xC0) != 0x80)
            return 0;
        c = c << 6 | (p[i] & 0x3F);
    }
    return c < least[n] || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF) ? 0 : n;
}

static void every_pair_and_edge_agrees_with_the_number(void **state)
{
    static const unsigned char edges[] = {0x00, 0x7F, 0x80, 0x8F, 0x90,
                                          0x9F, 0xA0, 0xBF, 0xC0, 0xFF};
    for (unsigned a = 0; a < 256; a++) {
        for (unsigned b = 0; b < 256; b++) {
            for (size_t i = 0; i < ARRAY_LEN(edges) * ARRAY_LEN(edges); i++) {
                unsigned char s[4] = {(unsigned char)a, (unsigned char)b,
                                      edges[i / ARRAY_LEN(edges)], edges[i % ARRAY_LEN(edges)]};
                for (size_t len = 0; len <= 4; len++)
                    if (utf8_char_len((char *)s, len) != model(s, len))
                        fail_msg("%02x %02x %02x %02x, %zu", s[0], s[1], s[2], s[3], len);
            }
        }
    }
}

static void a_bad_byte_is_found_at_every_place(void **state)
{
    char text[40];
    for (size_t len = 0; len < sizeof(text); len++) {
        memset(text, 'a', sizeof(text));
        assert_true(utf8_valid(slice_make(text, len)));
        for (size_t at = 0; at < len; at++) {
            memset(text, 'a', sizeof(text));
            text[at] = (char)0xFF;
            assert_false(utf8_valid(slice_make(text, len)));
            text[at] = (char)0xC3; /* needs one more */
            assert_false(utf8_valid(slice_make(text, len)));
            if (at + 1 < len) {
                text[at + 1] = (char)0xA4;
                assert_true(utf8_valid(slice_make(text, len)));
            }
        }
    }
}

static void known_texts(void **state)
{
    static const char *const good[] = {"", "plain", "ä", "€", "\xF0\x9F\x90\x8D", "\xEF\xBF\xBF"};
    static const char *const bad[] = {
        "\xC0\x80",         "\xC1\xBF",         "\xE0\x80\x80",     "\xED\xA0\x80", "\xED\xBF\xBF",
        "\xF0\x80\x80\x80", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\x80",         "\xE2\x82"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_true(utf8_valid(slice_str(good[i])));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(utf8_valid(slice_str(bad[i])));
}

static void a_cut_is_the_longest_whole_prefix(void **state)
{
    struct slice s = slice_str("aä€\xF0\x9F\x90\x8Dz"); /* 1 + 2 + 3 + 4 + 1 */
    static const size_t cuts[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11, 11};
    for (size_t max = 0; max < ARRAY_LEN(cuts); max++)
        assert_int_equal(utf8_cut(s, max), cuts[max]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair_and_edge_agrees_with_the_number),
        cmocka_unit_test(a_bad_byte_is_found_at_every_place),
        cmocka_unit_test(known_texts),
        cmocka_unit_test(a_cut_is_the_longest_whole_prefix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
