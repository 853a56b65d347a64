/* internal.h: what the files of report/ share. */
#ifndef TOCSIN_REPORT_INTERNAL_H
#define TOCSIN_REPORT_INTERNAL_H

#include "base/clock.h"
#include "base/json.h"
#include "report/report.h"

/* Fills facts' "times" from the rest of them and from the entries. */
void facts_times(const struct report_source *s, json_t *facts);
/* {time, seq, how}; new. */
json_t *fact_moment(int64_t time, uint64_t seq, const char *how);
/* OCSF milliseconds, seconds as text or RFC 3339 text of a finding's member to µs; 0 when it is none. */
int64_t ocsf_time(const json_t *finding, const char *path);

/* Text for HTML and SVG: the five characters escaped, control characters left out. */
void html_text(struct buf *out, const char *text);
void html_tag(struct buf *out, const char *class, const char *text);
void html_target(struct buf *out, const json_t *target); /* "user alice, host web01" */
void html_json(struct buf *out, const json_t *value);    /* a string as it is, else compact JSON */
/* Everything up to the body; the title is escaped. */
void page_begin(struct buf *out, const char *title);
/* The picture of durations. */
void picture_draw(const struct report_source *s, const json_t *facts, struct buf *out);

/* "2025-11-23 18:42:01" and with three decimals. */
/* Is it of an exercise? Then every view of it says so. */
bool report_exercised(const struct report_source *s);
/* What the entry says; when its body was removed: when, by whom, why, and the copy in its place. */
void report_words(const struct report_source *s, const struct entry *e, struct buf *out);

enum { STAMP_TEXT = 32 };
void stamp_text(int64_t us, char out[STAMP_TEXT]);
void stamp_text_ms(int64_t us, char out[STAMP_TEXT]);

enum { UUID_TEXT = 37 };
/* Version 5 (RFC 9562): of a namespace and a name. */
void uuid5(const char *space, const char *name, size_t len, char out[UUID_TEXT]);

#endif
