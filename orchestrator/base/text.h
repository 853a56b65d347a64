/* text.h: short texts in arrays, put together without printf where it is done for every step of every run. What does not fit is cut. Pure. */
#ifndef TOCSIN_BASE_TEXT_H
#define TOCSIN_BASE_TEXT_H

#include <stddef.h>
#include <stdint.h>

/* Adds a text, or a number, at p; returns what follows. end: the array's last byte, which stays free for the 0 that the caller writes. */
char *text_add(char *p, char *end, const char *text);
char *text_add_number(char *p, char *end, uint64_t value);
/* A copy of the text, with its 0, in room of that size. NULL: "". */
void text_copy(char *room, size_t size, const char *text);

#endif
