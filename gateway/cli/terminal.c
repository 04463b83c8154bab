/* Signals only set flags; the way out is the ordinary one. Called by weir top. */
#include "gateway/cli/terminal.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static struct termios before;
static bool drawn_on;
static volatile sig_atomic_t leaving, stopping;

static void on_signal(int number)
{
    if (number == SIGTSTP)
        stopping = 1;
    else if (number != SIGWINCH)
        leaving = 1;
}

static void enter(void)
{
    struct termios raw = before;

    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    fputs("\033[?1049h\033[?25l", stdout);
    fflush(stdout);
    drawn_on = true;
}

bool terminal_begin(void)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGWINCH};
    /* poll comes back in any case; what is being drawn is not to be cut */
    struct sigaction act = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

    if (!isatty(STDOUT_FILENO) || tcgetattr(STDIN_FILENO, &before) != 0)
        return false;
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i], &act, NULL);
    enter();
    return true;
}

void terminal_end(void)
{
    if (!drawn_on)
        return;
    fputs("\033[?25h\033[?1049l", stdout);
    fflush(stdout);
    tcsetattr(STDIN_FILENO, TCSANOW, &before);
    drawn_on = false;
}

void terminal_size(int *rows, int *columns)
{
    struct winsize size;

    *rows = 24;
    *columns = 80;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0) {
        *rows = size.ws_row;
        *columns = size.ws_col;
    }
}

int terminal_key(int timeout_ms)
{
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    unsigned char key;
    int ready = leaving ? 0 : poll(&in, 1, timeout_ms);

    if (stopping) {
        stopping = 0;
        terminal_end();
        raise(SIGSTOP);
        enter();
    }
    if (leaving)
        return TERMINAL_LEAVE;
    if (ready <= 0)
        return TERMINAL_NOTHING;
    return read(STDIN_FILENO, &key, 1) == 1 ? key : TERMINAL_LEAVE;
}
