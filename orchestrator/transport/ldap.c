/* ldap.c: one LDAP operation after a bind, with libldap on a worker.
 *
 * libldap's own functions are used asynchronously with a deadline, one message at a time. The address is checked when it is connected, before a
 * byte is sent; the gate comes after bind and before the operation. Result codes of RFC 4511 are answers, whatever they say. */
#include <errno.h>
#include <lber.h>
#include <ldap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "base/buf.h"
#include "base/json.h"
#include "transport/form.h"
#include "transport/ldap_form.h"
#include "transport/pool.h"

enum { SLICE_US = 200000 };

struct session {
  struct job *job;
  struct ldap_form form;
  LDAP *ld;
  struct ldap_conncb connected;
  size_t bytes; /* of the answer */
};

/* ---- connection ------------------------------------------------------------------------------------- */

/* libldap: a connection stands. Refusing here closes it. */
static int on_connect(LDAP *ld, Sockbuf *sb, LDAPURLDesc *url, struct sockaddr *address, struct ldap_conncb *ctx) {
  struct job *job = ctx->lc_arg;
  char text[ADDRESS_TEXT];
  int fd = -1;
  ber_sockbuf_ctrl(sb, LBER_SB_OPT_GET_FD, &fd);
  job_watch(job, fd);
  if (netrules_allow(&job->rules, address)) return 0;
  address_text(address, text);
  job_fail(job, ERR_DENIED, "the address %s may not be connected (link-local, metadata or multicast; see network.allow)", text);
  return -1;
}

static void on_disconnect(LDAP *ld, Sockbuf *sb, struct ldap_conncb *ctx) { job_watch(ctx->lc_arg, -1); }

static const char *detail(struct session *s) {
  static _Thread_local char text[256];
  char *said = NULL;
  ldap_get_option(s->ld, LDAP_OPT_DIAGNOSTIC_MESSAGE, &said);
  snprintf(text, sizeof text, "%s", said ? said : "");
  ldap_memfree(said);
  return text;
}

static int fail_connect(struct session *s, int rc, const char *what) {
  const char *said = detail(s);
  int code = rc == LDAP_TIMEOUT ? ERR_TIMEOUT : rc == LDAP_INVALID_CREDENTIALS || rc == LDAP_CONNECT_ERROR ? ERR_DENIED : ERR_UNAVAILABLE;
  job_fail(s->job, code, "%s at %.200s failed: %s%s%s", what, s->form.url, ldap_err2string(rc), *said ? ": " : "", said);
  return -1;
}

static void set_tls(LDAP *ld, const struct netrules *rules) {
  static const char system_store[] = "/etc/ssl/certs/ca-certificates.crt";
  int demand = LDAP_OPT_X_TLS_HARD, server = 0;
  ldap_set_option(ld, LDAP_OPT_X_TLS_REQUIRE_CERT, &demand);
  ldap_set_option(ld, LDAP_OPT_X_TLS_CACERTFILE, rules->ca_file ? rules->ca_file : system_store);
  ldap_set_option(ld, LDAP_OPT_X_TLS_NEWCTX, &server);
}

static int session_open(struct session *s) {
  int version = LDAP_VERSION3, left = job_left_ms(s->job), rc = ldap_initialize(&s->ld, s->form.url);
  struct timeval limit = {left / 1000, (left % 1000) * 1000};
  if (rc != LDAP_SUCCESS) {
    job_fail(s->job, ERR_INVALID, "ldap: the URL cannot be used: %s", ldap_err2string(rc));
    return -1;
  }
  s->connected = (struct ldap_conncb){.lc_add = on_connect, .lc_del = on_disconnect, .lc_arg = s->job};
  ldap_set_option(s->ld, LDAP_OPT_PROTOCOL_VERSION, &version);
  ldap_set_option(s->ld, LDAP_OPT_REFERRALS, LDAP_OPT_OFF);
  ldap_set_option(s->ld, LDAP_OPT_NETWORK_TIMEOUT, &limit);
  ldap_set_option(s->ld, LDAP_OPT_TIMEOUT, &limit);
  ldap_set_option(s->ld, LDAP_OPT_CONNECT_CB, &s->connected);
  set_tls(s->ld, &s->job->rules);
  if ((rc = ldap_connect(s->ld)) != LDAP_SUCCESS) return fail_connect(s, rc, "connecting");
  if (s->form.starttls && (rc = ldap_start_tls_s(s->ld, NULL, NULL)) != LDAP_SUCCESS) return fail_connect(s, rc, "StartTLS");
  return 0;
}

/* Waits for the next message of an operation; its type, or -1 with the reason set. */
static int next_message(struct session *s, int id, LDAPMessage **ret) {
  for (;;) {
    struct timeval slice = {0, SLICE_US};
    if (job_left_ms(s->job) <= 0) {
      ldap_abandon_ext(s->ld, id, NULL, NULL);
      job_fail(s->job, ERR_TIMEOUT, "no answer in time");
      return -1;
    }
    int type = ldap_result(s->ld, id, LDAP_MSG_ONE, &slice, ret);
    if (type > 0) return type;
    if (type < 0) {
      int rc = LDAP_SERVER_DOWN;
      ldap_get_option(s->ld, LDAP_OPT_RESULT_CODE, &rc);
      job_fail(s->job, ERR_UNAVAILABLE, "the connection was lost before the answer: %s", ldap_err2string(rc));
      return -1;
    }
  }
}

static int session_bind(struct session *s) {
  struct berval password = {strlen(s->form.password), (char *)(uintptr_t)s->form.password};
  LDAPMessage *message = NULL;
  int id, code = LDAP_OTHER, rc = ldap_sasl_bind(s->ld, s->form.bind_dn, LDAP_SASL_SIMPLE, &password, NULL, NULL, &id);
  if (rc != LDAP_SUCCESS) return fail_connect(s, rc, "bind");
  if (next_message(s, id, &message) < 0) return -1;
  rc = ldap_parse_result(s->ld, message, &code, NULL, NULL, NULL, NULL, 1);
  if (rc != LDAP_SUCCESS) code = rc;
  return code == LDAP_SUCCESS ? 0 : fail_connect(s, code, "bind");
}

/* ---- the operation ---------------------------------------------------------------------------------- */

static int send_password(struct session *s, int *ret_id) {
  const struct ldap_form *q = &s->form;
  struct berval request;
  BerElement *ber = ber_alloc_t(LBER_USE_DER);
  if (!ber) return LDAP_NO_MEMORY;
  ber_printf(ber, "{ts", 0x80U, q->dn); /* RFC 3062: userIdentity, oldPasswd, newPasswd */
  if (q->old_password) ber_printf(ber, "ts", 0x81U, q->old_password);
  ber_printf(ber, "tsN}", 0x82U, q->new_password);
  if (ber_flatten2(ber, &request, 0) < 0) {
    ber_free(ber, 1);
    return LDAP_ENCODING_ERROR;
  }
  int rc = ldap_extended_operation(s->ld, LDAP_EXOP_MODIFY_PASSWD, &request, NULL, NULL, ret_id);
  explicit_bzero(request.bv_val, request.bv_len);
  ber_free(ber, 1);
  return rc;
}

static int send_operation(struct session *s, int *ret_id) {
  struct ldap_form *q = &s->form;
  switch (q->operation) {
  case LDAP_SEARCH: return ldap_search_ext(s->ld, q->dn, q->scope, q->filter, q->attributes, 0, NULL, NULL, NULL, q->limit, ret_id);
  case LDAP_MODIFY: return ldap_modify_ext(s->ld, q->dn, q->mods, NULL, NULL, ret_id);
  case LDAP_PASSWORD_MODIFY: return send_password(s, ret_id);
  case LDAP_ADD: return ldap_add_ext(s->ld, q->dn, q->mods, NULL, NULL, ret_id);
  case LDAP_DELETE: return ldap_delete_ext(s->ld, q->dn, NULL, NULL, ret_id);
  case LDAP_COMPARE: return ldap_compare_ext(s->ld, q->dn, q->compare_attribute, &q->compare_value, NULL, NULL, ret_id);
  case LDAP_TEST_BIND: {
    struct berval password = {strlen(q->new_password), (char *)(uintptr_t)q->new_password};
    return ldap_sasl_bind(s->ld, q->dn, LDAP_SASL_SIMPLE, &password, NULL, NULL, ret_id);
  }
  }
  return LDAP_PARAM_ERROR;
}

/* ---- the answer ------------------------------------------------------------------------------------- */

static json_t *value_json(struct session *s, const struct berval *value) {
  s->bytes += value->bv_len;
  json_t *text = json_stringn(value->bv_val, value->bv_len);
  if (text) return text;
  char *base64 = base64_encode(value->bv_val, value->bv_len);
  json_t *object = json_pack("{s:s}", "base64", base64 ? base64 : "");
  free(base64);
  return object;
}

/* The name as the request spelt it: LDAP does not mind case, Lua does. */
static const char *asked_name(const struct session *s, const char *name) {
  for (char **a = s->form.attributes; a && *a; a++)
    if (strcasecmp(*a, name) == 0) return *a;
  return name;
}

static json_t *entry_json(struct session *s, LDAPMessage *message) {
  BerElement *ber = NULL;
  json_t *attributes = json_object();
  char *dn = ldap_get_dn(s->ld, message);
  for (char *name = ldap_first_attribute(s->ld, message, &ber); name; name = ldap_next_attribute(s->ld, message, ber)) {
    struct berval **values = ldap_get_values_len(s->ld, message, name);
    json_t *list = json_array();
    for (size_t i = 0; values && values[i]; i++) json_array_append_new(list, value_json(s, values[i]));
    json_object_set_new(attributes, asked_name(s, name), list);
    s->bytes += strlen(name);
    ldap_value_free_len(values);
    ldap_memfree(name);
  }
  ber_free(ber, 0);
  json_t *entry = json_object();
  json_object_set_new(entry, "dn", json_lossy(dn ? dn : "", dn ? strlen(dn) : 0));
  json_object_set_new(entry, "attributes", attributes);
  ldap_memfree(dn);
  return entry;
}

static void finish(struct session *s, LDAPMessage *message, json_t *entries) {
  int code = LDAP_OTHER;
  char *matched = NULL, *said = NULL;
  int rc = ldap_parse_result(s->ld, message, &code, &matched, &said, NULL, NULL, 0);
  if (rc != LDAP_SUCCESS) {
    job_fail(s->job, ERR_INVALID, "the answer is unreadable: %s", ldap_err2string(rc));
  } else {
    json_t *response = json_object();
    json_object_set_new(response, "code", json_integer(code));
    json_object_set_new(response, "name", json_string(ldap_code_name(code)));
    json_object_set_new(response, "message", json_lossy(said ? said : "", said ? strlen(said) : 0));
    json_object_set_new(response, "matched", json_lossy(matched ? matched : "", matched ? strlen(matched) : 0));
    if (entries) json_object_set(response, "entries", entries);
    if (entries) json_object_set_new(response, "truncated", json_boolean(code == LDAP_SIZELIMIT_EXCEEDED));
    s->job->response = response;
  }
  ldap_memfree(matched);
  ldap_memfree(said);
}

static void read_answer(struct session *s, int id) {
  json_t *entries = s->form.operation == LDAP_SEARCH ? json_array() : NULL;
  for (bool more = true; more;) {
    LDAPMessage *message = NULL;
    int type = next_message(s, id, &message);
    if (type < 0) break;
    more = type == LDAP_RES_SEARCH_ENTRY || type == LDAP_RES_SEARCH_REFERENCE || type == LDAP_RES_INTERMEDIATE;
    if (type == LDAP_RES_SEARCH_ENTRY && entries) json_array_append_new(entries, entry_json(s, message));
    if (!more) finish(s, message, entries);
    ldap_msgfree(message);
    if (more && s->bytes > s->job->cap) {
      ldap_abandon_ext(s->ld, id, NULL, NULL);
      job_fail(s->job, ERR_LIMIT, "the answer is longer than %zu bytes", s->job->cap);
      break;
    }
  }
  json_decref(entries);
}

static void ldap_work(struct job *job) {
  struct session s = {.job = job};
  int id = -1, rc;
  if (ldap_form_init(&s.form, job->form, &job->err) < 0) return;
  if (session_open(&s) < 0 || (s.form.bind_dn && session_bind(&s) < 0) || !job_pass(job)) goto out;
  rc = send_operation(&s, &id);
  if (rc == LDAP_SUCCESS) {
    read_answer(&s, id);
  } else {
    /* Its own encoder refused: nothing left. A broken connection is another matter. */
    job->unsent = rc == LDAP_FILTER_ERROR || rc == LDAP_PARAM_ERROR || rc == LDAP_ENCODING_ERROR || rc == LDAP_NO_MEMORY;
    job_fail(job, job->unsent ? ERR_INVALID : ERR_UNAVAILABLE, "sending failed: %s", ldap_err2string(rc));
  }
out:
  if (s.ld) ldap_unbind_ext(s.ld, NULL, NULL);
  job_watch(job, -1);
  ldap_form_release(&s.form);
}

static int ldap_start(struct flight *f, struct err *err) {
  struct ldap_form check;
  int r = ldap_form_init(&check, f->form, err); /* mistakes are the caller's, at once */
  if (r < 0) return r;
  ldap_form_release(&check);
  return job_start(f, ldap_work, NULL, NULL, NULL, err);
}

const struct transport transport_ldap = {"ldap", ldap_start, job_cancel};
