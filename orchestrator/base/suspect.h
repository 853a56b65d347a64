/* suspect.h: what the engine works on right now, in a memory-mapped file that outlives the process, and a watchdog of its CPU time.
 *
 * Before each burst (one alert is read or attached; one stretch of a run) its name is noted, afterwards it is taken away: a few stores, no
 * system call. After an end that was not a proper one the file tells whose burst it was. The rule, in full:
 *   1. Died in a burst of X while others were about too: X is the suspect. Nothing else is said of it: others may have been killed beside it. The
 *      next start handles X alone (suspect_alone) before it takes up anything else.
 *   2. Died in a burst of X while X was alone:
 *      by a fatal signal of its own making (SIGSEGV, SIGBUS, SIGFPE, SIGILL, abort, the watchdog), noted in the file on its way out: X is guilty.
 *      with nothing noted (kill -9, out of memory, a signal sent by another process): that may have been anybody's doing, so X is tried alone once
 *      more; the second such end makes it guilty. So two kills from outside never condemn anybody, and of three all must hit the same burst, two of them
 *      while it is alone.
 *   3. Died outside of any burst, or of another boot of the machine: nobody is suspected by it. Who was to be tried alone still is.
 *   4. Came through alone: acquitted. It stays known for a while (suspect_known), so that what leads to its next burst is written down before the
 *      burst: then a crash can be repeated alone.
 * Guilty is set aside by its owner (dead letter, handed over), who then calls suspect_forget. The verdict is kept until then.
 *
 * One per process, used from the thread that opened it; without suspect_open all calls are legal and nothing is ever suspected. The file is no journal:
 * losing it loses only the suspicion. Never stops anything itself, but for the watchdog, which ends the process. */
#ifndef TOCSIN_BASE_SUSPECT_H
#define TOCSIN_BASE_SUSPECT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum suspect_kind { SUSPECT_NONE, SUSPECT_ALERT, SUSPECT_RUN };

enum { SUSPECT_ID = 48, SUSPECT_REASON = 200 };

/* An alert is named by its id in the queue (number 0), a run by its incident and number. */
struct suspect {
  enum suspect_kind kind;
  char id[SUSPECT_ID];
  unsigned number;
  int64_t since;          /* µs of the wall clock: when the burst that it was last suspected for began; 0: not known */
  unsigned ends;          /* how often the process ended in its bursts, in all */
  unsigned alone_crashed; /* of these, while alone: by a signal of the process' own making… */
  unsigned alone_ended;   /* …and in ways that do not tell whose doing it was */
  int signal;             /* of the last proven crash, or 0 */
};

/* folder/suspect, made at first use (0600). Reads what an earlier process left, judges by the rule above, and notes from now on. Installs handlers of fatal
 * signals that write one number and let the signal go on. ERR_CONFLICT: another process has the file; then nothing is noted. */
int suspect_open(const char *folder, struct err *err);
/* A proper end: the next start suspects nobody by it. */
void suspect_close(void);
/* Did the earlier process end improperly, and in whose burst? `ret` has kind SUSPECT_NONE when nobody's. */
bool suspect_unclean(struct suspect *ret);
/* Is somebody to be tried alone? From this call on it counts as alone, until suspect_acquit or suspect_alone_over. */
bool suspect_alone(struct suspect *ret);
void suspect_acquit(void);     /* it came through */
void suspect_alone_over(void); /* its time is over; the suspicion stays, but nobody waits for it any longer */

/* A burst begins and ends. They nest; the innermost is the suspect. id is copied, SUSPECT_ID - 1 bytes of it. */
void suspect_begin(enum suspect_kind kind, const char *id, unsigned number);
void suspect_end(void);

/* Has a burst of it ended the process before? Costs nothing while nobody is suspected. */
bool suspect_known(enum suspect_kind kind, const char *id, unsigned number);
/* Guilty: reason says why it is set aside. */
bool suspect_guilty(enum suspect_kind kind, const char *id, unsigned number, char reason[SUSPECT_REASON]);
void suspect_forget(enum suspect_kind kind, const char *id, unsigned number);
/* "alert 1732…-0", "run INC-000042/1", "nothing". */
void suspect_text(const struct suspect *s, char out[SUSPECT_ID + 24]);

/* A thread that looks every 100 ms at the CPU time of the thread that calls this: a burst that has used more than limit_ms writes one line to standard error and
 * aborts the process. A nested burst begins the measure anew. Waiting, and a machine that is paused, cost no CPU time and are no fault. */
int suspect_watch(int64_t limit_ms, struct err *err);
void suspect_watch_end(void);

#endif
