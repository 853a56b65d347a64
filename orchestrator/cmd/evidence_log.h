/* evidence_log.h: the part of `tocsin evidence` that is about the sealed log rather than one journal. */
#ifndef TOCSIN_CMD_EVIDENCE_LOG_H
#define TOCSIN_CMD_EVIDENCE_LOG_H

#include "cmd/command.h"

extern const struct command evidence_keygen;
/* `tocsin evidence verify FOLDER --key …` */
int evidence_log_verify(const struct cli *cli, const struct options *o, const char *folder);

#endif
