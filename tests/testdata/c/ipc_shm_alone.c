/* System V segments that nobody has attached, with their contents and holes, sizes, ids, keys, owners,
 * creators and modes, and one that can't be swapped out. */
#include "kids.h"
#include "proc.h"
#include <sys/ipc.h>
#include <sys/shm.h>

enum { SMALL, LARGE, OTHERS, EMPTY, LOCKED, N };
static int id[N];
static const size_t size[N] = {100, 40 << 20, 1, 3 * PAGE + 1, PAGE};
static const mode_t mode[N] = {0640, 0600, 0666, 0, 0600 | SHM_LOCKED};

static char *at(int i)
{
	char *p = shmat(id[i], NULL, 0);

	if (p == (void *)-1)
		printf("segment %d: %s\n", i, strerror(errno)), exit(3);
	return p;
}

static void child(int arg)
{
	wait_restored();
	char *p = at(SMALL);
	check(!strcmp(p, "small") && p[99] == 'x' && p[PAGE - 1] == 't');
	strcpy(p, "changed");
	shmdt(p);
}

int main(void)
{
	struct shmid_ds ds;
	char *p;

	must(getpid() == 1);
	must((id[SMALL] = shmget(0x5555, 100, IPC_CREAT | 0640)) >= 0);
	p = at(SMALL), strcpy(p, "small"), p[99] = 'x', p[PAGE - 1] = 't', shmdt(p);
	must((id[LARGE] = shmget(IPC_PRIVATE, size[LARGE], 0600)) >= 0);
	p = at(LARGE);
	for (int i = 0; i < 10 << 20; i++)
		p[(20 << 20) + i] = i * 7 + (i >> 12);
	shmdt(p);
	must(setegid(34) == 0 && seteuid(12) == 0 && (id[OTHERS] = shmget(IPC_PRIVATE, 1, 0604)) >= 0 && seteuid(0) == 0 && setegid(0) == 0);
	ds.shm_perm.uid = 56, ds.shm_perm.gid = 78, ds.shm_perm.mode = 0666;
	must(shmctl(id[OTHERS], IPC_SET, &ds) == 0);
	must((id[EMPTY] = shmget(IPC_PRIVATE, 3 * PAGE + 1, 0)) >= 0);
	must((id[LOCKED] = shmget(IPC_PRIVATE, PAGE, 0600)) >= 0 && shmctl(id[LOCKED], SHM_LOCK, NULL) == 0);
	start_kid(child, 0);
	save_me();

	check(shmget(0x5555, 100, 0) == id[SMALL]);
	for (int i = 0; i < N; i++) {
		check(shmctl(id[i], IPC_STAT, &ds) == 0 && ds.shm_nattch == 0, "segment %d is attached %lu times", i, ds.shm_nattch);
		check(ds.shm_segsz == size[i], "segment %d has %zu bytes", i, ds.shm_segsz);
		check(ds.shm_perm.mode == mode[i], "segment %d has mode %o", i, ds.shm_perm.mode);
		check(ds.shm_perm.cuid == (i == OTHERS ? 12 : 0) && ds.shm_perm.cgid == (i == OTHERS ? 34 : 0) && ds.shm_perm.uid == (i == OTHERS ? 56 : 0) && ds.shm_perm.gid == (i == OTHERS ? 78 : 0), "segment %d", i);
	}
	finish_kids();
	p = at(SMALL);
	check(!strcmp(p, "changed"));
	shmdt(p);
	p = at(LARGE);
	int wrong = 0;
	for (int i = 0; i < 10 << 20; i++)
		wrong += p[(20 << 20) + i] != (char)(i * 7 + (i >> 12));
	check(wrong == 0 && p[0] == 0 && p[(40 << 20) - 1] == 0, "%d bytes are wrong", wrong);
	shmdt(p);
	check(shmctl(id[SMALL], IPC_RMID, NULL) == 0 && shmget(0x5555, 100, 0) == -1 && errno == ENOENT);
	return finish();
}
