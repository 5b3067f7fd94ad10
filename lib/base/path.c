/* What a path of a user may look like, before the file system is asked. */
#include "lib/base/path.h"

#include "lib/base/utf8.h"

static int check_part(const char *part, size_t len, struct err *err)
{
    if (len == 0)
        return err_field(err, "path", "the path is absolute or has an empty part");
    if ((len == 1 && part[0] == '.') || (len == 2 && part[0] == '.' && part[1] == '.'))
        return err_field(err, "path", "the path has a part \".\" or \"..\"");
    if (len > PATH_PART_MAX)
        return err_field(err, "path", "a part of the path is longer than %d bytes", PATH_PART_MAX);
    return 0;
}

int path_check_relative(const char *path, size_t len, struct err *err)
{
    if (len == 0)
        return err_field(err, "path", "the path is empty");
    if (len > PATH_USER_MAX)
        return err_field(err, "path", "the path is longer than %d bytes", PATH_USER_MAX);
    if (!utf8_valid(slice_make(path, len)))
        return err_field(err, "path", "the path is not UTF-8");
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)path[i] < 0x20 || path[i] == 0x7F)
            return err_field(err, "path", "the path has a control character");
    size_t start = 0;
    for (size_t i = 0; i <= len; i++) {
        if (i < len && path[i] != '/')
            continue;
        int r = check_part(path + start, i - start, err);
        if (r < 0)
            return r;
        start = i + 1;
    }
    return 0;
}
