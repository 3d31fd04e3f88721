/* Children that may not make memory executable (PR_SET_MDWE), one of whose own
 * children may again. */
#include "kids.h"
#include "proc.h"
#include <sys/prctl.h>

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_GET_MDWE 66
#endif

static void child(int bits)
{
	must(prctl(PR_SET_MDWE, bits, 0, 0, 0) == 0);
	char *p = anon(2 * PAGE);
	wait_restored();
	check(prctl(PR_GET_MDWE, 0, 0, 0, 0) == bits, "%d", prctl(PR_GET_MDWE, 0, 0, 0, 0));
	check(mprotect(p, PAGE, PROT_READ | PROT_EXEC) == -1 && errno == EACCES);
	check(mmap(NULL, PAGE, PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == EACCES);
	pid_t pid = fork();
	if (pid == 0)
		_exit(prctl(PR_GET_MDWE, 0, 0, 0, 0));
	int code;
	check(waitpid(pid, &code, 0) == pid && code == (bits & 2 ? 0 : bits) << 8, "%#x", code);
}

int main(void)
{
	start_kid(child, 1);
	start_kid(child, 1 | 2);
	save_me();
	char *p = anon(PAGE);
	check(prctl(PR_GET_MDWE, 0, 0, 0, 0) == 0);
	check(mprotect(p, PAGE, PROT_READ | PROT_EXEC) == 0);
	finish_kids();
	return finish();
}
