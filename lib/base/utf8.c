/* Well-formedness of UTF-8, by the table of the Unicode standard (3-7). */
#include "lib/base/utf8.h"

#include <stdint.h>

static bool cont(unsigned char c)
{
    return (c & 0xC0) == 0x80;
}

size_t utf8_char_len(const char *s, size_t len)
{
    const unsigned char *p = (const unsigned char *)s;
    if (len == 0)
        return 0;
    if (p[0] < 0x80)
        return 1;
    if (p[0] >= 0xC2 && p[0] <= 0xDF)
        return len >= 2 && cont(p[1]) ? 2 : 0;
    if (p[0] >= 0xE0 && p[0] <= 0xEF) {
        if (len < 3 || !cont(p[1]) || !cont(p[2]))
            return 0;
        if (p[0] == 0xE0 && p[1] < 0xA0)
            return 0;
        return p[0] == 0xED && p[1] > 0x9F ? 0 : 3;
    }
    if (p[0] >= 0xF0 && p[0] <= 0xF4) {
        if (len < 4 || !cont(p[1]) || !cont(p[2]) || !cont(p[3]))
            return 0;
        if (p[0] == 0xF0 && p[1] < 0x90)
            return 0;
        return p[0] == 0xF4 && p[1] > 0x8F ? 0 : 4;
    }
    return 0;
}

bool utf8_valid(struct slice s)
{
    size_t i = 0;
    while (i < s.len) {
        uint64_t word;
        if (s.len - i >= sizeof(word)) {
            memcpy(&word, s.ptr + i, sizeof(word));
            if ((word & 0x8080808080808080ULL) == 0) {
                i += sizeof(word);
                continue;
            }
        }
        size_t n = utf8_char_len(s.ptr + i, s.len - i);
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}

size_t utf8_cut(struct slice s, size_t max)
{
    if (s.len <= max)
        return s.len;
    size_t cut = max;
    while (cut > 0 && cont((unsigned char)s.ptr[cut]))
        cut--;
    return cut;
}
