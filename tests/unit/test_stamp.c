/* RFC 3161 stamps of a local authority: what fits passes, everything else is refused by name. */
#include "transport_help.h"

#include "vectors.h"

#include "anchor/stamp.h"
#include "base/clock.h"

static char folder[] = "/tmp/tocsin-stamp-XXXXXX";
static const char text[] = "example.com/log\n3\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";
static const uint8_t nonce[STAMP_NONCE] = {0x80, 1, 2, 3, 4, 5, 6, 7};

static const char *at(const char *name) {
  static char paths[32][128];
  static unsigned n;
  snprintf(paths[n % 32], sizeof *paths, "%s/%s", folder, name);
  return paths[n++ % 32];
}

static void openssl(const char *first, ...) {
  const char *argv[24] = {"/usr/bin/openssl", first};
  va_list args;
  size_t n = 2;
  va_start(args, first);
  while (n < 23 && (argv[n] = va_arg(args, const char *))) n++;
  va_end(args);
  argv[n] = NULL;
  if (wait_exit(spawn_quiet(at("log"), 0, 0, argv)) == 0) return;
  run_program("/dev/stderr", "/bin/cat", at("log"), NULL);
  fail_msg("openssl %s failed", first);
}

/* A CA with two children: one for time stamping, one for everything else. */
static void ca_make(const char *ca, const char *tsa, const char *extra) {
  char key[128], ca_key[128], request[128];
  snprintf(key, sizeof key, "%s.key", at(tsa)), snprintf(ca_key, sizeof ca_key, "%s.key", at(ca));
  snprintf(request, sizeof request, "%s.csr", at(tsa));
  openssl("req", "-x509", "-newkey", "ed25519", "-nodes", "-keyout", ca_key, "-out", at(ca), "-subj", "/CN=Test CA", "-days", "30", NULL);
  openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", request, "-subj", "/CN=Test TSA", NULL);
  openssl("x509", "-req", "-in", request, "-CA", at(ca), "-CAkey", ca_key, "-days", "20", "-extfile", extra, "-out", at(tsa), NULL);
}

static void settings_write(void) {
  char config[1024];
  snprintf(config, sizeof config,
           "[tsa]\ndefault_tsa=t\n[t]\nserial=%s\ncrypto_device=builtin\nsigner_digest=sha256\ndefault_policy=1.2.3.4\ndigests=sha256\n"
           "accuracy=secs:1\nordering=yes\ntsa_name=no\ness_cert_id_chain=no\ness_cert_id_alg=sha256\n",
           at("serial"));
  write_file(at("tsa.cnf"), config);
  write_file(at("serial"), "41\n");
  write_file(at("for-stamps"), "extendedKeyUsage=critical,timeStamping\nkeyUsage=digitalSignature\n");
  write_file(at("for-else"), "extendedKeyUsage=serverAuth\n");
}

static int up(void **state) {
  assert_non_null(mkdtemp(folder));
  settings_write();
  ca_make("ca.pem", "tsa.pem", at("for-stamps"));
  ca_make("other-ca.pem", "web.pem", at("for-else"));
  return 0;
}

static int down(void **state) {
  remove_folder(folder);
  return 0;
}

static void read_all(const char *path, struct buf *out) {
  char piece[4096];
  ssize_t n;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  assert_true(fd >= 0);
  buf_init(out, STAMP_CAP);
  while ((n = read(fd, piece, sizeof piece)) > 0) buf_add(out, piece, (size_t)n);
  close(fd);
}

static void reply_make(const char *name) {
  struct buf request;
  struct err err = {0};
  char key[128];
  buf_init(&request, STAMP_CAP);
  assert_int_equal(stamp_request(text, strlen(text), nonce, &request, &err), 0);
  int fd = open(at("q.tsq"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  assert_int_equal(write(fd, request.data, request.len), (ssize_t)request.len);
  close(fd);
  buf_release(&request);
  snprintf(key, sizeof key, "%s.key", at("tsa.pem"));
  openssl("ts", "-reply", "-config", at("tsa.cnf"), "-section", "t", "-queryfile", at("q.tsq"), "-signer", at("tsa.pem"), "-inkey", key,
          "-chain", at("ca.pem"), "-out", at(name), NULL);
}

static int check(const struct buf *reply, const char *bytes, const uint8_t *asked, const char *ca, struct stamp *ret, struct err *err) {
  err->text[0] = 0;
  return stamp_check(reply->data, reply->len, bytes, strlen(bytes), asked, at(ca), ret, err);
}

static void accepted(void **state) {
  struct buf reply;
  struct stamp stamp = {.time = 0};
  struct err err = {0};
  reply_make("r.tsr");
  read_all(at("r.tsr"), &reply);
  if (check(&reply, text, nonce, "ca.pem", &stamp, &err) < 0) fail_msg("%s", err.text);
  int64_t age = clock_wall(clock_system()) - stamp.time;
  assert_true(age > -2000000 && age < 120000000);
  assert_string_equal(stamp.authority, "CN=Test TSA");
  assert_true(stamp.serial[0]);
  assert_int_equal(check(&reply, text, NULL, "ca.pem", &stamp, &err), 0); /* later, the nonce is not known any more */
  buf_release(&reply);
}

static void refused(void **state) {
  struct buf reply;
  struct stamp stamp;
  struct err err = {0};
  const uint8_t other[STAMP_NONCE] = {0x80, 1, 2, 3, 4, 5, 6, 8};
  read_all(at("r.tsr"), &reply);
  assert_int_equal(check(&reply, text + 1, nonce, "ca.pem", &stamp, &err), ERR_INVALID);
  assert_int_equal(check(&reply, text, other, "ca.pem", &stamp, &err), ERR_INVALID);
  assert_int_equal(check(&reply, text, nonce, "other-ca.pem", &stamp, &err), ERR_INVALID);
  assert_int_equal(check(&reply, text, nonce, "absent.pem", &stamp, &err), ERR_IO);
  assert_int_equal(stamp_check("no", 2, text, strlen(text), nonce, at("ca.pem"), &stamp, &err), ERR_INVALID);
  reply.len--;
  assert_int_equal(check(&reply, text, nonce, "ca.pem", &stamp, &err), ERR_INVALID);
  buf_release(&reply);
}

/* OpenSSL's own way from a request to a verification leaves the signature out: a bit of it must not pass. Nor must any other bit; certificates that travel along for nothing are not looked
 * at, so of the whole not every bit counts: those that pass must leave time and serial as they are. */
static void every_byte(void **state) {
  struct buf reply;
  struct stamp good = {.time = 0};
  struct err err = {0};
  size_t caught = 0, passed = 0;
  read_all(at("r.tsr"), &reply);
  assert_int_equal(check(&reply, text, nonce, "ca.pem", &good, &err), 0);
  for (size_t i = 0; i < reply.len; i++) {
    struct stamp stamp = {.time = 0};
    reply.data[i] ^= 1;
    if (check(&reply, text, nonce, "ca.pem", &stamp, &err) < 0) caught++;
    else if (passed++, stamp.time != good.time || strcmp(stamp.serial, good.serial) != 0) fail_msg("byte %zu changes what is believed", i);
    reply.data[i] ^= 1;
  }
  for (size_t i = reply.len - 200; i < reply.len; i++) { /* the signature is the last of it */
    struct stamp stamp;
    reply.data[i] ^= 0x10;
    if (check(&reply, text, nonce, "ca.pem", &stamp, &err) == 0) fail_msg("byte %zu of the signature is not looked at", i);
    reply.data[i] ^= 0x10;
  }
  assert_true(caught > reply.len / 2);
  buf_release(&reply);
}

/* A stamp made by a certificate that is for web servers. */
static void wrong_purpose(void **state) {
  struct buf reply;
  struct stamp stamp;
  struct err err = {0};
  char key[128];
  const char *argv[] = {"/usr/bin/openssl", "ts",      "-reply",      "-config", at("tsa.cnf"), "-section", "t",           "-queryfile",
                        at("q.tsq"),        "-signer", at("web.pem"), "-inkey",  key,           "-out",     at("web.tsr"), NULL};
  snprintf(key, sizeof key, "%s.key", at("web.pem"));
  int made = wait_exit(spawn_quiet(at("log"), 0, 0, argv));
  if (made != 0) return; /* this openssl already refuses to sign */
  read_all(at("web.tsr"), &reply);
  assert_true(check(&reply, text, NULL, "other-ca.pem", &stamp, &err) < 0);
  buf_release(&reply);
}

/* The public vector, when it is there: its certificates are over soon, the stamp stays good. */
static void vector(void **state) {
  struct buf reply, data;
  struct stamp stamp;
  struct err err = {0};
  const char *home = PUBLIC_VECTORS "/rfc3161-local";
  char path[128], ca[128];
  snprintf(path, sizeof path, "%s/r.tsr", home);
  if (access(path, R_OK) != 0) skip();
  read_all(path, &reply);
  snprintf(path, sizeof path, "%s/ckpt", home), snprintf(ca, sizeof ca, "%s/ca.pem", home);
  read_all(path, &data);
  if (stamp_check(reply.data, reply.len, data.data, data.len, NULL, ca, &stamp, &err) < 0) fail_msg("%s", err.text);
  assert_true(stamp.time == INT64_C(1795461038018000));
  data.data[0] ^= 1;
  assert_int_equal(stamp_check(reply.data, reply.len, data.data, data.len, NULL, ca, &stamp, &err), ERR_INVALID);
  buf_release(&reply);
  buf_release(&data);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(accepted), cmocka_unit_test(refused), cmocka_unit_test(every_byte),
                                     cmocka_unit_test(wrong_purpose), cmocka_unit_test(vector)};
  return cmocka_run_group_tests(tests, up, down);
}
