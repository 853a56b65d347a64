/* A bundle: one ZIP with entries of incidents, and proofs that they stand in a signed log; its README.txt tells the layout.
 *
 *  1. The archive must have the one form in which bundles are written, so that no byte goes unread. (zip_read)
 *  2. SHA256SUMS must list every other file. (sums_check)
 *  3. log/checkpoint must be signed (verify.c), and go on from an earlier one kept elsewhere. (earlier_check)
 *  4. Of each incident: entries 1, 2, 3…, each head led to the signed root by its proof, each naming the one before it and its body. (entry_check)
 *  5. Each file that an entry took into custody must be there, and be what it was, or an entry must say that it was destroyed. (files_check)
 * Reports and names are listed, not proven: the entries count. Time stamps and cosignatures are named as not checked. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "verify/read.h"

enum { PATH = 64 };
struct file {
  char name[NAME];
  const uint8_t *at;
  size_t len;
};
static struct file *files;
static size_t file_count;

/* ---- 1. the archive (APPNOTE 6.3.3): files as they are, in order of their names, all dated 1980-01-01 */

static uint32_t le(const uint8_t *p, int bytes) {
  uint32_t n = 0;
  while (bytes > 0) n = n << 8 | p[--bytes];
  return n;
}

static uint32_t crc32_of(const uint8_t *p, size_t len) {
  uint32_t crc = UINT32_MAX;
  for (; len--; p++) {
    crc ^= *p;
    for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320U : 0);
  }
  return ~crc;
}

/* One file with its header; the length of both, 0 when it is not as we write it. */
static size_t file_read(const uint8_t *p, size_t left) {
  static const uint8_t form[14] = {'P', 'K', 3, 4, 20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0};
  if (left < 30 || memcmp(p, form, sizeof form) != 0 || le(p + 18, 4) != le(p + 22, 4) || le(p + 28, 2) || file_count == 65535) return 0;
  size_t n = le(p + 26, 2), len = le(p + 18, 4);
  if (n == 0 || n >= 128 || n > left - 30 || len > left - 30 - n || crc32_of(p + 30 + n, len) != le(p + 14, 4)) return 0;
  if ((file_count & (file_count - 1)) == 0 && !(files = realloc(files, (file_count ? 2 * file_count : 1) * sizeof *files))) abort();
  struct file *f = &files[file_count++];
  *f = (struct file){.at = p + 30 + n, .len = len};
  memcpy(f->name, p + 30, n);
  if (strspn(f->name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./") != n || strstr(f->name, "..")) return 0;
  return file_count > 1 && strcmp(f[-1].name, f->name) >= 0 ? 0 : 30 + n + len;
}

/* The directory behind them repeats their headers. */
static bool directory_fits(const uint8_t *base, const uint8_t *p, const uint8_t *end) {
  static const uint8_t rest[10] = {0, 0, 0, 0, 0, 0, 0, 0, 0xa4, 0x81};
  const uint8_t *from = p;
  for (const struct file *f = files; f < files + file_count; f++) {
    size_t n = strlen(f->name);
    const uint8_t *local = f->at - n - 30;
    if ((size_t)(end - p) < 46 + n || memcmp(p, "PK\1\2\24\3", 6) != 0 || memcmp(p + 6, local + 4, 26) != 0 ||
        memcmp(p + 32, rest, 10) != 0 || le(p + 42, 4) != (size_t)(local - base) || memcmp(p + 46, f->name, n) != 0)
      return false;
    p += 46 + n;
  }
  return end - p == 22 && memcmp(p, "PK\5\6\0\0\0\0", 8) == 0 && le(p + 8, 2) == file_count && le(p + 10, 2) == file_count &&
         le(p + 12, 4) == (size_t)(p - from) && le(p + 16, 4) == (size_t)(from - base) && le(p + 20, 2) == 0;
}

static bool zip_read(const struct bytes *zip) {
  const uint8_t *p = zip->at, *end = p + zip->len;
  for (size_t n; end - p >= 4 && memcmp(p, "PK\3\4", 4) == 0; p += n)
    if (!(n = file_read(p, (size_t)(end - p)))) return false;
  return directory_fits(zip->at, p, end);
}

static int by_name(const void *name, const void *f) { return strcmp(name, ((const struct file *)f)->name); }
static const struct file *file_find(const char *name) { return bsearch(name, files, file_count, sizeof *files, by_name); }

/* ---- 2. the list of files */

static void sums_check(void) {
  const struct file *sums = file_find("SHA256SUMS");
  size_t listed = 0;
  if (!sums) fault_at("missing", "SHA256SUMS", "there is no list of the bundle's files");
  for (const struct file *f = files; sums && f < files + file_count; f++) {
    char line[NAME + 80] = "";
    hash_text(f->at, f->len, line);
    size_t n = 64 + (size_t)snprintf(line + 64, sizeof line - 64, "  %s\n", f->name);
    if (memmem(sums->at, sums->len, line, n)) listed += n;
    else if (!memmem(sums->at, sums->len, line + 64, n - 64) && f != sums) fault_at("added", f->name, "SHA256SUMS does not list it");
    else if (f != sums) fault_at("changed", f->name, "it is not the file that SHA256SUMS lists"), listed += n;
  }
  if (sums && listed != sums->len) fault_at("missing", "SHA256SUMS", "it does not list just the files that this bundle holds");
}

/* ---- paths through the tree: base64 hashes with one character between them */

static int path_read(const char *at, size_t len, char between, uint8_t path[PATH][HASH]) {
  size_t n = (len + 1) / 45; /* 44 characters and one between, which may also end it when it is a newline */
  bool ok = n > 0 && n <= PATH && (len % 45 == 44 || (len % 45 == 0 && between == '\n'));
  for (size_t i = 0; ok && i < n; i++, at += 45)
    ok = base64_read(at, 44, path[i], HASH) == HASH && (45 * i + 44 == len || at[44] == between);
  return ok ? (int)n : len == 0 && between == '\n' ? 0 : -1;
}

/* RFC 9162 §2.1.3.2 and §2.1.4.2, which walk alike: up from two nodes at once. */
static bool path_walk(uint64_t fn, uint64_t sn, uint8_t path[PATH][HASH], int n, uint8_t fr[HASH], uint8_t sr[HASH]) {
  for (int i = 0; i < n; i++, fn >>= 1, sn >>= 1) {
    if (sn == 0) return false;
    if (fn & 1 || fn == sn) {
      hash_node(path[i], fr, fr);
      hash_node(path[i], sr, sr);
      for (; !(fn & 1) && fn; fn >>= 1) sn >>= 1;
    } else {
      hash_node(sr, path[i], sr);
    }
  }
  return n >= 0 && sn == 0;
}

/* ---- 3. */

static bool leads_on(const struct checkpoint *from, const struct checkpoint *to, uint8_t path[PATH][HASH], int n) {
  uint64_t fn = from->size - 1, sn = to->size - 1;
  uint8_t fr[HASH], sr[HASH];
  if (from->size == 0 || from->size >= to->size || n < 1)
    return from->size && from->size == to->size && memcmp(from->root, to->root, HASH) == 0;
  bool whole = (from->size & (from->size - 1)) == 0;
  memcpy(fr, whole ? from->root : path[0], HASH);
  memcpy(sr, fr, HASH);
  for (; fn & 1; fn >>= 1) sn >>= 1;
  return path_walk(fn, sn, whole ? path : path + 1, whole ? n : n - 1, fr, sr) && memcmp(fr, from->root, HASH) == 0 &&
         memcmp(sr, to->root, HASH) == 0;
}

/* Every "X.checkpoint" in the bundle leads to this one by "X.consistency"; and each that whoever checks has kept is one of them. */
static void earlier_check(void) {
  bool found[KEPT];
  for (size_t i = 0; i < v.kept_count; i++) found[i] = leads_on(&v.kept[i].checkpoint, &v.checkpoint, NULL, 0);
  for (const struct file *f = files; f < files + file_count; f++) {
    char name[NAME + 16];
    size_t n = strlen(f->name);
    struct checkpoint c;
    uint8_t path[PATH][HASH];
    if (n < 12 || strcmp(f->name + n - 11, ".checkpoint") != 0) continue;
    snprintf(name, sizeof name, "%.*s.consistency", (int)n - 11, f->name);
    const struct file *way = file_find(name);
    if (!way || checkpoint_open(f->at, f->len, &v.key, &c) != SIGNED ||
        !leads_on(&c, &v.checkpoint, path, path_read((const char *)way->at, way->len, '\n', path)))
      fault_at("changed", f->name, "nothing leads from it to this checkpoint");
    else
      for (size_t i = 0; i < v.kept_count; i++) found[i] |= leads_on(&v.kept[i].checkpoint, &c, NULL, 0);
  }
  for (size_t i = 0; i < v.kept_count; i++) {
    uint64_t size = v.kept[i].checkpoint.size;
    if (size > v.checkpoint.size) fault_at("stale", "checkpoint", "the earlier one covers %" PRIu64 " entries", size);
    else if (!found[i])
      fault_at("missing", "checkpoint", "nothing shows that this log goes on from the earlier one of %" PRIu64 " entries", size);
  }
}

/* ---- 4. */

enum { HEAD, BODY, PROOF, PARTS };
static const char *const part_files[] = {"heads", "bodies", "proofs"}, *const part_names[] = {"entry", "body", "proof"};
static char incident[NAME];

static void entry_fault(const char *kind, int part, uint64_t seq, const char *text) {
  char place[NAME + 64];
  snprintf(place, sizeof place, "%s %" PRIu64 " of %.100s", part_names[part], seq, incident);
  fault_at(kind, place, "%s", text);
}

/* Which entry a line is of: a head says so inside, the others begin with it. 0: it is no such line. */
static uint64_t number_of(int part, const struct lines *l) {
  struct head h;
  uint64_t seq = 0;
  const char *blank = l->line && part != HEAD ? memchr(l->line, ' ', l->len) : NULL;
  if (part == HEAD) return l->line && head_read(l->line, l->len, &h) ? h.seq : 0;
  return blank && number_read(l->line, (size_t)(blank - l->line), &seq) ? seq : 0;
}

/* Each line in its place: else nothing behind it can be judged. */
static bool in_place(const struct lines part[PARTS], uint64_t seq) {
  uint64_t n[PARTS];
  bool any = false;
  for (int i = 0; i < PARTS; i++) {
    n[i] = number_of(i, &part[i]);
    any |= n[i] == seq;
    if (part[i].line && !n[i]) return entry_fault("changed", i, seq, "its line cannot be read"), false;
    if (part[i].line && n[i] < seq) return entry_fault("added", i, n[i], "it stands there twice"), false;
  }
  for (int i = 0; i < PARTS; i++) {
    struct lines next = part[i];
    line_next(&next);
    if (n[i] == seq) continue;
    if (number_of(i, &next) == seq) return entry_fault("reordered", i, seq, "another stands in its place"), false;
    return entry_fault(any ? "missing" : "gap", i, seq, "it is not in this bundle"), false;
  }
  return true;
}

static bool is_included(const char *proof, size_t len, const uint8_t leaf[HASH], uint64_t *index) {
  uint8_t path[PATH][HASH], fr[HASH], sr[HASH];
  const char *blank = memchr(proof, ' ', len);
  size_t digits = blank ? (size_t)(blank - proof) : len;
  if (!number_read(proof, digits, index) || *index >= v.checkpoint.size) return false;
  int n = blank ? path_read(blank + 1, len - digits - 1, ' ', path) : 0;
  memcpy(fr, leaf, HASH);
  memcpy(sr, leaf, HASH);
  return path_walk(*index, v.checkpoint.size - 1, path, n, fr, sr) && memcmp(sr, v.checkpoint.root, HASH) == 0;
}

/* Does one of the heads behind it say so? That such an entry is the one that was sealed is checked in its place. */
static bool is_removed(struct lines heads, uint64_t seq) {
  struct head h;
  for (; heads.line; line_next(&heads))
    if (head_read(heads.line, heads.len, &h) && h.removes == seq && h.seq > seq)
      return printf("removed body %" PRIu64 " of %.100s: entry %" PRIu64 " says so\n", seq, incident, h.seq) > 0;
  return false;
}

/* ---- 5. files in custody: blobs/<SHA-256> */

static struct collected {
  char place[NAME], file[NAME], node[48]; /* "file 7 of INC-000042", "blobs/…"; whose disk it lay on */
  bool destroyed;
} * collected;
static size_t collected_count, since;      /* since: where those of the incident at hand begin */
static size_t removed_names, removed_ends; /* entries that named a file, or its end, and whose bodies were removed */

/* What entry h says of a file; body NULL: it was removed. A quote inside a text has a backslash before it: only a name can stand like this. */
static void file_note(const struct head *h, const char *body, size_t len) {
  bool collects = strcmp(h->type, "evidence.collected") == 0, destroys = strcmp(h->type, "evidence.deleted") == 0;
  const char *at = body ? memmem(body, len, "\"sha256\":\"", 10) : NULL, *node = body ? memmem(body, len, "\"node\":\"", 8) : NULL;
  if (!body) removed_names += collects, removed_ends += destroys;
  if (!(collects || destroys) || !at || body + len - at < 10 + 2 * HASH) return;
  struct collected c = {.destroyed = false};
  snprintf(c.place, sizeof c.place, "file %" PRIu64 " of %.100s", h->seq, incident);
  snprintf(c.file, sizeof c.file, "blobs/%.64s", at + 10);
  for (size_t n = 0; node && node + 8 + n < body + len && node[8 + n] != '"' && n + 1 < sizeof c.node; n++) c.node[n] = node[8 + n];
  for (size_t i = since; destroys && i < collected_count; i++) collected[i].destroyed |= strcmp(collected[i].file, c.file) == 0;
  if (collects && !(collected = realloc(collected, (collected_count + 1) * sizeof c))) abort();
  if (collects) collected[collected_count++] = c;
}

static void files_check(void) {
  for (const struct collected *c = collected; c < collected + collected_count; c++) {
    bool there = file_find(c->file) != NULL;
    if (c->destroyed || (!there && removed_ends && removed_ends--)) printf("removed %s: an entry says so\n", c->place);
    else if (!there) fault_at("missing", c->place, "it was taken into custody%s%s, and is not here", *c->node ? " at node " : "", c->node);
  }
  for (const struct file *f = files; f < files + file_count; f++) {
    char name[NAME] = "blobs/";
    size_t i = 0;
    if (strncmp(f->name, "anchors/", 8) == 0 && (strstr(f->name, ".tsr") || strstr(f->name, ".cosigned")))
      printf("not checked %s: runbooks/verify-evidence.md says how to, with openssl\n", f->name);
    if (strncmp(f->name, name, 6) != 0) continue;
    hash_text(f->at, f->len, name + 6);
    while (i < collected_count && strcmp(collected[i].file, f->name) != 0) i++;
    if (i == collected_count && !removed_names) fault_at("added", f->name, "no entry says that it was taken into custody");
    else if (strcmp(name, f->name) != 0) fault_at("changed", f->name, "it is not what was taken into custody");
    else removed_names -= i == collected_count;
  }
}

static void body_check(struct lines heads, const char *text, size_t len, const struct head *h) {
  char hex[2 * HASH + 1] = "";
  uint8_t *raw = malloc(len + 1);
  long n = raw ? base64_read(text, len, raw, len) : -1;
  if (n >= 0) hash_text(raw, (size_t)n, hex);
  bool left_out = len == 1 && *text == '-', same = strcmp(hex, h->body) == 0;
  if (left_out && !is_removed(heads, h->seq))
    entry_fault("missing", BODY, h->seq, "it was left out, and no entry says that it was removed");
  else if (!left_out && !same) entry_fault("changed", BODY, h->seq, "its digest is not the one in its head");
  else file_note(h, left_out || n < HASH ? NULL : (const char *)raw + HASH, (size_t)n - HASH); /* behind the random prefix */
  free(raw);
}

struct chain {
  char leaf[2 * HASH + 1]; /* of the entry before */
  uint64_t next_index, proven;
};

static void entry_check(struct chain *c, const struct lines part[PARTS], uint64_t seq) {
  struct head h, behind;
  struct lines next = part[HEAD];
  const char *rest[PARTS], *kind = NULL;
  size_t len[PARTS];
  uint8_t leaf[HASH];
  char hex[2 * HASH + 1];
  uint64_t index;
  head_read(part[HEAD].line, part[HEAD].len, &h);
  hash_leaf(part[HEAD].line, part[HEAD].len, leaf);
  hash_hex(leaf, hex);
  line_next(&next);
  for (int i = BODY; i < PARTS; i++) {
    rest[i] = (const char *)memchr(part[i].line, ' ', part[i].len) + 1;
    len[i] = part[i].len - (size_t)(rest[i] - part[i].line);
  }
  /* Its neighbours tell whether the entry or its proof was changed. */
  bool follows = strcmp(h.prev, c->leaf) == 0,
       followed = next.line && head_read(next.line, next.len, &behind) && strcmp(behind.prev, hex) == 0;
  if (strcmp(h.incident, incident) != 0) entry_fault("added", HEAD, seq, "it belongs to another incident");
  if (len[PROOF] == 1 && *rest[PROOF] == '-') kind = "unsigned";
  else if (v.is_signed && !is_included(rest[PROOF], len[PROOF], leaf, &index)) kind = "changed";
  if (kind) entry_fault(kind, *kind == 'c' && follows && followed ? PROOF : HEAD, seq, "nothing leads from it to the signed root");
  else if (v.is_signed && index < c->next_index) entry_fault("reordered", HEAD, seq, "the log has it before the one before it");
  else if (v.is_signed) c->next_index = index + 1, c->proven++;
  if (!follows) entry_fault("changed", HEAD, seq, "it names another entry as the one before it, or that one was changed");
  body_check(part[HEAD], rest[BODY], len[BODY], &h);
  memcpy(c->leaf, hex, sizeof hex);
}

static uint64_t incident_check(void) {
  struct chain c = {.next_index = 0};
  struct lines part[PARTS];
  uint64_t seq = 1;
  since = collected_count;
  memset(c.leaf, '0', sizeof c.leaf - 1); /* what the first entry names as the one before it */
  for (int i = 0; i < PARTS; i++) {
    char name[NAME + 32];
    snprintf(name, sizeof name, "incidents/%.100s/%s", incident, part_files[i]);
    const struct file *f = file_find(name);
    part[i] = lines_of(f ? (const char *)f->at : "", f ? f->len : 0);
    if (!f) fault_at("missing", name, "the incident is not whole");
  }
  for (; (seq == 1 || part[HEAD].line || part[BODY].line || part[PROOF].line) && in_place(part, seq); seq++) {
    entry_check(&c, part, seq);
    for (int i = 0; i < PARTS; i++) line_next(&part[i]);
  }
  for (int i = 0; i < PARTS; i++)
    if (!part[i].line && part[i].at != part[i].end) entry_fault("changed", i, seq, "its line is cut off");
  return c.proven;
}

uint64_t bundle_check(const struct bytes *zip, const char *key_text) {
  uint64_t proven = 0;
  if (!zip_read(zip)) {
    fault_at("changed", "bundle", "from its file %zu on it is not the archive that was written", file_count);
    return 0;
  }
  const struct file *checkpoint = file_find("log/checkpoint"), *key = file_find("log/key");
  checkpoint_check(checkpoint ? checkpoint->at : NULL, checkpoint ? checkpoint->len : 0);
  sums_check();
  if (!key) fault_at("missing", "log/key", "the bundle does not say which key it is signed with");
  else if (key->len != strlen(key_text) + 1 || memcmp(key->at, key_text, key->len - 1) != 0 || key->at[key->len - 1] != '\n')
    fault_at("wrong-key", "log/key", "it is not the key that you gave");
  if (v.is_signed) earlier_check();
  for (const struct file *f = files; f < files + file_count; f++) {
    const char *id = f->name + 10, *slash = strncmp(f->name, "incidents/", 10) == 0 ? strchr(id, '/') : NULL;
    if (!slash || (strncmp(id, incident, (size_t)(slash - id)) == 0 && !incident[slash - id])) continue;
    snprintf(incident, sizeof incident, "%.*s", (int)(slash - id), id);
    proven += incident_check();
  }
  if (!incident[0]) fault_at("missing", "bundle", "it holds no incident");
  files_check();
  return proven;
}
