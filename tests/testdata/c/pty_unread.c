/* Bytes go through a pseudoterminal all the time, and wait in it half of the time */
#include "pty.h"
#include <pthread.h>

static struct pty p;
static volatile int stop;
static volatile unsigned sent, got;

static void *writer(void *arg)
{
	while (!stop) {
		unsigned char c = sent;
		must(write(p.slave, &c, 1) == 1);
		sent++;
		while (got != sent)
			usleep(3000);
	}
	return NULL;
}

static void *reader(void *arg)
{
	unsigned char c;

	while (read(p.master, &c, 1) == 1) {
		usleep(3000);
		check(c == (unsigned char)got, "%u, not %u", c, got);
		got++;
		usleep(3000);
	}
	return NULL;
}

int main(void)
{
	pthread_t w, r;
	struct termios t;

	p = open_pty(1);
	must(tcgetattr(p.slave, &t) == 0);
	cfmakeraw(&t);
	must(tcsetattr(p.slave, TCSANOW, &t) == 0);
	must(pthread_create(&w, NULL, writer, NULL) == 0 && pthread_create(&r, NULL, reader, NULL) == 0);
	save_me();
	unsigned before = got;
	for (int i = 0; i < 5000 && got < before + 10; i++)
		usleep(1000);
	check(got >= before + 10, "%u, was %u", got, before);
	stop = 1;
	pthread_join(w, NULL);
	check(got == sent);
	close(p.slave);
	pthread_join(r, NULL);
	return finish();
}
