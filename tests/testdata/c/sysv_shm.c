/* System V shared memory attached by parent and child: a segment that was removed
 * and lives on as long as somebody has it, one that was not, and one that is
 * attached read only. */
#include "kids.h"
#include "proc.h"
#include <sys/shm.h>

enum { REMOVED, KEPT, READONLY, N };
static char *p[N];
static int id[N];

static void child(int arg)
{
	for (int i = 0; i < 2; i++)
		p[i][1] = 'c';
	wait_restored();
	for (int i = 0; i < 2; i++) {
		check(!memcmp(p[i], "sc", 2), "segment %d", i);
		check(within(p[i][PAGE] == 'P'), "segment %d: the parent's write is not seen", i);
		p[i][2 * PAGE] = 'C';
	}
	check(!memcmp(p[READONLY], "s", 2));
}

int main(void)
{
	struct shmid_ds ds;

	for (int i = 0; i < N; i++) {
		must((id[i] = shmget(IPC_PRIVATE, 4 * PAGE, IPC_CREAT | 0640)) >= 0 && (p[i] = shmat(id[i], NULL, 0)) != (void *)-1);
		p[i][0] = 's';
	}
	must(shmdt(p[READONLY]) == 0 && (p[READONLY] = shmat(id[READONLY], NULL, SHM_RDONLY)) != (void *)-1);
	must(shmctl(id[REMOVED], IPC_RMID, NULL) == 0);
	start_kid(child, 0);
	save_me();
	for (int i = 0; i < N; i++) {
		check(shmctl(id[i], IPC_STAT, &ds) == 0, "segment %d: %s", i, strerror(errno));
		check(ds.shm_nattch == 2, "segment %d is attached %lu times", i, ds.shm_nattch);
		check(ds.shm_segsz == 4 * PAGE && (ds.shm_perm.mode & 0777) == 0640, "segment %d has %zu bytes, mode %o", i, ds.shm_segsz, ds.shm_perm.mode);
		check(!!(ds.shm_perm.mode & SHM_DEST) == (i == REMOVED), "segment %d has mode %o", i, ds.shm_perm.mode);
		check(!memcmp(p[i], i == READONLY ? "s" : "sc", 2), "segment %d", i);
		check(!!strstr(maps_line(p[i]), "rw-s") == (i != READONLY) && strstr(maps_line(p[i]), "SYSV"), "%s", maps_line(p[i]));
		if (i != READONLY)
			p[i][PAGE] = 'P';
	}
	finish_kids();
	check(p[REMOVED][2 * PAGE] == 'C' && p[KEPT][2 * PAGE] == 'C', "the child's write is not seen");
	check(shmctl(id[KEPT], IPC_RMID, NULL) == 0 && shmctl(id[READONLY], IPC_RMID, NULL) == 0);
	for (int i = 0; i < N; i++) {
		check(shmdt(p[i]) == 0, "segment %d: %s", i, strerror(errno));
		check(shmctl(id[i], IPC_STAT, &ds) == -1 && errno == EINVAL, "segment %d is still there", i);
	}
	return finish();
}
