/* Counts and kinds of eventfds, and threads blocked in reading an empty and in
 * writing a full one. */
#include "check.h"
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

#define MOST 0xfffffffffffffffeull

static int empty, full;
static volatile int reader_tid, writer_tid;
static uint64_t got;
static int wrote;

static void *reader(void *arg)
{
	reader_tid = gettid();
	eventfd_read(empty, &got);
	return NULL;
}

static void *writer(void *arg)
{
	writer_tid = gettid();
	wrote = eventfd_write(full, 5) == 0;
	return NULL;
}

/* blocked tells whether a thread is in this system call. */
static int blocked(int tid, int call)
{
	char name[64], text[64] = "";

	snprintf(name, sizeof name, "/proc/self/task/%d/syscall", tid);
	FILE *f = fopen(name, "r");
	int n = f && fgets(text, sizeof text, f) ? atoi(text) : -1;
	if (f)
		fclose(f);
	return n == call;
}

int main(void)
{
	pthread_t r, w;
	uint64_t v = 0;
	int plain = eventfd(7, 0), sem = eventfd(3, EFD_SEMAPHORE), none = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	int most = eventfd(0, EFD_NONBLOCK);

	must(most >= 0 && eventfd_write(most, MOST) == 0);
	must((empty = eventfd(0, 0)) >= 0 && (full = eventfd(0, 0)) >= 0 && eventfd_write(full, MOST - 1) == 0);
	must(pthread_create(&r, NULL, reader, NULL) == 0 && pthread_create(&w, NULL, writer, NULL) == 0);
	while (!reader_tid || !writer_tid || !blocked(reader_tid, SYS_read) || !blocked(writer_tid, SYS_write))
		usleep(1000);
	save_me();
	check(eventfd_read(plain, &v) == 0 && v == 7, "%lu", v);
	for (int i = 0; i < 3; i++)
		check(eventfd_read(sem, &v) == 0 && v == 1, "%lu", v);
	check(fcntl(sem, F_SETFL, O_NONBLOCK) == 0 && eventfd_read(sem, &v) == -1 && errno == EAGAIN);
	check(fcntl(none, F_GETFD) == FD_CLOEXEC && fcntl(plain, F_GETFD) == 0 && !(fcntl(plain, F_GETFL) & O_NONBLOCK));
	check(eventfd_read(none, &v) == -1 && errno == EAGAIN);
	check(eventfd_write(most, 1) == -1 && errno == EAGAIN);
	check(eventfd_read(most, &v) == 0 && v == MOST, "%lu", v);
	check(got == 0 && wrote == 0, "a thread went on too early");
	check(eventfd_write(empty, 11) == 0);
	check(eventfd_read(full, &v) == 0 && v == MOST - 1, "%lu", v);
	pthread_join(r, NULL);
	pthread_join(w, NULL);
	check(got == 11, "%lu", got);
	check(wrote && eventfd_read(full, &v) == 0 && v == 5, "%lu", v);
	return finish();
}
