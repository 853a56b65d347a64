/* sealing.h: the evidence log as a part of the running engine: its key, its feed, what doctor and metrics say of it.
 *
 * Without `evidence` in the settings the log lies in the data folder's evidence/, signed with evidence.key there (0600, made at the first start; never made again beside a log that it
 * did not sign). A folder that cannot be used is told and waited for; a key that cannot be used ends the start. */
#ifndef TOCSIN_CMD_SEALING_H
#define TOCSIN_CMD_SEALING_H

#include <jansson.h>

#include "cmd/daemon.h"
#include "evidence/note.h"

/* The key that the settings name, else the file in the data folder; ERR_NOT_FOUND when there is neither. secrets may be NULL: then only the file. */
int evidence_key_load(const json_t *settings, const struct secrets *secrets, struct note_signer *ret, struct err *err);
/* A new file that nobody else may read. ERR_EXISTS: one that is there is never written over. */
int evidence_key_write(const char *path, const struct note_signer *signer, struct err *err);
const char *evidence_folder(const json_t *settings);

/* The feed, with a key that is made when there is none. */
int daemon_sealing_start(struct daemon *d, struct err *err);
void daemon_sealing_end(struct daemon *d); /* the feed has stopped */
/* Called on the loop after each published checkpoint, in the order in which they were added; at most 8. Before daemon_sealing_start or after. */
void daemon_checkpoint_watch(struct daemon *d, daemon_checkpoint_cb *cb, void *arg);
/* One finding for doctor: text, and whether all is well. */
bool daemon_sealing_finding(struct daemon *d, char *text, size_t size);
void daemon_sealing_commands(struct daemon *d);

#endif
