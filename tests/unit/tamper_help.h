/* tamper_help.h: what the tests of tampering share: the auditor's program behind a door, verdicts, and the table build/tamper.tsv. */
#ifndef TOCSIN_TESTS_TAMPER_HELP_H
#define TOCSIN_TESTS_TAMPER_HELP_H

#include <fcntl.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "evidence/note.h"

/* Under a sanitizer a part of it must do. */
#if defined(__SANITIZE_ADDRESS__)
enum { STRIDE = 13 };
#else
enum { STRIDE = 1 };
#endif
enum { ANYWHERE = -1 };

struct verdict {
  bool sound;
  char kind[16]; /* of the first fault that names an entry; else of the first */
  int64_t index; /* -1: no fault names an entry */
  char text[300];
};

static struct {
  char build[512], key[NOTE_VERIFIER_TEXT];
  const char *what; /* "log" or "bundle": the rows of the table that are ours */
  struct buf rows;
  FILE *questions, *answers;
  pid_t door;
  const char *kind; /* at the moment */
  unsigned tried, engine, other;
} tamper;

/* ---- the auditor's program, as a door to ask many questions through (verify_many.c): starting a program takes longer than what it is asked */

static inline void door_open(void) {
  char program[600];
  int in[2], out[2];
  snprintf(program, sizeof program, "%s/verify-many", tamper.build);
  assert_int_equal(pipe2(in, O_CLOEXEC) + pipe2(out, O_CLOEXEC), 0);
  tamper.door = fork();
  if (tamper.door == 0) {
    dup2(in[0], 0);
    dup2(out[1], 1);
    execl(program, program, (char *)NULL);
    _exit(126);
  }
  close(in[0]), close(out[1]);
  tamper.questions = fdopen(in[1], "w");
  tamper.answers = fdopen(out[0], "r");
}

static inline void door_close(void) {
  int status = 0;
  fclose(tamper.questions);
  fclose(tamper.answers);
  assert_int_equal(waitpid(tamper.door, &status, 0), tamper.door);
  assert_int_equal(status, 0);
}

static inline void door_ask(const char *what, const char *earlier) {
  fprintf(tamper.questions, "%s\t--key\t%s%s%s\n", what, tamper.key, earlier ? "\t--checkpoint\t" : "", earlier ? earlier : "");
  fflush(tamper.questions);
}

/* "changed entries 7-9: …", "missing body 7 of INC-000042: …": the first number before the colon, when it is of an entry or a part of one. */
static inline int64_t line_index(const char *line) {
  static const char *const words[] = {"entry ", "entries ", "body ", "proof ", "file "};
  const char *colon = strchr(line, ':');
  for (size_t i = 0; colon && i < sizeof words / sizeof *words; i++) {
    const char *at = strstr(line, words[i]);
    if (at && at < colon && at[-1] == ' ' && at[strlen(words[i])] >= '0' && at[strlen(words[i])] <= '9')
      return strtoll(at + strlen(words[i]), NULL, 10);
  }
  return -1;
}

/* The first fault that names an entry counts; else the first. */
static inline void verdict_take(struct verdict *v, const char *line) {
  if (strncmp(line, "removed ", 8) == 0) return; /* on purpose: no fault */
  int64_t index = strncmp(line, "NOT", 3) == 0 ? -1 : line_index(line);
  if (v->index >= 0 || (v->text[0] && index < 0)) return;
  snprintf(v->kind, sizeof v->kind, "%.*s", (int)strcspn(line, " "), line);
  snprintf(v->text, sizeof v->text, "%.299s", line);
  v->index = index;
}

static inline void door_answer(struct verdict *ret) {
  char line[4096];
  int status = -1;
  memset(ret, 0, sizeof *ret);
  ret->index = -1;
  while (fgets(line, sizeof line, tamper.answers) && sscanf(line, "\4 %d", &status) != 1) {
    line[strcspn(line, "\n")] = 0;
    verdict_take(ret, line);
  }
  if (status != 0 && status != 1) fail_msg("tocsin-verify ended with %d: %s", status, ret->text);
  ret->sound = status == 0;
}

/* ---- the table */

static inline void tamper_open(const char *what, const struct note_signer *signer) {
  char self[400];
  ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
  assert_true(n > 0);
  self[n] = 0;
  snprintf(tamper.build, sizeof tamper.build, "%s/..", dirname(self));
  tamper.what = what;
  buf_init(&tamper.rows, 1 << 20);
  note_verifier_write(&signer->verifier, tamper.key);
  door_open();
}

/* Ours are written anew; those of the other test stay. Tests that run as another user may not write beside their program. */
static inline void table_write(void) {
  static const char head[] = "what\tkind\ttried\tcaught by tocsin\tcaught by tocsin-verify\n";
  char path[600], line[1024];
  struct buf all;
  snprintf(path, sizeof path, "%s/tamper.tsv", tamper.build);
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) {
    snprintf(path, sizeof path, "%s/tamper.tsv", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  }
  assert_true(fd >= 0 && flock(fd, LOCK_EX) == 0);
  FILE *f = fdopen(fd, "r+");
  buf_init(&all, 2 << 20);
  buf_adds(&all, head);
  while (fgets(line, sizeof line, f)) {
    bool ours = strncmp(line, tamper.what, strlen(tamper.what)) == 0 && line[strlen(tamper.what)] == '\t';
    if (!ours && (strncmp(line, "log\t", 4) == 0 || strncmp(line, "bundle\t", 7) == 0)) buf_adds(&all, line);
  }
  buf_add(&all, tamper.rows.data, tamper.rows.len);
  rewind(f);
  assert_true(ftruncate(fd, 0) == 0 && fwrite(all.data, 1, all.len, f) == all.len && fclose(f) == 0);
  buf_release(&all);
}

static inline void tamper_close(void) {
  door_close();
  table_write();
  buf_release(&tamper.rows);
}

static inline void begin(const char *kind) {
  tamper.tried = tamper.engine = tamper.other = 0;
  tamper.kind = kind;
}

static inline void end(void) {
  buf_addf(&tamper.rows, "%s\t%s\t%u\t%u\t%u\n", tamper.what, tamper.kind, tamper.tried, tamper.engine, tamper.other);
  print_message("%-70s %6u tried, %6u and %6u caught\n", tamper.kind, tamper.tried, tamper.engine, tamper.other);
  assert_true(tamper.tried > 0);
  assert_int_equal(tamper.engine, tamper.tried);
  assert_int_equal(tamper.other, tamper.tried);
}

/* kind NULL: any; index ANYWHERE: any or none. */
static inline bool names(const struct verdict *v, const char *kind, int64_t index) {
  return !v->sound && (!kind || strcmp(v->kind, kind) == 0) && (index == ANYWHERE || v->index == index);
}

static inline void judged(const struct verdict *engine, const struct verdict *other, const char *kind, int64_t index) {
  tamper.tried++;
  tamper.engine += names(engine, kind, index);
  tamper.other += names(other, kind, index);
  if (!names(engine, kind, index) || !names(other, kind, index))
    print_error("%s: expected %s at %d\n  tocsin: %s\n  tocsin-verify: %s\n", tamper.kind, kind ? kind : "anything", (int)index,
                engine->sound ? "sound" : engine->text, other->sound ? "sound" : other->text);
}

static inline void both_sound(const struct verdict *engine, const struct verdict *other) {
  if (!engine->sound || !other->sound) fail_msg("not sound: %s / %s", engine->text, other->text);
}

#endif
