/* All eigenvalues and eigenvectors of a real symmetric matrix, by Jacobi's method in cyclic order
 * (Golub & Van Loan, "Matrix Computations", 4th edition, section 8.5): slow beyond a few thousand
 * rows, accurate, and the same bits on every run. Pure; any thread. */
#ifndef ROUTER_ENCODER_TRAIN_EIGEN_H
#define ROUTER_ENCODER_TRAIN_EIGEN_H

#include <stddef.h>

/* a[n][n] is destroyed. values[n], largest first; vectors[n][n]: row i belongs to values[i], has
 * length 1, and its component of largest magnitude is positive. */
void eigen_symmetric(double *a, size_t n, double *values, double *vectors);

#endif
