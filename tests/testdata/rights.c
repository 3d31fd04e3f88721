/* rights KIND USER: sets up, as root, what needs a capability to set up; then it
 * becomes a user without any, and waits. */
#include "c/check.h"
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static void caps(uint32_t kept, uint32_t inheritable)
{
	struct __user_cap_header_struct hdr = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2] = { { kept, kept, inheritable } };

	must(syscall(SYS_capset, &hdr, data) == 0);
}

static void confine(void)
{
	struct sock_filter all = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog prog = { 1, &all };

	must(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) == 0);
}

static void sockets(int name, int value)
{
	int fds[2];

	must(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
	must(setsockopt(fds[0], SOL_SOCKET, name, &value, sizeof value) == 0);
}

static void named_socket(void)
{
	struct sockaddr_un a = {AF_UNIX, "/proc/self/cwd/socket"};

	must(bind(socket(AF_UNIX, SOCK_DGRAM, 0), (void *)&a, sizeof a) == 0);
}

/* A file that only root may open. */
static void file(int flags, int deleted)
{
	must(open("roots", flags | O_CREAT, 0600) >= 0);
	must(fchmod(3, 0600) == 0);
	if (deleted)
		must(unlink("roots") == 0);
}

/* inet makes a socket that listens on a port; 0: any. */
static void inet(int port, int transparent)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int s = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	must(s >= 0 && setsockopt(s, IPPROTO_IP, IP_TRANSPARENT, &transparent, sizeof transparent) == 0);
	must(setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0);
	must(fchown(s, 65534, 65534) == 0 && bind(s, (struct sockaddr *)&a, sizeof a) == 0 && listen(s, 5) == 0);
}

static void as_root(const char *kind)
{
	struct sched_param rt = { 1 };
	char *locked;
	int fds[2];

	if (!strcmp(kind, "nice"))
		must(setpriority(PRIO_PROCESS, 0, -5) == 0);
	else if (!strcmp(kind, "realtime"))
		must(sched_setscheduler(0, SCHED_FIFO, &rt) == 0);
	else if (!strcmp(kind, "io"))
		must(syscall(SYS_ioprio_set, 1, 0, 1 << 13 | 4) == 0);
	else if (!strcmp(kind, "root folder"))
		must(mkdir("jail", 0755) == 0 && chroot("jail") == 0 && chdir("/") == 0);
	else if (!strcmp(kind, "seccomp"))
		confine();
	else if (!strcmp(kind, "locked")) {
		must((locked = mmap(NULL, 1 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) != MAP_FAILED);
		must(mlock(locked, 1 << 20) == 0);
	} else if (!strcmp(kind, "buffer"))
		sockets(SO_SNDBUFFORCE, 8 << 20);
	else if (!strcmp(kind, "mark"))
		sockets(SO_MARK, 1);
	else if (!strcmp(kind, "debug"))
		sockets(SO_DEBUG, 1);
	else if (!strcmp(kind, "socket"))
		named_socket();
	else if (!strcmp(kind, "transparent"))
		inet(0, 1);
	else if (!strcmp(kind, "raw")) {
		must((fds[0] = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)) >= 0 && fchown(fds[0], 65534, 65534) == 0);
	} else if (!strcmp(kind, "port"))
		inet(77, 0);
	else if (!strcmp(kind, "deleted"))
		file(O_RDWR, 1);
	else if (!strcmp(kind, "read"))
		file(O_RDONLY, 0);
	else if (!strcmp(kind, "write"))
		file(O_RDWR, 0);
	else if (!strcmp(kind, "signals"))
		must(pipe(fds) == 0 && fcntl(fds[0], F_SETOWN, getpid()) == 0);
	else if (!strcmp(kind, "bounding"))
		must(prctl(PR_CAPBSET_DROP, CAP_NET_RAW) == 0);
	else if (!strcmp(kind, "securebits"))
		must(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT) == 0);
}

int main(int argc, char **argv)
{
	gid_t group = 7;
	uid_t user;
	const char *kind = argv[1];

	must(argc == 3);
	user = atoi(argv[2]);
	must(fchmod(1, 0666) == 0); /* the restoring user opens it again */
	as_root(kind);
	must(setgroups(!strcmp(kind, "groups"), &group) == 0);
	must(prctl(PR_SET_KEEPCAPS, 1) == 0);
	must(setresgid(user, user, user) == 0 && setresuid(user, user, user) == 0);
	must(prctl(PR_SET_KEEPCAPS, 0) == 0);
	if (!strcmp(kind, "capability"))
		caps(1 << CAP_NET_RAW, 0);
	else if (!strcmp(kind, "inheritable"))
		caps(0, 1 << CAP_NET_RAW);
	else
		caps(0, 0);
	must(prctl(PR_SET_DUMPABLE, strcmp(kind, "undumpable") != 0) == 0);
	if (!strcmp(kind, "shared"))
		must(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
	printf("ready\n");
	fflush(stdout);
	for (;;)
		pause();
}
