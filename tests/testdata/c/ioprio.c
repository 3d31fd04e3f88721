/* Priorities of input and output: each class, in children. */
#include "kids.h"

enum { RT = 1 << 13, BE = 2 << 13, IDLE = 3 << 13 };
static const int values[] = {RT | 3, BE | 0, BE | 7, IDLE};

static void child(int i)
{
	must(syscall(SYS_ioprio_set, 1, 0, values[i]) == 0);
	wait_restored();
	check(syscall(SYS_ioprio_get, 1, 0) == values[i], "%#lx", syscall(SYS_ioprio_get, 1, 0));
}

int main(void)
{
	for (int i = 0; i < 4; i++)
		start_kid(child, i);
	int before = syscall(SYS_ioprio_get, 1, 0);
	must(before != -1);
	save_me();
	check(syscall(SYS_ioprio_get, 1, 0) == before, "%#x, now %#lx", before, syscall(SYS_ioprio_get, 1, 0));
	finish_kids();
	return finish();
}
