/* Checking a bundle, file by file and entry by entry. tocsin-verify does the same and shares nothing with this. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "evidence/bundle_check.h"
#include "evidence/leaf.h"

enum { LINES_MOST = 3 << 20 }; /* of the three files of an incident: bounds what a stranger's bundle makes us allocate */

static const char EARLIER[] = ".checkpoint";

static struct bundle_fault *fault_new(struct check *c, enum fault_kind kind) {
  struct bundle_result *r = c->result;
  if (r->count == FAULTS_KEPT) {
    r->more++;
    return NULL;
  }
  if ((r->count & (r->count - 1)) == 0) {
    struct bundle_fault *grown = realloc(r->faults, (r->count ? 2 * r->count : 1) * sizeof *grown);
    if (!grown) abort();
    r->faults = grown;
  }
  struct bundle_fault *f = &r->faults[r->count++];
  memset(f, 0, sizeof *f);
  f->kind = kind;
  return f;
}

__attribute__((format(printf, 4, 5))) static void fault_at(struct check *c, enum fault_kind kind, const char *place, const char *format,
                                                           ...) {
  struct bundle_fault *f = fault_new(c, kind);
  va_list args;
  if (!f) return;
  snprintf(f->place, sizeof f->place, "%s", place);
  va_start(args, format);
  vsnprintf(f->text, sizeof f->text, format, args);
  va_end(args);
}

void check_fault(struct check *c, enum fault_kind kind, const char *part, uint64_t seq, const char *incident, const char *format, ...) {
  struct bundle_fault *f = fault_new(c, kind);
  va_list args;
  if (!f) return;
  snprintf(f->incident, sizeof f->incident, "%s", incident);
  f->seq = seq;
  snprintf(f->place, sizeof f->place, "%s %" PRIu64 " of %.100s", part, seq, incident);
  va_start(args, format);
  vsnprintf(f->text, sizeof f->text, format, args);
  va_end(args);
}

/* ---- SHA256SUMS */

struct cursor {
  const char *at, *end;
};

/* The next line without its newline; false at the end, and for a rest that does not end. */
static bool line_next(struct cursor *c, const char **ret, size_t *ret_len) {
  const char *newline = c->at < c->end ? memchr(c->at, '\n', (size_t)(c->end - c->at)) : NULL;
  if (!newline) return false;
  *ret = c->at;
  *ret_len = (size_t)(newline - c->at);
  c->at = newline + 1;
  return true;
}

/* "digest  name" */
static bool sum_read(const char *line, size_t len, char name[ZIP_NAME]) {
  enum { NAME = DIGEST_HEX + 1 };
  if (len <= NAME || memcmp(line + NAME - 2, "  ", 2) != 0 || !zip_name_valid(line + NAME, len - NAME)) return false;
  snprintf(name, ZIP_NAME, "%.*s", (int)(len - NAME), line + NAME);
  return true;
}

void check_file_fault(struct check *c, enum fault_kind kind, const char *name, const char *text) {
  char place[BUNDLE_PLACE];
  if (kind == FAULT_ADDED && strcmp(name, "SHA256SUMS") == 0) return; /* the one that no list can hold */
  snprintf(place, sizeof place, "file %s", name);
  fault_at(c, kind, place, "%s", text);
}

static void sum_compare(struct check *c, const struct zip_file *f, const char *line) {
  uint8_t digest[DIGEST_BYTES];
  char hex[DIGEST_HEX];
  digest_sha256(f->bytes, f->len, digest);
  hex_encode(digest, sizeof digest, hex);
  if (memcmp(hex, line, DIGEST_HEX - 1) != 0) check_file_fault(c, FAULT_CHANGED, f->name, "it is not the file that SHA256SUMS lists");
}

/* Both are in order, so one pass tells what either lacks. */
static void sums_check(struct check *c) {
  const struct zip_file *sums = zip_find(&c->zip, "SHA256SUMS"), *f = c->zip.files, *end = f + c->zip.count;
  static const char stranger[] = "SHA256SUMS does not list it";
  char name[ZIP_NAME], last[ZIP_NAME] = "";
  const char *line;
  size_t len;
  if (!sums) {
    fault_at(c, FAULT_MISSING, "file SHA256SUMS", "there is no list of the bundle's files");
    return;
  }
  struct cursor lines = {sums->bytes, sums->bytes + sums->len};
  while (line_next(&lines, &line, &len)) {
    if (!sum_read(line, len, name) || strcmp(last, name) >= 0) {
      fault_at(c, FAULT_CHANGED, "file SHA256SUMS", "the line behind %.100s is not of the form \"digest  name\", or not in order",
               *last ? last : "its beginning");
      continue;
    }
    memcpy(last, name, sizeof last);
    for (; f < end && strcmp(f->name, name) < 0; f++) check_file_fault(c, FAULT_ADDED, f->name, stranger);
    if (f < end && strcmp(f->name, name) == 0) sum_compare(c, f++, line);
    else check_file_fault(c, FAULT_MISSING, name, "SHA256SUMS lists it, the bundle does not hold it");
  }
  for (; f < end; f++) check_file_fault(c, FAULT_ADDED, f->name, stranger);
  if (lines.at != lines.end) fault_at(c, FAULT_CHANGED, "file SHA256SUMS", "it is cut off");
}

/* ---- the log */

static void checkpoint_check(struct check *c) {
  const struct zip_file *f = zip_find(&c->zip, "log/checkpoint");
  const struct note_verifier *key = c->options->key;
  struct note note;
  if (!f) {
    fault_at(c, FAULT_UNSIGNED, "checkpoint", "there is none: nothing in this bundle is signed");
    return;
  }
  c->is_signed = note_open(f->bytes, f->len, key, 1, &note, NULL) == 0;
  size_t text_len = note.state == NOTE_MALFORMED ? f->len - (f->len > 1 && memcmp(f->bytes + f->len - 2, "\n\n", 2) == 0) : note.text_len;
  bool readable = checkpoint_read(f->bytes, text_len, &c->result->checkpoint, NULL) == 0;
  if (note.state == NOTE_FORGED) fault_at(c, FAULT_CHANGED, "checkpoint", "the signature does not fit what it says");
  else if (note.state == NOTE_UNSIGNED && note.name_known)
    fault_at(c, FAULT_WRONG_KEY, "checkpoint", "signed in the name of %.100s, but with another key", key->name);
  else if (note.state == NOTE_UNSIGNED || (note.state == NOTE_MALFORMED && readable))
    fault_at(c, FAULT_UNSIGNED, "checkpoint", "no signature of %.100s", key->name);
  else if (!readable) fault_at(c, FAULT_CHANGED, "checkpoint", "this is no signed checkpoint");
  if (readable && strcmp(c->result->checkpoint.origin, key->name) != 0) {
    fault_at(c, FAULT_WRONG_KEY, "checkpoint", "it is of another log: %.100s", c->result->checkpoint.origin);
    c->is_signed = false;
  }
  if (!readable) c->is_signed = false;
}

static void key_check(struct check *c) {
  const struct zip_file *f = zip_find(&c->zip, "log/key");
  char text[NOTE_VERIFIER_TEXT + 1];
  bundle_key_text(c->options->key, text);
  if (!f) fault_at(c, FAULT_MISSING, "file log/key", "the bundle does not say which key it is signed with");
  else if (f->len != strlen(text) || memcmp(f->bytes, text, f->len) != 0)
    fault_at(c, FAULT_WRONG_KEY, "file log/key", "it is not the key that you gave");
}

static int hashes_read(const char *at, size_t len, char between, struct merkle_proof *ret) {
  enum { B64 = 44 };
  ret->count = 0;
  while (len) {
    if (len < B64 || ret->count == MERKLE_PROOF_MAX || !note_base64(at, B64, ret->hashes[ret->count++].bytes, DIGEST_BYTES))
      return ERR_INVALID;
    at += B64, len -= B64;
    if (len && (*at != between || (between == ' ' && len == 1))) return ERR_INVALID;
    if (len) at++, len--;
  }
  return 0;
}

/* An earlier checkpoint in the bundle ("….checkpoint"), and the path from it to this one beside it. */
static bool consistency_check(struct check *c, const struct zip_file *f, struct checkpoint *ret) {
  char name[ZIP_NAME + 16], place[BUNDLE_PLACE];
  struct merkle_proof proof;
  struct note note;
  const struct checkpoint *now = &c->result->checkpoint;
  snprintf(name, sizeof name, "%.*s.consistency", (int)(strlen(f->name) - strlen(EARLIER)), f->name);
  const struct zip_file *path = zip_find(&c->zip, name);
  bool is_signed = note_open(f->bytes, f->len, c->options->key, 1, &note, NULL) == 0 &&
                   checkpoint_read(f->bytes, note.text_len, ret, NULL) == 0 && strcmp(ret->origin, c->options->key->name) == 0;
  snprintf(place, sizeof place, "file %s", is_signed ? name : f->name);
  if (!is_signed) fault_at(c, FAULT_UNSIGNED, place, "it is no checkpoint that this key signed");
  else if (!path) fault_at(c, FAULT_MISSING, place, "nothing leads from that checkpoint to this one");
  else if (hashes_read(path->bytes, path->len, '\n', &proof) < 0 ||
           !merkle_verify_consistency(ret->size, now->size, &ret->root, &now->root, proof.hashes, proof.count))
    fault_at(c, FAULT_CHANGED, place, "it does not lead from that checkpoint to this one");
  else return true;
  return false;
}

static bool is_earlier(const char *name) {
  size_t n = strlen(name), end = strlen(EARLIER);
  return n > end && strcmp(name + n - end, EARLIER) == 0;
}

/* All that the bundle bears; and whether one of them is `kept` (may be NULL). */
static bool earlier_find(struct check *c, const struct checkpoint *kept) {
  struct checkpoint found;
  bool same = false;
  for (size_t i = 0; i < c->zip.count; i++) {
    if (!is_earlier(c->zip.files[i].name) || !consistency_check(c, &c->zip.files[i], &found)) continue;
    same = same || (kept && found.size == kept->size && hash_equal(&found.root, &kept->root));
  }
  return same;
}

static void earlier_check(struct check *c) {
  const struct checkpoint *now = &c->result->checkpoint;
  if (!c->is_signed) return;
  if (!c->options->earlier_count) earlier_find(c, NULL);
  for (size_t i = 0; i < c->options->earlier_count; i++) {
    const struct checkpoint *e = &c->options->earlier[i];
    bool proven = earlier_find(c, e);
    if (e->size > now->size)
      fault_at(c, FAULT_STALE, "checkpoint", "the earlier checkpoint covers %" PRIu64 " entries; this bundle's only %" PRIu64, e->size,
               now->size);
    else if (e->size == now->size && !hash_equal(&e->root, &now->root))
      fault_at(c, FAULT_CHANGED, "checkpoint", "the earlier checkpoint gives the same %" PRIu64 " entries another root", e->size);
    else if (e->size < now->size && !proven)
      fault_at(c, FAULT_MISSING, "checkpoint",
               "no proof that this log goes on from the earlier checkpoint of %" PRIu64 " entries: export with --checkpoint", e->size);
  }
}

/* ---- one incident */

struct line {
  const char *at; /* behind its number; NULL: not there */
  size_t len;
};

struct incident {
  char id[HEAD_INCIDENT];
  uint64_t count;                       /* heads */
  uint64_t most;                        /* the largest number that any of the three files names, bounded by their lines */
  struct line *heads, *bodies, *proofs; /* by seq */
  uint64_t *removers;                   /* by seq: the entry that says its body is removed; 0: none does */
  uint64_t *order;                      /* seq of each line of heads; 0: unreadable */
};

static bool number_read(const char **at, const char *end, uint64_t *ret) {
  const char *p = *at;
  uint64_t n = 0;
  while (p < end && *p >= '0' && *p <= '9' && p - *at < 19) n = n * 10 + (uint64_t)(*p++ - '0');
  if (p == *at || (**at == '0' && p - *at > 1)) return false;
  *at = p;
  *ret = n;
  return true;
}

static uint64_t lines_count(const struct zip_file *f) {
  uint64_t n = 0;
  for (size_t i = 0; i < f->len; i++) n += f->bytes[i] == '\n';
  return n;
}

/* "<seq> rest" lines into their places. */
static void numbered_read(struct check *c, const struct zip_file *f, const char *part, struct incident *inc, struct line *out) {
  struct cursor lines = {f->bytes, f->bytes + f->len};
  const char *line;
  size_t len;
  uint64_t last = 0, seq = 0;
  while (line_next(&lines, &line, &len)) {
    const char *p = line, *end = line + len;
    if (!number_read(&p, end, &seq) || p == end || *p != ' ' || seq == 0 || seq > inc->most) {
      check_fault(c, FAULT_CHANGED, part, last + 1, inc->id, "its line is not of the form \"number …\"");
      last++;
    } else if (out[seq].at) {
      check_fault(c, FAULT_ADDED, part, seq, inc->id, "it stands there twice");
    } else {
      if (seq < last) check_fault(c, FAULT_REORDERED, part, seq, inc->id, "it stands behind %s %" PRIu64, part, last);
      out[seq] = (struct line){p + 1, (size_t)(end - p - 1)};
      if (seq > last) last = seq;
    }
  }
  if (lines.at != lines.end) check_fault(c, FAULT_CHANGED, part, last + 1, inc->id, "its line is cut off");
}

static void heads_read(struct check *c, const struct zip_file *f, struct incident *inc) {
  struct cursor lines = {f->bytes, f->bytes + f->len};
  const char *line;
  struct head head;
  for (size_t len; line_next(&lines, &line, &len); inc->count++) {
    uint64_t seq = head_scan(line, len, &head) && head.seq <= inc->most ? head.seq : 0;
    inc->order[inc->count] = seq;
    if (!seq) check_fault(c, FAULT_CHANGED, "entry", inc->count + 1, inc->id, "it is no head of a journal entry");
    else if (inc->heads[seq].at) check_fault(c, FAULT_ADDED, "entry", seq, inc->id, "it stands there twice");
    else inc->heads[seq] = (struct line){line, len};
    if (seq && head.removes) inc->removers[head.removes] = seq;
  }
  if (lines.at != lines.end) check_fault(c, FAULT_CHANGED, "entry", inc->count + 1, inc->id, "its line is cut off");
}

/* Which numbers are not where they should be. */
static void order_check(struct check *c, struct incident *inc) {
  uint64_t expected = 1;
  bool *seen = calloc(inc->most + 2, 1);
  if (!seen) abort();
  for (uint64_t i = 0; i < inc->count; i++) {
    uint64_t seq = inc->order[i] ? inc->order[i] : i + 1;
    while (expected <= inc->most && seen[expected]) expected++;
    if (seq <= inc->most && seen[seq]) continue; /* twice: it was named */
    if (seq > expected && inc->heads[expected].at) {
      check_fault(c, FAULT_REORDERED, "entry", expected, inc->id, "entry %" PRIu64 " stands in its place", seq);
    } else {
      for (; expected < seq; expected++)
        if (!inc->heads[expected].at && inc->order[expected - 1])
          check_fault(c, inc->bodies[expected].at || inc->proofs[expected].at ? FAULT_MISSING : FAULT_GAP, "entry", expected, inc->id,
                      "it is not in this bundle");
    }
    if (seq <= inc->most) seen[seq] = true;
  }
  for (uint64_t seq = inc->count + 1; seq <= inc->most; seq++)
    if (!inc->heads[seq].at && !seen[seq] && (inc->bodies[seq].at || inc->proofs[seq].at) && seq > expected)
      check_fault(c, FAULT_MISSING, "entry", seq, inc->id, "it is not in this bundle, though something of it is");
  free(seen);
}

/* Its path leads to the signed root. */
static bool is_included(const struct check *c, const struct line *proof, const struct hash *leaf, uint64_t *ret_index) {
  struct merkle_proof path;
  const char *p = proof->at, *end = p + proof->len;
  if (!number_read(&p, end, ret_index) || (p < end && *p != ' ') || p + 1 == end) return false;
  if (p < end) p++;
  return hashes_read(p, (size_t)(end - p), ' ', &path) == 0 &&
         merkle_verify_inclusion(*ret_index, c->result->checkpoint.size, leaf, path.hashes, path.count, &c->result->checkpoint.root);
}

/* The head before and the one behind it agree with it: then its proof was changed, not it. */
static bool is_chained(const struct incident *inc, uint64_t seq, const struct head *head, const char *leaf) {
  char before[DIGEST_HEX];
  struct head next;
  const struct line *behind = seq < inc->most ? &inc->heads[seq + 1] : NULL;
  if (seq > 1 && !inc->heads[seq - 1].at) return false;
  if (seq > 1) leaf_hash(inc->heads[seq - 1].at, inc->heads[seq - 1].len, before);
  return strcmp(head->prev, seq > 1 ? before : leaf_none()) == 0 && behind && behind->at && head_scan(behind->at, behind->len, &next) &&
         strcmp(next.prev, leaf) == 0;
}

/* That the entry which says so is itself what was sealed is checked with all others. */
static void removal_add(struct check *c, const struct incident *inc, uint64_t seq) {
  struct bundle_result *r = c->result;
  uint64_t by = inc->removers[seq], index;
  const struct line *p = &inc->proofs[by];
  const char *at = p->at;
  if (r->removed++ >= FAULTS_KEPT) return;
  struct removal *grown = realloc(r->removals, r->removed * sizeof *grown);
  if (!grown) abort();
  r->removals = grown;
  if (!at || !number_read(&at, p->at + p->len, &index)) index = UINT64_MAX;
  grown[r->removed - 1] = (struct removal){.index = index, .seq = seq, .by = by};
  snprintf(grown[r->removed - 1].incident, sizeof grown->incident, "%s", inc->id);
}

static void body_check(struct check *c, const struct incident *inc, uint64_t seq, const struct head *head) {
  const struct line *b = &inc->bodies[seq];
  char digest[DIGEST_HEX];
  size_t len = 0;
  if (!b->at) {
    check_fault(c, FAULT_MISSING, "body", seq, inc->id, "the bundle does not hold it");
    return;
  }
  if (b->len == 1 && *b->at == '-') {
    if (inc->removers[seq]) removal_add(c, inc, seq), custody_note(c, head, NULL, 0);
    else check_fault(c, FAULT_MISSING, "body", seq, inc->id, "it was left out, and no entry says that it was removed");
    return;
  }
  uint8_t *envelope = base64_decode(b->at, b->len, &len);
  char *again = envelope ? base64_encode(envelope, len) : NULL;
  bool canonical = again && strlen(again) == b->len && memcmp(again, b->at, b->len) == 0;
  if (canonical) envelope_digest(envelope, len, digest);
  if (!canonical) check_fault(c, FAULT_CHANGED, "body", seq, inc->id, "it is not base64");
  else if (strcmp(digest, head->body) != 0) check_fault(c, FAULT_CHANGED, "body", seq, inc->id, "its digest is not the one in its head");
  else if (len > DIGEST_BYTES) custody_note(c, head, (const char *)envelope + DIGEST_BYTES, len - DIGEST_BYTES);
  free(again);
  free(envelope);
}

static void entry_check(struct check *c, const struct incident *inc, uint64_t seq, uint64_t *last_index) {
  const struct line *h = &inc->heads[seq], *p = &inc->proofs[seq];
  struct head head;
  struct hash leaf;
  char hex[DIGEST_HEX], before[DIGEST_HEX];
  uint64_t index = 0;
  head_scan(h->at, h->len, &head);
  merkle_leaf(h->at, h->len, &leaf);
  hex_encode(leaf.bytes, DIGEST_BYTES, hex);
  c->result->entries++;
  if (strcmp(head.incident, inc->id) != 0) check_fault(c, FAULT_ADDED, "entry", seq, inc->id, "it is an entry of %.100s", head.incident);
  if (!p->at) {
    check_fault(c, FAULT_MISSING, "proof", seq, inc->id, "nothing shows that it is in the log");
  } else if (p->len == 1 && *p->at == '-') {
    check_fault(c, FAULT_UNSIGNED, "entry", seq, inc->id, "it was not sealed yet when this bundle was made");
  } else if (!c->is_signed) {
    /* No root to lead to: the checkpoint was named. */
  } else if (!is_included(c, p, &leaf, &index)) {
    bool chained = is_chained(inc, seq, &head, hex);
    check_fault(c, FAULT_CHANGED, chained ? "proof" : "entry", seq, inc->id, "it does not lead to the signed root");
  } else {
    c->result->proven++;
    if (*last_index != UINT64_MAX && index <= *last_index)
      check_fault(c, FAULT_REORDERED, "entry", seq, inc->id, "the log has it before the one before it");
    *last_index = index;
    if (index >= c->result->covered) c->result->covered = index + 1;
  }
  if (seq == 1) memcpy(before, leaf_none(), DIGEST_HEX);
  else if (inc->heads[seq - 1].at) leaf_hash(inc->heads[seq - 1].at, inc->heads[seq - 1].len, before);
  if ((seq == 1 || inc->heads[seq - 1].at) && strcmp(head.prev, before) != 0)
    check_fault(c, FAULT_CHANGED, "entry", seq, inc->id, "it names another entry as the one before it, or that one was changed");
  body_check(c, inc, seq, &head);
}

static const struct zip_file *part_of(struct check *c, const char *id, const char *part) {
  char name[ZIP_NAME], place[BUNDLE_PLACE];
  snprintf(name, sizeof name, "incidents/%.80s/%s", id, part);
  const struct zip_file *f = zip_find(&c->zip, name);
  snprintf(place, sizeof place, "file %s", name);
  if (!f) fault_at(c, FAULT_MISSING, place, "the incident's %s are not there", part);
  return f;
}

static void incident_check(struct check *c, const char *id) {
  static const struct zip_file none = {.bytes = "", .len = 0};
  struct incident inc = {.count = 0};
  uint64_t last_index = UINT64_MAX;
  snprintf(inc.id, sizeof inc.id, "%s", id);
  c->result->incidents++;
  const struct zip_file *heads = part_of(c, id, "heads"), *bodies = part_of(c, id, "bodies"), *proofs = part_of(c, id, "proofs");
  if (!heads) heads = &none;
  if (!bodies) bodies = &none;
  if (!proofs) proofs = &none;
  if (lines_count(heads) + lines_count(bodies) + lines_count(proofs) > LINES_MOST) {
    check_fault(c, FAULT_CHANGED, "entry", 1, id, "more lines than an incident can have");
    return;
  }
  if (heads->len == 0) check_fault(c, FAULT_MISSING, "entry", 1, id, "the bundle holds no entry of it");
  inc.most = lines_count(heads) + lines_count(bodies) + lines_count(proofs) + 1;
  inc.heads = calloc(inc.most + 2, sizeof *inc.heads);
  inc.bodies = calloc(inc.most + 2, sizeof *inc.bodies);
  inc.proofs = calloc(inc.most + 2, sizeof *inc.proofs);
  inc.order = calloc(inc.most + 2, sizeof *inc.order);
  inc.removers = calloc(inc.most + 2, sizeof *inc.removers);
  if (!inc.removers || !inc.heads || !inc.bodies || !inc.proofs || !inc.order) abort();
  heads_read(c, heads, &inc);
  if (bodies != &none) numbered_read(c, bodies, "body", &inc, inc.bodies);
  if (proofs != &none) numbered_read(c, proofs, "proof", &inc, inc.proofs);
  order_check(c, &inc);
  for (uint64_t seq = 1; seq <= inc.most; seq++)
    if (inc.heads[seq].at) entry_check(c, &inc, seq, &last_index);
  free(inc.heads), free(inc.bodies), free(inc.proofs), free(inc.order), free(inc.removers);
}

/* Every folder below incidents/. */
static void incidents_check(struct check *c) {
  char last[HEAD_INCIDENT] = "";
  for (size_t i = 0; i < c->zip.count; i++) {
    const char *name = c->zip.files[i].name, *slash = strncmp(name, "incidents/", 10) == 0 ? strchr(name + 10, '/') : NULL;
    char id[HEAD_INCIDENT];
    if (!slash || slash - name - 10 >= 80) continue;
    snprintf(id, sizeof id, "%.*s", (int)(slash - name - 10), name + 10);
    if (strcmp(id, last) == 0) continue;
    memcpy(last, id, sizeof last);
    incident_check(c, id);
  }
  if (!c->result->incidents) fault_at(c, FAULT_MISSING, "bundle", "it holds no incident");
}

int bundle_verify(const void *bytes, size_t len, const struct verify_options *options, struct bundle_result *ret, struct err *err) {
  struct check c = {.options = options, .result = ret};
  struct err why = {0};
  (void)err;
  memset(ret, 0, sizeof *ret);
  if (zip_read(bytes, len, &c.zip, &why) < 0) {
    fault_at(&c, FAULT_CHANGED, "bundle", "%s", why.text);
    return 0;
  }
  sums_check(&c);
  checkpoint_check(&c);
  key_check(&c);
  earlier_check(&c);
  incidents_check(&c);
  custody_check(&c);
  zip_release(&c.zip);
  return 0;
}

void bundle_release(struct bundle_result *r) {
  free(r->faults);
  free(r->removals);
  memset(r, 0, sizeof *r);
}
