#include "wire/acl.h"

#include <string.h>

static bool name_valid(const char *name) {
  size_t len = strlen(name);
  return len >= 1 && len <= 64 && strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == len;
}

void acl_siem(const char *name, struct buf *out) {
  if (!name_valid(name)) return;
  buf_addf(out, "ACL SETUSER %s reset on <password> ~tocsin:alerts -@all +xadd", name);
}

/* Command by command: what is not here cannot be done with a stolen connection. FLUSHALL, XSETID, XTRIM, CONFIG SET, KEYS, EVAL,
 * MODULE, REPLICAOF, SHUTDOWN and the like are not. FUNCTION is limited to loading and listing. */
void acl_engine(const char *name, struct buf *out) {
  if (!name_valid(name)) return;
  buf_addf(out, "ACL SETUSER %s reset on <password> ~tocsin:* ~{tocsin:alerts}* -@all", name);
  buf_adds(out, " +hello +auth +ping +echo +client|setname +client|id +client|info +acl|whoami");
  buf_adds(out, " +info +role +time +wait +bgrewriteaof +config|get +memory|usage");
  buf_adds(out, " +function|load +function|list +fcall +fcall_ro");
  buf_adds(out, " +multi +exec +discard +watch +unwatch");
  buf_adds(out,
           " +get +set +setnx +incr +mget +getdel +exists +type +ttl +pttl +expire +pexpire +persist +del +rename +unlink +scan +strlen");
  buf_adds(out, " +hget +hset +hsetnx +hdel +hgetall +hmget +hlen +hexists +hkeys +hvals +hincrby +hscan");
  buf_adds(out, " +sadd +srem +smembers +sismember +scard +sscan");
  buf_adds(out, " +zadd +zrem +zscore +zcard +zcount +zrange +zrevrange +zrangebyscore +zrevrangebyscore +zremrangebyscore +zscan");
  buf_adds(out, " +xadd +xlen +xrange +xrevrange +xread +xreadgroup +xack +xdel +xclaim +xautoclaim +xpending +xinfo +xgroup");
}
