/* POSIX timers of a process that may have no more of them (RLIMIT_SIGPENDING), with
 * a child that is another user's. */
#include "kids.h"
#include <sys/resource.h>
#include <time.h>

enum { n = 5 };
static int id[n];

static void begin(void)
{
	struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
	struct itimerspec it = {{0, 0}, {1000, 0}};
	struct rlimit none = {0, 0};

	for (int i = 0; i < n; i++)
		must(syscall(SYS_timer_create, CLOCK_MONOTONIC, &e, &id[i]) == 0 && syscall(SYS_timer_settime, id[i], 0, &it, NULL) == 0);
	must(setrlimit(RLIMIT_SIGPENDING, &none) == 0);
}

static void end(void)
{
	struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
	struct rlimit now;
	int more;

	for (int i = 0; i < n; i++) {
		struct itimerspec it;
		check(syscall(SYS_timer_gettime, id[i], &it) == 0 && it.it_value.tv_sec > 900);
	}
	check(getrlimit(RLIMIT_SIGPENDING, &now) == 0 && now.rlim_cur == 0 && now.rlim_max == 0, "%ld", (long)now.rlim_max);
	check(syscall(SYS_timer_create, CLOCK_MONOTONIC, &e, &more) == -1 && errno == EAGAIN);
}

static void child(int uid)
{
	must(setresgid(uid, uid, uid) == 0 && setresuid(uid, uid, uid) == 0);
	begin();
	wait_restored();
	end();
}

int main(void)
{
	start_kid(child, 1234);
	begin();
	save_me();
	end();
	finish_kids();
	return finish();
}
