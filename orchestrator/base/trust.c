#include "base/trust.h"

#include <sys/stat.h>
#include <unistd.h>

int trust_path(const char *path, const char *what, struct err *err) {
  struct stat st;
  if (stat(path, &st) != 0) return err_errno(err, "cannot look at %s %s", what, path);
  if (st.st_uid != 0 && st.st_uid != geteuid())
    return err_set(err, ERR_DENIED, "%s %s belong to uid %u, who could change what the engine does: chown them to root or to uid %u", what,
                   path, (unsigned)st.st_uid, (unsigned)geteuid());
  if (st.st_mode & S_IWOTH)
    return err_set(err, ERR_DENIED, "everybody may write to %s %s (mode %03o): chmod o-w, and look at what stands there", what, path,
                   (unsigned)(st.st_mode & 0777));
  return 0;
}
