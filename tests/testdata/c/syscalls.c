/* A system call that waits while the program is saved goes on waiting. Which
 * one is argv[1]. */
#include "check.h"
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <time.h>

static volatile sig_atomic_t hits;
static void on_usr1(int sig) { hits++; }

/* Set up by a child would be a second process, so the event comes by the test:
 * it writes a byte to the FIFO, or sends SIGUSR1, once the program is restored. */
int main(int argc, char **argv)
{
	struct sigaction a = {.sa_handler = on_usr1};
	struct timespec ts = {1, 0};
	sigset_t none, block;
	char c = 0;
	int r = -1, word = 0;

	must(sigaction(SIGUSR1, &a, NULL) == 0);
	must((r = open("fifo", O_RDWR)) >= 0);
	sigemptyset(&none);
	printf("ready\n");
	fflush(stdout);
	if (!strcmp(argv[1], "read")) {
		check(read(r, &c, 1) == 1 && c == 'x');
	} else if (!strcmp(argv[1], "poll")) {
		struct pollfd p = {.fd = r, .events = POLLIN};
		check(poll(&p, 1, -1) == 1 && p.revents == POLLIN);
	} else if (!strcmp(argv[1], "select")) {
		fd_set s;
		FD_ZERO(&s);
		FD_SET(r, &s);
		struct timeval tv = {600, 0};
		check(select(r + 1, &s, NULL, NULL, &tv) == 1 && FD_ISSET(r, &s));
	} else if (!strcmp(argv[1], "pause")) {
		check(pause() == -1 && errno == EINTR && hits == 1);
	} else if (!strcmp(argv[1], "sigsuspend")) {
		sigemptyset(&block);
		sigaddset(&block, SIGUSR1);
		sigaddset(&block, SIGUSR2);
		must(sigprocmask(SIG_BLOCK, &block, NULL) == 0);
		check(sigsuspend(&none) == -1 && errno == EINTR && hits == 1);
		check(sigprocmask(SIG_BLOCK, NULL, &none) == 0 && sigismember(&none, SIGUSR2) && sigismember(&none, SIGUSR1));
	} else if (!strcmp(argv[1], "nanosleep")) {
		check(nanosleep(&ts, NULL) == 0);
	} else if (!strcmp(argv[1], "clock_nanosleep")) {
		struct timespec t0, t1;
		clock_gettime(CLOCK_MONOTONIC, &t0);
		t0.tv_sec += 2;
		check(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t0, NULL) == 0);
		clock_gettime(CLOCK_MONOTONIC, &t1);
		check(t1.tv_sec > t0.tv_sec || (t1.tv_sec == t0.tv_sec && t1.tv_nsec >= t0.tv_nsec), "it woke too early");
	} else if (!strcmp(argv[1], "futex")) {
		check(syscall(SYS_futex, &word, FUTEX_WAIT, 0, &ts, NULL, 0) == -1 && errno == ETIMEDOUT);
	} else if (!strcmp(argv[1], "timeout")) {
		struct pollfd p = {.fd = r, .events = POLLIN};
		check(poll(&p, 1, 1000) == 0);
	} else {
		printf("no such call: %s\n", argv[1]);
	}
	return finish();
}
