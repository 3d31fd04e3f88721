/* A program and its child that have no semaphore undo lists: what the child does
 * afterwards is undone when it ends, though its parent lives on. */
#include "check.h"
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/wait.h>

int main(void)
{
	int go[2], set, code;
	pid_t child;

	must(pipe(go) == 0 && (child = fork()) >= 0);
	if (child == 0) {
		close(go[1]);
		if (read(go[0], &set, sizeof set) != sizeof set)
			_exit(1);
		_exit(semop(set, &(struct sembuf){0, 3, SEM_UNDO}, 1) == 0 && semctl(set, 0, GETVAL) == 3 ? 0 : 2);
	}
	save_me();
	must((set = semget(IPC_PRIVATE, 1, 0600)) >= 0);
	write(go[1], &set, sizeof set);
	check(waitpid(child, &code, 0) == child && code == 0, "%#x", code);
	check(semctl(set, 0, GETVAL) == 0, "%d", semctl(set, 0, GETVAL));
	must(semctl(set, 0, IPC_RMID) == 0);
	return finish();
}
