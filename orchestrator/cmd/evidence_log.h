/* evidence_log.h: the parts of `tocsin evidence` that are about sealed evidence rather than one journal. */
#ifndef TOCSIN_CMD_EVIDENCE_LOG_H
#define TOCSIN_CMD_EVIDENCE_LOG_H

#include "cmd/command.h"
#include "evidence/bundle.h"

struct options;

extern const struct command evidence_key, evidence_keygen, evidence_search, evidence_rebuild, evidence_coverage, evidence_redact,
    evidence_drill;

/* What the person who checks brings along: --key, --checkpoint, --plain. options points into it. */
struct evidence_trust {
  struct note_verifier key;
  struct checkpoint earlier;
  struct verify_options options;
};
/* Prints what is wrong with them; else EXIT_DONE. */
int evidence_verify_options(const struct cli *cli, const struct options *o, struct evidence_trust *ret);
/* The verifier key of this node's own log. Prints what is wrong; else EXIT_DONE. */
int evidence_verifier(const struct cli *cli, char out[NOTE_VERIFIER_TEXT]);
/* The verifier key itself, or a file that holds it. Never repeats a signing key. */
int evidence_key_read(const char *text, struct note_verifier *ret, struct err *err);
/* A signed checkpoint in a file; its bytes are appended too. */
int evidence_checkpoint_read(const char *path, const struct note_verifier *key, struct buf *bytes, struct checkpoint *ret, struct err *err);

/* Where stamps and cosignatures are looked for: beside a log's folder, or in a bundle that was looked at. */
struct evidence_anchored {
  const char *folder; /* NULL: a bundle */
  const struct zip *bundle;
  const struct bundle_result *checked;
};
/* For --tsa-ca and --witness: sets "anchors" and, for a fault, "ok" in value. Returns how many faults there are, 0 when nothing was asked for, -1 when nothing could be looked at. */
int evidence_anchors_verify(const struct options *o, const struct evidence_anchored *what, const struct note_verifier *key, json_t *value,
                            struct err *err);
void evidence_anchors_print(const json_t *found);

/* Bodies that are gone on purpose, as both verifications list them. New. */
json_t *evidence_removals_json(const struct removal *list, uint64_t count);
void evidence_removals_print(const struct removal *list, uint64_t count);
/* `tocsin evidence verify FOLDER --key …` */
int evidence_log_verify(const struct cli *cli, const struct options *o, const char *folder);
/* `tocsin evidence verify BUNDLE.zip --key …` */
int evidence_bundle_verify(const struct cli *cli, const struct options *o, const char *path, const struct buf *bytes);
/* `tocsin evidence export … -o FILE.zip`: incident NULL: all of --from and --to. */
int evidence_bundle_export(const struct cli *cli, const struct options *o, const char *incident, const char *file);

/* --from, --to: a day or a time; *ret stays as it was when it is not given. Print what is wrong. */
int evidence_moment(const struct cli *cli, const struct options *o, const char *name, int64_t *ret);
struct archive;
/* --folder and --key, else this node's own. */
int evidence_archive(const struct cli *cli, const struct options *o, struct archive **ret);
/* The catalogue may lag behind the log, under load: adds to an answer how many entries are `sealed` and in how many of those was looked, `searched`: by their texts, or by their heads alone. */
int evidence_extent(struct archive *archive, bool texts, json_t *answer, struct err *err);
struct view;
void evidence_extent_view(struct view *v, const json_t *answer); /* a line, when some are not searched */

#endif
