/* Files and folders of /proc: its own, of a thread, of parent and child, of the
 * system, by every way to them; each is of the same task after the restore. */
#include "kids.h"
#include <dirent.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static char text[65536];

/* reread reads an open file from its beginning. */
static const char *reread(int fd)
{
	ssize_t n = pread(fd, text, sizeof text - 1, 0);

	text[n < 0 ? 0 : n] = 0;
	return text;
}

static int leads(int fd, const char *format, int a, int b)
{
	char link[64], path[256], want[256];
	ssize_t n;

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof path - 1);
	path[n < 0 ? 0 : n] = 0;
	snprintf(want, sizeof want, format, a, b);
	return strcmp(path, want) == 0;
}

static int of_parent;

static void child(int i)
{
	(void)i;
	snprintf(text, sizeof text, "/proc/%d/stat", getppid());
	must((of_parent = open(text, O_RDONLY)) >= 0);
	must(chdir("/proc/self/task") == 0);
	wait_restored();
	check(atoi(reread(of_parent)) == getppid(), "%s", text);
	check(access("../maps", R_OK) == 0);
	must(getcwd(text, sizeof text) != NULL);
	check(strncmp(text, "/proc/", 6) == 0 && atoi(text + 6) == getpid() && strstr(text, "/task"), "%s", text);
	must(chdir("/") == 0);
}

static volatile pid_t tid;
static volatile int looked;

static void *thread(void *p)
{
	tid = syscall(SYS_gettid);
	while (!looked)
		usleep(1000);
	return p;
}

static volatile int marker = 4711;

int main(void)
{
	pthread_t t;
	struct dirent *e;
	DIR *d;
	int entries = 0, got = 0, stat_fd, maps, mem, self, dir, info, system, kid, of_thread, path, net;

	start_kid(child, 0);
	must(pthread_create(&t, NULL, thread, NULL) == 0);
	while (!tid)
		usleep(500);
	must((stat_fd = open("/proc/self/stat", O_RDONLY)) >= 0 && read(stat_fd, text, 1) == 1);
	must((maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC)) >= 0);
	must((mem = open("/proc/self/mem", O_RDWR)) >= 0);
	must((self = open("/proc/self", O_RDONLY | O_DIRECTORY)) >= 0);
	must((path = open("/proc/self", O_PATH)) >= 0);
	must((dir = open("/proc/thread-self/fd", O_RDONLY | O_DIRECTORY)) >= 0);
	snprintf(text, sizeof text, "/proc/self/fdinfo/%d", dup2(self, 60));
	must((info = open(text, O_RDONLY)) >= 0);
	must((system = open("/proc/meminfo", O_RDONLY)) >= 0);
	snprintf(text, sizeof text, "/proc/%d/stat", kid_pid[0]);
	must((kid = open(text, O_RDONLY)) >= 0);
	snprintf(text, sizeof text, "/proc/self/task/%d/stat", tid);
	must((of_thread = open(text, O_RDONLY)) >= 0);
	must((net = open("/proc/self/net/dev", O_RDONLY)) >= 0);
	must(access("/proc/self/net/dev", R_OK) == 0); /* proc(5) forgets the name of the one that is open */
	must(leads(net, "/proc/%d/net/dev (deleted)", getpid(), 0));
	save_me();
	check(lseek(stat_fd, 0, SEEK_CUR) == 1);
	check(atoi(reread(stat_fd)) == getpid(), "%s", text);
	check(strstr(reread(maps), "[stack]") != NULL && (fcntl(maps, F_GETFD) & FD_CLOEXEC));
	check(pread(mem, &got, sizeof got, (off_t)(uintptr_t)&marker) == sizeof got && got == 4711);
	got = 5;
	check(pwrite(mem, &got, sizeof got, (off_t)(uintptr_t)&marker) == sizeof got && marker == 5);
	check(faccessat(self, "maps", R_OK, 0) == 0 && leads(self, "/proc/%d", getpid(), 0));
	check(faccessat(path, "maps", R_OK, 0) == 0 && (fcntl(path, F_GETFL) & O_PATH));
	check(leads(dir, "/proc/%d/task/%d/fd", getpid(), getpid()));
	must((d = fdopendir(dir)) != NULL);
	while ((e = readdir(d)))
		entries += atoi(e->d_name) == 60;
	check(entries == 1);
	check(strncmp(reread(info), "pos:", 4) == 0, "%s", text);
	check(strstr(reread(system), "MemTotal") != NULL);
	check(atoi(reread(kid)) == kid_pid[0], "%s", text);
	check(atoi(reread(of_thread)) == tid, "%s", text);
	check(strncmp(reread(net), "Inter-|", 7) == 0, "%s", text);
	looked = 1;
	must(pthread_join(t, NULL) == 0);
	finish_kids();
	return finish();
}
