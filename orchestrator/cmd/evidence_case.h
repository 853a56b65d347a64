/* evidence_case.h: one incident's journal in the hands of a command: from `tocsin serve` or from a file, checked, and the views of it. */
#ifndef TOCSIN_CMD_EVIDENCE_CASE_H
#define TOCSIN_CMD_EVIDENCE_CASE_H

#include "base/buf.h"
#include "base/id.h"
#include "cmd/command.h"
#include "journal/journal.h"
#include "report/report.h"

struct evidence_case {
  char id[ID_PATH];
  struct entry **entries;
  size_t count;
  json_t *names; /* of people; empty from a file */
};

/* The journal's text in the export form, from the daemon; prints what went wrong. word: as typed; id: ID_PATH. */
int evidence_fetch(const struct cli *cli, const char *word, json_t **ret_answer, char id[ID_PATH]);
/* From a file made by `export`, or from the daemon when there is no such file. Prints what went wrong; else EXIT_DONE. */
int evidence_case_open(const struct cli *cli, const char *word, struct evidence_case *ret);
/* From text in the export form; 0 or an error. */
int evidence_case_read(const char *text, size_t len, struct evidence_case *ret, struct err *err);
void evidence_case_release(struct evidence_case *c);
/* What the views are made of: borrows from c. */
void evidence_case_source(const struct evidence_case *c, const json_t *seal, struct report_source *ret);
/* "report.html", "timeline.csv", "ocsf.json", "stix.json"; false: no such view. */
bool evidence_view(const struct report_source *s, const json_t *facts, const char *name, struct buf *out);

extern const struct command evidence_report; /* `tocsin evidence report` */

#endif
