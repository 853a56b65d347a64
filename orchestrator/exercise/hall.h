/* hall.h: the exercises that are played at this node: beginning them, going on with them after a restart or when their node has gone, and what their facilitators say.
 *
 * Each exercise has a desk, an intake, a ledger, questions, runs and a clock of its own, over the same Redis and the same evidence log. Its transports can only simulate, so it reaches nothing
 * however it is asked; its keys bear its id, so it mixes with nothing. Nothing in an alert makes it an exercise: only the engine writes an exercise's stream (tocsin:{EX-…}:alerts).
 * It keeps the connectors, playbooks, lists, settings and scenario that it began with; all that it needs to go on after a crash is in its journal. While nobody is there its clock stands
 * still. One node plays it (EXERCISES_RUNNING says which), and what is said about it elsewhere comes there by letter; when that node dies or leaves, another goes on with it. Commands (on the desk of earnest; answers as in incident/incident.h):
 *  "tabletop.run" {file, source, speed?, seed?, roles {role: name}?, auto?: true, script? (and script_file): other people than the scenario's own} → {"id","title","objectives","injects"}     "tabletop.list" {} → {"exercises": [rows + "running", "stage" (hall_lists.c), "node", "paused"]}
 *  "tabletop.show" {id} → exercise_show's, "facilitator": whether it tells what is still to come
 *  "tabletop.incidents" {id} → {"incidents": [rows]}, of one that is over too
 *  "tabletop.end" · "tabletop.abort" {id, because} · "tabletop.pause" {id, because?} · "tabletop.resume" {id} · "tabletop.speed" {id, speed} · "tabletop.jump" {id, by: ms}
 *  "tabletop.skip" {id, inject, because?} · "tabletop.inject" {id, inject} or {id, text, to?: [role…]} → {"id"}: a facilitator's (who began it, or an admin)
 * All other commands find an exercise's incidents by their ids (EX-…). */
#ifndef TOCSIN_EXERCISE_HALL_H
#define TOCSIN_EXERCISE_HALL_H

#include "base/map.h"
#include "intake/intake.h"
#include "journal/feed.h"

struct hall;

/* What an exercise is played with. Taken over, and released with content_free's help. */
struct hall_content {
  struct registry *registry;
  struct lists *lists;
  struct router *router;
  struct map *playbooks; /* name → struct declaration */
  json_t *default_group;
  int64_t default_window_ms;
};

/* All borrowed. */
struct hall_deps {
  struct loop *loop;
  struct redis *redis;
  struct secrets *secrets;
  struct people *people;
  const json_t *settings;
  struct desk *desk;   /* of earnest */
  struct feed *feed;   /* may be NULL */
  struct nodes *nodes; /* NULL: there are no others */
  const char *node, *runbooks, *data;
  const struct clock *clock; /* that drives the exercises' clocks */
  /* What the process crashed in, of an exercise ("EX-000045", "EX-000042:7-0"): that exercise is broken off in place of going on. NULL: nothing. */
  const char *suspect;
  /* The content as it is installed now, with made-up settings for what is not configured. */
  int (*content)(void *arg, struct hall_content *ret, struct err *err);
  /* Tells people outside (settings' exercise_notify); the texts say EXERCISE. people: their actors ("person:…"), NULL: all who take part. May be NULL. */
  void (*tell)(void *arg, const json_t *people, const char *subject, const char *text);
  void *arg;
};

struct hall *hall_new(const struct hall_deps *deps);
/* Goes on with those that were played here when the process ended, or at a node that is gone; calls back when they are there, whatever came of it. */
void hall_load(struct hall *h, loop_cb *cb, void *arg);
void hall_redis_up(struct hall *h);
/* A node is gone: what it played goes on here (of several that try, one gets each); what could not go on here is tried again. NULL is legal. */
void hall_take_over(struct hall *h);
/* The lease had lapsed: lets go of what others have taken over meanwhile. */
void hall_look_owned(struct hall *h);
/* The engine stops: clocks stand still, nothing is read any more. unsent: entries that Redis has not got yet. */
void hall_stop(struct hall *h);
size_t hall_unsent(const struct hall *h);
/* As with the daemon's own rooms: unload before Redis' link goes, free after it. NULL is legal. */
void hall_unload(struct hall *h);
void hall_free(struct hall *h);
/* New {"running", "begun_total"}. */
json_t *hall_counts(const struct hall *h);

#endif
