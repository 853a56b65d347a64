/* nfa.h: regular expressions that cannot be made slow: Thompson's construction, all states stepped side by side.
 *
 * Time is the text's length times the states alive, always: there is no backtracking, hence no limit that an attacker's text could run into to slip past a
 * trigger. Syntax: what PCRE, RE2 and POSIX extended agree on: . [] [^] [[:alpha:]] ( ) (?: ) | * + ? {n,m} lazy forms ^ $ \b \B \A \z \d \w \s and their
 * negations, \xHH \x{…} \n \r \t, (?i) (?m) (?s) at the start. No look-around, back-references or captures: they are refused by name.
 * Works on code points; searches anywhere unless anchored. */
#ifndef TOCSIN_ROUTE_NFA_H
#define TOCSIN_ROUTE_NFA_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

enum { NFA_MAX_STATES = 1000, NFA_MAX_TEXT = 1024 };
enum nfa_flags { NFA_IGNORE_CASE = 1, NFA_MULTILINE = 2, NFA_DOT_ALL = 4 };

struct nfa;
int nfa_new(const char *pattern, size_t len, unsigned flags, struct nfa **ret, struct err *err);
void nfa_free(struct nfa *n);
bool nfa_match(const struct nfa *n, const char *text, size_t len);

#endif
