/* The program. Everything it can do is a command; see gateway/cli. */
#include "gateway/cli/cli.h"

int main(int argc, char **argv)
{
    return cli_main(argc, argv);
}
