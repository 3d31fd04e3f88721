/* Processes and threads that wait on semaphores and message queues of an IPC namespace, and go on waiting. */
#include "kids.h"
#include <pthread.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>

static int sem, msg;

static void taker(int arg)
{
	struct sembuf op = {0, -2, SEM_UNDO};

	me->ready = 1;
	check(semop(sem, &op, 1) == 0, "%s", strerror(errno));
}

static void zero(int arg)
{
	struct sembuf op = {1, 0, 0};

	me->ready = 1;
	check(semop(sem, &op, 1) == 0, "%s", strerror(errno));
}

static void receiver(int arg)
{
	struct { long type; char text[8]; } m;

	me->ready = 1;
	check(msgrcv(msg, &m, sizeof m.text, 5, 0) == 4 && !memcmp(m.text, "five", 4), "%s", strerror(errno));
}

int main(void)
{
	struct { long type; char text[8]; } m = {4, "four"};
	struct sembuf op = {0, 1, 0};

	must((sem = semget(IPC_PRIVATE, 2, 0600)) >= 0 && (msg = msgget(IPC_PRIVATE, 0600)) >= 0 && semctl(sem, 1, SETVAL, 1) == 0);
	must(msgsnd(msg, &m, 4, 0) == 0 && semop(sem, &op, 1) == 0);
	start_kid(taker, 0);
	start_kid(zero, 0);
	start_kid(receiver, 0);
	must(within(semctl(sem, 0, GETNCNT) == 1 && semctl(sem, 1, GETZCNT) == 1));
	save_me();
	check(within(semctl(sem, 0, GETNCNT) == 1 && semctl(sem, 1, GETZCNT) == 1), "%d %d", semctl(sem, 0, GETNCNT), semctl(sem, 1, GETZCNT));
	check(semctl(sem, 0, GETVAL) == 1 && semop(sem, &op, 1) == 0);
	op.sem_num = 1, op.sem_op = -1;
	check(semop(sem, &op, 1) == 0);
	m.type = 5, memcpy(m.text, "five", 4);
	check(msgsnd(msg, &m, 4, 0) == 0);
	finish_kids();
	check(semctl(sem, 0, GETVAL) == 2, "its end undid what it took: %d", semctl(sem, 0, GETVAL));
	check(msgrcv(msg, &m, sizeof m.text, 0, IPC_NOWAIT) == 4 && m.type == 4);
	return finish();
}
