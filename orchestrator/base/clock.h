/* clock.h: time as a value that a test or an exercise can replace.
 *
 * Every timer, window, deadline and budget takes its incident's `struct clock`; nothing else in the
 * engine asks the system for the time. Times are microseconds since the Unix epoch (UTC); durations are
 * milliseconds. Texts follow RFC 3339 with six decimals and "Z". */
#ifndef TOCSIN_BASE_CLOCK_H
#define TOCSIN_BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

struct clock {
  int64_t (*wall)(const struct clock *clock); /* microseconds since the epoch */
  int64_t (*boot)(const struct clock *clock); /* microseconds, monotonic, counts suspend */
  int64_t offset;                             /* used by the settable clock */
};

/* The system's: CLOCK_REALTIME and CLOCK_BOOTTIME. Static. */
const struct clock *clock_system(void);
/* A clock that stands still at wall (microseconds) until it is set again; boot moves along with it. */
void clock_init_settable(struct clock *clock, int64_t wall);
void clock_set(struct clock *clock, int64_t wall);

int64_t clock_wall(const struct clock *clock);
int64_t clock_boot(const struct clock *clock);
/* Windows and budgets, which several processes count together, go by this: what has really passed, however often the wall clock was set (microseconds; near
 * the wall's as it should be). Of the system's clock it is boot + an offset: clock_steady_set's, by which all nodes of one Redis agree, until then the wall's at
 * the first look. Of any other it is boot. */
int64_t clock_steady(const struct clock *clock);
void clock_steady_set(int64_t offset);
/* What the system's boot counts from: the same text until this machine starts again; empty when it cannot be told. */
enum { CLOCK_BOOT_ID = 40 };
void clock_boot_id(char out[CLOCK_BOOT_ID]);
/* This thread's CPU time in microseconds, CPU_TIME_NEAR too much at most: for budgets of many short bursts. A later one may be less by as much. */
enum { CPU_TIME_NEAR = 1000 };
int64_t clock_cpu_near(void);
/* Does the system say that something keeps its clock right (adjtimex(2))? *ret_most (µs): by how much it may be wrong at most, as it says. */
bool clock_synchronized(int64_t *ret_most);

enum { TIME_TEXT = 32, DURATION_TEXT = 24 };
/* "2026-11-23T18:42:01.123456Z". */
void time_format(int64_t us, char out[TIME_TEXT]);
/* RFC 3339 and its common relatives ("+0000", a space for the T, no zone = UTC, up to nine decimals).
 * Returns false, *ret_us untouched, when the text is no time. */
bool time_parse(const char *text, int64_t *ret_us);
/* "1500ms", "20s", "30m", "1h", "7d" to milliseconds; a bare number is refused. At most 10 years. */
bool duration_parse(const char *text, int64_t *ret_ms);
/* The shortest readable form: "350ms", "12s", "4m 10s", "2h 5m", "3d 4h". */
void duration_format(int64_t ms, char out[DURATION_TEXT]);

#endif
