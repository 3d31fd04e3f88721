/* Waits of six seconds that are half over when they are saved go on with the time
 * that was left, and end as if nothing had been; but epoll_wait begins anew. */
#include "threads.h"
#include <poll.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <time.h>

enum { NANOSLEEP, NANOSLEEP_REM, CLOCK, CLOCK_ABS, POLL, PPOLL, SELECT, PSELECT, EPOLL, FUTEX, COND, SEM, N };

static const char *name[N] = {"nanosleep", "nanosleep with remainder", "clock_nanosleep", "absolute clock_nanosleep", "poll", "ppoll",
	"select", "pselect", "epoll_wait", "futex", "pthread_cond_timedwait", "sem_timedwait"};
static double ended[N];
static int result[N], err[N];

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static struct timespec in_six(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	ts.tv_sec += 6;
	return ts;
}

static void waits(int i)
{
	struct timespec ts = {6, 0}, rem, at = in_six(CLOCK_MONOTONIC), real = in_six(CLOCK_REALTIME);
	struct timeval tv = {6, 0};
	struct epoll_event e;
	pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
	pthread_cond_t c = PTHREAD_COND_INITIALIZER;
	sem_t sem;
	int word = 1, ep = epoll_create1(0);

	__sync_fetch_and_add(&ready, 1);
	errno = 0;
	switch (i) {
	case NANOSLEEP:
		result[i] = syscall(SYS_nanosleep, &ts, NULL);
		break;
	case NANOSLEEP_REM:
		result[i] = syscall(SYS_nanosleep, &ts, &rem);
		break;
	case CLOCK:
		result[i] = syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &ts, NULL);
		break;
	case CLOCK_ABS:
		result[i] = syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
		break;
	case POLL:
		result[i] = syscall(SYS_poll, NULL, 0, 6000);
		break;
	case PPOLL:
		result[i] = ppoll(NULL, 0, &ts, NULL);
		break;
	case SELECT:
		result[i] = select(0, NULL, NULL, NULL, &tv);
		break;
	case PSELECT:
		result[i] = pselect(0, NULL, NULL, NULL, &ts, NULL);
		break;
	case EPOLL:
		result[i] = epoll_wait(ep, &e, 1, 6000);
		break;
	case FUTEX:
		result[i] = syscall(SYS_futex, &word, 128, 1, &ts, NULL, 0);
		break;
	case COND:
		pthread_mutex_lock(&m);
		result[i] = pthread_cond_timedwait(&c, &m, &real);
		break;
	case SEM:
		sem_init(&sem, 0, 0);
		result[i] = sem_timedwait(&sem, &real);
	}
	err[i] = errno;
	ended[i] = now();
}

int main(void)
{
	for (int i = 0; i < N; i++)
		start_thread(waits, i);
	sleep(3);
	save_me();
	double go = now();
	finish_threads();
	for (int i = 0; i < N; i++) {
		double least = i == CLOCK_ABS || i == COND || i == SEM ? 0 : 1;
		double most = i == EPOLL ? 60 : 5.5; /* epoll_wait begins anew */
		check(ended[i] - go > least && ended[i] - go < most, "%s ended %.2f s later", name[i], ended[i] - go);
		switch (i) {
		case FUTEX:
		case SEM:
			check(result[i] == -1 && err[i] == ETIMEDOUT, "%s: %d, %s", name[i], result[i], strerror(err[i]));
			break;
		case COND:
			check(result[i] == ETIMEDOUT, "%s: %d", name[i], result[i]);
			break;
		default:
			check(result[i] == 0, "%s: %s", name[i], strerror(err[i]));
		}
	}
	return finish();
}
