/* standing.h: how an incident stands: its state (journal/state.h), in the form that costs least.
 *
 * Most incidents never do anything unusual: an alert opens them, a playbook runs, its actions come back, and nobody ever looks. Such a one is a few plain members here,
 * where the state as JSON is a hundred blocks that are made, changed in ten places, and freed. Once it is stored and nothing of it goes on, it is the stored bytes alone.
 * Whatever is more than that, and whoever wants to look, makes it the JSON of state.h, which it stays; state_fold changes it from then on.
 * All three are the same state: a unit test folds any entries in both ways and compares what would be stored, byte by byte. Pure, as state.h is. */
#ifndef TOCSIN_JOURNAL_STANDING_H
#define TOCSIN_JOURNAL_STANDING_H

#include "base/buf.h"
#include "journal/state.h"

enum { STANDING_ALERTS = 4, STANDING_RUNS = 2, STANDING_INTENTS = 4, STANDING_STEP = 24 };

/* Some members of an entry's body as they are stored, in one block: each with a comma, its name and its value, or nothing when the body lacks it. */
struct standing_members {
  char *bytes;
  uint32_t ends[7]; /* of each */
};

/* An array as it is stored; NULL: []. */
struct standing_list {
  char *bytes;
  size_t len;
};

/* Members that an entry's body may lack are NULL. */
struct standing_run {
  unsigned number;
  int64_t started, ended;
  char *actor;
  struct standing_members began;
  const char *otherwise; /* how it ended, if `status` does not say; NULL: it runs */
  json_t *status, *error, *text;
};

struct standing_intent {
  unsigned run;
  char step[STANDING_STEP];
  int64_t since;
  size_t len;
  char *body; /* all of action.intended, as its bytes: it is gone again soon, and hardly ever looked at */
};

/* What a playbook may see of it at one moment. Most never look, so that its members are made when somebody does, or when they are about to change. */
struct standing_view;

/* Its members are standing.c's. Zeros and standing_init, and it may not move. */
struct standing {
  json_t *json; /* NULL: it is plain, or bytes */
  char *bytes;  /* NULL: it is plain, or JSON */
  uint64_t seq; /* in every form; of the other members JSON has its own, bytes have alerts, next_run and severity too */
  int64_t updated, acknowledged;
  bool has_acknowledged;
  struct standing_view *view; /* of now; NULL: nobody has taken it */
  size_t intent_count, run_count, recent_count;
  struct standing_intent intents[STANDING_INTENTS];
  int64_t alerts, next_run, severity, notes, opened, first_alert, last_alert;
  struct standing_members opening;
  struct standing_list groups, observables, attack;
  struct standing_run runs[STANDING_RUNS];
  struct {
    char *id;
    uint64_t seq;
  } recent[STANDING_ALERTS];
  const char *incident;
  size_t len; /* of bytes */
};

void standing_init(struct standing *s, const char *incident); /* state_blank; the incident's id is borrowed until standing_release */
void standing_release(struct standing *s);
void standing_set(struct standing *s, json_t *state_take);
void standing_fold(struct standing *s, const struct entry *e);
/* The state itself, borrowed; changed in place by what is folded later. */
json_t *standing_json(struct standing *s);
/* What is stored: json_write's bytes of the same. */
void standing_write(const struct standing *s, struct buf *out);
/* These bytes, which standing_write has just given, are kept in its place if nothing of it goes on. */
void standing_rest(struct standing *s, const char *bytes, size_t len);

/* Of the state, whatever its form. */
uint64_t standing_seq(const struct standing *s);
size_t standing_alerts(const struct standing *s);
unsigned standing_next_run(const struct standing *s);
bool standing_has_alert(struct standing *s, const char *alert_id);
const char *standing_status(const struct standing *s);
const char *standing_merged_into(const struct standing *s); /* NULL: it is not */
/* Of this playbook, in shadow or not, there was a run, or one is under way. */
bool standing_ran(struct standing *s, const char *playbook, bool shadow, bool running);
bool standing_busy(const struct standing *s); /* a question, an intent or a held action is open */
bool standing_holds_targets(const struct standing *s);
size_t standing_intents(const struct standing *s, size_t *ret_in_doubt); /* open ones */
/* The view of now, for standing_view_drop; it may outlive the standing. */
struct standing_view *standing_look(struct standing *s);
const json_t *standing_view_fields(struct standing_view *v); /* those members of the state that a playbook may see; borrowed */
void standing_view_drop(struct standing_view *v);

/* --- for standing.c and standing_write.c alone ------------------------------------------------------------------------ */

/* What those bytes are made of, in the order of their ends. */
enum { OPENED_BY, OPENED_EXERCISE, OPENED_MODE, OPENED_OCCURRED, OPENED_PLAYBOOK, OPENED_TENANT, OPENED_TITLE };
enum { BEGAN_DIGEST, BEGAN_GROUP, BEGAN_PLAYBOOK, BEGAN_SHADOW, BEGAN_TRIGGER };

char *standing_copy(const char *bytes, size_t len); /* with a 0 behind it; for slab_free */
/* names ends with NULL. */
void standing_members_take(struct standing_members *m, const json_t *of, const char *const *names);
const char *standing_member(const struct standing_members *m, size_t i,
                            size_t *ret_len);                              /* with its comma and name; len 0: it is missing */
json_t *standing_member_value(const struct standing_members *m, size_t i); /* new; NULL: it is missing */
void standing_list_take(struct standing_list *l, const json_t *list);
json_t *standing_list_value(const struct standing_list *l); /* new */

#endif
