/* files.h: files in custody: commands of people, and what a crash left half done. */
#ifndef TOCSIN_INCIDENT_FILES_H
#define TOCSIN_INCIDENT_FILES_H

#include "evidence/passage.h"
#include "incident/internal.h"
#include "incident/vault.h"

enum { FILE_PIECE = 512 << 10, UPLOAD_TOKEN = 33 };

struct upload {
  char token[UPLOAD_TOKEN], incident[ID_INCIDENT], actor[PERSON_ACTOR];
  json_t *body; /* of the entry to be */
  struct blob_writer *writer;
  uint64_t size, received;
  int64_t touched; /* µs since boot */
  bool busy;
  LIST_ENTRY(upload) next;
};

/* A copy that somebody is just taking, piece by piece: that it is taken is on record. */
struct copy {
  char incident[ID_INCIDENT], actor[PERSON_ACTOR];
  int64_t item, touched; /* µs since boot */
  uint64_t next_offset;
  TAILQ_ENTRY(copy) next;
};

struct files {
  struct person engine; /* who asks when nobody did */
  struct vault *vault;
  struct map adopted; /* node → struct vault */
  LIST_HEAD(, upload) uploads;
  LIST_HEAD(, file_job) coming; /* of playbooks, and those that the owner is just putting on record */
  TAILQ_HEAD(, copy) copies;    /* the newest last */
  size_t copy_count;
  size_t count;
  struct blob_counts counts; /* as last counted (kept_files.c) */
  size_t expiring;           /* folders whose files' times are being looked at (expire.c) */
  struct timer *counting;
};

/* One step of a command on the vault's thread. */
struct file_job {
  struct vault_job job; /* first */
  struct call *call;
  struct upload *upload;
  char incident[ID_INCIDENT], sha256[DIGEST_HEX];
  uint8_t *bytes;
  size_t len;
  uint64_t offset, size, most;
  struct buf out;
  enum blob_mark mark;
  bool ends; /* only what is on record as deleted is settled */
  struct desk *desk;
  void (*then)(void *arg, const struct err *err);
  void *arg;
  /* what another node asked for */
  char node[NODE_NAME], from[NODE_NAME], nonce[48], to[PASSAGE_PUBLIC];
  /* what a playbook collects */
  run_kept_cb *kept;
  struct journal *journal;
  json_t *body;
  bool coming;
  LIST_ENTRY(file_job) next;
};

/* Those that the incident's owner carries out; those of the node that they were given to; and what only the engine commands, itself or by letter. */
extern const struct command_row file_commands[], file_commands_here[], file_commands_inner[];

/* files.c */
struct files *files_of(struct desk *d);
struct file_job *file_job_new(struct call *call, int (*run)(struct blobs *, struct vault_job *), void (*done)(struct vault_job *));
void file_job_free(struct file_job *j);
void file_job_start(struct desk *d, struct file_job *j, int (*run)(struct blobs *, struct vault_job *), void (*done)(struct vault_job *));
void file_fail(struct call *call, int code, const char *text);
/* Cancelled work outlives the incident, which the call must not touch then. */
void file_call_fail(struct call *call, const struct err *err);
const char *file_wanted(struct call *call, const char *name); /* NULL: answered already */
/* One that is in custody; NULL: none is. */
const json_t *file_by_digest(struct incident *inc, const char *sha256, const char **ret_item);
/* What the state says of it, also when it was deleted; NULL: there never was one. */
json_t *file_of_item(struct incident *inc, int64_t item);
json_t *file_clock(void);
/* What became of it is asked of its incident: it stays, or is destroyed. Takes the job over: incident, sha256 and mark are set. */
void file_settle(struct desk *d, struct file_job *j);
int file_work_mark(struct blobs *b, struct vault_job *job), file_work_remove(struct blobs *b, struct vault_job *job);
void file_marked(struct vault_job *job);

/* Destroys what is on record as deleted and could not be then. */
void file_settle_ends(struct desk *d);

/* expire.c */
command_fn file_do_expire;
/* What of the file's retention is found now; *ret_at: when it is to be looked at again. */
enum blob_time file_time(struct desk *d, struct incident *inc, const json_t *file, int64_t *ret_at);
/* Deletes it, whoever asks; because: borrowed by the command. Answers. */
void file_delete(struct call *call, struct incident *inc, const json_t *file);

/* carry.c: kept files where they lie, which `node` says: here, or at another node, which is asked by letter. */
/* Who can give what lies there; NULL with err: nobody for the time being. */
const char *file_holder(const struct desk *d, const char *node, struct err *err);
/* This node, because it is its own or its folder was adopted and it does not live: who lives works in it, and nobody else may. */
bool file_is_here(const struct desk *d, const char *node);
/* Marks a kept file as leaving, or destroys it (one that is gone already is no error). then is called once, on the loop; with ERR_CANCELLED when the desk ends before. */
void file_leave(struct desk *d, const char *node, const char *incident, const char *sha256, void (*then)(void *, const struct err *),
                void *arg);
void file_destroy(struct desk *d, const char *node, const char *incident, const char *sha256, void (*then)(void *, const struct err *),
                  void *arg);
/* Answers an "evidence.get" that the owner has put on record with the piece that it asked for. facts: what he said: id, node, name, size, sha256. */
void file_carry(struct call *call, json_t *facts_take);
void file_letter(struct desk *d, const struct letter *letter);

/* adopted.c */
/* Where the files of that node are kept: this one's own vault, or that of a folder that it has adopted. */
struct vault *file_vault(struct desk *d, const char *node);
/* The body of an entry goes from every adopted folder. then (may be NULL) is called once, perhaps before this returns. */
void adopted_forget(struct desk *d, const char *incident, uint64_t seq, void (*then)(void *arg, const struct err *err), void *arg);
void adopted_look(struct desk *d); /* so does what was removed before; and what was sealed last there can be found */

/* upload.c */
command_fn file_do_begin, file_do_piece, file_do_finish, file_do_offer, file_do_record;
/* The one that facts name, else the settings'. */
const char *file_class(struct desk *d, const json_t *facts);
/* May the incident keep such a file? */
int file_may_come(struct desk *d, struct incident *inc, const json_t *facts, const char *class, int64_t size, const char *sha256,
                  struct err *err);
/* What the entry says of it, but digest and size: new. facts: name, because, source… */
json_t *file_body(struct desk *d, const json_t *facts, const char *class);
/* On the vault's thread: ends the writer, reads back what was kept, and removes it again when that is not what `before` says. Fills sha256 and size. */
int file_keep(struct blobs *b, struct file_job *j, struct blob_writer *w, const char *before);
int file_err_twice(const struct incident *inc, const char *item, struct err *err);
/* Somebody is adding this very content now. */
bool file_coming(struct desk *d, const char *incident, const char *sha256);
void file_uploads_free(struct files *f);

void files_free(struct desk *d); /* after the loop's last turn */

#endif
