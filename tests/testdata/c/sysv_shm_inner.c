/* Parts of a System V segment: its middle and its end, without its beginning, one of them read-only; and the beginning elsewhere. */
#include "proc.h"
#include <sys/shm.h>

int main(void)
{
	const size_t n = 16;
	int id = shmget(IPC_PRIVATE, n * PAGE - 100, 0600 | IPC_CREAT);
	char *p, *q;
	struct shmid_ds d;

	must(id >= 0 && (p = shmat(id, NULL, 0)) != (void *)-1 && (q = shmat(id, NULL, SHM_RDONLY)) != (void *)-1);
	for (int i = 0; i < n; i++)
		memset(p + i * PAGE, 'a' + i, PAGE);
	must(munmap(p, 3 * PAGE) == 0 && munmap(p + 7 * PAGE, 2 * PAGE) == 0); /* pages 3 to 6 and 9 to 15 are left */
	must(mprotect(p + 4 * PAGE, PAGE, PROT_READ) == 0 && mprotect(p + 10 * PAGE, PAGE, PROT_NONE) == 0);
	must(munmap(q + PAGE, (n - 1) * PAGE) == 0);
	save_me();
	for (int i = 0; i < n; i++) {
		int there = (i >= 3 && i < 7) || (i >= 9 && i != 10);
		check(faults(p + i * PAGE) == !there, "page %d", i);
		if (there)
			check(p[i * PAGE] == 'a' + i && p[i * PAGE + PAGE - 1] == 'a' + i, "page %d is %d", i, p[i * PAGE]);
	}
	check(q[0] == 'a' && q[PAGE - 1] == 'a' && faults(q + PAGE));
	check(strstr(maps_line(p + 4 * PAGE), "r--s") != NULL);
	check(mprotect(p + 4 * PAGE, PAGE, PROT_READ | PROT_WRITE) == 0 && mprotect(p + 10 * PAGE, PAGE, PROT_READ) == 0 && p[10 * PAGE] == 'a' + 10);
	p[4 * PAGE] = 'z';
	check((q = shmat(id, NULL, 0)) != (void *)-1 && q[4 * PAGE] == 'z' && q[7 * PAGE] == 'h', "the segment is another");
	must(shmctl(id, IPC_STAT, &d) == 0);
	check(d.shm_nattch >= 4, "%ld", (long)d.shm_nattch);
	check(shmctl(id, IPC_RMID, NULL) == 0);
	return finish();
}
