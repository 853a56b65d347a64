/* fuzz_base.c: what strangers' bytes meet first: JSON, ids, times, durations.
 *
 * Properties: a parsed document written out parses again to an equal one and gives the same bytes; a time or an id that is accepted
 * survives being written and read again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void must(bool holds) {
  if (!holds) abort();
}

static void check_json(const char *bytes, size_t len) {
  json_t *value = NULL, *again = NULL;
  struct err err = {0};
  int code = json_parse(bytes, len, &value, &err);
  if (code < 0) {
    must(!value && err.code == code && err.text[0]);
    return;
  }
  struct buf first, second;
  buf_init(&first, 64u << 20);
  buf_init(&second, 64u << 20);
  json_write(value, &first);
  must(buf_ok(&first));
  must(json_parse(first.data, first.len, &again, &err) == 0);
  json_write(again, &second);
  must(first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
  json_decref(value);
  json_decref(again);
  buf_release(&first);
  buf_release(&second);
}

static void check_words(const char *text) {
  int64_t us, again, ms;
  struct id id;
  if (time_parse(text, &us)) {
    char written[TIME_TEXT];
    time_format(us, written);
    must(time_parse(written, &again) && again == us);
  }
  if (duration_parse(text, &ms)) must(ms >= 0);
  if (id_parse(text, &id)) {
    char incident[ID_INCIDENT], written[ID_PATH];
    id_incident(incident, id.mode, id.number);
    id_path(written, incident, id.run, id.step);
    struct id same;
    must(id_parse(written, &same) && same.mode == id.mode && same.number == id.number && same.run == id.run &&
         strcmp(same.step, id.step) == 0);
  }
  id_step_valid(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len) {
  check_json((const char *)bytes, len);
  char text[128];
  size_t n = len < sizeof text ? len : sizeof text - 1;
  memcpy(text, bytes, n);
  text[n] = 0;
  check_words(text);
  return 0;
}
