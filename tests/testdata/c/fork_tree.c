/* Three generations: ids, parents, and each waits for its children's statuses. */
#include "kids.h"

static volatile struct { pid_t pid, ppid; } *was;

static int generation(int depth, int n)
{
	pid_t child[2] = {0};
	int bad = 0, status;

	was[n].pid = getpid(), was[n].ppid = getppid();
	for (int i = 0; depth > 0 && i < 2; i++) {
		if ((child[i] = fork()) == 0)
			_exit(generation(depth - 1, 2 * n + 1 + i));
		must(child[i] > 0);
	}
	if (n == 0) {
		while (!was[14].pid || !was[7].pid)
			usleep(1000);
		save_me();
		was[31].pid = 1;
	}
	while (!was[31].pid)
		usleep(1000);
	bad |= was[n].pid != getpid() || (n > 0 && was[n].ppid != getppid());
	for (int i = 0; depth > 0 && i < 2; i++)
		bad |= waitpid(child[i], &status, 0) != child[i] || !WIFEXITED(status) || WEXITSTATUS(status) != (depth == 1 ? 10 + 2 * n + 1 + i : 0);
	return depth == 0 && !bad ? 10 + n : bad;
}

int main(void)
{
	was = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(was != MAP_FAILED);
	check(generation(3, 0) == 0);
	return finish();
}
