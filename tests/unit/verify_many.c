/* verify_many: the auditor's program for tests that ask it thousands of times: the same code, in a fresh process for each question, without loading libcrypto anew each time.
 *
 * Reads questions from standard input, one a line: the words of the command line with tabs between them. For each it forks; the child is tocsin-verify. Writes what the child
 * wrote, then a line "\4 STATUS". */
int verify_main(int argc, char **argv);
#define main verify_main
#include "verify/verify.c"
#undef main

#include <openssl/evp.h>
#include <sys/wait.h>
#include <unistd.h>

/* So that children find everything loaded. */
static void warm_up(void) {
  uint8_t hash[HASH], signature[64] = {0};
  EVP_PKEY *key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, (const uint8_t[32]){9}, 32);
  EVP_MD_CTX *context = EVP_MD_CTX_new();
  hash_bytes("", 0, hash);
  if (key && context && EVP_DigestVerifyInit(context, NULL, NULL, NULL, key) == 1) EVP_DigestVerify(context, signature, 64, hash, HASH);
  EVP_MD_CTX_free(context);
  EVP_PKEY_free(key);
}

static int answer(char *line) {
  enum { WORDS = 16 };
  char *words[WORDS + 1] = {(char *)(uintptr_t) "tocsin-verify"};
  int count = 1, status = 0;
  for (char *word = line; *word && *word != '\n' && count < WORDS; count++) {
    words[count] = word;
    word += strcspn(word, "\t\n");
    if (*word) *word++ = 0;
  }
  pid_t pid = fork();
  if (pid == 0) {
    int r = verify_main(count, words);
    fflush(stdout);
    _exit(r);
  }
  if (pid < 0 || waitpid(pid, &status, 0) != pid) return 126;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(void) {
  char line[16384];
  warm_up();
  while (fgets(line, sizeof line, stdin)) {
    int status = answer(line);
    printf("\4 %d\n", status);
    fflush(stdout);
  }
  return 0;
}
