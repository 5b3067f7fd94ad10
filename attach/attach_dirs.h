#pragma once
#include "lib/base/err.h"
#include "lib/base/slice.h"

/* Where Jupyter and Caesarion keep a user's files, and how they are put there. The caller frees. */

/* $JUPYTER_DATA_DIR, or jupyter in $XDG_DATA_HOME or ~/.local/share, as jupyter_core has it. */
int attach_data_dir(char **ret, struct err *err);
/* $JUPYTER_RUNTIME_DIR, or runtime in the data directory. */
int attach_runtime_dir(char **ret, struct err *err);
/* caesarion in $XDG_CONFIG_HOME or ~/.config. */
int attach_config_dir(char **ret, struct err *err);

/* Makes the directory and those above it that are missing, with this mode. */
int attach_make_dirs(const char *path, unsigned mode, struct err *err);
/* Replaces the file as a whole: nobody sees half of it. */
int attach_write_file(const char *path, unsigned mode, struct slice data, struct err *err);
