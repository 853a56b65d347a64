#include "base/id.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"

void id_incident(char out[ID_INCIDENT], enum mode mode, uint64_t number) {
  snprintf(out, ID_INCIDENT, "%s-%06" PRIu64, mode == MODE_LIVE ? "INC" : "EX", number % 1000000000000u);
}

bool id_exercise(const char *incident) { return incident && strncmp(incident, "EX-", 3) == 0; }

void id_place(char out[ID_PATH], unsigned run, const char *step) {
  char *end = out + ID_PATH - 1, *p = text_add_number(out, end, run);
  p = text_add(p, end, "/");
  *text_add(p, end, step) = 0;
}

void id_path(char out[ID_PATH], const char *incident, unsigned run, const char *step) {
  char *end = out + ID_PATH - 1, *p = text_add(out, end, incident);
  bool has_step = step && *step;
  if (has_step || run) p = text_add_number(text_add(p, end, "/"), end, run);
  if (has_step) p = text_add(text_add(p, end, "/"), end, step);
  *p = 0;
}

int id_step_compare(const char *a, const char *b) {
  while (*a || *b) {
    char *after_a, *after_b;
    unsigned long x = strtoul(a, &after_a, 10), y = strtoul(b, &after_b, 10);
    if (!*a || !*b || x != y) return !*a ? -1 : !*b ? 1 : x < y ? -1 : 1;
    a = after_a + (*after_a != 0);
    b = after_b + (*after_b != 0);
  }
  return 0;
}

bool id_step_valid(const char *step) {
  size_t n = strlen(step);
  if (!n || n >= ID_STEP) return false;
  bool digit = false;
  for (; *step; step++) {
    if (isdigit((unsigned char)*step)) digit = true;
    else if (*step == '.' && digit) digit = false;
    else return false;
  }
  return digit;
}

static bool number(const char **p, uint64_t most, uint64_t *ret) {
  if (!isdigit((unsigned char)**p)) return false;
  uint64_t value = 0;
  for (; isdigit((unsigned char)**p); (*p)++) {
    value = value * 10 + (uint64_t)(**p - '0');
    if (value > most) return false;
  }
  *ret = value;
  return true;
}

bool id_parse(const char *text, struct id *ret) {
  struct id id = {.mode = MODE_LIVE};
  uint64_t run = 0;
  if (strncasecmp(text, "INC-", 4) == 0) text += 4;
  else if (strncasecmp(text, "EX-", 3) == 0) text += 3, id.mode = MODE_EXERCISE;
  if (!number(&text, 999999999999u, &id.number) || !id.number) return false;
  if (*text == '/') {
    text++;
    if (!number(&text, 1000000, &run)) return false;
    id.run = (unsigned)run;
    if (*text == '/') {
      text++;
      if (!id_step_valid(text)) return false;
      snprintf(id.step, sizeof id.step, "%s", text); /* id_step_valid has bounded it */
      text += strlen(text);
    }
    if (!run && !id.step[0]) return false; /* run 0 bears the engine's own steps and is no run by itself */
  }
  if (*text) return false;
  *ret = id;
  return true;
}
