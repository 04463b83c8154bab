#!/usr/bin/env python3
"""Prints what scikit-learn finds for the set of test_train_fit.c: for ORACLE_LOSS and ORACLE_FIRST there.

Needs numpy and scikit-learn; run by hand when the set changes."""

import numpy as np
from sklearn.linear_model import LogisticRegression

ROWS, FEATURES, OUTPUTS, L2 = 60, 7, 4, 0.02


def numbers(seed):
    mask = (1 << 64) - 1
    while True:
        seed ^= seed >> 12
        seed = seed ^ (seed << 25) & mask
        seed ^= seed >> 27
        yield ((seed * 2685821657736338717 & mask) >> 32) / 4294967296.0


draw = numbers(1)
x = np.array([np.float32(4 * next(draw) - 2) for _ in range(ROWS * FEATURES)], np.float64).reshape(ROWS, FEATURES)
y = np.array([int(OUTPUTS * next(draw)) for _ in range(ROWS)])
z = (x - x.mean(0)) / x.std(0)
fit = LogisticRegression(C=1 / (ROWS * L2), tol=1e-12, max_iter=10000).fit(z, y)
p = fit.predict_proba(z)
print("#define ORACLE_LOSS  %.9f" % -np.log(p[np.arange(ROWS), y]).mean())
print("#define ORACLE_FIRST " + ", ".join("%.8ff" % v for v in p[0]))
