/* redis_link.h: one server, one loop and links to them, for the tests of the link. Include after redis_server.h. */
#ifndef TOCSIN_TESTS_REDIS_LINK_H
#define TOCSIN_TESTS_REDIS_LINK_H

#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000"

static struct server server;
static struct loop *loop;
static struct secrets *secrets;

struct news {
  unsigned ups, downs;
  volatile bool down;
  char why[512];
};

static void news_cb(void *arg, bool up, const struct err *err) {
  struct news *n = arg;
  if (up) n->ups++;
  else n->downs++;
  if (up) return;
  n->down = true;
  snprintf(n->why, sizeof n->why, "%.500s", err->text);
}

static struct redis *link_new(struct redis_config config, struct news *news) {
  struct redis *link = NULL;
  struct err err;
  if (!config.socket && !config.host) config.socket = server.socket;
  if (!config.lanes) config.lanes = 1;
  if (redis_new(loop, &config, secrets, news ? news_cb : NULL, news, &link, &err)) fail_msg("%s", err.text);
  return link;
}

static struct redis *link_up(struct redis_config config) {
  struct redis *link = link_new(config, NULL);
  link_wait_up(loop, link);
  return link;
}

#endif
