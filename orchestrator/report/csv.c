/* timeline.csv (RFC 4180). */
#include <inttypes.h>
#include <string.h>

#include "report/internal.h"

/* Quoted always. What a spreadsheet would run as a formula gets an apostrophe before it, as its own programs write such text. */
static void cell(struct buf *out, const char *text) {
  buf_addc(out, '"');
  if (*text && strchr("=+-@\t\r\n|%", *text)) buf_addc(out, '\'');
  for (; *text; text++) {
    if (*text == '"') buf_addc(out, '"');
    if ((unsigned char)*text >= 0x20 || *text == '\n' || *text == '\t') buf_addc(out, *text);
    else buf_addc(out, ' ');
  }
  buf_addc(out, '"');
}

static void entry_row(const struct report_source *s, const struct entry *e, struct buf *out) {
  char time[TIME_TEXT], room[ENTRY_ACTOR + 16];
  struct buf words;
  buf_init(&words, 8 << 20);
  if (report_exercised(s)) buf_adds(&words, "EXERCISE: ");
  report_words(s, e, &words);
  time_format(e->time, time);
  buf_addf(out, "%" PRIu64 ",%s,", e->seq, time);
  cell(out, report_actor(s, e->actor, room, sizeof room));
  buf_addc(out, ',');
  cell(out, e->actor);
  buf_addc(out, ',');
  cell(out, kind_name(e->kind));
  if (e->run) buf_addf(out, ",%u,", e->run);
  else buf_adds(out, ",,");
  cell(out, e->step);
  buf_addf(out, ",%s,", kind_control(e->kind));
  cell(out, words.data);
  buf_addf(out, ",%s\r\n", e->leaf);
  buf_release(&words);
}

void report_csv(const struct report_source *s, struct buf *out) {
  buf_adds(out, "seq,time,who,actor,type,run,step,control,what,leaf\r\n");
  for (size_t i = 0; i < s->count; i++) entry_row(s, s->entries[i], out);
}
