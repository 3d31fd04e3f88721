/* Memory protection keys, where the CPU has them: of mappings, also execute-only ones; allocated without a mapping and freed with
 * one; what two threads may do by them; and a child that changed all of it. */
#include "proc.h"
#include "kids.h"
#include <pthread.h>
#include <sys/mman.h>

static char *denied, *readable, *fresh, *freed;
static int (*code)(void);
static volatile int set, over;

/* The kernel itself minds the keys. A handler of SIGSEGV would leave a thread with other rights. */
static int reads_or_writes(void *p, int writes)
{
	int fds[2], n;

	must(pipe(fds) == 0 && (!writes || write(fds[1], "x", 1) == 1));
	n = writes ? read(fds[0], p, 1) : write(fds[1], p, 1);
	must(n == 1 || errno == EFAULT);
	close(fds[0]);
	close(fds[1]);
	return n == 1;
}

static int reads(void *p) { return reads_or_writes(p, 0); }
static int writes(void *p) { return reads_or_writes(p, 1); }

static void *threads_own(void *unused)
{
	must(pkey_set(1, 0) == 0 && pkey_set(4, PKEY_DISABLE_ACCESS) == 0);
	set = 1;
	while (!over)
		usleep(1000);
	check(pkey_get(1) == 0 && pkey_get(4) == PKEY_DISABLE_ACCESS);
	check(reads(denied) && denied[0] == 'd');
	return unused;
}


/* apart maps memory that no neighbour can be merged with. */
static char *apart(size_t n)
{
	char *p = map(n + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	must(mprotect(p + PAGE, n, PROT_READ | PROT_WRITE) == 0);
	return p + PAGE;
}

static void common(void)
{
	check(pkey_get(1) == PKEY_DISABLE_ACCESS && pkey_get(4) == PKEY_DISABLE_WRITE, "%d %d", pkey_get(1), pkey_get(4));
	check(!reads(denied) && !writes(denied));
	check(reads(readable) && readable[0] == 'r' && readable[3 * PAGE - 1] == 'r' && !writes(readable));
	check(code() == 7 && !reads((void *)code));
}

static void child(int changes)
{
	if (changes) {
		must(pkey_free(2) == 0 && pkey_mprotect(readable + PAGE, PAGE, PROT_READ, 0) == 0);
		fresh[0] = 'c';
		must(pkey_mprotect(fresh, PAGE, PROT_READ | PROT_WRITE, 4) == 0);
	}
	wait_restored();
	common();
	check(fresh[0] == (changes ? 'c' : 'f'));
	if (changes)
		check(pkey_alloc(0, 0) == 2);
	check(pkey_alloc(0, 0) == 5, "the next key");
}

int main(void)
{
	static const unsigned char seven[] = { 0xb8, 7, 0, 0, 0, 0xc3 }; /* mov $7, %eax; ret */
	pthread_t t;
	int key = pkey_alloc(0, 0);

	if (key < 0) {
		must(errno == ENOSPC || errno == ENOSYS);
		save_me();
		check(pkey_alloc(0, 0) < 0);
		return finish();
	}
	must(key == 1);
	must(pkey_alloc(0, 0) == 2);
	code = (void *)apart(PAGE);
	memcpy((void *)code, seven, sizeof seven);
	must(mprotect((void *)code, PAGE, PROT_EXEC) == 0); /* takes key 3 */
	must(pkey_alloc(0, 0) == 4);
	must(code() == 7 && !reads((void *)code));
	denied = apart(2 * PAGE);
	readable = apart(3 * PAGE);
	fresh = apart(PAGE);
	freed = apart(PAGE);
	memset(denied, 'd', 2 * PAGE);
	memset(readable, 'r', 3 * PAGE);
	fresh[0] = 'f';
	freed[0] = 'u';
	must(pkey_mprotect(denied, 2 * PAGE, PROT_READ | PROT_WRITE, 1) == 0);
	must(pkey_mprotect(readable, 3 * PAGE, PROT_READ | PROT_WRITE, 4) == 0);
	must(pkey_set(1, PKEY_DISABLE_ACCESS) == 0 && pkey_set(4, PKEY_DISABLE_WRITE) == 0);
	must(pthread_create(&t, NULL, threads_own, NULL) == 0);
	while (!set)
		usleep(1000);
	start_kid(child, 0);
	start_kid(child, 1);
	must(pkey_mprotect(freed, PAGE, PROT_READ | PROT_WRITE, 2) == 0 && pkey_free(2) == 0);
	common();
	save_me();
	over = 1;
	must(pthread_join(t, NULL) == 0);
	common();
	check(freed[0] == 'u');
	check(pkey_alloc(0, 0) == 2);
	check(pkey_alloc(0, 0) == 5);
	check(mprotect(fresh, PAGE, PROT_EXEC) == 0 && pkey_alloc(0, 0) == 6, "the kernel has its key");
	check(pkey_set(1, 0) == 0 && denied[2 * PAGE - 1] == 'd');
	finish_kids();
	return finish();
}
