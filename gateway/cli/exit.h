/* Every exit status of weir, from one table: the help pages print it. 0, 1 and 2 mean what diff(1)
 * and grep(1) mean by them. */
#ifndef GATEWAY_CLI_EXIT_H
#define GATEWAY_CLI_EXIT_H

/* X(name, status, meaning) */
#define EXIT_CODES(X)                                                                              \
    X(EXIT_CODE_OK, 0,                                                                             \
      "Success; check: every file is valid; diff: the policies do the same; serve: drained and "   \
      "ended.")                                                                                    \
    X(EXIT_CODE_FOUND, 1,                                                                          \
      "check found an error; diff found differences; explain: no route answers the request; "      \
      "model: it is not there, or not what it should be; why, feedback: no such request; "         \
      "cache: what was named is not there, a line is wrong, a problem was found, or nobody "       \
      "agreed.")                                                                                   \
    X(EXIT_CODE_USAGE, 2,                                                                          \
      "The command line is not understood, or a running weir does not understand what it asks "    \
      "for; diff: also a policy that cannot be loaded.")                                           \
    X(EXIT_CODE_POLICY, 3, "The policy file is missing or not valid (serve, explain, models).")    \
    X(EXIT_CODE_START, 4,                                                                          \
      "serve cannot listen or cannot use its state directory; another process may hold it.")       \
    X(EXIT_CODE_RUNTIME, 5,                                                                        \
      "Something failed while running: the output could not be written, a server did not answer, " \
      "a model could not be fetched, serve ended without having written out its ledger.")

enum exit_code {
#define EXIT_CODE(name, status, meaning) name = (status),
    EXIT_CODES(EXIT_CODE)
#undef EXIT_CODE
};

#endif
