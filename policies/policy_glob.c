/* Glob matching with one remembered star: on a mismatch the last '*' takes one character more.
 * Pure. Called by policy (on the request path), policy_check and policy_reach. */
#include "policies/policy_glob.h"

bool glob_match(struct slice pattern, struct slice text)
{
    size_t p = 0, t = 0, star = pattern.n, resume = 0;
    while (t < text.n) {
        if (p < pattern.n && pattern.p[p] == '*') {
            star = p++;
            resume = t;
        } else if (p < pattern.n && pattern.p[p] == text.p[t]) {
            p++;
            t++;
        } else if (star < pattern.n) {
            p = star + 1;
            t = ++resume;
        } else {
            return false;
        }
    }
    while (p < pattern.n && pattern.p[p] == '*')
        p++;
    return p == pattern.n;
}

bool glob_is(struct slice pattern)
{
    return pattern.n && memchr(pattern.p, '*', pattern.n);
}
