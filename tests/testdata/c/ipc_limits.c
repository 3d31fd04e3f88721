/* The limits and settings of an IPC namespace, also where what is there exceeds them by now. */
#include "kids.h"
#include <mqueue.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

static struct { const char *name, *value; } settings[] = {
	{"kernel/shmmax", "8192"}, {"kernel/shmall", "2"}, {"kernel/shmmni", "1"}, {"kernel/msgmax", "100"}, {"kernel/msgmnb", "50"}, {"kernel/msgmni", "1"},
	{"kernel/sem", "2\t3\t40\t1"}, {"fs/mqueue/queues_max", "1"}, {"fs/mqueue/msg_max", "4"}, {"fs/mqueue/msgsize_max", "200"}, {"fs/mqueue/msg_default", "3"}, {"fs/mqueue/msgsize_default", "150"},
};
enum { N = sizeof settings / sizeof *settings };

static char *file(const char *name)
{
	static char path[64];

	snprintf(path, sizeof path, "/proc/sys/%s", name);
	return path;
}

static void is(const char *name, const char *value)
{
	char got[64] = "";
	FILE *f = fopen(file(name), "r");

	check(f && fgets(got, sizeof got, f));
	if (f)
		fclose(f);
	got[strcspn(got, "\n")] = 0;
	check(!strcmp(got, value), "%s is %s", name, got);
}

static void set(const char *name, const char *value)
{
	FILE *f = fopen(file(name), "w");

	must(f && fputs(value, f) >= 0 && fclose(f) == 0);
}

int main(void)
{
	int shm[3], sem[2], msg[2];
	struct { long type; char text[200]; } m = {1, "text"};
	struct mq_attr a = {.mq_maxmsg = 9, .mq_msgsize = 8000};

	must(getpid() == 1);
	for (int i = 0; i < 3; i++)
		must((shm[i] = shmget(IPC_PRIVATE, 40000, 0600)) >= 0);
	for (int i = 0; i < 2; i++)
		must((sem[i] = semget(IPC_PRIVATE, 5, 0600)) >= 0 && (msg[i] = msgget(IPC_PRIVATE, 0600)) >= 0);
	must(msgsnd(msg[0], &m, 90, IPC_NOWAIT) == 0 && msgsnd(msg[0], &m, 100, IPC_NOWAIT) == 0);
	must(mq_close(mq_open("/a", O_RDWR | O_CREAT, 0600, &a)) == 0 && mq_close(mq_open("/b", O_RDWR | O_CREAT, 0600, &a)) == 0);
	for (int i = 0; i < N; i++)
		set(settings[i].name, settings[i].value);
	save_me();

	for (int i = 0; i < N; i++)
		is(settings[i].name, settings[i].value);
	check(shmget(IPC_PRIVATE, 4096, 0600) == -1 && errno == ENOSPC);
	check(semget(IPC_PRIVATE, 1, 0600) == -1 && errno == ENOSPC);
	check(msgget(IPC_PRIVATE, 0600) == -1 && errno == ENOSPC);
	for (int i = 0; i < 3; i++)
		check(shmctl(shm[i], IPC_RMID, NULL) == 0);
	for (int i = 0; i < 2; i++)
		check(semctl(sem[i], 4, GETVAL) == 0 && semctl(sem[i], 0, IPC_RMID) == 0);
	check(msgrcv(msg[0], &m, 90, 0, IPC_NOWAIT) == 90 && !strcmp(m.text, "text") && msgrcv(msg[0], &m, 100, 0, IPC_NOWAIT) == 100);
	check(shmget(IPC_PRIVATE, 8193, 0600) == -1 && errno == EINVAL && shmget(IPC_PRIVATE, 8192, 0600) >= 0);
	check(semget(IPC_PRIVATE, 3, 0600) == -1 && errno == EINVAL && semget(IPC_PRIVATE, 2, 0600) >= 0);
	check(msgsnd(msg[1], &m, 101, IPC_NOWAIT) == -1 && errno == EINVAL);
	mqd_t q = mq_open("/a", O_RDWR);
	check(q >= 0 && mq_getattr(q, &a) == 0 && a.mq_maxmsg == 9 && a.mq_msgsize == 8000 && mq_close(q) == 0);
	check(mq_unlink("/a") == 0 && mq_unlink("/b") == 0);
	check((q = mq_open("/c", O_RDWR | O_CREAT, 0600, NULL)) >= 0 && mq_getattr(q, &a) == 0 && a.mq_maxmsg == 3 && a.mq_msgsize == 150, "%ld %ld", a.mq_maxmsg, a.mq_msgsize);
	return finish();
}
