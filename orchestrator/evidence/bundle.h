/* bundle.h: what an auditor gets: one ZIP (zip.h) that proves, offline and without trusting us, what was written, when, and in which order.
 *
 * Everything in it can be checked by hand with sha256sum, base64 and openssl (runbooks/verify-evidence.md). Lines are counted by an entry's number (seq) in its journal:
 *
 *   README.txt                  what this is and how to check it
 *   SHA256SUMS                  of every other file, as `sha256sum -c` reads it
 *   contents.json               what the bundle is about and how much of it is sealed
 *   index.html                  of a bundle of several incidents
 *   incidents/<ID>/heads        one head a line: the very bytes that were hashed, ended by a newline that was not
 *   incidents/<ID>/bodies       "<seq> <base64>": the envelope, 32 random bytes and the body's bytes; "<seq> -": it was removed, and a later head of type "body.removing" has <seq> as its step
 *   incidents/<ID>/proofs       "<seq> <index> <base64>…": the place in the log, and the RFC 6962 inclusion path to log/checkpoint; "<seq> -": not sealed yet
 *   incidents/<ID>/names.json   people's names by their pseudonyms, as they were known at the export
 *   incidents/<ID>/{report.html,timeline.csv,ocsf.json,stix.json}   views of it
 *   log/checkpoint              C2SP signed note: the checkpoint that all proofs lead to
 *   log/key                     the verifier key; to be compared with one that came another way
 *   log/<size>.checkpoint, log/<size>.consistency           a checkpoint kept from earlier, and the path ("<base64>" a line) from it to log/checkpoint
 *   anchors/<size>.checkpoint, .consistency, .tsr, .cosigned   the same of the first stamped and the first cosigned checkpoint behind the entries, with stamps and cosignatures
 *   blobs/<sha256>              the files in custody, in clear: each named by the "sha256" in the body of an evidence.collected entry; not there when an evidence.deleted entry says
 *                               that it was destroyed
 *
 * Proven by the log: heads, and through them bodies. Not proven, only listed in SHA256SUMS: names and views, which a Tocsin of the same version
 * makes anew and compares. What no bundle shows: entries that came behind the last one in it. */
#ifndef TOCSIN_EVIDENCE_BUNDLE_H
#define TOCSIN_EVIDENCE_BUNDLE_H

#include "evidence/head.h"
#include "evidence/proof.h"
#include "evidence/verify.h"
#include "evidence/zip.h"

enum { BUNDLE_PLACE = 200, BUNDLE_BODIES_CAP = 1 << 30 };

struct bundle_entry {
  const char *head;
  size_t head_len;
  const char *envelope; /* NULL: removed */
  size_t envelope_len;
};

/* The three files of one incident; entries from seq 1 on, proofs for each of them (NULL: none is sealed). */
int bundle_add_incident(struct zip *z, const char *incident, const struct bundle_entry *entries, size_t count, const struct proof *proofs,
                        struct err *err);
/* blobs/<sha256>, when it is not there yet: two incidents may have the same. ERR_LIMIT as zip_add. */
int bundle_add_file(struct zip *z, const void *bytes, size_t len, struct err *err);
/* log/checkpoint and log/key. */
int bundle_add_log(struct zip *z, const struct reader *log, const struct note_verifier *key, struct err *err);
/* <folder>/<size>.checkpoint and .consistency: an earlier checkpoint, with its note, and the path from it. */
int bundle_add_earlier(struct zip *z, const char *folder, const struct checkpoint *earlier, const void *note, size_t note_len,
                       const struct merkle_proof *path, struct err *err);
/* What log/key holds: the verifier key and a newline. */
void bundle_key_text(const struct note_verifier *key, char out[NOTE_VERIFIER_TEXT + 1]);
/* README.txt and SHA256SUMS, when everything else is in. */
int bundle_finish(struct zip *z, struct err *err);

/* ---- checking */

struct bundle_fault {
  enum fault_kind kind;
  char incident[HEAD_INCIDENT]; /* "": it belongs to none */
  uint64_t seq;                 /* 0: no entry */
  char place
      [BUNDLE_PLACE]; /* "entry 7 of INC-000042", "body 7 of INC-000042", "proof 7 of INC-000042", "file 7 of INC-000042" (in custody, by its entry), "file log/key", "checkpoint", "bundle" */
  char text[240];
};

struct bundle_result {
  struct checkpoint checkpoint; /* origin "" when it could not be read */
  size_t incidents;
  uint64_t entries, proven, removed; /* heads read; led to the signed root; bodies that an entry of their journal removed */
  uint64_t files, files_destroyed;   /* in custody: there, and what was collected; not there, as an entry says */
  uint64_t covered;                  /* the proven ones are all among that many first entries of the log */
  struct removal
      *removals; /* the removed ones, the first FAULTS_KEPT; index: the entry's place in the log, UINT64_MAX when nothing proves it */
  struct bundle_fault *faults; /* in order of place */
  size_t count, more;
};

/* options: key, and checkpoints kept from earlier. 0 when it could be looked at; sound when there is no fault. Nothing that is not signed passes. The bytes need not be trusted. */
int bundle_verify(const void *bytes, size_t len, const struct verify_options *options, struct bundle_result *ret, struct err *err);
void bundle_release(struct bundle_result *r);

#endif
