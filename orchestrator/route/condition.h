/* condition.h: the compiled form of a `when`, shared by its compiler, its matcher and the router's index. Only for route/. */
#ifndef TOCSIN_ROUTE_CONDITION_H
#define TOCSIN_ROUTE_CONDITION_H

#include "route/address.h"
#include "route/nfa.h"
#include "route/paths.h"
#include "route/route.h"

enum { CONDITION_MAX_DEPTH = 8, CONDITION_MAX_TESTS = 500, CONDITION_MAX_VALUES = 1000, CONDITION_MAX_TEXT = 1024 };

enum node { NODE_ALL, NODE_ANY, NODE_NONE, NODE_TEST };

enum test {
  TEST_EQUAL,
  TEST_CONTAINS,
  TEST_STARTS,
  TEST_ENDS,
  TEST_CIDR,
  TEST_CIDR_IN,
  TEST_GTE,
  TEST_GT,
  TEST_LTE,
  TEST_LT,
  TEST_PATTERN,
  TEST_EXISTS
};

enum value_kind { VALUE_TEXT, VALUE_LIST, VALUE_NETWORK, VALUE_NUMBER, VALUE_PATTERN };

struct value {
  enum value_kind kind;
  char *text; /* VALUE_TEXT: folded unless cased, with its length; VALUE_LIST: the list's name */
  size_t len;
  union {
    struct network network;
    long double number; /* holds every 64-bit integer exactly where it has 64 bits or more of mantissa */
    struct nfa *pattern;
  };
};

struct condition {
  enum node kind;
  struct condition **children; /* nodes */
  size_t count;
  /* tests */
  enum test test;
  bool cased, every /* |all */, absent /* null is among the values */, exists /* what TEST_EXISTS wants */;
  struct path path;
  struct value *values; /* texts first, sorted by length and bytes for TEST_EQUAL */
  size_t value_count, text_count, longest;
  const struct lists *lists;
};

/* -1, 0, 1 by length, then bytes. */
int value_compare(const char *a, size_t a_len, const char *b, size_t b_len);
/* A number as JSON would write it, or a JSON number; nothing else ("0x10", "inf", " 1" are none). */
bool value_number(const json_t *value, long double *ret);

#endif
