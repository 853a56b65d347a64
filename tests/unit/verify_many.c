/* verify_many: the auditor's program for tests that ask it thousands of times: the same code, in one process, begun anew for each question.
 *
 * Reads questions from standard input, one a line: the words of the command line with tabs between them. Writes what tocsin-verify wrote, then a line "\4 STATUS". */
int verify_main(int argc, char **argv);
#define main verify_main
#include "verify/verify.c"
#undef main
#include "verify/bundle.c"
#include "verify/read.c"

/* Everything that a run of it leaves behind. */
static void begin(void) {
  memset(&v, 0, sizeof v);
  fault_count = file_count = journal_count = collected_count = removed_names = removed_ends = 0;
  breaks = 0;
  incident[0] = 0;
  tdestroy(journals, free);
  journals = NULL;
}

static int answer(char *line) {
  enum { WORDS = 16 };
  char *words[WORDS + 1] = {(char *)(uintptr_t) "tocsin-verify"};
  int count = 1;
  for (char *word = line; *word && *word != '\n' && count < WORDS; count++) {
    words[count] = word;
    word += strcspn(word, "\t\n");
    if (*word) *word++ = 0;
  }
  begin();
  return verify_main(count, words);
}

int main(void) {
  char line[16384];
  while (fgets(line, sizeof line, stdin)) {
    int status = answer(line);
    printf("\4 %d\n", status);
    fflush(stdout);
  }
  return 0;
}
