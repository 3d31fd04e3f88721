/* System V message queues: ids, keys, owners, creators, modes, room, and messages with their types, in
 * their order, also empty ones, long ones, and more than there is room for now. */
#include "kids.h"
#include <sys/ipc.h>
#include <sys/msg.h>

enum { MIXED, FULL, OTHERS, EMPTY, LOWERED, N };
static int id[N];
static struct { long type; char text[8192]; } m;

static void snd(int q, long type, const char *text, size_t n)
{
	m.type = type;
	memcpy(m.text, text, n);
	must(msgsnd(q, &m, n, IPC_NOWAIT) == 0);
}

static void gets_(int q, long want, long type, const char *text, size_t n)
{
	ssize_t got = msgrcv(q, &m, sizeof m.text, want, IPC_NOWAIT);

	check(got == (ssize_t)n && m.type == type && !memcmp(m.text, text, n), "%zd of type %ld: %s", got, m.type, strerror(errno));
}

static void child(int arg)
{
	wait_restored();
	gets_(id[MIXED], -3, 2, "two", 3);
	gets_(id[MIXED], 9, 9, "nine", 4);
}

int main(void)
{
	struct msqid_ds ds;
	static char big[8192];

	must(getpid() == 1);
	memset(big, 'b', sizeof big);
	big[8191] = 0;
	must((id[MIXED] = msgget(0x77, IPC_CREAT | 0620)) >= 0);
	snd(id[MIXED], 5, "five", 4), snd(id[MIXED], 9, "nine", 4), snd(id[MIXED], 2, "two", 3), snd(id[MIXED], 0x7fffffffffffffff, "", 0), snd(id[MIXED], 5, "a\0c", 3);
	must((id[FULL] = msgget(IPC_PRIVATE, 0600)) >= 0);
	snd(id[FULL], 1, big, sizeof big), snd(id[FULL], 1, big, sizeof big);
	must(msgsnd(id[FULL], &m, 1, IPC_NOWAIT) == -1 && errno == EAGAIN);
	must(setegid(34) == 0 && seteuid(12) == 0 && (id[OTHERS] = msgget(IPC_PRIVATE, 0600)) >= 0 && seteuid(0) == 0 && setegid(0) == 0);
	must(msgctl(id[OTHERS], IPC_STAT, &ds) == 0);
	ds.msg_perm.uid = 56, ds.msg_perm.gid = 78, ds.msg_perm.mode = 0666, ds.msg_qbytes = 16000;
	must(msgctl(id[OTHERS], IPC_SET, &ds) == 0);
	for (int i = 0; i < 3000; i++)
		snd(id[OTHERS], 1 + i % 3, (char *)&i, sizeof i);
	must((id[EMPTY] = msgget(IPC_PRIVATE, 0)) >= 0);
	must((id[LOWERED] = msgget(IPC_PRIVATE, 0600)) >= 0);
	snd(id[LOWERED], 1, "waits", 5);
	must(msgctl(id[LOWERED], IPC_STAT, &ds) == 0);
	ds.msg_qbytes = 2;
	must(msgctl(id[LOWERED], IPC_SET, &ds) == 0);
	start_kid(child, 0);
	save_me();

	check(msgget(0x77, 0) == id[MIXED]);
	check(msgctl(id[MIXED], IPC_STAT, &ds) == 0 && ds.msg_qnum == 5 && ds.__msg_cbytes == 14 && ds.msg_qbytes == 16384 && (ds.msg_perm.mode & 0777) == 0620, "%lu %lu %lu", ds.msg_qnum, ds.__msg_cbytes, ds.msg_qbytes);
	finish_kids();
	gets_(id[MIXED], 0, 5, "five", 4);
	gets_(id[MIXED], 0, 0x7fffffffffffffff, "", 0);
	gets_(id[MIXED], 5, 5, "a\0c", 3);
	check(msgrcv(id[MIXED], &m, 1, 0, IPC_NOWAIT) == -1 && errno == ENOMSG);
	m.type = 1;
	check(msgsnd(id[FULL], &m, 1, IPC_NOWAIT) == -1 && errno == EAGAIN, "there is no room");
	gets_(id[FULL], 0, 1, big, sizeof big), gets_(id[FULL], 0, 1, big, sizeof big);
	check(msgctl(id[OTHERS], IPC_STAT, &ds) == 0 && ds.msg_qbytes == 16000 && ds.msg_qnum == 3000 && ds.msg_perm.uid == 56 && ds.msg_perm.gid == 78 && ds.msg_perm.cuid == 12 && ds.msg_perm.cgid == 34 && (ds.msg_perm.mode & 0777) == 0666,
		"%lu %lu %d %d", ds.msg_qbytes, ds.msg_qnum, ds.msg_perm.cuid, ds.msg_perm.cgid);
	for (int i = 0; i < 3000; i++)
		gets_(id[OTHERS], 0, 1 + i % 3, (char *)&i, sizeof i);
	check(msgctl(id[EMPTY], IPC_STAT, &ds) == 0 && ds.msg_qnum == 0 && (ds.msg_perm.mode & 0777) == 0);
	check(msgctl(id[LOWERED], IPC_STAT, &ds) == 0 && ds.msg_qbytes == 2 && ds.msg_qnum == 1);
	gets_(id[LOWERED], 0, 1, "waits", 5);
	return finish();
}
