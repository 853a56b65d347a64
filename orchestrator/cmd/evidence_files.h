/* evidence_files.h: `tocsin evidence add|list|get|transfer|acknowledge|hold|release-hold|delete`: files in custody. */
#ifndef TOCSIN_CMD_EVIDENCE_FILES_H
#define TOCSIN_CMD_EVIDENCE_FILES_H

#include "base/buf.h"
#include "cmd/command.h"

extern const struct command evidence_add, evidence_list, evidence_get, evidence_transfer, evidence_acknowledge, evidence_hold,
    evidence_release_hold, evidence_delete;

/* The whole of a kept file, checked against its digest, handed over piece by piece; take returns 0 or an error. Prints what went wrong; else EXIT_DONE. */
typedef int evidence_piece_cb(void *arg, const void *bytes, size_t len, struct err *err);
/* Takes the file at path into custody; facts: members of the command evidence.begin (because, source, tool…). Prints what went wrong; else EXIT_DONE, and a new answer
 * with the item's number. */
int evidence_file_put(const struct cli *cli, const char *incident, const char *path, const json_t *facts, json_t **ret_answer);
int evidence_file_get(const struct cli *cli, const char *incident, long long item, const char *because, evidence_piece_cb *take, void *arg);

#endif
