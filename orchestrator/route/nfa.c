#include "route/nfa.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "route/fold.h"

enum { MAX_SETS = 256, MAX_RANGES = 2048, MAX_REPEAT = 255, MAX_GROUPS_DEPTH = 32, NO_CHAR = 0x7fffffff };

enum op {
  OP_CHAR,
  OP_ANY,
  OP_ANY_BUT_LF,
  OP_SET,
  OP_SPLIT,
  OP_JUMP,
  OP_LINE_START,
  OP_LINE_END,
  OP_TEXT_START,
  OP_TEXT_END,
  OP_LAST_LINE_END,
  OP_WORD_EDGE,
  OP_NO_WORD_EDGE,
  OP_MATCH
};

/* Jumps are relative, so that a block of code can be moved and copied as it is. */
struct state {
  enum op op;
  uint32_t cp;  /* OP_CHAR: code point; OP_SET: index */
  int16_t x, y; /* OP_SPLIT: both ways; OP_JUMP: x */
};
struct range {
  uint32_t first, last;
};
struct set {
  uint16_t from, count;
  bool negated;
};

struct nfa {
  struct state *states;
  struct set *sets;
  struct range *ranges;
  size_t count, set_count, range_count;
  bool fold;
};

struct parser {
  const char *p, *end, *pattern;
  int len;
  unsigned flags, depth;
  struct nfa *n;
  struct err *err;
};

void nfa_free(struct nfa *n) {
  if (!n) return;
  free(n->states);
  free(n->sets);
  free(n->ranges);
  free(n);
}

static int bad(struct parser *q, const char *what) {
  return err_set(q->err, ERR_INVALID, "pattern `%.*s`: %s (at character %d)", q->len, q->pattern, what, (int)(q->p - q->pattern) + 1);
}

static int emit(struct parser *q, enum op op, uint32_t cp) {
  if (q->n->count == NFA_MAX_STATES)
    return err_set(q->err, ERR_LIMIT, "pattern `%.*s` is too large: more than %d states", q->len, q->pattern, NFA_MAX_STATES);
  q->n->states[q->n->count++] = (struct state){.op = op, .cp = cp};
  return 0;
}

/* Makes room for one state at `at`, before a block that reaches to the end. */
static int insert(struct parser *q, size_t at, enum op op, int x, int y) {
  int rc = emit(q, op, 0);
  if (rc) return rc;
  struct state *s = q->n->states;
  memmove(s + at + 1, s + at, (q->n->count - at - 1) * sizeof *s);
  s[at] = (struct state){.op = op, .x = (int16_t)x, .y = (int16_t)y};
  return 0;
}

static int range_add(struct parser *q, uint32_t first, uint32_t last) {
  if (q->n->range_count == MAX_RANGES)
    return err_set(q->err, ERR_LIMIT, "pattern `%.*s` has too many character ranges", q->len, q->pattern);
  q->n->ranges[q->n->range_count++] = (struct range){first, last};
  return 0;
}

static int ranges_add(struct parser *q, const char *pairs) {
  int rc = 0;
  for (; !rc && *pairs; pairs += 2) rc = range_add(q, (unsigned char)pairs[0], (unsigned char)pairs[1]);
  return rc;
}

/* The ranges between the given ones (ASCII classes are few and in order). */
static int ranges_add_others(struct parser *q, const char *pairs) {
  uint32_t next = 0;
  int rc = 0;
  for (; !rc && *pairs; pairs += 2) {
    if ((unsigned char)pairs[0] > next) rc = range_add(q, next, (unsigned char)pairs[0] - 1u);
    next = (unsigned char)pairs[1] + 1u;
  }
  return rc ? rc : range_add(q, next, UINT32_MAX);
}

static const char *class_of(char letter) {
  switch (letter) {
  case 'd':
  case 'D': return "09";
  case 'w':
  case 'W': return "09AZ__az";
  case 's':
  case 'S': return "\t\r  ";
  default: return NULL;
  }
}

static int class_add(struct parser *q, char letter) {
  return letter >= 'a' ? ranges_add(q, class_of(letter)) : ranges_add_others(q, class_of(letter));
}

static int hex_value(char c) {
  return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static int hex_escape(struct parser *q, uint32_t *ret) {
  bool braces = q->p < q->end && *q->p == '{';
  uint32_t cp = 0;
  int digits = 0, most = braces ? 6 : 2;
  q->p += braces;
  for (; q->p < q->end && digits < most && hex_value(*q->p) >= 0; digits++) cp = cp * 16 + (uint32_t)hex_value(*q->p++);
  if (!digits || cp > 0x10ffff || (braces && (q->p == q->end || *q->p++ != '}'))) return bad(q, "write \\x41 or \\x{1F600}");
  *ret = cp;
  return 0;
}

/* After a backslash: an escape that stands for one code point. */
static int escape(struct parser *q, uint32_t *ret) {
  static const char from[] = "nrtfvae0", to[] = "\n\r\t\f\v\a\x1b";
  if (q->p == q->end) return bad(q, "a backslash at the end");
  char c = *q->p;
  const char *known = strchr(from, c);
  if (c == 'x') return q->p++, hex_escape(q, ret);
  if (known && c) return q->p++, *ret = (unsigned char)to[known - from], 0;
  if (c >= '1' && c <= '9') return bad(q, "back-references are not supported");
  if (hex_value(c) >= 0 || (c >= 'g' && c <= 'z') || (c >= 'G' && c <= 'Z')) return bad(q, "unknown escape");
  q->p += utf8_next(q->p, q->end, ret);
  return 0;
}

static int posix_class(struct parser *q) {
  static const struct {
    const char *name, *pairs;
  } classes[] = {{"alpha", "AZaz"},     {"digit", "09"},     {"alnum", "09AZaz"}, {"upper", "AZ"},
                 {"lower", "az"},       {"space", "\t\r  "}, {"blank", "\t\t  "}, {"xdigit", "09AFaf"},
                 {"punct", "!/:@[`{~"}, {"print", " ~"},     {"graph", "!~"},     {"cntrl", "\x01\x1f\x7f\x7f"},
                 {"word", "09AZ__az"}};
  for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
    size_t len = strlen(classes[i].name);
    if ((size_t)(q->end - q->p) < len + 4 || strncmp(q->p + 2, classes[i].name, len) != 0 || strncmp(q->p + 2 + len, ":]", 2) != 0)
      continue;
    q->p += len + 4;
    return ranges_add(q, classes[i].pairs);
  }
  return bad(q, "unknown class; write one such as [:alpha:]");
}

static int set_point(struct parser *q, uint32_t *ret) {
  if (*q->p == '\\') return q->p++, escape(q, ret);
  q->p += utf8_next(q->p, q->end, ret);
  return 0;
}

static int set_item(struct parser *q) {
  uint32_t first, last;
  if (*q->p == '[' && q->p + 1 < q->end && q->p[1] == ':') return posix_class(q);
  if (*q->p == '\\' && q->p + 1 < q->end && class_of(q->p[1])) return q->p += 2, class_add(q, q->p[-1]);
  int rc = set_point(q, &first);
  if (rc) return rc;
  if (q->end - q->p < 2 || *q->p != '-' || q->p[1] == ']') return range_add(q, first, first);
  q->p++;
  if ((rc = set_point(q, &last))) return rc;
  return last < first ? bad(q, "a range runs backwards") : range_add(q, first, last);
}

/* Without case, a set also holds the folded form of everything in it; texts are looked up as they are and folded. */
static int set_fold(struct parser *q, size_t from) {
  enum { LAST_CASED = 0xff3a };
  int rc = 0;
  for (size_t i = from, count = q->n->range_count; !rc && i < count; i++) {
    struct range r = q->n->ranges[i];
    for (uint32_t cp = r.first; !rc && cp <= r.last && cp <= LAST_CASED; cp++) {
      uint32_t folded = fold_point(cp);
      struct range *end = &q->n->ranges[q->n->range_count - 1];
      if (folded == cp || (folded >= r.first && folded <= r.last)) continue;
      if (q->n->range_count > count && end->last + 1 == folded) end->last = folded;
      else rc = range_add(q, folded, folded);
    }
  }
  return rc;
}

static int set_close(struct parser *q, size_t from, bool negated) {
  int rc = q->n->fold ? set_fold(q, from) : 0;
  if (rc) return rc;
  if (q->n->set_count == MAX_SETS) return err_set(q->err, ERR_LIMIT, "pattern `%.*s` has too many character sets", q->len, q->pattern);
  q->n->sets[q->n->set_count] = (struct set){(uint16_t)from, (uint16_t)(q->n->range_count - from), negated};
  return emit(q, OP_SET, (uint32_t)q->n->set_count++);
}

static int set_parse(struct parser *q) {
  size_t from = q->n->range_count;
  const char *open = q->p++;
  bool negated = q->p < q->end && *q->p == '^';
  int rc = 0;
  q->p += negated;
  for (bool first = true; !rc && q->p < q->end && (first || *q->p != ']'); first = false) rc = set_item(q);
  if (rc) return rc;
  if (q->p == q->end) return q->p = open, bad(q, "`[` is never closed");
  q->p++;
  return set_close(q, from, negated);
}

static int alternatives(struct parser *q);

static int group(struct parser *q) {
  const char *open = q->p++;
  if (q->p < q->end && *q->p == '?') {
    if (q->end - q->p < 2 || q->p[1] != ':')
      return bad(q, "only (?:…) groups are supported, no look-around or names; flags stand at the very start");
    q->p += 2;
  }
  if (++q->depth > MAX_GROUPS_DEPTH) return bad(q, "groups nested too deeply");
  int rc = alternatives(q);
  q->depth--;
  if (rc) return rc;
  if (q->p == q->end) return q->p = open, bad(q, "`(` is never closed");
  q->p++;
  return 0;
}

static int escaped_atom(struct parser *q) {
  static const struct {
    char letter;
    enum op op;
  } edges[] = {{'b', OP_WORD_EDGE}, {'B', OP_NO_WORD_EDGE}, {'A', OP_TEXT_START}, {'z', OP_TEXT_END}, {'Z', OP_LAST_LINE_END}};
  uint32_t cp;
  char c = q->p + 1 < q->end ? q->p[1] : 0;
  q->p++;
  for (size_t i = 0; c && i < sizeof edges / sizeof *edges; i++)
    if (edges[i].letter == c) return q->p++, emit(q, edges[i].op, 0);
  if (class_of(c)) {
    size_t from = q->n->range_count;
    int rc = (q->p++, class_add(q, c));
    return rc ? rc : set_close(q, from, false);
  }
  int rc = escape(q, &cp);
  return rc ? rc : emit(q, OP_CHAR, q->n->fold ? fold_point(cp) : cp);
}

static int atom(struct parser *q) {
  uint32_t cp;
  switch (*q->p) {
  case '(': return group(q);
  case '[': return set_parse(q);
  case '\\': return escaped_atom(q);
  case '.': return q->p++, emit(q, q->flags & NFA_DOT_ALL ? OP_ANY : OP_ANY_BUT_LF, 0);
  case '^': return q->p++, emit(q, q->flags & NFA_MULTILINE ? OP_LINE_START : OP_TEXT_START, 0);
  case '$': return q->p++, emit(q, q->flags & NFA_MULTILINE ? OP_LINE_END : OP_LAST_LINE_END, 0);
  case '*':
  case '+':
  case '?': return bad(q, "nothing to repeat");
  default: q->p += utf8_next(q->p, q->end, &cp); return emit(q, OP_CHAR, q->n->fold ? fold_point(cp) : cp);
  }
}

static bool number(struct parser *q, int *ret) {
  int n = 0, digits = 0;
  for (; q->p < q->end && *q->p >= '0' && *q->p <= '9' && digits < 4; digits++) n = n * 10 + (*q->p++ - '0');
  if (digits) *ret = n;
  return digits > 0;
}

/* {n}, {n,}, {n,m}: max -1 is no end. False, nothing read: these braces are ordinary characters. */
static bool counts(struct parser *q, int *ret_min, int *ret_max) {
  const char *from = q->p++;
  bool ok = number(q, ret_min);
  *ret_max = *ret_min;
  if (ok && q->p < q->end && *q->p == ',') {
    q->p++;
    *ret_max = -1;
    number(q, ret_max);
  }
  ok = ok && q->p < q->end && *q->p == '}';
  if (ok) q->p++;
  else q->p = from;
  return ok;
}

static int copy_block(struct parser *q, const struct state *block, size_t len) {
  if (q->n->count + len > NFA_MAX_STATES)
    return err_set(q->err, ERR_LIMIT, "pattern `%.*s` is too large: more than %d states", q->len, q->pattern, NFA_MAX_STATES);
  memcpy(q->n->states + q->n->count, block, len * sizeof *block);
  q->n->count += len;
  return 0;
}

/* One copy of the block: as it is, optional, or any number of times. */
static int one_or_none(struct parser *q, const struct state *block, size_t len, bool many) {
  int rc = emit(q, OP_SPLIT, 0);
  if (rc) return rc;
  struct state *split = &q->n->states[q->n->count - 1];
  *split = (struct state){.op = OP_SPLIT, .x = 1, .y = (int16_t)(len + (many ? 2 : 1))};
  if ((rc = copy_block(q, block, len))) return rc;
  if (!many) return 0;
  if ((rc = emit(q, OP_JUMP, 0))) return rc;
  q->n->states[q->n->count - 1].x = (int16_t)(-(int)len - 1);
  return 0;
}

static int repeat(struct parser *q, size_t start, int min, int max) {
  size_t len = q->n->count - start;
  if (min > MAX_REPEAT || max > MAX_REPEAT)
    return err_set(q->err, ERR_LIMIT, "pattern `%.*s` repeats more than %d times", q->len, q->pattern, MAX_REPEAT);
  if (max >= 0 && max < min) return bad(q, "a repetition runs backwards");
  if (!len) return 0;
  struct state *block = malloc(len * sizeof *block);
  if (!block) return err_set(q->err, ERR_MEMORY, "no memory for a pattern");
  memcpy(block, q->n->states + start, len * sizeof *block);
  q->n->count = start;
  int rc = 0;
  for (int i = 0; !rc && i < min; i++) rc = copy_block(q, block, len);
  for (int i = min; !rc && i < max; i++) rc = one_or_none(q, block, len, false);
  if (!rc && max < 0) rc = one_or_none(q, block, len, true);
  free(block);
  return rc;
}

static int piece(struct parser *q) {
  size_t start = q->n->count;
  int rc = atom(q), min = 0, max = 0;
  if (rc || q->p == q->end) return rc;
  switch (*q->p) {
  case '*': q->p++, max = -1; break;
  case '+': q->p++, min = 1, max = -1; break;
  case '?': q->p++, max = 1; break;
  case '{':
    if (counts(q, &min, &max)) break;
    return 0;
  default: return 0;
  }
  if (q->p < q->end && *q->p == '?') q->p++; /* lazy: the same texts match */
  else if (q->p < q->end && *q->p == '+') return bad(q, "possessive repetition is not supported");
  return repeat(q, start, min, max);
}

static int alternatives(struct parser *q) {
  size_t start = q->n->count;
  int rc = 0;
  while (!rc && q->p < q->end && *q->p != '|' && *q->p != ')') rc = piece(q);
  if (rc || q->p == q->end || *q->p != '|') return rc;
  q->p++;
  size_t len = q->n->count - start;
  if ((rc = insert(q, start, OP_SPLIT, 1, (int)len + 2)) || (rc = emit(q, OP_JUMP, 0))) return rc;
  size_t jump = q->n->count - 1;
  if ((rc = alternatives(q))) return rc;
  q->n->states[jump].x = (int16_t)(q->n->count - jump);
  return 0;
}

/* (?i), (?ms)… at the very start. */
static int leading_flags(struct parser *q) {
  if (q->end - q->p < 4 || q->p[0] != '(' || q->p[1] != '?' || !strchr("ims", q->p[2])) return 0;
  for (q->p += 2; q->p < q->end && *q->p != ')'; q->p++) {
    if (*q->p == 'i') q->flags |= NFA_IGNORE_CASE;
    else if (*q->p == 'm') q->flags |= NFA_MULTILINE;
    else if (*q->p == 's') q->flags |= NFA_DOT_ALL;
    else return bad(q, "only the flags i, m and s are supported");
  }
  if (q->p == q->end) return bad(q, "the flags are never closed");
  q->p++;
  return 0;
}

int nfa_new(const char *pattern, size_t len, unsigned flags, struct nfa **ret, struct err *err) {
  if (len > NFA_MAX_TEXT) return err_set(err, ERR_LIMIT, "a pattern is longer than %d bytes", NFA_MAX_TEXT);
  struct nfa *n = calloc(1, sizeof *n);
  struct parser q = {.p = pattern, .end = pattern + len, .pattern = pattern, .len = (int)len, .flags = flags, .n = n, .err = err};
  int rc = 0;
  if (n)
    n->states = calloc(NFA_MAX_STATES, sizeof *n->states), n->sets = calloc(MAX_SETS, sizeof *n->sets),
    n->ranges = calloc(MAX_RANGES, sizeof *n->ranges);
  if (!n || !n->states || !n->sets || !n->ranges) rc = err_set(err, ERR_MEMORY, "no memory for a pattern");
  if (!rc) rc = leading_flags(&q);
  if (!rc) n->fold = q.flags & NFA_IGNORE_CASE;
  if (!rc) rc = alternatives(&q);
  if (!rc && q.p < q.end) rc = bad(&q, "`)` without `(`");
  if (!rc) rc = emit(&q, OP_MATCH, 0);
  if (rc) return nfa_free(n), rc;
  struct state *fitted = realloc(n->states, n->count * sizeof *fitted);
  struct set *sets = realloc(n->sets, (n->set_count + 1) * sizeof *sets);
  struct range *ranges = realloc(n->ranges, (n->range_count + 1) * sizeof *ranges);
  if (fitted) n->states = fitted;
  if (sets) n->sets = sets;
  if (ranges) n->ranges = ranges;
  *ret = n;
  return 0;
}

/* ---- matching ---- */

/* A set of states: `at` says where each stands in `list`, checked both ways, so that emptying costs nothing (Briggs and Torczon). */
struct threads {
  uint16_t list[NFA_MAX_STATES], at[NFA_MAX_STATES];
  size_t count;
};

struct place {
  uint32_t before, after; /* code points around, NO_CHAR at the ends */
  bool last_lf;           /* after is the text's final line feed */
};

static bool word(uint32_t cp) { return cp == '_' || (cp >= '0' && cp <= '9') || (cp >= 'a' && cp <= 'z') || (cp >= 'A' && cp <= 'Z'); }

static bool holds(enum op op, const struct place *at) {
  switch (op) {
  case OP_TEXT_START: return at->before == NO_CHAR;
  case OP_TEXT_END: return at->after == NO_CHAR;
  case OP_LAST_LINE_END: return at->after == NO_CHAR || at->last_lf;
  case OP_LINE_START: return at->before == NO_CHAR || at->before == '\n';
  case OP_LINE_END: return at->after == NO_CHAR || at->after == '\n';
  case OP_WORD_EDGE: return word(at->before) != word(at->after);
  case OP_NO_WORD_EDGE: return word(at->before) == word(at->after);
  default: return false;
  }
}

static bool push(struct threads *t, size_t state) {
  if (t->at[state] < t->count && t->list[t->at[state]] == state) return false;
  t->at[state] = (uint16_t)t->count;
  t->list[t->count++] = (uint16_t)state;
  return true;
}

/* Adds the state and all that is reached from it without reading. True: the match is among them. The list itself is the queue. */
static bool add(const struct nfa *n, struct threads *t, size_t state, const struct place *at) {
  size_t next = t->count;
  push(t, state);
  for (; next < t->count; next++) {
    size_t i = t->list[next];
    const struct state *s = &n->states[i];
    if (s->op == OP_MATCH) return true;
    if (s->op == OP_SPLIT || s->op == OP_JUMP) push(t, (size_t)((ptrdiff_t)i + s->x));
    if (s->op == OP_SPLIT) push(t, (size_t)((ptrdiff_t)i + s->y));
    if (s->op >= OP_LINE_START && s->op <= OP_NO_WORD_EDGE && holds(s->op, at)) push(t, i + 1);
  }
  return false;
}

static bool in_set(const struct nfa *n, const struct set *set, uint32_t cp, uint32_t folded) {
  for (const struct range *r = n->ranges + set->from, *end = r + set->count; r < end; r++)
    if ((cp >= r->first && cp <= r->last) || (folded >= r->first && folded <= r->last)) return !set->negated;
  return set->negated;
}

static bool reads(const struct nfa *n, const struct state *s, uint32_t cp, uint32_t folded) {
  switch (s->op) {
  case OP_CHAR: return s->cp == folded;
  case OP_ANY: return true;
  case OP_ANY_BUT_LF: return cp != '\n';
  case OP_SET: return in_set(n, &n->sets[s->cp], cp, folded);
  default: return false;
  }
}

static uint32_t peek(const char *p, const char *end, size_t *ret_len) {
  uint32_t cp = NO_CHAR;
  *ret_len = p < end ? utf8_next(p, end, &cp) : 0;
  return cp;
}

bool nfa_match(const struct nfa *n, const char *text, size_t len) {
  struct threads a, b, *now = &a, *next = &b;
  const char *p = text, *end = text + len;
  size_t step, ahead;
  uint32_t cp = peek(p, end, &step);
  struct place at = {NO_CHAR, cp, cp == '\n' && len == 1};
  memset(a.at, 0, n->count * sizeof *a.at); /* only so that no unwritten memory is read */
  memset(b.at, 0, n->count * sizeof *b.at);
  a.count = b.count = 0;
  for (;;) {
    if (add(n, now, 0, &at)) return true;
    if (cp == NO_CHAR) return false;
    uint32_t folded = n->fold ? fold_point(cp) : cp, after = peek(p + step, end, &ahead);
    at = (struct place){cp, after, after == '\n' && p + step + 1 == end};
    next->count = 0;
    for (size_t i = 0; i < now->count; i++) {
      size_t s = now->list[i];
      if (reads(n, &n->states[s], cp, folded) && add(n, next, s + 1, &at)) return true;
    }
    struct threads *spare = now;
    now = next, next = spare;
    p += step, step = ahead, cp = after;
  }
}
