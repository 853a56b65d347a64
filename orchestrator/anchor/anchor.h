/* anchor.h: puts the newest checkpoint of an evidence log where its owner cannot reach it: time stamps (RFC 3161), witnesses (C2SP), copies (a folder, or a bucket with object lock).
 *
 * Whoever holds the log's key could write another log; what lies with others shows it. One round takes the checkpoint as it is, and does with it what each target has not yet done with one of that
 * size. Every answer is checked before anything is kept, and kept durably before it is told:
 *   anchors/<size>.checkpoint  the signed note as it was stamped and shown to witnesses
 *   anchors/<size>.tsr         the first authority's answer (the second's: <size>-2.tsr…)
 *   anchors/<size>.cosigned    the same note with the witnesses' cosignatures
 *   anchors/state.json         what was done last; only to show, and to go on with
 * A target that fails is tried again in the next round and keeps nobody waiting: neither the other targets nor sealing nor runs. Reads the log only through a checkpoint that its key signed.
 * Never touches log/ or bodies/, and never copies keys.db. Blocks: for a command, or the thread that anchor_start makes. Never logs: what happened is in the news. */
#ifndef TOCSIN_ANCHOR_ANCHOR_H
#define TOCSIN_ANCHOR_ANCHOR_H

#include <jansson.h>
#include <stdint.h>

#include "base/err.h"
#include "base/secret.h"
#include "evidence/note.h"

enum { ANCHOR_TARGETS = 32, ANCHOR_RETRY_MS = 30000 };

struct anchor;

struct anchor_options {
  const char *folder;              /* evidence/ */
  const struct note_verifier *key; /* the log's */
  const json_t
      *settings; /* {"tsa": [{url, ca, ca_file}], "witness": [{url, key, ca_file}], "copy": [{folder} | {bucket, …}], "every": ms} */
  struct secrets *secrets; /* where the buckets' keys are looked up while starting; the one that the log redacts with */
  /* For anchor_start. On the anchor's thread: there is news to be taken; wake the loop, nothing more. */
  void (*news)(void *arg);
  /* On the anchor's thread: signature lines for the checkpoint of that size, as they belong behind it. May be NULL. */
  void (*cosigned)(void *arg, uint64_t size, const char *lines, size_t len);
  void *arg;
};

/* ERR_INVALID names the setting that cannot be used; ERR_CONFLICT: another process anchors this log. Reads and makes files. */
int anchor_new(const struct anchor_options *options, struct anchor **ret, struct err *err);
void anchor_free(struct anchor *a);
/* Whether anchor_new would take these settings, without touching the folder. */
int anchor_settings_check(const json_t *settings, struct secrets *secrets, struct err *err);
/* One round with every target. 0 when all have the newest checkpoint, else the first failure; the others were tried all the same. */
int anchor_round(struct anchor *a, struct err *err);
/* What happened since the last call: a list of {"event": "stamped" | "cosigned" | "copied" | "failed", "size", "target", …}. Any thread. New. */
json_t *anchor_news(struct anchor *a);
/* [{"what": "tsa" | "witness" | "copy", "target", "size", "time" (µs of the last success, 0: never), "why": text or null}]. Any thread. New. */
json_t *anchor_status(struct anchor *a);

/* A thread of its own: a round each `every`, sooner after a failure. */
int anchor_start(struct anchor *a, struct err *err);
/* Ends an exchange under way. */
void anchor_stop(struct anchor *a);

#endif
