/* Semaphore sets of an IPC namespace: ids, keys, owners, creators, modes, values, who changed them
 * last, and whether anybody did. */
#include "kids.h"
#include <sys/ipc.h>
#include <sys/sem.h>

enum { PRIVATE, KEYED, OTHERS, UNUSED, HIGH, N };
static int id[N], gap;

static void stat_of(int i, struct semid_ds *ds)
{
	union { struct semid_ds *buf; } u = {ds};

	check(semctl(id[i], 0, IPC_STAT, u) == 0, "set %d: %s", i, strerror(errno));
}

static void add(int set, int num, int by)
{
	struct sembuf op = {num, by, 0};

	must(semop(set, &op, 1) == 0);
}

static void child(int arg)
{
	add(id[KEYED], 1, 3);
	wait_restored();
	check(semctl(id[KEYED], 1, GETPID) == getpid(), "%d", semctl(id[KEYED], 1, GETPID));
	check(semctl(id[KEYED], 1, GETVAL) == 3);
	add(id[KEYED], 1, -3);
}

int main(void)
{
	struct semid_ds ds;
	unsigned short values[3] = {7, 0, 32767}, got[3];

	must(getpid() == 1);
	must((id[PRIVATE] = semget(IPC_PRIVATE, 3, 0600)) >= 0 && semctl(id[PRIVATE], 0, SETALL, values) == 0);
	must((gap = semget(IPC_PRIVATE, 1, 0600)) >= 0);
	must((id[KEYED] = semget(0x1234567, 2, IPC_CREAT | 0640)) >= 0);
	must(semctl(gap, 0, IPC_RMID) == 0);
	must(setegid(34) == 0 && seteuid(12) == 0);
	must((id[OTHERS] = semget((key_t)0xfedcba98, 1, IPC_CREAT | 0606)) >= 0);
	must(seteuid(0) == 0 && setegid(0) == 0);
	ds.sem_perm.uid = 56, ds.sem_perm.gid = 78, ds.sem_perm.mode = 0666;
	must(semctl(id[OTHERS], 0, IPC_SET, &ds) == 0);
	must((id[UNUSED] = semget(IPC_PRIVATE, 1, 0)) >= 0);
	must((id[HIGH] = semget(IPC_PRIVATE, 1, 0600)) >= 0 && semctl(id[HIGH], 0, SETVAL, 32766) == 0);
	add(id[HIGH], 0, 1);
	start_kid(child, 0);
	save_me();

	stat_of(PRIVATE, &ds);
	check(ds.sem_nsems == 3 && ds.sem_perm.__key == IPC_PRIVATE && (ds.sem_perm.mode & 0777) == 0600 && ds.sem_otime == 0, "%#o", ds.sem_perm.mode);
	check(semctl(id[PRIVATE], 0, GETALL, got) == 0 && !memcmp(got, values, sizeof got), "%d %d %d", got[0], got[1], got[2]);
	check(semctl(id[PRIVATE], 2, GETPID) == 1, "%d", semctl(id[PRIVATE], 2, GETPID));
	stat_of(KEYED, &ds);
	check(ds.sem_perm.__key == 0x1234567 && (ds.sem_perm.mode & 0777) == 0640 && ds.sem_otime != 0 && ds.sem_perm.cuid == 0);
	check(semget(0x1234567, 2, 0) == id[KEYED] && semget(0x1234567, 2, IPC_CREAT | IPC_EXCL) == -1 && errno == EEXIST);
	stat_of(OTHERS, &ds);
	check(ds.sem_perm.__key == (key_t)0xfedcba98 && ds.sem_perm.uid == 56 && ds.sem_perm.gid == 78 && ds.sem_perm.cuid == 12 && ds.sem_perm.cgid == 34 && (ds.sem_perm.mode & 0777) == 0666,
		"%d %d %d %d %o", ds.sem_perm.uid, ds.sem_perm.gid, ds.sem_perm.cuid, ds.sem_perm.cgid, ds.sem_perm.mode);
	stat_of(UNUSED, &ds);
	check(ds.sem_otime == 0 && (ds.sem_perm.mode & 0777) == 0 && semctl(id[UNUSED], 0, GETVAL) == 0 && semctl(id[UNUSED], 0, GETPID) == 0);
	stat_of(HIGH, &ds);
	check(ds.sem_otime != 0 && semctl(id[HIGH], 0, GETVAL) == 32767 && semctl(id[HIGH], 0, GETPID) == 1);
	check(semctl(gap, 0, GETVAL) == -1 && errno == EINVAL);
	finish_kids();
	check(semctl(id[KEYED], 1, GETVAL) == 0);
	return finish();
}
