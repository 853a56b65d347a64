/* Signed notes: public vectors and our own, keys in and out, and every bit of a note. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "evidence/note.h"
#include "vectors.h"

static size_t keys_read(const json_t *texts, struct note_verifier *out) {
  struct err err = {0};
  for (size_t i = 0; i < json_array_size(texts); i++)
    if (note_verifier_read(json_string_value(json_array_get(texts, i)), &out[i], &err) < 0) fail_msg("%s", err.text);
  return json_array_size(texts);
}

static const char *state_name(enum note_state state) {
  static const char *const names[] = {"signed", "malformed", "unsigned", "forged"};
  return names[state];
}

static void our_notes(void **state) {
  json_t *v = vector_json("tests/data/evidence/notes.json"), *c;
  size_t i, counts[4] = {0};
  json_array_foreach(json_object_get(v, "notes"), i, c) {
    struct note_verifier keys[4];
    struct note note;
    const json_t *text = json_object_get(c, "note");
    size_t count = keys_read(json_object_get(c, "vkeys"), keys);
    int r = note_open(json_string_value(text), json_string_length(text), keys, count, &note, NULL);
    if (strcmp(state_name(note.state), json_str(c, "state")) != 0 || (r == 0) != (note.state == NOTE_SIGNED))
      fail_msg("%s: %s, not %s", json_str(c, "name"), state_name(note.state), json_str(c, "state"));
    assert_int_equal(note.by, json_int_or(c, "by", 0));
    counts[note.state]++;
  }
  print_message("notes of our own: %zu signed, %zu malformed, %zu unsigned, %zu forged\n", counts[0], counts[1], counts[2], counts[3]);
  assert_int_equal(i, 28);
  assert_int_equal(counts[NOTE_SIGNED], 8);
  assert_int_equal(counts[NOTE_MALFORMED], 13);
  json_decref(v);
}

static void signing_is(const char *skey, const char *text, const char *want) {
  struct note_signer s;
  struct buf out;
  struct err err = {0};
  buf_init(&out, NOTE_CAP);
  if (note_signer_read(skey, &s, &err) < 0 || note_sign(&s, text, strlen(text), &out, &err) < 0) fail_msg("%s", err.text);
  assert_string_equal(out.data, want);
  buf_reset(&out);
  note_signer_write(&s, &out);
  assert_string_equal(out.data, skey);
  buf_release(&out);
}

static void our_keys(void **state) {
  json_t *v = vector_json("tests/data/evidence/notes.json"), *key;
  const json_t *signing = json_object_get(v, "signing");
  size_t i;
  signing_is(json_str(signing, "skey"), json_str(signing, "text"), json_str(signing, "note"));
  json_array_foreach(json_object_get(v, "keys"), i, key) {
    struct note_signer s;
    char text[NOTE_VERIFIER_TEXT];
    assert_int_equal(note_signer_read(json_str(key, "skey"), &s, NULL), 0);
    note_verifier_write(&s.verifier, text);
    assert_string_equal(text, json_str(key, "vkey"));
  }
  json_decref(v);
}

static void new_key(void **state) {
  struct note_signer a, b, c;
  struct note_verifier v;
  struct note note;
  struct buf out;
  char text[NOTE_VERIFIER_TEXT];
  buf_init(&out, NOTE_CAP);
  assert_int_equal(note_signer_make("example.org/log", &a, NULL), 0);
  assert_int_equal(note_signer_make("example.org/log", &b, NULL), 0);
  assert_memory_not_equal(a.seed, b.seed, sizeof a.seed);
  note_verifier_write(&a.verifier, text);
  assert_int_equal(note_verifier_read(text, &v, NULL), 0);
  assert_int_equal(note_sign(&a, "x\n", 2, &out, NULL), 0);
  assert_int_equal(note_open(out.data, out.len, &v, 1, &note, NULL), 0);
  assert_int_equal(note.text_len, 2);
  buf_reset(&out);
  note_signer_write(&a, &out);
  buf_addc(&out, '\n');
  assert_int_equal(note_signer_read(out.data, &c, NULL), 0);
  assert_memory_equal(&a, &c, sizeof a);
  buf_release(&out);
}

static void bad_names(void **state) {
  struct note_signer s;
  char longest[NOTE_NAME + 1];
  static const char *const bad[] = {"", "a b", "a+b", "a\nb", "a\tb", "a\xc2\xa0z", "a\xe2\x80\x83z", "a\xff"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_int_equal(note_signer_make(bad[i], &s, NULL), ERR_INVALID);
  memset(longest, 'a', sizeof longest);
  longest[NOTE_NAME] = 0;
  assert_int_equal(note_signer_make(longest, &s, NULL), ERR_INVALID);
  longest[NOTE_NAME - 1] = 0;
  assert_int_equal(note_signer_make(longest, &s, NULL), 0);
}

static void bad_texts(void **state) {
  struct note_signer s;
  struct buf out;
  buf_init(&out, NOTE_CAP);
  assert_int_equal(note_signer_make("n", &s, NULL), 0);
  assert_int_equal(note_sign(&s, "no newline", 10, &out, NULL), ERR_INVALID);
  assert_int_equal(note_sign(&s, "", 0, &out, NULL), ERR_INVALID);
  assert_int_equal(note_sign(&s, "a\x01\n", 3, &out, NULL), ERR_INVALID);
  assert_int_equal(note_sign(&s, "a\xc0\x80\n", 4, &out, NULL), ERR_INVALID);
  assert_int_equal(note_sign(&s, "a\0b\n", 4, &out, NULL), ERR_INVALID);
  buf_release(&out);
}

/* No single bit of a note with one signature can be turned without notice. */
static void every_bit(void **state) {
  json_t *v = vector_json("tests/data/evidence/notes.json");
  const json_t *signing = json_object_get(v, "signing");
  struct note_signer s;
  struct note note;
  assert_int_equal(note_signer_read(json_str(signing, "skey"), &s, NULL), 0);
  char *text = strdup(json_str(signing, "note"));
  size_t len = strlen(text);
  for (size_t i = 0; i < 8 * len; i++) {
    text[i / 8] = (char)(text[i / 8] ^ 1 << i % 8);
    if (note_open(text, len, &s.verifier, 1, &note, NULL) == 0) fail_msg("bit %zu of byte %zu", i % 8, i / 8);
    text[i / 8] = (char)(text[i / 8] ^ 1 << i % 8);
  }
  assert_int_equal(note_open(text, len, &s.verifier, 1, &note, NULL), 0);
  for (size_t n = 0; n < len; n++) assert_int_not_equal(note_open(text, n, &s.verifier, 1, &note, NULL), 0);
  free(text);
  json_decref(v);
}

/* ---- public vectors */

static void public_notes(void **state) {
  if (!vectors_public()) skip();
  json_t *v = vector_json(PUBLIC_VECTORS "/signed-notes.json"), *c;
  size_t i, taken = 0, refused = 0;
  json_array_foreach(json_object_get(v, "notes"), i, c) {
    struct note_verifier keys[4];
    struct note note;
    const json_t *text = json_object_get(c, "note");
    const char *result = json_str(c, "result"), *name = json_str(c, "name");
    size_t count = keys_read(json_object_get(c, "vkeys"), keys);
    int r = note_open(json_string_value(text), json_string_length(text), keys, count, &note, NULL);
    enum note_state want = strcmp(result, "ok") == 0                                  ? NOTE_SIGNED
                           : strcmp(result, "malformed note") == 0                    ? NOTE_MALFORMED
                           : strcmp(result, "note has no verifiable signatures") == 0 ? NOTE_UNSIGNED
                                                                                      : NOTE_FORGED;
    if (note.state != want || (r == 0) != (want == NOTE_SIGNED)) fail_msg("%s: %s, not %s", name, state_name(note.state), result);
    if (json_object_get(c, "verified")) assert_int_equal(__builtin_popcountll(note.by), json_int_or(c, "verified", 0));
    if (r == 0) taken++;
    else refused++;
  }
  print_message("public notes: %zu taken, %zu refused\n", taken, refused);
  assert_int_equal(taken, 21);
  assert_int_equal(refused, 9);
  const json_t *signing = json_object_get(v, "signing");
  signing_is(json_str(signing, "skey"), json_str(signing, "text"), json_str(signing, "want"));
  json_decref(v);
}

static void public_keys(void **state) {
  if (!vectors_public()) skip();
  json_t *v = vector_json(PUBLIC_VECTORS "/signed-notes.json"), *bad;
  struct note_verifier key;
  struct note_signer s;
  size_t i;
  json_array_foreach(json_object_get(v, "bad_vkeys"), i, bad)
      assert_int_equal(note_verifier_read(json_string_value(bad), &key, NULL), ERR_INVALID);
  assert_int_equal(i, 2);
  const char *good = json_str(v, "any_substring_of_a_vkey_must_be_rejected");
  size_t len = strlen(good);
  char text[NOTE_VERIFIER_TEXT];
  for (size_t from = 0; from < len; from++) {
    for (size_t to = from; to <= len; to++) {
      if (from == 0 && to == len) continue;
      memcpy(text, good + from, to - from);
      text[to - from] = 0;
      assert_int_equal(note_verifier_read(text, &key, NULL), ERR_INVALID);
    }
  }
  for (size_t at = 0; at < len; at++) {
    memcpy(text, good, len + 1);
    text[at]++;
    assert_int_equal(note_verifier_read(text, &key, NULL), ERR_INVALID);
  }
  assert_int_equal(note_verifier_read(good, &key, NULL), 0);
  assert_int_equal(note_signer_read(json_str(v, "tessera_test_skey"), &s, NULL), 0);
  note_verifier_write(&s.verifier, text);
  assert_string_equal(text, "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx");
  json_decref(v);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(our_notes), cmocka_unit_test(our_keys),  cmocka_unit_test(new_key),      cmocka_unit_test(bad_names),
      cmocka_unit_test(bad_texts), cmocka_unit_test(every_bit), cmocka_unit_test(public_notes), cmocka_unit_test(public_keys),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
