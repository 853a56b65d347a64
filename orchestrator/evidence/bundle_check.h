/* bundle_check.h: what the files that check a bundle share (bundle_verify.c, bundle_custody.c). Nobody else includes it. */
#ifndef TOCSIN_EVIDENCE_BUNDLE_CHECK_H
#define TOCSIN_EVIDENCE_BUNDLE_CHECK_H

#include "evidence/bundle.h"

struct custody_file; /* as an entry names it */

struct check {
  struct zip zip;
  const struct verify_options *options;
  struct bundle_result *result;
  bool is_signed;
  struct custody_file *files; /* in order of incidents and entries */
  size_t file_count;
  uint64_t names_removed,
      ends_removed; /* entries that collected, or destroyed, a file that nobody knows any more: their bodies were removed */
};

/* part: "entry", "body", "proof", or "file" for one in custody. */
__attribute__((format(printf, 6, 7))) void check_fault(struct check *c, enum fault_kind kind, const char *part, uint64_t seq,
                                                       const char *incident, const char *format, ...);
/* Of a file of the archive. */
void check_file_fault(struct check *c, enum fault_kind kind, const char *name, const char *text);

/* What an entry says of a file in custody, in order of entries; body NULL: it was removed, and an entry says so. */
void custody_note(struct check *c, const struct head *head, const char *body, size_t len);
/* When all are known: every file is there and is what was collected, or its end is on record; no other file is there. */
void custody_check(struct check *c);

#endif
