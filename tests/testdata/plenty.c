/* plenty PROCESSES ROUNDS: in each process ROUNDS times 11 descriptors of 10 open
 * files of many kinds, and a shared mapping; three open files and memory that all
 * share. The program checks their contents itself.
 *
 * plenty full N: N descriptors, and an epoll that watches the highest number that
 * is allowed. */
#include "c/check.h"
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

static int processes, rounds;
static int *seen; /* by process, in shared memory */
static int all_file, all_pipe[2];

struct round {
	int file, again, dup, pipe[2], sock[2], event, epoll, memfd, deleted;
	int *mem;
};

static char *name(int who, int i)
{
	static char s[64];

	snprintf(s, sizeof s, "f%d-%d", who, i);
	return s;
}

static void put(int fd, int v) { must(write(fd, &v, sizeof v) == sizeof v); }

static int get(int fd)
{
	int v = -1;

	return read(fd, &v, sizeof v) == sizeof v ? v : -1;
}

static int get_at(int fd, off_t at)
{
	int v = -1;

	return pread(fd, &v, sizeof v, at) == sizeof v ? v : -1;
}

static void set_up(struct round *r, int who, int i)
{
	int v = who * 100000 + i;
	struct epoll_event e = {.events = EPOLLIN, .data.u64 = v};

	must((r->file = open(name(who, i), O_RDWR | O_CREAT | O_TRUNC, 0600)) >= 0);
	put(r->file, v);
	must((r->again = open(name(who, i), O_RDONLY)) >= 0);
	must((r->dup = dup(r->file)) >= 0);
	must(pipe(r->pipe) == 0);
	put(r->pipe[1], v + 1);
	must(socketpair(AF_UNIX, i % 2 ? SOCK_STREAM : SOCK_DGRAM, 0, r->sock) == 0);
	put(r->sock[0], v + 2);
	must((r->event = eventfd(v + 3, EFD_NONBLOCK)) >= 0);
	must((r->epoll = epoll_create1(0)) >= 0);
	must(epoll_ctl(r->epoll, EPOLL_CTL_ADD, r->pipe[0], &e) == 0);
	must((r->memfd = memfd_create("plenty", MFD_ALLOW_SEALING)) >= 0);
	put(r->memfd, v + 4);
	must(fcntl(r->memfd, F_ADD_SEALS, F_SEAL_GROW) == 0);
	must((r->deleted = open("deleted", O_RDWR | O_CREAT | O_EXCL, 0600)) >= 0 && unlink("deleted") == 0);
	put(r->deleted, v + 5);
	r->mem = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(r->mem != MAP_FAILED);
	*r->mem = v + 6;
}

static void look(struct round *r, int who, int i)
{
	int v = who * 100000 + i;
	struct epoll_event e = {0};
	uint64_t n = 0;

	check(lseek(r->file, 0, SEEK_CUR) == 4 && lseek(r->again, 0, SEEK_CUR) == 0, "positions of %s", name(who, i));
	check(lseek(r->dup, 1, SEEK_CUR) == 5 && lseek(r->file, 0, SEEK_CUR) == 5, "%s is not shared with its duplicate", name(who, i));
	check(get(r->again) == v, "%s", name(who, i));
	check(epoll_wait(r->epoll, &e, 1, 0) == 1 && e.data.u64 == (uint64_t)v, "epoll %d of %d", i, who);
	check(get(r->pipe[0]) == v + 1, "pipe %d of %d", i, who);
	check(epoll_wait(r->epoll, &e, 1, 0) == 0, "epoll %d of %d", i, who);
	put(r->pipe[1], v + 11);
	check(get(r->pipe[0]) == v + 11, "pipe %d of %d leads elsewhere", i, who);
	check(get(r->sock[1]) == v + 2, "sockets %d of %d", i, who);
	put(r->sock[1], v + 12);
	check(get(r->sock[0]) == v + 12, "sockets %d of %d are no pair", i, who);
	check(read(r->event, &n, 8) == 8 && n == (uint64_t)v + 3, "eventfd %d of %d", i, who);
	check(get_at(r->memfd, 0) == v + 4 && fcntl(r->memfd, F_GET_SEALS) == F_SEAL_GROW, "memfd %d of %d", i, who);
	check(get_at(r->deleted, 0) == v + 5, "deleted file %d of %d", i, who);
	check(*r->mem == v + 6, "shared memory %d of %d", i, who);
}

static void await_go(void)
{
	while (access("go", F_OK))
		usleep(20000);
}

static int child(int who)
{
	struct round *r = calloc(rounds, sizeof *r);

	must(r);
	for (int i = 0; i < rounds; i++)
		set_up(&r[i], who, i);
	__atomic_store_n(&seen[who], 1, __ATOMIC_SEQ_CST);
	await_go();
	for (int i = 0; i < rounds; i++)
		look(&r[i], who, i);
	check(write(all_pipe[1], "x", 1) == 1 && lseek(all_file, 1, SEEK_CUR) > 0);
	__atomic_store_n(&seen[who], 2, __ATOMIC_SEQ_CST);
	fflush(stdout);
	return failures != 0;
}

static int full(int n)
{
	struct rlimit lim;
	struct epoll_event e = {.events = EPOLLIN, .data.u64 = 7};
	int epoll, event, fd, have = 0;

	must(getrlimit(RLIMIT_NOFILE, &lim) == 0);
	must((epoll = epoll_create1(0)) >= 0 && (event = eventfd(1, 0)) >= 0);
	must(dup2(event, lim.rlim_cur - 1) == (int)lim.rlim_cur - 1);
	must(epoll_ctl(epoll, EPOLL_CTL_ADD, lim.rlim_cur - 1, &e) == 0);
	for (fd = 0; fd < (int)lim.rlim_cur; fd++)
		have += fcntl(fd, F_GETFD) >= 0;
	for (; have < n; have++)
		must(open("/dev/zero", O_RDONLY) >= 0);
	save_me();
	for (fd = 0, have = 0; fd < (int)lim.rlim_cur; fd++)
		have += fcntl(fd, F_GETFD) >= 0;
	check(have == n, "%d descriptors", have);
	check(epoll_wait(epoll, &e, 1, 0) == 1 && e.data.u64 == 7);
	check(epoll_ctl(epoll, EPOLL_CTL_MOD, lim.rlim_cur - 1, &e) == 0, "%s", strerror(errno));
	return finish();
}

int main(int argc, char **argv)
{
	struct rlimit lim;
	int status;

	must(argc == 3);
	if (strcmp(argv[1], "full") == 0)
		return full(atoi(argv[2]));
	processes = atoi(argv[1]), rounds = atoi(argv[2]);
	must(getrlimit(RLIMIT_NOFILE, &lim) == 0);
	lim.rlim_cur = lim.rlim_max;
	must(setrlimit(RLIMIT_NOFILE, &lim) == 0);
	seen = mmap(NULL, processes * sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(seen != MAP_FAILED);
	must((all_file = open("all", O_RDWR | O_CREAT, 0600)) >= 0 && pipe(all_pipe) == 0);
	for (int i = 0; i < processes; i++) {
		pid_t pid = fork();

		must(pid >= 0);
		if (pid == 0)
			_exit(child(i));
		while (!__atomic_load_n(&seen[i], __ATOMIC_SEQ_CST)) {
			must(waitpid(pid, &status, WNOHANG) == 0);
			usleep(1000);
		}
	}
	save_me();
	for (int i = 0; i < processes; i++) {
		must(wait(&status) > 0);
		check(status == 0, "a child ended with %#x", status);
	}
	for (int i = 0; i < processes; i++)
		check(seen[i] == 2, "process %d shares no memory", i);
	check(lseek(all_file, 0, SEEK_CUR) == processes, "the position is not shared: %ld", (long)lseek(all_file, 0, SEEK_CUR));
	for (int i = 0; i < processes; i++)
		check(read(all_pipe[0], &status, 1) == 1);
	return finish();
}
