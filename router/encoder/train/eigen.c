/* Jacobi rotations until what is off the diagonal is nothing beside what is on it. Rows p and q are
 * contiguous; their columns are copies of them, as the matrix stays symmetric. Called by distil.c.
 */
#include "router/encoder/train/eigen.h"

#include <math.h>
#include <string.h>

enum { MAX_SWEEPS = 60 }; /* ten are usual: convergence is quadratic at the end */

static void rotate(double *restrict x, double *restrict y, size_t n, double c, double s)
{
    for (size_t k = 0; k < n; k++) {
        double u = x[k], v = y[k];
        x[k] = c * u - s * v;
        y[k] = s * u + c * v;
    }
}

/* Makes a[p][q] zero. */
static void annihilate(double *a, size_t n, size_t p, size_t q, double *vectors)
{
    double *ap = a + p * n, *aq = a + q * n;
    double pp = ap[p], qq = aq[q], pq = ap[q];
    double theta = (qq - pp) / (2 * pq);
    double t = copysign(1, theta) / (fabs(theta) + sqrt(theta * theta + 1));
    double c = 1 / sqrt(t * t + 1), s = t * c;
    rotate(ap, aq, n, c, s);
    for (size_t k = 0; k < n; k++) {
        a[k * n + p] = ap[k];
        a[k * n + q] = aq[k];
    }
    ap[p] = pp - t * pq;
    aq[q] = qq + t * pq;
    ap[q] = aq[p] = 0;
    rotate(vectors + p * n, vectors + q * n, n, c, s);
}

/* One sweep; false when nothing was left to do. */
static int sweep(double *a, size_t n, double negligible, double *vectors)
{
    int worked = 0;
    for (size_t p = 0; p + 1 < n; p++)
        for (size_t q = p + 1; q < n; q++)
            if (fabs(a[p * n + q]) > negligible) {
                annihilate(a, n, p, q, vectors);
                worked = 1;
            }
    return worked;
}

static void point_up(double *v, size_t n)
{
    size_t top = 0;
    for (size_t k = 1; k < n; k++)
        if (fabs(v[k]) > fabs(v[top]))
            top = k;
    for (size_t k = 0; v[top] < 0 && k < n; k++)
        v[k] = k == top ? v[k] : -v[k];
    v[top] = fabs(v[top]);
}

static void swap_rows(double *a, size_t n, size_t i, size_t j)
{
    for (size_t k = 0; k < n; k++) {
        double x = a[i * n + k];
        a[i * n + k] = a[j * n + k];
        a[j * n + k] = x;
    }
}

static void sort_descending(double *values, double *vectors, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t top = i;
        for (size_t j = i + 1; j < n; j++)
            if (values[j] > values[top])
                top = j;
        double v = values[i];
        values[i] = values[top];
        values[top] = v;
        if (top != i)
            swap_rows(vectors, n, i, top);
    }
}

void eigen_symmetric(double *a, size_t n, double *values, double *vectors)
{
    double largest = 0;
    for (size_t i = 0; i < n * n; i++)
        largest = fmax(largest, fabs(a[i]));
    memset(vectors, 0, n * n * sizeof *vectors);
    for (size_t i = 0; i < n; i++)
        vectors[i * n + i] = 1;
    for (int i = 0; i < MAX_SWEEPS && sweep(a, n, largest * 1e-15, vectors); i++)
        ;
    for (size_t i = 0; i < n; i++) {
        values[i] = a[i * n + i];
        point_up(vectors + i * n, n);
    }
    sort_descending(values, vectors, n);
}
