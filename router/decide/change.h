/* Since when does a model succeed as often as it does now? The last hours' counts lose weight with
 * a half-life, so a model that got worse in silence and is hardly asked any more would soon be
 * believed in again; from the bucket on at which its successes changed beyond chance they keep all
 * of it. That is the moment after which successes are furthest from what each class had over all
 * its labels (stratified, as by Mantel and Haenszel 1959: another mix of classes is no change),
 * by a bound on what chance does (Bennett 1962), which holds for few labels as for many. Pure. */
#ifndef ROUTER_DECIDE_CHANGE_H
#define ROUTER_DECIDE_CHANGE_H

#include <stddef.h>
#include <stdint.h>

#define CHANGE_BUCKETS 288 /* of five minutes each: what quick buckets are kept for, a day */

/* Labels of one model in one class and one bucket of time. */
struct change_bucket {
    int64_t start_us;
    double good, bad; /* >= 0, in answers */
};

#define CHANGE_NONE 0

/* The last day's buckets of one class, ascending, and what is older. */
struct change_labels {
    struct change_bucket bucket[CHANGE_BUCKETS];
    struct change_bucket older; /* start_us: 0 */
};

/* Where the day begins that ends with the bucket of `now`. */
int64_t change_first_us(int64_t now_us);
/* No labels yet, of that day. */
void change_labels_init(struct change_labels *l, int64_t now_us);
/* Labels of that moment; what lies after `now` is left out. */
void change_labels_add(struct change_labels *l, int64_t when_us, double good, double bad);
/* Start of the first bucket after the change, or CHANGE_NONE. of[classes]: of the same day. */
int64_t change_since(const struct change_labels *of, int classes);

#endif
