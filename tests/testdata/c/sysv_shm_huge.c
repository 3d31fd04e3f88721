/* System V shared memory in huge pages, whose size is not that of whole ones, attached
 * by parent and child, and removed */
#include "kids.h"
#include "hugetlb.h"
#include <sys/shm.h>

#define SIZE (HUGE_PAGE + 12345)

static char *p;

static void child(int arg)
{
	p[1] = 'c';
	wait_restored();
	check(!memcmp(p, "sc", 2));
	check(within(p[SIZE - 1] == 'P'), "the parent's write is not seen");
	p[HUGE_PAGE] = 'C';
}

int main(void)
{
	struct shmid_ds ds;
	int id;

	want_huge_pages();
	must((id = shmget(IPC_PRIVATE, SIZE, IPC_CREAT | SHM_HUGETLB | 0600)) >= 0 && (p = shmat(id, NULL, 0)) != (void *)-1);
	must(shmctl(id, IPC_RMID, NULL) == 0);
	p[0] = 's';
	p[HUGE_PAGE + 5] = 'x';
	start_kid(child, 0);
	save_me();
	check(shmctl(id, IPC_STAT, &ds) == 0 && ds.shm_segsz == SIZE && ds.shm_nattch == 2 && ds.shm_perm.mode & SHM_DEST, "%zu, %lu", ds.shm_segsz, ds.shm_nattch);
	check(!memcmp(p, "sc", 2) && p[HUGE_PAGE + 5] == 'x' && p[2] == 0);
	check(strstr(maps_line(p), "SYSV") != NULL, "%s", maps_line(p));
	p[SIZE - 1] = 'P';
	finish_kids();
	check(p[HUGE_PAGE] == 'C', "the child's write is not seen");
	check(shmdt(p) == 0 && shmctl(id, IPC_STAT, &ds) == -1);
	return finish();
}
