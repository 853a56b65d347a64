/* vault.h: the kept files' store (evidence/blobs.h) on a thread of its own, so that no disk delays the loop.
 *
 * Jobs are carried out one by one in the order in which they were given; the store is opened by the first, and tried again by the next when that fails. */
#ifndef TOCSIN_INCIDENT_VAULT_H
#define TOCSIN_INCIDENT_VAULT_H

#include "evidence/blobs.h"
#include "wire/loop.h"

struct vault;

struct vault_job {
  /* On the vault's thread; its error is in err when it does not return 0. Not called when the store cannot be opened: then err says so. */
  int (*run)(struct blobs *b, struct vault_job *job);
  void (*done)(struct vault_job *job); /* on the loop, exactly once unless the vault is closed before; the job is the owner's again */
  void (*drop)(struct vault_job *job); /* instead of done, when the vault is closed before */
  struct err err;
  int result;
  struct vault_job *next;
};

struct vault *vault_new(struct loop *loop, const char *folder);
void vault_do(struct vault *v, struct vault_job *job);
/* Waits for the job at hand; what is left is not done, and dropped. After the loop's last turn. NULL is legal. */
void vault_free(struct vault *v);

#endif
