/* Names of unix sockets that are not connected, of all types: paths, also relative, deleted, in a folder that is gone, over the name of an old socket and renamed; abstract; given by the kernel; a path of 108 bytes */
#include "unix.h"
#include <sys/stat.h>

#define MAX 64

static struct sock {
	int fd, type, gone; /* gone: nobody finds it under its name */
	struct name name;
	struct stat st;
} socks[MAX];
static int n;

static struct sock *add(int type, struct name m)
{
	struct sock *s = &socks[n++];

	s->type = type;
	s->fd = bound(type, m);
	s->name = own_name(s->fd);
	return s;
}

static const char *in(const char *dir, const char *file, int type)
{
	static char path[300];

	snprintf(path, sizeof path, "%s%s%s%d", dir, *dir ? "/" : "", file, type);
	return path;
}

static void reach(struct sock *s)
{
	char c;
	int fd = socket_of(s->type), ok = connect(fd, (void *)&s->name.a, s->name.len) == 0;

	if (s->gone || s->type != SOCK_DGRAM) { /* none listens */
		check(!ok && (errno == ECONNREFUSED || errno == ENOENT), "socket %ld: %s", s - socks, strerror(errno));
	} else {
		check(ok && send(fd, "x", 1, 0) == 1 && recv(s->fd, &c, 1, 0) == 1, "socket %ld: %s", s - socks, strerror(errno));
	}
	close(fd);
}

int main(void)
{
	static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
	char dir[256], name[256], buf[200];
	struct stat st;

	must(getcwd(dir, sizeof dir) && mkdir("sub", 0700) == 0 && mkdir("sub/deeper", 0700) == 0);
	for (int i = 0; i < 3; i++) {
		int type = types[i];
		add(type, path_name(in(dir, "absolute", type)));
		umask(0);
		add(type, path_name(in("", "relative", type)));
		must(chmod(in("", "relative", type), 0640) == 0 && chown(in("", "relative", type), 65534, 7) == 0);
		umask(0137);
		add(type, path_name(in(".//sub/../sub/deeper/..", "crooked", type)));
		must(chdir("sub") == 0);
		add(type, path_name(in("../sub/..//", "up", type)));
		must(chdir("..") == 0);
		add(type, path_name(in("", "@at", type)));
		add(type, path_name(in("", "deleted", type)))->gone = 1;
		must(unlink(in("", "deleted", type)) == 0);
		must(mkdir("gone", 0700) == 0);
		add(type, path_name(in("gone", "x", type)))->gone = 1;
		must(unlink(in("gone", "x", type)) == 0 && rmdir("gone") == 0);
		struct sock *old = add(type, path_name(in("", "again", type)));
		must(unlink(in("", "again", type)) == 0);
		add(type, path_name(in("", "again", type)));
		old->gone = 0;
		add(type, path_name(in("", "renamed", type)))->gone = 1;
		snprintf(name, sizeof name, "sub/moved%d", type);
		must(rename(in("", "renamed", type), name) == 0);
		memset(buf, 'a' + i, sizeof buf);
		add(type, sized_name(buf, 108));
		add(type, sized_name(buf, snprintf(buf, sizeof buf, "%cckpt-bound-%d-%d", 0, getpid(), i)));
		buf[9] = 0;
		add(type, sized_name(buf, 19));
		add(type, sized_name("", 0)); /* the kernel finds a name */
		must(socks[n - 1].name.len == offsetof(struct sockaddr_un, sun_path) + 6);
	}
	for (int i = 0; i < n; i++)
		if (socks[i].name.a.sun_path[0] && !socks[i].gone && socks[i].name.len < 110)
			stat(socks[i].name.a.sun_path, &socks[i].st);
	save_me();
	for (int i = 0; i < n; i++) {
		struct sock *s = &socks[i];
		struct name now = own_name(s->fd);
		check(same_name(now, s->name), "socket %d is %.108s, was %.108s", i, now.a.sun_path, s->name.a.sun_path);
		if (s->st.st_ino) {
			check(stat(s->name.a.sun_path, &st) == 0 && st.st_mode == s->st.st_mode && st.st_uid == s->st.st_uid && st.st_gid == s->st.st_gid,
			      "%s: mode %o, was %o, user %d", s->name.a.sun_path, st.st_mode, s->st.st_mode, st.st_uid);
		}
	}
	for (int i = 0; i < 3; i++) {
		int k = i * (n / 3);
		check(socks[k + 7].type == types[i] && lstat(socks[k + 7].name.a.sun_path, &st) == 0);
		snprintf(name, sizeof name, "sub/moved%d", types[i]);
		check(lstat(name, &st) == 0 && S_ISSOCK(st.st_mode), "%s", name);
		socks[k + 7].type = -1; /* under its name is another one by now */
	}
	must(chdir("sub") == 0);
	for (int i = 0; i < n; i++) {
		const char *p = socks[i].name.a.sun_path;
		if (!strncmp(p, "../", 3))
			reach(&socks[i]);
	}
	must(chdir("..") == 0);
	for (int i = 0; i < n; i++)
		if (socks[i].type > 0 && strncmp(socks[i].name.a.sun_path, "../", 3))
			reach(&socks[i]);
	/* What is not connected can be, and what is a stream can listen. */
	for (int i = 0; i < n; i++) {
		if (socks[i].type != SOCK_STREAM || socks[i].gone || !strncmp(socks[i].name.a.sun_path, "../", 3))
			continue;
		check(listen(socks[i].fd, 1) == 0);
		int fd = socket_of(SOCK_STREAM);
		check(connect(fd, (void *)&socks[i].name.a, socks[i].name.len) == 0, "%s: %s", socks[i].name.a.sun_path, strerror(errno));
		check(same_name(peer_name(fd), socks[i].name));
		close(fd);
	}
	check(system("ls -A . sub | grep '^[.]ckpt'") != 0, "something is left");
	return finish();
}
