/* tiles.h: the form of a C2SP tlog-tiles folder: paths, tiles, entry bundles, the text of a checkpoint.
 *
 * A tile of level L holds up to 256 hashes: the nodes of level 8·L of the tree. Entry bundles hold the same 256 leaves' entries, each
 * after its length in two bytes. Whatever is not full yet lies in a file that bears its width. What is read here may come from a
 * stranger: every form has one accepted spelling. Pure: opens nothing. */
#ifndef TOCSIN_EVIDENCE_TILES_H
#define TOCSIN_EVIDENCE_TILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "evidence/merkle.h"
#include "evidence/note.h"

enum {
  TILE_WIDTH = 256,
  TILE_LEVELS = 8,
  TILE_PATH = 96,
  TILE_ENTRY_MAX = 65535,
  TILE_ENTRIES = -1,
  BUNDLE_CAP = TILE_WIDTH * (TILE_ENTRY_MAX + 2)
};

/* "tile/0/x001/x234/067" or "tile/0/x001/x234/067.p/112"; level TILE_ENTRIES: "tile/entries/…". Width 256 is the full tile. */
void tile_path(int level, uint64_t index, unsigned width, char out[TILE_PATH]);
/* Nodes of that tile level in a tree of size leaves. */
uint64_t tile_nodes(int level, uint64_t size);
/* How wide tile `index` of the level is in a tree of size leaves: 0 when there is none. */
unsigned tile_width(int level, uint64_t index, uint64_t size);
/* The root of a whole tile: the node of the next tile level. */
void tile_root(const struct hash hashes[TILE_WIDTH], struct hash *out);
/* Node `level` (0…8) above the tile's hashes, wholly inside of them. */
void tile_node(const struct hash *hashes, unsigned level, uint64_t index, struct hash *out);

struct tile_entry {
  const void *bytes;
  size_t len;
};

/* ERR_LIMIT for an entry over TILE_ENTRY_MAX. */
int bundle_add(struct buf *bundle, const void *bytes, size_t len, struct err *err);
/* Exactly `width` entries, else ERR_INVALID; they point into the bytes. */
int bundle_read(const void *bytes, size_t len, unsigned width, struct tile_entry out[TILE_WIDTH], struct err *err);
/* As many as there are, at most `most`; *ret_rest bytes at the end make no entry. */
unsigned bundle_count(const void *bytes, size_t len, unsigned most, struct tile_entry *out, size_t *ret_rest);

struct checkpoint {
  char origin[NOTE_NAME];
  uint64_t size;
  struct hash root;
};

/* The text that is signed: origin, size, root. */
void checkpoint_write(const struct checkpoint *c, struct buf *out);
/* From the text of a note (further lines are allowed and kept out). */
int checkpoint_read(const char *text, size_t len, struct checkpoint *ret, struct err *err);

#endif
