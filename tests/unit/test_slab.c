/* slab: blocks do not overlap, are used again, and may be freed by another thread. */
#include <errno.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>
#include <pthread.h>

#include "base/json.h"
#include "base/slab.h"

enum { MANY = 20000 };

static char *blocks[MANY];
static size_t sizes[MANY];

static void fill(size_t i) {
  sizes[i] = (size_t)rand() % (i % 20 ? 600 : SLAB_MOST + 100);
  blocks[i] = slab_alloc(sizes[i]);
  assert_non_null(blocks[i]);
  assert_int_equal((uintptr_t)blocks[i] % 16, 0);
  memset(blocks[i], (int)(i & 255), sizes[i]);
}

static void check(size_t i) {
  for (size_t n = 0; n < sizes[i]; n++) assert_int_equal((unsigned char)blocks[i][n], i & 255);
}

static void test_blocks_keep_their_bytes(void **state) {
  srand(1);
  for (size_t i = 0; i < MANY; i++) fill(i);
  for (int round = 0; round < 5 * MANY; round++) {
    size_t i = (size_t)rand() % MANY;
    check(i);
    slab_free(blocks[i]);
    fill(i);
  }
  for (size_t i = 0; i < MANY; i++) check(i), slab_free(blocks[i]);
  slab_free(NULL);
}

static void *elsewhere(void *arg) {
  for (size_t i = 0; i < MANY; i++) {
    check(i);
    slab_free(blocks[i]);
    blocks[i] = slab_alloc(sizes[i]); /* and what this thread asks for, the first one frees */
    memset(blocks[i], (int)(i & 255), sizes[i]);
  }
  return arg;
}

static void test_threads(void **state) {
  pthread_t thread;
  for (size_t i = 0; i < MANY; i++) fill(i);
  assert_int_equal(pthread_create(&thread, NULL, elsewhere, NULL), 0);
  for (int i = 0; i < MANY; i++) slab_free(slab_alloc((size_t)i % 300)); /* at the same time */
  assert_int_equal(pthread_join(thread, NULL), 0);
  for (size_t i = 0; i < MANY; i++) check(i), slab_free(blocks[i]);
}

static void *free_many(void *arg) {
  for (size_t i = 0; i < MANY; i++) {
    slab_free(blocks[i]);
    slab_free(slab_alloc(i % 600));
  }
  return arg;
}

/* Another thread asks whose a block is while the first one takes more and more pages. */
static void test_threads_while_it_grows(void **state) {
  enum { MORE = 60000 };
  static char *more[MORE];
  pthread_t thread;
  for (size_t i = 0; i < MANY; i++) fill(i);
  assert_int_equal(pthread_create(&thread, NULL, free_many, NULL), 0);
  for (size_t i = 0; i < MORE; i++) memset(more[i] = slab_alloc(500), (int)(i & 255), 500);
  assert_int_equal(pthread_join(thread, NULL), 0);
  for (size_t i = 0; i < MORE; i++) {
    for (size_t n = 0; n < 500; n += 71) assert_int_equal((unsigned char)more[i][n], i & 255);
    slab_free(more[i]);
  }
}

static void test_jansson_uses_it(void **state) {
  json_t *value = json_pack("{s:[i,i,{s:s}]}", "a", 1, 2, "b", "text");
  char *text = json_text(value);
  assert_string_equal(text, "{\"a\":[1,2,{\"b\":\"text\"}]}");
  free(text);
  json_decref(value);
}

/* Growing keeps the bytes, across the border to malloc's blocks too. */
static void test_larger(void **state) {
  for (size_t from = 1; from < SLAB_MOST + 200; from += 37) {
    char *block = slab_realloc(NULL, from);
    for (size_t i = 0; i < from; i++) block[i] = (char)(i * 7);
    for (size_t to = from; to < SLAB_MOST + 300; to += 61) assert_non_null(block = slab_realloc(block, to));
    for (size_t i = 0; i < from; i++) assert_int_equal((unsigned char)block[i], (i * 7) & 255);
    memset(block, 255, from);
    slab_free(block);
    block = slab_calloc(from, 1);
    for (size_t i = 0; i < from; i++) assert_int_equal(block[i], 0);
    slab_free(block);
  }
  assert_null(slab_calloc(SIZE_MAX / 2, 3));
  char *copy = slab_strdup("text");
  assert_string_equal(copy, "text");
  slab_free(copy);
}

/* Blocks of all sizes up to malloc's large ones, kept and given out again, never two at one place. */
static void test_large(void **state) {
  enum { COUNT = 400 };
  static unsigned char *held[COUNT];
  static size_t lengths[COUNT];
  for (int round = 0; round < 20000; round++) {
    size_t i = (size_t)rand() % COUNT;
    if (held[i]) {
      for (size_t n = 0; n < lengths[i]; n += 61) assert_int_equal(held[i][n], i & 255);
      assert_int_equal(held[i][lengths[i] - 1], i & 255);
      slab_free(held[i]);
      held[i] = NULL;
      continue;
    }
    lengths[i] = (size_t)rand() % (round % 3 ? 3000 : 40000) + 1;
    held[i] = round % 2 ? slab_alloc(lengths[i]) : slab_calloc(1, lengths[i]);
    for (size_t n = 0; round % 2 == 0 && n < lengths[i]; n++) assert_int_equal(held[i][n], 0);
    memset(held[i], (int)(i & 255), lengths[i]);
  }
  for (size_t i = 0; i < COUNT; i++) slab_free(held[i]);
}

/* What the C library makes for its caller, what is aligned, and what is freed by the other's free. */
static void test_malloc_itself(void **state) {
  char *text = NULL, *copy = strdup("text");
  void *aligned = NULL;
  assert_int_equal(asprintf(&text, "%0600d", 7), 600);
  assert_true(malloc_usable_size(text) >= 601 && malloc_usable_size(copy) >= 5);
  assert_true(malloc_usable_size(copy = realloc(copy, 3000)) >= 3000);
  assert_string_equal(copy, "text");
  for (size_t size = 0; size < 1000; size += 7) {
    assert_int_equal(posix_memalign(&aligned, 256, size), 0);
    assert_int_equal((uintptr_t)aligned % 256, 0);
    free(aligned);
    char *one = malloc(size), *other = slab_alloc(size);
    assert_ptr_not_equal(one, other);
    memset(one, 1, size), memset(other, 2, size);
    assert_true(malloc_usable_size(one) >= size);
    slab_free(one), free(other);
  }
  free(text);
  assert_null(realloc(copy, 0));
  free(NULL);
  volatile size_t half = SIZE_MAX / 2; /* the compiler would see that it is too much */
  errno = 0;
  assert_null(calloc(half, 3));
  assert_int_equal(errno, ENOMEM);
  unsigned char *zeros = calloc(1000, 1000);
  for (size_t i = 0; i < 1000000; i += 999) assert_int_equal(zeros[i], 0);
  free(zeros);
}

static void *mix(void *arg) {
  for (size_t i = 0; i < MANY; i++) {
    free(blocks[i]);
    blocks[i] = i % 2 ? malloc(sizes[i]) : strdup("elsewhere");
    if (i % 2) memset(blocks[i], (int)(i & 255), sizes[i]);
  }
  return arg;
}

static void test_free_elsewhere(void **state) {
  pthread_t thread;
  for (size_t i = 0; i < MANY; i++) fill(i);
  assert_int_equal(pthread_create(&thread, NULL, mix, NULL), 0);
  for (int i = 0; i < MANY; i++) free(calloc((size_t)i % 2000, 1));
  assert_int_equal(pthread_join(thread, NULL), 0);
  for (size_t i = 0; i < MANY; i++) {
    if (i % 2) check(i);
    else assert_string_equal(blocks[i], "elsewhere");
    assert_non_null(blocks[i] = realloc(blocks[i], 700));
    free(blocks[i]);
  }
}

enum { JOINED = 6, ROUNDS = 8, BATCH = 3000 };

/* Blocks go from hand to hand: each thread fills some, and frees what another one has filled. */
static struct hand {
  pthread_mutex_t lock;
  unsigned char *blocks[BATCH];
  size_t sizes[BATCH];
} hands[JOINED];

static void swap(struct hand *h, unsigned *seed, size_t i) {
  if (h->blocks[i]) {
    for (size_t n = 0; n < h->sizes[i]; n++) assert_int_equal(h->blocks[i][n], (i + h->sizes[i]) & 255);
    free(h->blocks[i]);
  }
  h->sizes[i] = (size_t)rand_r(seed) % (i % 50 ? 600 : 5000) + 1;
  h->blocks[i] = i % 3 ? malloc(h->sizes[i]) : slab_calloc(1, h->sizes[i]);
  if (i % 3 == 0) assert_int_equal(h->blocks[i][h->sizes[i] / 2], 0);
  memset(h->blocks[i], (int)((i + h->sizes[i]) & 255), h->sizes[i]);
}

static void *joined(void *arg) {
  unsigned seed = (unsigned)(uintptr_t)arg + 1;
  slab_join();
  for (int round = 0; round < ROUNDS; round++) {
    struct hand *h = &hands[(size_t)rand_r(&seed) % JOINED];
    pthread_mutex_lock(&h->lock);
    for (size_t i = 0; i < BATCH; i++) swap(h, &seed, i);
    pthread_mutex_unlock(&h->lock);
  }
  slab_leave();
  return arg;
}

/* More threads than there are heaps, some of them one after the other. */
static void test_joined_threads(void **state) {
  for (size_t i = 0; i < JOINED; i++) pthread_mutex_init(&hands[i].lock, NULL);
  for (int again = 0; again < 3; again++) {
    pthread_t threads[2 * JOINED];
    for (size_t i = 0; i < 2 * JOINED; i++) assert_int_equal(pthread_create(&threads[i], NULL, joined, (void *)(uintptr_t)i), 0);
    for (size_t i = 0; i < 2 * JOINED; i++) assert_int_equal(pthread_join(threads[i], NULL), 0);
  }
  for (size_t i = 0; i < JOINED; i++)
    for (size_t k = 0; k < BATCH; k++) free(hands[i].blocks[k]);
}

int main(void) {
  slab_install();
  slab_install(); /* the second is of no consequence */
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_blocks_keep_their_bytes), cmocka_unit_test(test_threads),        cmocka_unit_test(test_threads_while_it_grows),
      cmocka_unit_test(test_jansson_uses_it),         cmocka_unit_test(test_larger),         cmocka_unit_test(test_large),
      cmocka_unit_test(test_malloc_itself),           cmocka_unit_test(test_free_elsewhere), cmocka_unit_test(test_joined_threads)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
