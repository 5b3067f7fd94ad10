/*
 * A cell whose metadata say "trusted" has its HTML and scripts run by JupyterLab as soon as the
 * notebook is opened, in a page that holds the user's token. Jupyter Server therefore never takes
 * the mark from a file, nor writes it to one: it signs what its clients save. Here user code writes
 * the files, and there are no signatures, so the mark is dropped both ways; outputs show their
 * scripts again when a cell is run, or when the user trusts the notebook.
 */
#include "kernel-runner/attach/contents_notebook.h"

#include "lib/json/jsonx.h"

#define KEY_MAX 16

/* A key is the same however it is escaped. */
static bool key_is(struct slice key, const char *name)
{
    char plain[KEY_MAX];
    if (slice_eq_str(key, name))
        return true;
    return memchr(key.ptr, '\\', key.len) &&
           jsonx_decode(slice_make(key.ptr - 1, key.len + 2), plain, sizeof(plain)) == 0 &&
           strcmp(plain, name) == 0;
}

static int put_key(struct buf *out, bool *any, struct slice key)
{
    if (*any)
        (void)buf_append_char(out, ',');
    *any = true;
    (void)buf_append_char(out, '"');
    (void)buf_append_slice(out, key);
    return buf_append(out, "\":", 2);
}

static int put_metadata(struct buf *out, struct slice metadata)
{
    struct slice key, value;
    bool any = false;
    int r = buf_append_char(out, '{');
    for (struct jsonx_iter it = jsonx_iter(metadata);
         r == 0 && jsonx_iter_next(&it, &key, &value);) {
        if (key_is(key, "trusted"))
            continue;
        (void)put_key(out, &any, key);
        r = buf_append_slice(out, value);
    }
    return r == 0 ? buf_append_char(out, '}') : r;
}

static int put_cell(struct buf *out, struct slice cell)
{
    struct slice key, value;
    bool any = false;
    int r = buf_append_char(out, '{');
    for (struct jsonx_iter it = jsonx_iter(cell); r == 0 && jsonx_iter_next(&it, &key, &value);) {
        (void)put_key(out, &any, key);
        r = value.ptr[0] == '{' && key_is(key, "metadata") ? put_metadata(out, value)
                                                           : buf_append_slice(out, value);
    }
    return r == 0 ? buf_append_char(out, '}') : r;
}

static int put_cells(struct buf *out, struct slice cells)
{
    struct slice cell;
    bool any = false;
    int r = buf_append_char(out, '[');
    for (struct jsonx_iter it = jsonx_items(cells); r == 0 && jsonx_items_next(&it, &cell);) {
        if (any)
            (void)buf_append_char(out, ',');
        any = true;
        r = cell.ptr[0] == '{' ? put_cell(out, cell) : buf_append_slice(out, cell);
    }
    return r == 0 ? buf_append_char(out, ']') : r;
}

int contents_notebook_untrust(struct buf *out, struct slice text)
{
    struct slice key, value;
    bool any = false;
    int r = buf_reserve(out, text.len); /* the result is never longer: what follows cannot fail */
    if (r == 0)
        r = buf_append_char(out, '{');
    for (struct jsonx_iter it = jsonx_iter(text); r == 0 && jsonx_iter_next(&it, &key, &value);) {
        (void)put_key(out, &any, key);
        r = value.ptr[0] == '[' && key_is(key, "cells") ? put_cells(out, value)
                                                        : buf_append_slice(out, value);
    }
    return r == 0 ? buf_append_char(out, '}') : r;
}
