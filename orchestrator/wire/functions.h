/* functions.h: the Redis Function library `tocsin` as bytes, inside wire/ only. What each function does is in redis.h. */
#ifndef TOCSIN_WIRE_FUNCTIONS_H
#define TOCSIN_WIRE_FUNCTIONS_H

/* Raised with every change of redis_functions.lua (and there too): a newer library replaces an older one at connect. */
enum { REDIS_FUNCTIONS_VERSION = 18 };

extern const char redis_functions_code[];

#endif
