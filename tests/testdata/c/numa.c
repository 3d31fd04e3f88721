/* NUMA policies: of a process, of a thread, of mappings; others, or none, in a child */
#include "threads.h"
#include <sys/mman.h>
#include <sys/wait.h>

enum { DEFAULT, PREFERRED, BIND, INTERLEAVE, LOCAL };
#define STATIC_NODES (1 << 15)
#define F_ADDR 2
#define MB (1 << 20)

static char *mem, *shared;

static void set(int mode, unsigned long nodes)
{
	must(syscall(SYS_set_mempolicy, mode, &nodes, 65) == 0);
}

static void bind_to(char *at, int mode, unsigned long nodes)
{
	must(syscall(SYS_mbind, at, MB, mode, &nodes, 65, 0) == 0);
}

static void is(char *at, int mode, unsigned long nodes)
{
	unsigned long mask[16] = {0};
	int got = -1;

	check(syscall(SYS_get_mempolicy, &got, mask, 1024, at, at ? F_ADDR : 0) == 0);
	check(got == mode && mask[0] == nodes, "at %p: %#x %#lx, not %#x %#lx", at, got, mask[0], mode, nodes);
}

static void thread(int arg)
{
	set(PREFERRED, 1);
	wait_restored();
	is(NULL, PREFERRED, 1);
}

static void parent_is(void)
{
	is(NULL, INTERLEAVE, 1);
	is(mem, DEFAULT, 0);
	is(mem + MB, BIND, 1);
	is(mem + 2 * MB, PREFERRED | STATIC_NODES, 1);
	is(mem + 3 * MB, LOCAL, 0);
	is(shared, BIND, 1);
	check(mem[0] == 1 && mem[MB] == 2 && mem[2 * MB] == 3 && shared[0] == 4);
}

static void child_is(void)
{
	is(NULL, DEFAULT, 0);
	is(mem, BIND, 1);
	is(mem + MB, DEFAULT, 0);
	is(mem + 2 * MB, PREFERRED | STATIC_NODES, 1);
	check(mem[0] == 1 && mem[MB] == 5 && mem[2 * MB] == 3 && shared[0] == 4);
}

int main(void)
{
	int kid, status;

	mem = mmap(0, 4 * MB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	shared = mmap(0, MB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(mem != MAP_FAILED && shared != MAP_FAILED);
	mem[0] = 1;
	mem[MB] = 2;
	mem[2 * MB] = 3;
	shared[0] = 4;
	bind_to(mem + MB, BIND, 1);
	bind_to(mem + 2 * MB, PREFERRED | STATIC_NODES, 1);
	bind_to(mem + 3 * MB, LOCAL, 0);
	bind_to(shared, BIND, 1);
	must((kid = fork()) >= 0);
	if (kid == 0) {
		bind_to(mem, BIND, 1);
		bind_to(mem + MB, DEFAULT, 0);
		mem[MB] = 5;
		close(open("child", O_CREAT | O_WRONLY, 0600));
		while (access("go", F_OK))
			usleep(1000);
		child_is();
		fflush(stdout);
		_exit(failures != 0);
	}
	while (access("child", F_OK))
		usleep(1000);
	start_thread(thread, 0);
	set(INTERLEAVE, 1);
	parent_is();
	must(failures == 0);
	save_me();
	parent_is();
	finish_threads();
	check(waitpid(kid, &status, 0) == kid && status == 0, "%x", status);
	return finish();
}
