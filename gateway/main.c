/* The program. Everything it can do is a command; see gateway/cli. */
#include <fcntl.h>
#include <unistd.h>
#include "gateway/cli/cli.h"

/* A parent may have closed the standard streams. The next sockets and files would get their
 * numbers, and be written logs. */
static void fill_standard_streams(void)
{
    while (fcntl(STDERR_FILENO, F_GETFD) < 0 || fcntl(STDOUT_FILENO, F_GETFD) < 0 ||
           fcntl(STDIN_FILENO, F_GETFD) < 0)
        if (open("/dev/null", O_RDWR) < 0)
            return;
}

int main(int argc, char **argv)
{
    fill_standard_streams();
    return cli_main(argc, argv);
}
