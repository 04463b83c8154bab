/* In BLAS's place. vindex_faiss.cpp needs the random numbers of FAISS's random.o; in the same
 * object a maker of test vectors, which nothing here calls, names sgemm. Linking BLAS for that name
 * costs every request: Debian's OpenBLAS brings libgfortran and that libquadmath, whose constructor
 * registers printf modifiers, after which glibc takes the slow path in every printf of the process
 * (three times the time; glibc manual, "Customizing printf"); and a thread and 30 MB besides.
 *
 * Last in the order of linking (WeirFaiss.cmake): a program that does link BLAS gets BLAS's. */
#include <stdnoreturn.h>

noreturn void sgemm_(void); /* Fortran's name and no header's */

noreturn void sgemm_(void)
{
    __builtin_trap();
}
