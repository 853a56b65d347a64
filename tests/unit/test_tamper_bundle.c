/* Tampering with a bundle: every kind that we can think of is tried, caught, and named at the right place by both verifiers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bundle_help.h"
#include "tamper_help.h"

enum { COUNT = 14, SIZE = 400, SINCE = 130 };
static const char HEADS[] = "incidents/INC-000042/heads", BODIES[] = "incidents/INC-000042/bodies",
                  PROOFS[] = "incidents/INC-000042/proofs";

static struct {
  struct made_bundle whole, small;
  char folder[64], path[100], kept[100];
} t;

static int setup(void **state) {
  bundle_make_since(&t.whole, COUNT, SIZE, SINCE);
  bundle_make_small(&t.small, &t.whole.signer);
  folder_make(t.folder);
  snprintf(t.path, sizeof t.path, "%s/bundle.zip", t.folder);
  snprintf(t.kept, sizeof t.kept, "%s/kept", t.folder);
  tamper_open("bundle", &t.whole.signer);
  return 0;
}

static int teardown(void **state) {
  tamper_close();
  bundle_free(&t.whole);
  bundle_free(&t.small);
  folder_remove(t.folder);
  return 0;
}

/* ---- asking both */

static void ask_engine(const struct buf *bytes, const struct checkpoint *earlier, struct verdict *ret) {
  struct verify_options o = {.key = &t.whole.signer.verifier, .earlier = earlier, .earlier_count = earlier ? 1 : 0};
  struct bundle_result r;
  assert_int_equal(bundle_verify(bytes->data, bytes->len, &o, &r, NULL), 0);
  *ret = (struct verdict){.sound = r.count == 0, .index = -1};
  for (size_t i = 0; i < r.count; i++) {
    char line[600];
    snprintf(line, sizeof line, "%s %s: %s", fault_name(r.faults[i].kind), r.faults[i].place, r.faults[i].text);
    verdict_take(ret, line);
  }
  bundle_release(&r);
}

static void ask(const struct buf *bytes, const char *kept, const struct checkpoint *earlier, struct verdict *engine,
                struct verdict *other) {
  file_put_bytes(t.path, bytes->data, bytes->len);
  door_ask(t.path, kept);
  ask_engine(bytes, earlier, engine);
  door_answer(other);
}

static void try_bytes(const struct buf *bytes, const char *kind, int64_t index) {
  struct verdict engine, other;
  ask(bytes, NULL, NULL, &engine, &other);
  judged(&engine, &other, kind, index);
}

/* ---- changing files inside; the list of digests is made anew, as whoever forges would */

static void copy_of(struct zip *ret, const struct made_bundle *b) {
  memset(ret, 0, sizeof *ret);
  for (size_t i = 0; i < b->zip.count; i++) {
    const struct zip_file *f = &b->zip.files[i];
    if (strcmp(f->name, "SHA256SUMS") != 0 && strcmp(f->name, "README.txt") != 0) zip_add(ret, f->name, f->bytes, f->len, NULL);
  }
}

static struct zip_file *inside(struct zip *z, const char *name) {
  for (size_t i = 0; i < z->count; i++)
    if (strcmp(z->files[i].name, name) == 0) return &z->files[i];
  fail_msg("no %s", name);
  return NULL;
}

static void put(struct zip *z, const char *name, const char *bytes, size_t len) {
  struct zip_file *f = inside(z, name);
  free(f->owned);
  f->owned = malloc(len + 1);
  memcpy(f->owned, bytes, len);
  f->owned[len] = 0;
  f->bytes = f->owned;
  f->len = len;
}

static void away(struct zip *z, const char *name) {
  struct zip_file *f = inside(z, name);
  free(f->owned);
  *f = z->files[--z->count];
}

static void closed(struct zip *z, struct buf *out) {
  buf_init(out, 64 << 20);
  assert_int_equal(bundle_finish(z, NULL), 0);
  assert_int_equal(zip_write(z, out, NULL), 0);
  zip_release(z);
}

static void try_zip(struct zip *z, const char *kind, int64_t index) {
  struct buf bytes;
  closed(z, &bytes);
  try_bytes(&bytes, kind, index);
  buf_release(&bytes);
}

/* Line `seq` of a file: dropped (0), swapped with the next (1), repeated (2), replaced by its neighbour (3), one byte of it changed (4). */
static void line_do(struct zip *z, const char *name, int how, size_t seq) {
  struct zip_file *f = inside(z, name);
  const char *from = f->bytes, *next, *end;
  for (size_t i = 1; i < seq; i++) from = strchr(from, '\n') + 1;
  next = strchr(from, '\n') + 1;
  end = *next ? strchr(next, '\n') + 1 : next;
  struct buf out;
  buf_init(&out, 8 << 20);
  buf_add(&out, f->bytes, (size_t)(from - f->bytes));
  if (how == 1 || how == 3) buf_add(&out, next, (size_t)(end - next));
  if (how == 2) buf_add(&out, from, (size_t)(next - from));
  if (how == 1 || how == 2 || how == 4) buf_add(&out, from, (size_t)(next - from));
  if (how == 4) out.data[out.len - 20] = (char)(out.data[out.len - 20] ^ 1);
  const char *rest = how == 1 ? end : next;
  buf_adds(&out, rest);
  put(z, name, out.data, out.len);
  buf_release(&out);
}

static void every_line(const char *name, int how, const char *title, const char *kind, size_t first, size_t last) {
  begin(title);
  for (size_t seq = first; seq <= last; seq++) {
    struct zip z;
    copy_of(&z, &t.whole);
    line_do(&z, name, how, seq);
    try_zip(&z, kind, (int64_t)seq);
  }
  end();
}

/* ---- the tests */

static void untouched(void **state) {
  struct verdict engine, other;
  ask(&t.whole.bytes, NULL, NULL, &engine, &other);
  both_sound(&engine, &other);
}

static void every_bit(void **state) {
  struct buf *b = &t.small.bytes;
  begin("a bit flipped anywhere in the archive");
  for (size_t bit = 0; bit < 8 * b->len; bit += STRIDE) {
    b->data[bit / 8] = (char)(b->data[bit / 8] ^ 1 << bit % 8);
    try_bytes(b, NULL, ANYWHERE);
    b->data[bit / 8] = (char)(b->data[bit / 8] ^ 1 << bit % 8);
  }
  end();
}

/* Checksums and the list of digests are made anew each time: it is the proofs that tell. */
static void every_bit_inside(void **state) {
  for (size_t i = 0; i < t.small.zip.count; i++) {
    const struct zip_file *f = &t.small.zip.files[i];
    char title[ZIP_NAME + 80];
    if (strstr(f->name, "report") || strcmp(f->name, "SHA256SUMS") == 0 || strcmp(f->name, "README.txt") == 0) continue;
    snprintf(title, sizeof title, "a bit flipped in %s, and all checksums made anew", f->name);
    begin(title);
    for (size_t bit = 0; bit < 8 * f->len; bit += STRIDE) {
      struct zip z;
      copy_of(&z, &t.small);
      struct zip_file *changed = inside(&z, f->name);
      changed->owned[bit / 8] = (char)(changed->owned[bit / 8] ^ 1 << bit % 8);
      try_zip(&z, NULL, ANYWHERE);
    }
    end();
  }
}

static void cut(void **state) {
  struct buf *b = &t.whole.bytes;
  begin("the archive cut short");
  for (size_t n = 0; n < b->len; n += b->len / 97 * STRIDE + 1) {
    struct buf part = *b;
    part.len = n;
    try_bytes(&part, NULL, ANYWHERE);
  }
  end();
  begin("bytes behind the archive");
  buf_adds(b, "more");
  try_bytes(b, NULL, ANYWHERE);
  b->len -= 4;
  end();
}

static void lines(void **state) {
  every_line(HEADS, 0, "a head dropped", "missing", 1, COUNT);
  every_line(HEADS, 1, "a head swapped with the next", "reordered", 1, COUNT - 1);
  every_line(HEADS, 2, "a head repeated", "added", 1, COUNT);
  every_line(HEADS, 4, "a head changed in one byte", "changed", 1, COUNT);
  every_line(BODIES, 0, "a body dropped", "missing", 1, COUNT);
  every_line(BODIES, 1, "a body swapped with the next", "reordered", 1, COUNT - 1);
  every_line(BODIES, 2, "a body repeated", "added", 1, COUNT);
  every_line(BODIES, 4, "a body changed", "changed", 1, COUNT);
  every_line(PROOFS, 0, "a proof dropped", "missing", 1, COUNT);
  every_line(PROOFS, 1, "a proof swapped with the next", "reordered", 1, COUNT - 1);
  every_line(PROOFS, 2, "a proof repeated", "added", 1, COUNT);
  every_line(PROOFS, 4, "a proof changed", "changed", 1, COUNT);
}

/* The same entry taken out of heads, bodies and proofs: a gap; at the end nothing in the bundle tells it. */
static void gap(void **state) {
  begin("an entry taken out of everything");
  for (size_t seq = 1; seq < COUNT; seq++) {
    struct zip z;
    copy_of(&z, &t.whole);
    line_do(&z, HEADS, 0, seq), line_do(&z, BODIES, 0, seq), line_do(&z, PROOFS, 0, seq);
    try_zip(&z, "gap", (int64_t)seq);
  }
  end();
}

/* A line replaced by text. */
static void line_put(struct zip *z, const char *name, size_t seq, const char *text) {
  struct zip_file *f = inside(z, name);
  const char *from = f->bytes;
  for (size_t i = 1; i < seq; i++) from = strchr(from, '\n') + 1;
  struct buf out;
  buf_init(&out, 8 << 20);
  buf_add(&out, f->bytes, (size_t)(from - f->bytes));
  buf_adds(&out, text);
  buf_adds(&out, strchr(from, '\n'));
  put(z, name, out.data, out.len);
  buf_release(&out);
}

static void left_out(void **state) {
  begin("a body left out as if it had been removed");
  for (size_t seq = 1; seq <= COUNT; seq++) {
    struct zip z;
    char line[40];
    copy_of(&z, &t.whole);
    snprintf(line, sizeof line, "%zu -", seq);
    line_put(&z, BODIES, seq, line);
    try_zip(&z, "missing", (int64_t)seq);
  }
  end();
  begin("a proof taken back as if the entry were not sealed yet");
  for (size_t seq = 1; seq <= COUNT; seq++) {
    struct zip z;
    char line[40];
    copy_of(&z, &t.whole);
    snprintf(line, sizeof line, "%zu -", seq);
    line_put(&z, PROOFS, seq, line);
    try_zip(&z, "unsigned", (int64_t)seq);
  }
  end();
}

/* An entry that says that body `gone` was removed, made without the key and put at the end with another's proof. */
static void removal_forge(struct zip *z, const char *gone) {
  struct made_case c;
  struct buf file;
  case_whole(&c);
  case_add(&c, KIND_BODY_REMOVING, "person:7f3a", 0, gone, json_pack("{s:s}", "because", "a lie"));
  const struct entry *e = c.entries[COUNT];
  char *body = base64_encode(e->envelope, e->envelope_len);
  buf_init(&file, 8 << 20);
  buf_adds(&file, inside(z, HEADS)->bytes), buf_add(&file, e->head, e->head_len), buf_addc(&file, '\n');
  put(z, HEADS, file.data, file.len);
  buf_reset(&file);
  buf_adds(&file, inside(z, BODIES)->bytes), buf_addf(&file, "%d %s\n", COUNT + 1, body);
  put(z, BODIES, file.data, file.len);
  buf_reset(&file);
  buf_adds(&file, inside(z, PROOFS)->bytes), buf_addf(&file, "%d 3\n", COUNT + 1);
  put(z, PROOFS, file.data, file.len);
  buf_release(&file);
  free(body);
  case_free(&c);
}

static void removals(void **state) {
  struct made_bundle redacted;
  struct verdict engine, other;
  struct zip z;
  char line[40];
  bundle_make_redacted(&redacted, &t.whole.signer, SIZE, SINCE);
  ask(&redacted.bytes, NULL, NULL, &engine, &other);
  if (!engine.sound || !other.sound) fail_msg("%s / %s", engine.text, other.text);
  begin("a body left out beside one that was removed");
  for (size_t seq = 1; seq <= COUNT + 1; seq++) {
    if (seq == 11) continue;
    copy_of(&z, &redacted);
    snprintf(line, sizeof line, "%zu -", seq);
    line_put(&z, BODIES, seq, line);
    try_zip(&z, "missing", (int64_t)seq);
  }
  end();
  begin("a body left out, and an entry forged that says it was removed");
  for (size_t seq = 1; seq <= COUNT; seq++) {
    copy_of(&z, &t.whole);
    snprintf(line, sizeof line, "%zu", seq);
    removal_forge(&z, line);
    snprintf(line, sizeof line, "%zu -", seq);
    line_put(&z, BODIES, seq, line);
    try_zip(&z, "changed", COUNT + 1);
  }
  end();
  begin("another body in the place of one that was removed");
  copy_of(&z, &redacted);
  line_put(&z, BODIES, 11, "11 AAAA");
  try_zip(&z, "changed", 11);
  end();
  bundle_free(&redacted);
}

/* Another body under a head made for it, and all later heads chained anew: only the log knows. */
static void forged(void **state) {
  begin("an entry written anew with its body, and the chain behind it");
  for (size_t seq = 1; seq <= COUNT; seq++) {
    struct made_case c;
    struct bundle_entry list[CASE_MOST];
    struct zip z;
    case_begin(&c);
    for (size_t i = 0; i < COUNT; i++) {
      const struct entry *e = t.whole.made.entries[i];
      if (i + 1 < seq) {
        assert_int_equal(entry_read(e->head, e->head_len, e->leaf, e->envelope, e->envelope_len, &c.entries[i], NULL), 0);
        c.source.count++;
      } else {
        case_add(&c, e->kind, e->actor, e->run, e->step, i + 1 == seq ? json_pack("{s:s}", "text", "a lie") : json_deep_copy(e->body));
      }
      list[i] = (struct bundle_entry){c.entries[i]->head, c.entries[i]->head_len, c.entries[i]->envelope, c.entries[i]->envelope_len};
    }
    copy_of(&z, &t.whole);
    away(&z, HEADS), away(&z, BODIES), away(&z, PROOFS);
    assert_int_equal(bundle_add_incident(&z, "INC-000042", list, COUNT, t.whole.proofs, NULL), 0);
    try_zip(&z, "changed", (int64_t)seq);
    case_free(&c);
  }
  end();
}

static void other_incident(void **state) {
  struct zip z;
  begin("another incident's folder under this one's name");
  copy_of(&z, &t.whole);
  for (size_t i = 0; i < z.count; i++)
    if (strncmp(z.files[i].name, "incidents/INC-000042/", 21) == 0) z.files[i].name[19] = '3';
  try_zip(&z, "added", 1);
  end();
}

/* ---- whole files */

static void files(void **state) {
  static const struct {
    const char *name, *kind;
  } gone[] = {{"log/checkpoint", "unsigned"}, {"log/key", "missing"},

              {"log/130.consistency", NULL},  {HEADS, NULL},          {BODIES, "missing"}, {PROOFS, "missing"}};
  begin("a file taken away, and the list of files made anew");
  for (size_t i = 0; i < sizeof gone / sizeof *gone; i++) {
    struct zip z;
    copy_of(&z, &t.whole);
    away(&z, gone[i].name);
    try_zip(&z, i == 0 ? NULL : gone[i].kind, ANYWHERE);
  }
  end();
  begin("a file changed, added or taken away behind the list's back");
  for (int how = 0; how < 4; how++) {
    struct zip z;
    struct buf bytes;
    memset(&z, 0, sizeof z);
    for (size_t i = 0; i < t.whole.zip.count; i++)
      zip_add(&z, t.whole.zip.files[i].name, t.whole.zip.files[i].bytes, t.whole.zip.files[i].len, NULL);
    if (how == 0) put(&z, "incidents/INC-000042/report.html", "<b>", 3);
    if (how == 1) zip_add(&z, "incidents/INC-000042/note.txt", "x", 1, NULL);
    if (how == 2) away(&z, "incidents/INC-000042/report.html");
    if (how == 3) away(&z, "SHA256SUMS");
    buf_init(&bytes, 64 << 20);
    assert_int_equal(zip_write(&z, &bytes, NULL), 0);
    static const char *const kinds[] = {"changed", "added", "missing", "missing"};
    try_bytes(&bytes, kinds[how], ANYWHERE);
    buf_release(&bytes);
    zip_release(&z);
  }
  end();
}

/* ---- files in custody */

/* What the entries say (n: a note; a, b: a file is collected; x: that of entry 2 is destroyed; in capitals: the body was removed, and an entry behind them says so),
 * which files are there, and what is wrong with it (NULL: nothing). */
static const struct story {
  const char *entries, *files, *title, *kind;
  int64_t index;
} stories[] = {
    {"na", "a", NULL, NULL, 0},
    {"nax", "", NULL, NULL, 0},
    {"naxa", "a", NULL, NULL, 0},
    {"nA", "a", NULL, NULL, 0},
    {"nA", "", NULL, NULL, 0},
    {"nAb", "ab", NULL, NULL, 0},
    {"naX", "", NULL, NULL, 0},
    {"na", "", "a file in custody taken away", "missing", 2},
    {"naxa", "", "a file taken away that was collected anew after it had been destroyed", "missing", 4},
    {"nabX", "", "two files taken away, and one entry of a destruction whose body was removed", "missing", 3},
    {"na", "b", "another file laid in its place", "missing", 2},
    {"na", "ab", "a file put beside those in custody", "added", ANYWHERE},
    {"nx", "a", "a file put in that was only destroyed", "added", ANYWHERE},
    {"nA", "ab", "two files, and one entry that collected one and whose body was removed", "added", ANYWHERE},
};

static void story_make(const struct story *s, struct made_bundle *b) {
  memset(b, 0, sizeof *b);
  b->signer = t.whole.signer;
  case_begin(&b->made);
  for (const char *e = s->entries; *e; e++) {
    char low = (char)(*e | 0x20);
    const char *content = low == 'b' ? "beta" : "alpha";
    enum kind kind = low == 'n' ? KIND_INCIDENT_NOTED : low == 'x' ? KIND_EVIDENCE_DELETED : KIND_EVIDENCE_COLLECTED;
    case_add(&b->made, kind, "person:7f3a", 0, NULL, low != *e ? NULL : bundle_custody(content, low == 'x' ? 2 : 0));
  }
  for (const char *e = s->entries; *e; e++) {
    char step[8];
    snprintf(step, sizeof step, "%d", (int)(e - s->entries) + 1);
    if (!(*e & 0x20)) case_add(&b->made, KIND_BODY_REMOVING, "person:7f3a", 0, step, json_pack("{s:s}", "because", "x"));
  }
  for (size_t i = 0; s->files[i]; i++) b->files[i] = s->files[i] == 'b' ? "beta" : "alpha";
  bundle_make_of(b, b->made.source.count, 10 * b->made.source.count, 0);
}

static void custody(void **state) {
  for (const struct story *s = stories; s < stories + sizeof stories / sizeof *stories; s++) {
    struct made_bundle b;
    struct verdict engine, other;
    story_make(s, &b);
    ask(&b.bytes, NULL, NULL, &engine, &other);
    if (s->kind) {
      begin(s->title);
      judged(&engine, &other, s->kind, s->index);
      end();
    } else if (!engine.sound || !other.sound) {
      fail_msg("%s with %s: %s / %s", s->entries, s->files, engine.text, other.text);
    }
    bundle_free(&b);
  }
}

static const char *file_name(const struct zip *z) {
  for (size_t i = 0; i < z->count; i++)
    if (strncmp(z->files[i].name, "blobs/", 6) == 0) return z->files[i].name;
  fail_msg("no file");
  return NULL;
}

static void custody_changed(void **state) {
  static const struct story removed = {"nA", "a", NULL, NULL, 0};
  struct made_bundle b;
  const char *name = file_name(&t.small.zip);
  begin("a bit of a file in custody flipped, and all checksums made anew");
  for (size_t bit = 0; bit < 8 * inside(&t.small.zip, name)->len; bit++) {
    struct zip z;
    copy_of(&z, &t.small);
    inside(&z, name)->owned[bit / 8] ^= (char)(1 << bit % 8);
    try_zip(&z, "changed", ANYWHERE);
  }
  end();
  story_make(&removed, &b);
  begin("the same of one whose entry's body was removed");
  for (size_t bit = 0; bit < 8 * strlen(b.files[0]); bit++) {
    struct zip z;
    copy_of(&z, &b);
    inside(&z, file_name(&b.zip))->owned[bit / 8] ^= (char)(1 << bit % 8);
    try_zip(&z, "changed", ANYWHERE);
  }
  end();
  bundle_free(&b);
  begin("a file taken away, and an entry put behind that says it was destroyed");
  memset(&b, 0, sizeof b);
  b.signer = t.whole.signer;
  case_begin(&b.made);
  case_add(&b.made, KIND_INCIDENT_NOTED, "person:7f3a", 0, NULL, NULL);
  case_add(&b.made, KIND_EVIDENCE_COLLECTED, "person:7f3a", 0, NULL, bundle_custody("alpha", 0));
  case_add(&b.made, KIND_EVIDENCE_DELETED, "person:7f3a", 0, NULL, bundle_custody("alpha", 2));
  case_add(&b.made, KIND_BODY_REMOVING, "person:7f3a", 0, "1", json_object());
  bundle_make_of(&b, 2, 40, 0); /* the log has the first two */
  try_bytes(&b.bytes, "unsigned", 3);
  end();
  bundle_free(&b);
}

static void note_put(struct zip *z, const struct note_signer *signer, const char *text, size_t len) {
  struct buf note;
  buf_init(&note, NOTE_CAP);
  assert_int_equal(note_sign(signer, text, len, &note, NULL), 0);
  put(z, "log/checkpoint", note.data, note.len);
  buf_release(&note);
}

static void keys(void **state) {
  struct note_signer same_name = test_signer("example.com/ir/evidence"), other = test_signer("example.com/other");
  const struct zip_file *f = zip_find(&t.whole.zip, "log/checkpoint");
  size_t text_len = (size_t)(strstr(f->bytes, "\n\n") + 1 - f->bytes);
  struct zip z;
  begin("the checkpoint signed with another key of the same name");
  copy_of(&z, &t.whole);
  note_put(&z, &same_name, f->bytes, text_len);
  try_zip(&z, "wrong-key", ANYWHERE);
  end();
  begin("the checkpoint signed with another name's key");
  copy_of(&z, &t.whole);
  note_put(&z, &other, f->bytes, text_len);
  try_zip(&z, "unsigned", ANYWHERE);
  end();
  begin("the checkpoint's signature taken away");
  copy_of(&z, &t.whole);
  put(&z, "log/checkpoint", f->bytes, text_len + 1);
  try_zip(&z, "unsigned", ANYWHERE);
  end();
  begin("another key laid into the bundle");
  char text[NOTE_VERIFIER_TEXT + 1];
  bundle_key_text(&same_name.verifier, text);
  copy_of(&z, &t.whole);
  put(&z, "log/key", text, strlen(text));
  try_zip(&z, "wrong-key", ANYWHERE);
  end();
}

static void kept_write(uint64_t size, const struct hash *root) {
  struct checkpoint c = {.size = size, .root = *root};
  struct buf text, note;
  buf_init(&text, 4096), buf_init(&note, 4096);
  snprintf(c.origin, sizeof c.origin, "%s", t.whole.signer.verifier.name);
  checkpoint_write(&c, &text);
  assert_int_equal(note_sign(&t.whole.signer, text.data, text.len, &note, NULL), 0);
  file_put_bytes(t.kept, note.data, note.len);
  buf_release(&text), buf_release(&note);
}

/* sound: both must say so; else both must name it. */
static void earlier_try(uint64_t size, const struct hash *root, bool is_sound, const char *kind) {
  struct checkpoint c = {.size = size, .root = *root};
  struct verdict engine, other;
  kept_write(size, root);
  ask(&t.whole.bytes, t.kept, &c, &engine, &other);
  if (is_sound) both_sound(&engine, &other);
  else judged(&engine, &other, kind, ANYWHERE);
}

static void earlier(void **state) {
  struct hash root = t.whole.earlier.root;
  earlier_try(SINCE, &root, true, NULL);
  earlier_try(SIZE, &t.whole.log.checkpoint.root, true, NULL);
  begin("a bundle older than the checkpoint kept elsewhere");
  earlier_try(SIZE + 1, &root, false, "stale");
  end();
  begin("a log that does not go on from the checkpoint kept elsewhere");
  root.bytes[5] ^= 1;
  earlier_try(SINCE, &root, false, NULL);
  earlier_try(SIZE, &root, false, NULL);
  earlier_try(SINCE - 1, &t.whole.earlier.root, false, NULL);
  end();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(untouched), cmocka_unit_test(every_bit), cmocka_unit_test(every_bit_inside),
      cmocka_unit_test(cut),       cmocka_unit_test(lines),     cmocka_unit_test(gap),
      cmocka_unit_test(left_out),  cmocka_unit_test(forged),    cmocka_unit_test(other_incident),
      cmocka_unit_test(files),     cmocka_unit_test(keys),      cmocka_unit_test(earlier),
      cmocka_unit_test(removals),  cmocka_unit_test(custody),   cmocka_unit_test(custody_changed),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
