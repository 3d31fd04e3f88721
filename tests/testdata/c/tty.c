/* Talks to its terminal. */
#include "check.h"
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>

/* draw fills the terminal, as an editor does when that has another size. */
static void draw(int sig)
{
	char text[100];
	struct winsize w = {0};
	int n;

	ioctl(0, TIOCGWINSZ, &w);
	n = snprintf(text, sizeof text, "drawn %dx%d\n", w.ws_col, w.ws_row);
	if (write(1, text, n) != n)
		_exit(3);
}

int main(void)
{
	char line[100] = "";
	struct termios t;

	must(isatty(0) && isatty(1) && isatty(2) && tcgetattr(0, &t) == 0);
	t.c_lflag &= ~ECHO;
	must(tcsetattr(0, TCSANOW, &t) == 0);
	must(sigaction(SIGWINCH, &(struct sigaction){.sa_handler = draw, .sa_flags = SA_RESTART}, NULL) == 0);
	printf("ready\n");
	fflush(stdout);
	if (read(0, line, sizeof line - 1) <= 0)
		printf("no input: %s\n", strerror(errno));
	check(tcgetattr(0, &t) == 0 && !(t.c_lflag & ECHO), "the terminal echoes");
	check(tcgetpgrp(0) == getpgrp(), "in the background");
	printf("got %s", line);
	return finish();
}
