/* MADV_DONTFORK on a part of a mapping: a child forked after the restore does
 * not have that part. */
#include "proc.h"
#include <sys/wait.h>

int main(void)
{
	char *p = anon(6 * PAGE);
	int code;

	memset(p, 'd', 6 * PAGE);
	must(madvise(p + 2 * PAGE, 2 * PAGE, MADV_DONTFORK) == 0 && has_flag(p + 2 * PAGE, "dc"));
	save_me();
	check(!has_flag(p + PAGE, "dc") && has_flag(p + 2 * PAGE, "dc") && has_flag(p + 3 * PAGE, "dc") && !has_flag(p + 4 * PAGE, "dc"));
	for (int i = 0; i < 6; i++)
		check(p[i * PAGE] == 'd');
	pid_t pid = fork();
	if (pid == 0) {
		code = 0;
		for (int i = 0; i < 6; i++)
			code |= faults(p + i * PAGE) << i;
		_exit(code);
	}
	check(waitpid(pid, &code, 0) == pid && code == 0x0c << 8, "%#x", code);
	return finish();
}
