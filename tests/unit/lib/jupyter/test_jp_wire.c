/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */
/* The fixtures are messages of a real ipykernel 7.4: each frame behind its length (32 bits LE). */
#include "lib/jupyter/jp_wire.h"

#include "lib/base/mem.h"
#include "lib/json/jsonx.h"

#include <stdio.h>

#define KEY "caesarion-test-key"

struct recorded {
    char *bytes;
    struct slice frames[JP_FRAMES_MAX + 2];
    size_t n;
    size_t len;
};

static struct recorded load(const char *name)
{
    struct recorded r = {0};
    const char *here = strstr(__FILE__, "tests/unit/");
    _cleanup_(freep) char *path =
        mem_printf("%.*stests/data/jupyter/%s.frames", (int)(here - __FILE__), __FILE__, name);
    _cleanup_(fclosep) FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("%s is missing", path);
    r.bytes = mem_alloc(65536);
    r.len = fread(r.bytes, 1, 65536, f);
    for (size_t at = 0; at < r.len;) {
        uint32_t len;
        memcpy(&len, r.bytes + at, 4);
        r.frames[r.n++] = slice_make(r.bytes + at + 4, len);
        at += 4 + len;
    }
    return r;
}

static struct crypto_hmac key_of(const char *key)
{
    struct crypto_hmac h;
    crypto_hmac_init(&h, key, strlen(key));
    return h;
}

static void decodes_recorded_messages(void **state)
{
    static const struct {
        const char *file, *type, *parent_type, *ident;
        enum jp_kind kind;
        size_t n_buffers;
    } rows[] = {
        {"00-iopub-iopub_welcome", "iopub_welcome", "", "", JP_IOPUB_WELCOME, 0},
        {"01-iopub-status", "status", "", "kernel.", JP_STATUS, 0},
        {"02-iopub-execute_input", "execute_input", "execute_request", "kernel.", JP_EXECUTE_INPUT,
         0},
        {"03-iopub-stream", "stream", "execute_request", "stream.stdout", JP_STREAM, 0},
        {"04-shell-execute_reply", "execute_reply", "execute_request", "tag", JP_EXECUTE_REPLY, 0},
        {"05-iopub-display_data", "display_data", "execute_request", "display_data",
         JP_DISPLAY_DATA, 0},
        {"06-iopub-clear_output", "clear_output", "execute_request", "display_data",
         JP_CLEAR_OUTPUT, 0},
        {"07-iopub-execute_result", "execute_result", "execute_request", "kernel.",
         JP_EXECUTE_RESULT, 0},
        {"08-iopub-error", "error", "execute_request", "kernel.", JP_ERROR, 0},
        {"09-stdin-input_request", "input_request", "execute_request", "tag", JP_INPUT_REQUEST, 0},
        {"10-iopub-comm_open", "comm_open", "execute_request", "comm-", JP_OTHER, 2},
        {"11-shell-execute_reply", "execute_reply", "execute_request", "", JP_EXECUTE_REPLY, 0},
    };
    struct crypto_hmac key = key_of(KEY);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct recorded r = load(rows[i].file);
        struct jp_msg m;
        assert_int_equal(jp_wire_decode(&m, r.frames, r.n, &key), 0);
        assert_string_equal(m.msg_type, rows[i].type);
        assert_string_equal(m.parent_type, rows[i].parent_type);
        assert_int_equal(m.kind, rows[i].kind);
        assert_true(slice_starts(m.ident, rows[i].ident));
        assert_int_equal(m.ident.len == 0, rows[i].ident[0] == '\0');
        assert_true(strlen(m.msg_id) > 30 && strlen(m.session) > 30);
        assert_int_equal(strlen(m.parent_id) > 30, rows[i].parent_type[0] != '\0');
        assert_int_equal(m.n_buffers, rows[i].n_buffers);
        assert_true(jsonx_valid(m.header) && jsonx_valid(m.parent) && jsonx_valid(m.metadata) &&
                    jsonx_valid(m.content));
        free(r.bytes);
    }
}

static void keeps_buffers(void **state)
{
    struct crypto_hmac key = key_of(KEY);
    struct recorded r = load("10-iopub-comm_open");
    struct jp_msg m;
    assert_int_equal(jp_wire_decode(&m, r.frames, r.n, &key), 0);
    assert_true(slice_eq(m.buffers[0], slice_make("\0one", 4)));
    assert_true(slice_eq_str(m.buffers[1], "two"));
    free(r.bytes);
}

/* Every single bit of the signed frames and of the signature, and every truncation of them. */
static void any_changed_bit_is_refused(void **state)
{
    struct crypto_hmac key = key_of(KEY);
    struct recorded r = load("03-iopub-stream");
    struct jp_msg m;
    for (size_t f = 1; f < r.n; f++) {
        char *bytes = r.bytes + (r.frames[f].ptr - r.bytes);
        for (size_t bit = 0; bit < r.frames[f].len * 8; bit++) {
            bytes[bit / 8] ^= (char)(1 << bit % 8);
            assert_true(jp_wire_decode(&m, r.frames, r.n, &key) < 0);
            bytes[bit / 8] ^= (char)(1 << bit % 8);
        }
        struct slice whole = r.frames[f];
        for (size_t len = 0; len < whole.len; len++) {
            r.frames[f].len = len;
            assert_true(jp_wire_decode(&m, r.frames, r.n, &key) < 0);
        }
        r.frames[f] = whole;
    }
    for (size_t n = 0; n < r.n; n++)
        assert_int_equal(jp_wire_decode(&m, r.frames, n, &key), -ERR_INVALID);
    assert_int_equal(jp_wire_decode(&m, r.frames, r.n, &key), 0);
    struct crypto_hmac wrong = key_of("caesarion-test-kez");
    assert_int_equal(jp_wire_decode(&m, r.frames, r.n, &wrong), -ERR_UNAUTHORIZED);
    r.frames[2].len = 0; /* unsigned */
    assert_int_equal(jp_wire_decode(&m, r.frames, r.n, &key), -ERR_UNAUTHORIZED);
    free(r.bytes);
}

/* Signs what is given and decodes it. */
static int decode(struct jp_msg *m, const char *header, const char *parent, size_t n_idents,
                  size_t n_buffers)
{
    static struct slice frames[1000];
    static char sig[CRYPTO_HEX_SIZE];
    struct crypto_hmac key = key_of(KEY);
    const struct slice json[] = {slice_str(header), slice_str(parent), slice_str("{}"),
                                 slice_str("{}")};
    size_t n = 0;
    for (size_t i = 0; i < n_idents; i++)
        frames[n++] = slice_str(i ? "more" : "first");
    frames[n++] = slice_str(JP_DELIMITER);
    jp_wire_sign(&key, json, sig);
    frames[n++] = slice_str(sig);
    for (size_t i = 0; i < 4; i++)
        frames[n++] = json[i];
    for (size_t i = 0; i < n_buffers; i++)
        frames[n++] = slice_str(JP_DELIMITER);
    return jp_wire_decode(m, frames, n, &key);
}

#define HEADER "{\"msg_id\":\"i\",\"msg_type\":\"status\",\"session\":\"s\"}"

static void idents_and_buffers_have_their_limits(void **state)
{
    struct jp_msg m;
    assert_int_equal(decode(&m, HEADER, "{}", 0, 0), 0);
    assert_int_equal(m.ident.len, 0);
    assert_int_equal(decode(&m, HEADER, "{}", 3, 1), 0);
    assert_true(slice_eq_str(m.ident, "first"));
    assert_true(slice_eq_str(m.buffers[0], JP_DELIMITER));
    assert_int_equal(decode(&m, HEADER, "{}", 1, JP_BUFFERS_MAX), 0);
    assert_int_equal(m.n_buffers, JP_BUFFERS_MAX);
    assert_int_equal(decode(&m, HEADER, "{}", 1, JP_BUFFERS_MAX + 1), -ERR_INVALID);
}

static void headers_are_checked_though_signed(void **state)
{
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "null",
        "{}",
        "\"x\"",
        HEADER "x",
        "{\"msg_id\":1,\"msg_type\":\"status\"}",
        "{\"msg_id\":\"i\"}",
        "{\"msg_type\":\"status\"}",
        "{\"msg_id\":\"\",\"msg_type\":\"t\"}",
        "{\"msg_id\":\"a\\u0000b\",\"msg_type\":\"t\"}",
        "{\"msg_id\":\"i\",\"msg_type\":\"status\",\"session\":[]}",
        "{\"msg_id\":\"\xff\",\"msg_type\":\"status\"}",
    };
    struct jp_msg m;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        if (decode(&m, bad[i], "{}", 0, 0) != -ERR_INVALID)
            fail_msg("accepted header %s", bad[i]);
    }
    static const char *const bad_parents[] = {"{",     "[]",       "null",
                                              "\"x\"", HEADER "x", "{\"msg_id\":1}"};
    for (size_t i = 0; i < ARRAY_LEN(bad_parents); i++)
        if (decode(&m, HEADER, bad_parents[i], 0, 0) != -ERR_INVALID)
            fail_msg("accepted parent %s", bad_parents[i]);
    assert_int_equal(decode(&m, HEADER, "", 0, 0), 0);
    assert_true(slice_eq_str(m.parent, "{}"));
    assert_string_equal(m.parent_id, "");
    assert_int_equal(decode(&m, "{\"msg_id\":\"\\u00e9\\n\",\"msg_type\":\"x\",\"session\":null}",
                            "{\"msg_id\": \"p\", \"msg_type\": \"q\"}", 0, 0),
                     0);
    assert_string_equal(m.msg_id, "é\n");
    assert_string_equal(m.session, "");
    assert_string_equal(m.parent_id, "p");
    assert_string_equal(m.parent_type, "q");
}

static void long_ids_are_refused(void **state)
{
    struct jp_msg m;
    char id[129], header[300];
    memset(id, 'x', 128);
    for (int len = 127; len <= 128; len++) {
        int expected = len == 127 ? 0 : -ERR_INVALID;
        snprintf(header, sizeof(header), "{\"msg_id\":\"%.*s\",\"msg_type\":\"t\"}", len, id);
        assert_int_equal(decode(&m, header, "{}", 0, 0), expected);
        assert_int_equal(decode(&m, HEADER, header, 0, 0), expected);
    }
    for (int len = 63; len <= 64; len++) {
        snprintf(header, sizeof(header), "{\"msg_id\":\"i\",\"msg_type\":\"%.*s\"}", len, id);
        assert_int_equal(decode(&m, header, "{}", 0, 0), len == 63 ? 0 : -ERR_INVALID);
    }
}

static void headers_end_at_64_kib(void **state)
{
    struct jp_msg m;
    static char header[JP_HEADER_MAX + 2];
    size_t len = strlen(HEADER);
    memcpy(header, HEADER, len);
    memset(header + len, ' ', JP_HEADER_MAX - len);
    assert_int_equal(decode(&m, header, header, 0, 0), 0);
    header[JP_HEADER_MAX] = ' ';
    assert_int_equal(decode(&m, header, "{}", 0, 0), -ERR_INVALID);
    assert_int_equal(decode(&m, HEADER, header, 0, 0), -ERR_INVALID);
}

static void encode_is_undone_by_decode(void **state)
{
    struct crypto_hmac key = key_of(KEY);
    struct buf header;
    buf_init(&header, 1000);
    assert_int_equal(jp_wire_header(&header, "id\"1", "sess", "execute_request", 0), 0);
    assert_string_equal(
        header.ptr, "{\"msg_id\":\"id\\\"1\",\"session\":\"sess\",\"msg_type\":\"execute_request\","
                    "\"date\":\"1970-01-01T00:00:00.000000Z\",\"username\":\"caesarion\","
                    "\"version\":\"5.3\"}");
    const struct slice json[] = {buf_slice(&header), {0}, {0}, slice_str("{\"code\":\"1\"}")};
    const struct slice buffers[] = {slice_make("\0", 1), slice_str("")};
    struct slice out[JP_FRAMES_MAX];
    char sig[CRYPTO_HEX_SIZE];
    for (int with_ident = 0; with_ident < 2; with_ident++) {
        struct slice ident = slice_str(with_ident ? "tag" : "");
        size_t n = jp_wire_encode(out, sig, &key, ident, json, buffers, 2);
        assert_int_equal(n, 8 + with_ident);
        struct jp_msg m;
        assert_int_equal(jp_wire_decode(&m, out, n, &key), 0);
        assert_string_equal(m.msg_id, "id\"1");
        assert_string_equal(m.session, "sess");
        assert_true(slice_eq(m.ident, ident));
        assert_true(slice_eq_str(m.parent, "{}") && slice_eq_str(m.metadata, "{}"));
        assert_true(slice_eq(m.content, json[3]));
        assert_int_equal(m.n_buffers, 2);
        assert_int_equal(m.buffers[0].len, 1);
        assert_int_equal(m.buffers[1].len, 0);
    }
    assert_int_equal(
        jp_wire_encode(out, sig, &key, slice_str(""), json, buffers, JP_BUFFERS_MAX + 1), 0);
    buf_done(&header);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes_recorded_messages),
        cmocka_unit_test(keeps_buffers),
        cmocka_unit_test(any_changed_bit_is_refused),
        cmocka_unit_test(idents_and_buffers_have_their_limits),
        cmocka_unit_test(headers_are_checked_though_signed),
        cmocka_unit_test(long_ids_are_refused),
        cmocka_unit_test(headers_end_at_64_kib),
        cmocka_unit_test(encode_is_undone_by_decode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
