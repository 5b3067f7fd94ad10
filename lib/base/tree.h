#pragma once

/*
 * Removal of trees that user code made or can still write to: of any depth and size, under its
 * hands, with folders it has closed to us. By descriptors alone, so that nothing outside is ever
 * touched, whatever becomes a link meanwhile. Blocks for as long as the tree is large: on the pool.
 */

/* Names of folders that were moved up to the tree's top, while it is being removed. */
#define TREE_MOVED_PREFIX ".caesarion-upload-removed-"

/*
 * Removes `name` (one part of a path) of the folder `parent_fd`: a tree, a file, or a link itself.
 * 0 also when nothing is there; else the errno of what stayed, ENOTEMPTY when it is filled faster
 * than it is emptied. What can be removed beside that is.
 */
int tree_remove(int parent_fd, const char *name);
