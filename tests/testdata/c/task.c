/* What a process has besides memory and descriptors. */
#include "check.h"
#include <sched.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/auxv.h>

static char *slurp(const char *name, size_t *n)
{
	static char buf[4][65536];
	static int i;
	int fd = open(name, O_RDONLY);
	char *b = buf[i++ % 4];

	*n = 0;
	for (ssize_t k; fd >= 0 && (k = read(fd, b + *n, 65535 - *n)) > 0;)
		*n += k;
	b[*n] = 0;
	close(fd);
	return b;
}

int main(int argc, char **argv)
{
	char cwd[4096], name[16], exe[4096], now[4096];
	struct rlimit lim = {.rlim_cur = 77, .rlim_max = 99}, core = {.rlim_cur = 4096, .rlim_max = 8192};
	struct sched_param param = {0};
	cpu_set_t cpus;
	size_t n, m;
	int sub;

	umask(027);
	must(mkdir("sub", 0700) == 0 && chdir("sub") == 0);
	must(setrlimit(RLIMIT_NOFILE, &lim) == 0 && setrlimit(RLIMIT_CORE, &core) == 0);
	must(setpriority(PRIO_PROCESS, 0, 5) == 0);
	must(sched_setscheduler(0, SCHED_BATCH, &param) == 0);
	CPU_ZERO(&cpus);
	CPU_SET(0, &cpus);
	must(sched_setaffinity(0, sizeof cpus, &cpus) == 0);
	must(syscall(SYS_ioprio_set, 1, 0, 2 << 13 | 6) == 0);
	must(personality(ADDR_NO_RANDOMIZE) != -1);
	must((sub = open("/proc/self/oom_score_adj", O_WRONLY)) >= 0 && write(sub, "123", 3) == 3 && close(sub) == 0);
	must((sub = open("/proc/self/coredump_filter", O_WRONLY)) >= 0 && write(sub, "0x7", 3) == 3 && close(sub) == 0);
	must(prctl(PR_SET_NAME, "odd ) name") == 0);
	must(prctl(PR_SET_TIMERSLACK, 123456) == 0 && prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0);
	must(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0 && prctl(PR_SET_PDEATHSIG, 23) == 0);
	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_DUMPABLE, 0) == 0 && prctl(PR_SET_DUMPABLE, 1) == 0);
	must(readlink("/proc/self/exe", exe, sizeof exe) > 0);
	pid_t pid = getpid(), sid = getsid(0), pgid = getpgrp();
	unsigned long random = getauxval(AT_RANDOM);
	must(getcwd(cwd, sizeof cwd));
	chdir("..");
	char *before = slurp("/proc/self/cmdline", &n);
	char *aux = slurp("/proc/self/auxv", &m);
	chdir("sub");

	printf("ready\n");
	fflush(stdout);
	while (access("../go", F_OK))
		usleep(1000);

	check(getpid() == pid && getsid(0) == sid && getpgrp() == pgid);
	check(umask(0) == 027);
	check(getcwd(now, sizeof now) && !strcmp(cwd, now), "%s", now);
	memset(&lim, 0, sizeof lim);
	check(getrlimit(RLIMIT_NOFILE, &lim) == 0 && lim.rlim_cur == 77 && lim.rlim_max == 99);
	check(getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_cur == 4096 && core.rlim_max == 8192);
	check(getpriority(PRIO_PROCESS, 0) == 5);
	check(sched_getscheduler(0) == SCHED_BATCH);
	CPU_ZERO(&cpus);
	check(sched_getaffinity(0, sizeof cpus, &cpus) == 0 && CPU_COUNT(&cpus) == 1 && CPU_ISSET(0, &cpus));
	check(syscall(SYS_ioprio_get, 1, 0) == (2 << 13 | 6));
	check(personality(0xffffffff) == ADDR_NO_RANDOMIZE);
	size_t k;
	check(!strcmp(slurp("/proc/self/oom_score_adj", &k), "123\n"));
	check(!strcmp(slurp("/proc/self/coredump_filter", &k), "00000007\n"));
	check(prctl(PR_GET_NAME, name) == 0 && !strcmp(name, "odd ) name"), "%s", name);
	check(prctl(PR_GET_TIMERSLACK) == 123456);
	check(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 1);
	int v = 0;
	check(prctl(PR_GET_CHILD_SUBREAPER, &v) == 0 && v == 1);
	check(prctl(PR_GET_PDEATHSIG, &v) == 0 && v == 23);
	check(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 && prctl(PR_GET_DUMPABLE) == 1);
	memset(now, 0, sizeof now);
	check(readlink("/proc/self/exe", now, sizeof now) > 0 && !strncmp(now, exe, strlen(now)), "%s", now);
	char *after = slurp("/proc/self/cmdline", &k);
	check(k == n && !memcmp(before, after, n));
	char *aux2 = slurp("/proc/self/auxv", &k);
	check(k == m && m > 0 && !memcmp(aux, aux2, m));
	check(getauxval(AT_RANDOM) == random && getenv("LC_ALL"));
	return finish();
}
