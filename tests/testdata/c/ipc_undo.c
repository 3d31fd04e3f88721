/* What is to be undone of semaphores of an IPC namespace when their users end (SEM_UNDO). */
#include "kids.h"
#include <sys/ipc.h>
#include <sys/sem.h>

static int sem, other;

static void op(int set, int num, int by, int flags)
{
	struct sembuf o = {num, by, flags};

	must(semop(set, &o, 1) == 0);
}

static void child(int arg)
{
	op(sem, 0, -3, SEM_UNDO);
	op(sem, 1, 5, SEM_UNDO);
	op(other, 0, 1, SEM_UNDO);
	wait_restored();
	check(semctl(sem, 0, GETVAL) == 7 && semctl(sem, 1, GETVAL) == 5, "%d %d", semctl(sem, 0, GETVAL), semctl(sem, 1, GETVAL));
	op(sem, 0, 1, SEM_UNDO);
}

int main(void)
{
	must((sem = semget(0x42, 2, IPC_CREAT | 0600)) >= 0 && (other = semget(IPC_PRIVATE, 1, 0600)) >= 0 && semctl(sem, 0, SETVAL, 10) == 0);
	start_kid(child, 0);
	save_me();
	finish_kids();
	check(semctl(sem, 0, GETVAL) == 10 && semctl(sem, 1, GETVAL) == 0 && semctl(other, 0, GETVAL) == 0, "%d %d %d", semctl(sem, 0, GETVAL), semctl(sem, 1, GETVAL), semctl(other, 0, GETVAL));
	return finish();
}
