/* What processes have registered for with membarrier: all of it in one child, one command in another, nothing in the parent */
#include "check.h"
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static int membarrier(int cmd)
{
	return syscall(SYS_membarrier, cmd, 0, 0);
}

static const struct { int reg, use; } commands[] = {
	{MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0},
	{MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, MEMBARRIER_CMD_PRIVATE_EXPEDITED},
	{MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE},
	{1 << 8 /* REGISTER_PRIVATE_EXPEDITED_RSEQ */, 1 << 7},
};

/* works checks which commands can be used: they fail with EPERM before. */
static void works(int registered)
{
	int told = membarrier(1 << 9 /* GET_REGISTRATIONS */);

	for (int i = 1; i < 4; i++) {
		int want = registered >> i & 1 ? 0 : -1, got = membarrier(commands[i].use);

		check(got == want, "command %x: %d", commands[i].use, got);
		if (told >= 0)
			check(!(told & commands[i].reg) == !(registered >> i & 1), "%#x", told);
	}
	if (told >= 0)
		check(!(told & commands[0].reg) == !(registered & 1), "%#x", told);
}

static int child(int registered)
{
	int pid = fork();

	must(pid >= 0);
	if (pid > 0)
		return pid;
	for (int i = 0; i < 4; i++)
		if (registered >> i & 1)
			must(membarrier(commands[i].reg) == 0);
	close(open(registered == 15 ? "all" : "one", O_CREAT | O_WRONLY, 0600));
	while (access("go", F_OK))
		usleep(1000);
	works(registered);
	fflush(stdout);
	_exit(failures != 0);
}

int main(void)
{
	int kids[] = {child(15), child(2)}, status;

	while (access("all", F_OK) || access("one", F_OK))
		usleep(1000);
	works(0);
	must(failures == 0);
	save_me();
	works(0);
	for (int i = 0; i < 2; i++)
		check(waitpid(kids[i], &status, 0) == kids[i] && status == 0, "%x", status);
	return finish();
}
