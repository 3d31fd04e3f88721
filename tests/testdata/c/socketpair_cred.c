/* Who made a pair of unix sockets (SO_PEERCRED, SO_PEERGROUPS): root, a user with groups, a child, and a process that has ended */
#include "kids.h"
#include <grp.h>
#include <sys/socket.h>

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif
#define PAIRS 4

static struct pair {
	int end[2];
	struct ucred cred;
	gid_t groups[8];
	socklen_t groups_len;
} pairs[PAIRS];

static void told(struct pair *p, int i)
{
	socklen_t n = sizeof p->cred;

	must(getsockopt(p->end[i], SOL_SOCKET, SO_PEERCRED, &p->cred, &n) == 0);
	p->groups_len = sizeof p->groups;
	must(getsockopt(p->end[i], SOL_SOCKET, SO_PEERGROUPS, p->groups, &p->groups_len) == 0);
}

static void make(struct pair *p, int type, uid_t uid, gid_t gid, int ngroups)
{
	gid_t groups[] = {77, 7, 7000};

	must(setgroups(ngroups, groups) == 0 && setegid(gid) == 0 && seteuid(uid) == 0);
	must(socketpair(AF_UNIX, type, 0, p->end) == 0);
	must(seteuid(0) == 0 && setegid(0) == 0);
	told(p, 0);
	must(p->cred.pid == getpid() && p->cred.uid == uid && p->cred.gid == gid);
	must(p->groups_len == ngroups * sizeof(gid_t));
}

static void same(struct pair *p, pid_t pid)
{
	for (int i = 0; i < 2; i++) {
		struct pair now = {.end = {p->end[0], p->end[1]}};
		told(&now, i);
		check(now.cred.pid == pid && now.cred.uid == p->cred.uid && now.cred.gid == p->cred.gid, "pid %d, was %d; user %d, group %d",
		      now.cred.pid, pid, now.cred.uid, now.cred.gid);
		check(now.groups_len == p->groups_len && !memcmp(now.groups, p->groups, p->groups_len), "%d groups", (int)(now.groups_len / sizeof(gid_t)));
	}
}

static char stack[1 << 16];

static int make_and_end(void *arg)
{
	return socketpair(AF_UNIX, SOCK_STREAM, 0, pairs[3].end);
}

static void child(int arg)
{
	make(&pairs[arg], SOCK_SEQPACKET, 65534, 5, 1);
	wait_restored();
	same(&pairs[arg], getpid());
}

int main(void)
{
	int status;

	make(&pairs[0], SOCK_STREAM, 0, 0, 0);
	make(&pairs[1], SOCK_DGRAM, 65534, 65533, 3);
	start_kid(child, 2);
	pid_t gone = clone(make_and_end, stack + sizeof stack, CLONE_FILES | CLONE_VM | SIGCHLD, NULL);
	must(gone > 0);
	must(waitpid(gone, &status, 0) == gone && status == 0);
	told(&pairs[3], 0);
	must(pairs[3].cred.pid == gone);
	save_me();
	same(&pairs[0], getpid());
	same(&pairs[1], getpid());
	same(&pairs[3], gone);
	check(write(pairs[3].end[0], "x", 1) == 1 && read(pairs[3].end[1], &status, 1) == 1);
	finish_kids();
	return finish();
}
