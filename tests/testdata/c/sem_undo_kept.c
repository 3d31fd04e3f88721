/* What is on semaphore undo lists, more and less than nothing, at the borders
 * too: the kill does not give it back, and the end of the restored task does; nor
 * does the kill change who changed a semaphore that is not on a list */
#include "kids.h"
#include <sys/ipc.h>
#include <sys/sem.h>

static int set, other;

static void child(int n)
{
	struct sembuf op[] = {{2, 100, SEM_UNDO}, {3, -7, SEM_UNDO}};

	must(semop(set, op, 2) == 0);
	wait_restored();
	check(semctl(set, 2, GETVAL) == 105 && semctl(set, 3, GETVAL) == 32760);
}

int main(void)
{
	unsigned short values[4] = {1, 0, 5, 32767};
	struct sembuf op[] = {{0, -1, SEM_UNDO}, {1, 32767, SEM_UNDO}}, plain = {0, 4, 0}, most = {1, 1, SEM_UNDO};
	struct sembuf take = {1, -32767, 0}, more[] = {{1, 1, SEM_UNDO}, {1, -1, 0}};
	int pid;

	must((set = semget(IPC_PRIVATE, 4, IPC_CREAT | 0600)) >= 0);
	must((other = semget(IPC_PRIVATE, 1, IPC_CREAT | 0600)) >= 0);
	must(semctl(set, 0, SETALL, values) == 0 && semop(set, op, 2) == 0);
	must(semop(set, &most, 1) == -1 && errno == ERANGE);
	must(semop(set, &take, 1) == 0 && semop(set, more, 2) == 0); /* the adjustment is -32768 */
	must((pid = fork()) >= 0);
	if (pid == 0)
		_exit(semop(other, &plain, 1) != 0);
	must(waitpid(pid, NULL, 0) == pid && semctl(other, 0, GETPID) == pid);
	start_kid(child, 0);
	save_me();
	check(semctl(set, 0, GETVAL) == 0, "%d: the kill gave it back", semctl(set, 0, GETVAL));
	check(semctl(set, 1, GETVAL) == 0 && semctl(set, 2, GETVAL) == 105 && semctl(set, 3, GETVAL) == 32760);
	check(semctl(other, 0, GETVAL) == 4 && semctl(other, 0, GETPID) == pid, "%d", semctl(other, 0, GETPID));
	/* it is still undone when it ends */
	finish_kids();
	check(semctl(set, 2, GETVAL) == 5 && semctl(set, 3, GETVAL) == 32767, "%d %d", semctl(set, 2, GETVAL), semctl(set, 3, GETVAL));
	check(semop(set, &(struct sembuf){1, 1, SEM_UNDO}, 1) == -1 && errno == ERANGE, "the adjustment is not at its border");
	check(semop(set, &(struct sembuf){0, 1, SEM_UNDO}, 1) == 0 && semctl(set, 0, GETVAL) == 1);
	check(semctl(set, 0, IPC_RMID) == 0 && semctl(other, 0, IPC_RMID) == 0);
	return finish();
}
