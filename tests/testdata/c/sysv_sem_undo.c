/* A semaphore set, which outlives the processes, and the list of what to undo,
 * which one child shares with the parent (CLONE_SYSVSEM): its operation is not
 * undone when it ends, another child's is. */
#include "kids.h"
#include <sys/ipc.h>
#include <sys/sem.h>

static int set;

static void child(int n)
{
	struct sembuf op = {n, 10, SEM_UNDO};

	wait_restored();
	check(semop(set, &op, 1) == 0);
}

int main(void)
{
	unsigned short values[3] = {3, 4, 5};
	struct sembuf op = {2, -2, 0};

	must((set = semget(IPC_PRIVATE, 3, IPC_CREAT | 0600)) >= 0);
	must(semctl(set, 0, SETALL, values) == 0 && semop(set, &op, 1) == 0);
	clone_kid(CLONE_SYSVSEM, child, 0);
	start_kid(child, 1);
	save_me();
	check(semctl(set, 0, GETVAL) == 3 && semctl(set, 1, GETVAL) == 4 && semctl(set, 2, GETVAL) == 3);
	finish_kids();
	check(semctl(set, 0, GETVAL) == 13, "%d: the list is not shared", semctl(set, 0, GETVAL));
	check(semctl(set, 1, GETVAL) == 4, "%d: the list is shared", semctl(set, 1, GETVAL));
	check(semctl(set, 2, GETVAL) == 3);
	check(semctl(set, 0, IPC_RMID) == 0);
	return finish();
}
