/* A MAP_DROPPABLE mapping is there and of its kind; what is in it may have been
 * dropped. */
#include "proc.h"
#include <sys/wait.h>

#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08
#endif

int main(void)
{
	char *p = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_DROPPABLE | MAP_ANONYMOUS, -1);
	int code;

	memset(p, 'd', 2 * PAGE);
	must(has_flag(p, "dp"));
	save_me();
	check(has_flag(p, "dp") && has_flag(p, "wf") && has_flag(p, "dd") && has_flag(p + 3 * PAGE, "dp"), "%s", smaps(p, "VmFlags:"));
	for (int i = 0; i < 4; i++) {
		check(p[i * PAGE] == 0 || (i < 2 && p[i * PAGE] == 'd'), "page %d", i);
		p[i * PAGE] = 'n';
		check(p[i * PAGE] == 'n');
	}
	pid_t pid = fork();
	if (pid == 0)
		_exit(p[0]);
	check(waitpid(pid, &code, 0) == pid && code == 0, "%#x", code);
	return finish();
}
