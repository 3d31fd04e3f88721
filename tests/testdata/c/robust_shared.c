/* A robust mutex in a file that is mapped shared, held by a child while it is
 * saved, killed and restored: it is held still, not marked as left by a dead
 * owner; and when the child then ends without giving it back, it is */
#include "kids.h"
#include <pthread.h>

static pthread_mutex_t *m;

static void child(int arg)
{
	must(pthread_mutex_lock(m) == 0);
	wait_restored();
	check((*(unsigned *)m & 0x7fffffff) == (unsigned)getpid(), "%#x", *(unsigned *)m);
}

int main(void)
{
	pthread_mutexattr_t a;
	int fd;

	must((fd = open("mutex", O_RDWR | O_CREAT, 0600)) >= 0 && ftruncate(fd, 4096) == 0);
	m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	must(m != MAP_FAILED);
	pthread_mutexattr_init(&a);
	must(pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST) == 0);
	must(pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED) == 0);
	must(pthread_mutex_init(m, &a) == 0);
	start_kid(child, 0);
	save_me();
	check(pthread_mutex_trylock(m) == EBUSY, "it is not held any more");
	finish_kids();
	check(pthread_mutex_lock(m) == EOWNERDEAD, "its owner has died");
	return finish();
}
