/* case_help.h: a journal made by hand, entry by entry, a second apart, as the tests of reports and bundles want it. */
#ifndef TOCSIN_TESTS_CASE_HELP_H
#define TOCSIN_TESTS_CASE_HELP_H

#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "evidence/leaf.h"
#include "report/report.h"

enum { CASE_MOST = 64 };
static const int64_t T0 = 1763923321123456, SECOND = 1000000; /* 2025-11-23T18:42:01.123456Z */

struct made_case {
  const char *incident;
  struct entry *entries[CASE_MOST];
  json_t *names;
  struct report_source source;
};

static inline void case_words(void *arg, const struct entry *e, struct buf *out) {
  buf_adds(out, json_str_or(e->body, "text", kind_meaning(e->kind)));
}

static inline void case_begin(struct made_case *c) {
  *c = (struct made_case){.incident = "INC-000042", .names = json_pack("{s:s}", "person:7f3a", "Bob & \"Co\"")};
  c->source = (struct report_source){.incident = c->incident, .entries = c->entries, .names = c->names, .words = case_words};
}

/* Takes the body over; NULL: it was removed. */
static inline void case_add(struct made_case *c, enum kind kind, const char *actor, unsigned run, const char *step, json_t *body_take) {
  size_t n = c->source.count;
  json_t *body = body_take ? body_take : json_object();
  struct entry_spec spec = {.kind = kind, .actor = actor, .run = run, .step = step, .body = body};
  assert_true(n < CASE_MOST);
  assert_int_equal(entry_make(&spec, c->incident, "n1", n + 1, n ? c->entries[n - 1]->leaf : leaf_none(), T0 + (int64_t)n * SECOND, NULL,
                              &c->entries[n], NULL),
                   0);
  json_decref(body);
  if (!body_take) {
    json_decref(c->entries[n]->body);
    c->entries[n]->body = NULL;
    c->entries[n]->envelope = NULL;
    c->entries[n]->envelope_len = 0;
  }
  c->source.count++;
}

static inline json_t *case_alert(void) {
  return json_pack("{s:s, s:s, s:I, s:i, s:[s], s:{s:I, s:I, s:{s:s, s:s}, s:{s:{s:s}}, s:[{s:s, s:s, s:i, s:s}, {s:s, s:s, s:i, s:s}]}}",
                   "id", "wazuh:7", "source", "wazuh", "received", (json_int_t)(T0 - SECOND), "severity_id", 4, "attack", "T1078",
                   "finding", "time", (json_int_t)((T0 - 30 * SECOND) / 1000), "start_time", (json_int_t)((T0 - 600 * SECOND) / 1000),
                   "finding_info", "uid", "wazuh-7", "title", "Brute <b>force</b>", "metadata", "product", "name", "Wazuh", "observables",
                   "name", "actor.user.name", "type", "User Name", "type_id", 4, "value", "alice", "name", "src_endpoint.ip", "type",
                   "IP Address", "type_id", 2, "value", "203.0.113.66");
}

/* A whole incident: alert, containment, question, answer, a note with everything bad in it, release, end. Fourteen entries; one body may be removed. */
static inline void case_fill(struct made_case *c, bool removed) {
  case_begin(c);
  case_add(c, KIND_INCIDENT_OPENED, "engine", 0, NULL, json_pack("{s:s, s:i}", "title", "Brute <b>force</b>", "severity_id", 4));
  case_add(c, KIND_ALERT_ATTACHED, "engine", 0, NULL, case_alert());
  case_add(c, KIND_RUN_STARTED, "playbook:contain-account", 1, NULL, json_pack("{s:s}", "playbook", "contain-account"));
  case_add(c, KIND_ACTION_INTENDED, "playbook:contain-account", 1, "1",
           json_pack("{s:s, s:s, s:s, s:{s:s}, s:s}", "connector", "ldap", "action", "lock_account", "effect", "contain", "target", "user",
                     "alice", "because", "he asked <b>nicely</b>"));
  case_add(c, KIND_ACTION_OUTCOME, "playbook:contain-account", 1, "1",
           json_pack("{s:b, s:s, s:s, s:s, s:{s:s}, s:s, s:i}", "ok", 1, "connector", "ldap", "action", "lock_account", "effect", "contain",
                     "target", "user", "alice", "contains", "active", "took_ms", 12));
  case_add(c, KIND_QUESTION_ASKED, "playbook:contain-account", 1, "2",
           json_pack("{s:s, s:[s, s], s:s}", "text", "Keep alice locked?", "options", "keep", "release", "role", "responder"));
  case_add(c, KIND_QUESTION_NOTIFIED, "engine", 1, "2", json_pack("{s:b}", "ok", 1));
  case_add(c, KIND_QUESTION_ANSWERED, "person:7f3a", 1, "2", json_pack("{s:s, s:b}", "answer", "keep", "more", 0));
  case_add(c, KIND_RUN_FINISHED, "playbook:contain-account", 1, NULL, json_pack("{s:s}", "status", "done"));
  case_add(c, KIND_INCIDENT_NOTED, "person:7f3a", 0, NULL,
           json_pack("{s:s}", "text", "=HYPERLINK(\"http://evil.example\") <script>alert(1)</script>"));
  case_add(c, KIND_INCIDENT_NOTED, "person:7f3a", 0, NULL, removed ? NULL : json_pack("{s:s}", "text", "a second note"));
  case_add(c, KIND_CONTAINMENT_RELEASED, "person:7f3a", 2, "1", json_pack("{s:s}", "of", "1/1"));
  case_add(c, KIND_INCIDENT_TAGGED, "person:7f3a", 0, NULL, json_pack("{s:s}", "tag", "<img src=x>"));
  case_add(c, KIND_INCIDENT_CLOSED, "person:7f3a", 0, NULL, json_pack("{s:s, s:s}", "verdict", "true_positive", "lessons", "MFA"));
}

static inline void case_make(struct made_case *c) { case_fill(c, true); }

/* The same with a body removed (entry 11), and the entry that says so (15). */
static inline void case_redacted(struct made_case *c) {
  case_fill(c, true);
  case_add(c, KIND_BODY_REMOVING, "person:7f3a", 0, "11",
           json_pack("{s:i, s:s, s:s}", "seq", 11, "because", "a password", "copy", "a second [removed]"));
}

static inline void case_whole(struct made_case *c) { case_fill(c, false); }

static inline void case_free(struct made_case *c) {
  for (size_t i = 0; i < c->source.count; i++) entry_free(c->entries[i]);
  json_decref(c->names);
}

#endif
