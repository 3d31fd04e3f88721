/* Talks to its terminal. */
#include "check.h"
#include <termios.h>

int main(void)
{
	char line[100] = "";
	struct termios t;

	must(isatty(0) && isatty(1) && isatty(2) && tcgetattr(0, &t) == 0);
	t.c_lflag &= ~ECHO;
	must(tcsetattr(0, TCSANOW, &t) == 0);
	printf("ready\n");
	fflush(stdout);
	if (read(0, line, sizeof line - 1) <= 0)
		printf("no input: %s\n", strerror(errno));
	check(tcgetattr(0, &t) == 0 && !(t.c_lflag & ECHO), "the terminal echoes");
	check(tcgetpgrp(0) == getpgrp(), "in the background");
	printf("got %s", line);
	return finish();
}
