/* Children that share with their parent: memory, signal actions, the descriptor
 * table, the working folder, semaphore undo lists, the I/O context; and siblings
 * that share a table with each other. */
#include "check.h"
#include <linux/kcmp.h>
#include <sched.h>
#include <signal.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static volatile int *box; /* shared by all */
static volatile int private = 1;
static void handler(int sig) {}

enum { VM, SIGHAND, FILES, FS, SYSVSEM, IO, TWIN, N };

static const struct { unsigned long flags; int kcmp; } how[N] = {
	{CLONE_VM, KCMP_VM}, {CLONE_VM | CLONE_SIGHAND, KCMP_SIGHAND}, {CLONE_FILES, KCMP_FILES},
	{CLONE_FS, KCMP_FS}, {CLONE_SYSVSEM, KCMP_SYSVSEM}, {CLONE_IO, KCMP_IO}, {0, KCMP_FILES},
};

static void act(int i)
{
	switch (i) {
	case VM:
		private = 42;
		break;
	case SIGHAND: {
		struct sigaction sa = {.sa_handler = handler};
		sigaction(SIGUSR2, &sa, NULL);
		break;
	}
	case FILES:
		dup2(0, 70);
		break;
	case FS:
		if (chdir("/usr"))
			box[60] = 1;
		break;
	case TWIN:
		dup2(0, 71);
	}
}

static int begin(void *arg);

static long child(long i, unsigned long flags)
{
	static char stacks[N + 1][65536] __attribute__((aligned(16)));

	return clone(begin, stacks[i] + sizeof stacks[i], flags | SIGCHLD, (void *)i);
}

static void rest(void) { syscall(SYS_poll, NULL, 0, 1); }

static int begin(void *arg)
{
	long i = (long)arg;

	if (i == TWIN) /* makes its sibling */
		box[50] = child(N, CLONE_FILES | CLONE_PARENT);
	box[20 + i] = 1;
	while (!box[0])
		rest();
	if (i < N)
		act(i);
	while (i == N && !box[40 + TWIN])
		rest();
	if (i == N)
		box[51] = fcntl(71, F_GETFD) == 0;
	box[40 + i] = 1;
	while (i == TWIN && !box[40 + N])
		rest();
	syscall(SYS_exit, i + 1);
	return 0;
}

int main(void)
{
	long pid[N];
	char cwd[4096], now[4096];
	int status, sem = semget(IPC_PRIVATE, 1, 0600);

	box = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(box != MAP_FAILED && getcwd(cwd, sizeof cwd) && sem >= 0);
	struct sembuf up = {.sem_op = 1, .sem_flg = SEM_UNDO};
	must(semop(sem, &up, 1) == 0 && syscall(SYS_ioprio_set, 1, 0, 4 << 13 >> 1 | 3) == 0);
	for (int i = 0; i < N; i++) {
		must((pid[i] = child(i, how[i].flags)) > 0);
		while (!box[20 + i] || (i == TWIN && !box[20 + N]))
			usleep(1000);
	}
	pid_t me = getpid();
	for (int i = 0; i < N; i++)
		must(syscall(SYS_kcmp, i == TWIN ? box[50] : me, pid[i], how[i].kcmp, 0, 0) == 0);
	must(syscall(SYS_kcmp, me, pid[TWIN], KCMP_FILES, 0, 0) != 0);
	save_me();
	for (int i = 0; i < N; i++) {
		check(syscall(SYS_kcmp, i == TWIN ? box[50] : me, pid[i], how[i].kcmp, 0, 0) == 0, "%d is not shared", i);
		for (int k = VM; k <= IO && i != TWIN; k++)
			if (k != i && !(how[i].flags == (CLONE_VM | CLONE_SIGHAND) && k == VM))
				check(syscall(SYS_kcmp, me, pid[i], how[k].kcmp, 0, 0) != 0, "child %d shares %d", i, k);
	}
	check(syscall(SYS_kcmp, me, pid[TWIN], KCMP_FILES, 0, 0) != 0);
	box[0] = 1;
	for (int i = 0; i < N; i++)
		check(waitpid(pid[i], &status, __WALL) == pid[i] && WEXITSTATUS(status) == i + 1, "%d: %#x", i, status);
	check(waitpid(box[50], &status, __WALL) == box[50] && WEXITSTATUS(status) == N + 1);
	struct sigaction sa;
	check(private == 42 && sigaction(SIGUSR2, NULL, &sa) == 0 && sa.sa_handler == handler);
	check(fcntl(70, F_GETFD) == 0 && getcwd(now, sizeof now) && !strcmp(now, "/usr"), "%s", now);
	check(box[51] && fcntl(71, F_GETFD) == -1);
	semctl(sem, 0, IPC_RMID);
	return finish();
}
