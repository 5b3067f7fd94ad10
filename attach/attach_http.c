#include "attach/attach_http.h"

#include "lib/base/buf.h"
#include "lib/base/macros.h"
#include "lib/base/mem.h"
#include "lib/crypto/crypto.h"
#include "lib/json/jsonx.h"

#define WORDS_MAX 500
#define FIRST_MS  100

/* The sentence in a problem or a Jupyter error; "" when there is none. */
static void read_words(struct slice body, char out[WORDS_MAX])
{
    static const char *const keys[] = {"detail", "message", "title"};
    out[0] = '\0';
    struct buf text;
    buf_init(&text, WORDS_MAX - 1);
    for (size_t i = 0; i < ARRAY_LEN(keys) && text.len == 0 && jsonx_valid(body); i++) {
        struct slice value = jsonx_find(body, keys[i]);
        if (value.len && jsonx_append_decoded(&text, value) < 0)
            buf_clear(&text);
    }
    for (size_t i = 0; i < text.len; i++)
        out[i] = (unsigned char)text.ptr[i] < ' ' ? ' ' : text.ptr[i];
    out[text.len] = '\0';
    buf_done(&text);
}

int attach_http_error(struct err *err, const char *what, int status, struct slice body,
                      const struct err *cause)
{
    char words[WORDS_MAX];
    if (status == 0)
        return err_set(err, cause ? cause->code : ERR_UNAVAILABLE, "%s: %s", what,
                       cause ? cause->text : "no answer");
    read_words(body, words);
    const char *colon = *words ? ": " : "";
    switch (status) {
    case 401:
        return err_set(err, ERR_UNAUTHORIZED, "%s: the token is not accepted%s%s", what, colon,
                       words);
    case 403:
        return err_set(err, ERR_FORBIDDEN, "%s: this caller may not use it%s%s", what, colon,
                       words);
    case 404:
    case 410:
        return err_set(err, ERR_NOT_FOUND, "%s is not there%s%s", what, colon, words);
    default:
        return err_set(err, ERR_UNAVAILABLE, "%s: the server answered with status %d%s%s", what,
                       status, colon, words);
    }
}

bool attach_http_passing(int status)
{
    return status == 0 || status == 408 || status == 409 || status == 425 || status == 429 ||
           status >= 500;
}

bool attach_http_final(int status)
{
    return status == 401 || status == 403 || status == 404 || status == 410;
}

int64_t attach_backoff_ms(unsigned n, int64_t max_ms)
{
    int64_t ms = n > 16 ? max_ms : MIN(max_ms, (int64_t)FIRST_MS << n);
    uint32_t random;
    crypto_random(&random, sizeof(random));
    return ms / 2 + (int64_t)random % (ms / 2 + 1);
}

char *attach_http_auth(const char *token)
{
    return token ? mem_printf("Authorization: Bearer %s", token) : NULL;
}
