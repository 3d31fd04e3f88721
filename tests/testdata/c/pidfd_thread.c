/* Pidfds of threads (PIDFD_THREAD), living and ended, of the own and of another process; the program has none on a kernel before 6.9 */
#include "kids.h"
#include "pidfd.h"
#include <pthread.h>

static volatile pid_t tid[2];
static volatile int go;

static void *stays(void *arg)
{
	tid[(intptr_t)arg] = syscall(SYS_gettid);
	while (!go)
		usleep(1000);
	return NULL;
}

static void child(int arg)
{
	pthread_t t;

	must(pthread_create(&t, NULL, stays, (void *)1) == 0);
	while (!tid[1])
		usleep(1000);
	int fd = pidfd(tid[1], THREAD);
	wait_restored();
	check(stands_for(fd) == tid[1] && polled(fd) == 0);
	go = 1;
	pthread_join(t, NULL);
	check(within(polled(fd) & POLLIN) && stands_for(fd) == -1);
}

static void *ends(void *arg)
{
	*(int *)arg = pidfd(syscall(SYS_gettid), THREAD);
	return NULL;
}

int main(void)
{
	pthread_t a, b;
	int ended, main_thread, whole, thread, nonblock;

	if (syscall(SYS_pidfd_open, getpid(), THREAD) < 0) {
		must(errno == EINVAL);
		save_me();
		check(syscall(SYS_pidfd_open, getpid(), THREAD) < 0);
		return finish();
	}
	must(pthread_create(&a, NULL, stays, (void *)0) == 0);
	must(pthread_create(&b, NULL, ends, &ended) == 0);
	pthread_join(b, NULL);
	while (!tid[0] || stands_for(ended) != -1)
		usleep(1000);
	thread = pidfd(tid[0], THREAD);
	nonblock = pidfd(tid[0], THREAD | O_NONBLOCK);
	main_thread = pidfd(getpid(), THREAD);
	whole = pidfd(getpid(), 0);
	start_kid(child, 0);
	save_me();

	check(stands_for(thread) == tid[0] && stands_for(nonblock) == tid[0] && polled(thread) == 0);
	check(inode(thread) == inode(nonblock) && inode(main_thread) == inode(whole) && inode(thread) != inode(whole));
	check(fcntl(thread, F_GETFL) == (O_RDWR | THREAD) && fcntl(nonblock, F_GETFL) == (O_RDWR | THREAD | O_NONBLOCK), "%#o %#o", fcntl(thread, F_GETFL), fcntl(nonblock, F_GETFL));
	check(fcntl(whole, F_GETFL) == O_RDWR && fcntl(main_thread, F_GETFL) == (O_RDWR | THREAD), "%#o %#o", fcntl(whole, F_GETFL), fcntl(main_thread, F_GETFL));
	gone(ended);
	check(fcntl(ended, F_GETFL) == (O_RDWR | THREAD));
	check(send_signal(thread, 0) == 0);
	go = 1;
	pthread_join(a, NULL);
	check(within(polled(thread) & POLLIN) && stands_for(thread) == -1);
	finish_kids();
	return finish();
}
