/* sanitized.h: TOCSIN_SANITIZED is 1 where AddressSanitizer or ThreadSanitizer watches: memory is then neither kept for later nor hidden from them, else 0. */
#ifndef TOCSIN_BASE_SANITIZED_H
#define TOCSIN_BASE_SANITIZED_H

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TOCSIN_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TOCSIN_SANITIZED 1
#endif
#endif
#ifndef TOCSIN_SANITIZED
#define TOCSIN_SANITIZED 0
#endif

#endif
