/* err.h: what went wrong, in one struct that the caller owns.
 *
 * A function that can fail returns 0 or one of the negative codes below, leaves its ret_… outputs
 * untouched then, and fills `struct err *err`, its last argument (NULL is allowed and means "I only
 * want the code"). The text is one line for people: what is wrong and, where known, what to do next.
 * It never holds a secret. Modules return errors; only the edges (cmd, the daemon) log them. */
#ifndef TOCSIN_BASE_ERR_H
#define TOCSIN_BASE_ERR_H

enum err_code {
  ERR_INVALID = -1,     /* the caller's input is wrong; repeating it will not help */
  ERR_NOT_FOUND = -2,   /* the thing named does not exist */
  ERR_EXISTS = -3,      /* it is there already */
  ERR_DENIED = -4,      /* this person, playbook or setting may not */
  ERR_LIMIT = -5,       /* a cap was reached: size, depth, count, budget */
  ERR_TIMEOUT = -6,     /* no answer in time */
  ERR_UNAVAILABLE = -7, /* the other side cannot be reached now; a later try may work */
  ERR_CONFLICT = -8,    /* somebody else was first: the fence refused, the state has moved on */
  ERR_IO = -9,          /* a system call failed; text bears errno's words */
  ERR_MEMORY = -10,     /* no memory, or a memory cap reached */
  ERR_CANCELLED = -11,  /* ended on request before it was done */
  ERR_INTERNAL = -12,   /* a bug here: please report */
};

struct err {
  int code;
  char text[1024];
};

/* Fills err (when not NULL) and returns code, so that `return err_set(err, …)` reads well. */
int err_set(struct err *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Puts "context: " before the text already there. Returns err's code (ERR_INTERNAL for NULL). */
int err_wrap(struct err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* ERR_IO with strerror(errno) after the text; keeps errno. */
int err_errno(struct err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A stable lower-case name ("invalid", "not_found"…) for journals and JSON; static. */
const char *err_name(int code);

#endif
