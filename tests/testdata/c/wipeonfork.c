/* MADV_WIPEONFORK on a part of a mapping: in a child forked after the restore
 * that part has zeros. */
#include "proc.h"
#include <sys/wait.h>

int main(void)
{
	char *p = anon(6 * PAGE);
	int code;

	memset(p, 'w', 6 * PAGE);
	must(madvise(p + 2 * PAGE, 2 * PAGE, MADV_WIPEONFORK) == 0 && has_flag(p + 2 * PAGE, "wf"));
	save_me();
	check(!has_flag(p + PAGE, "wf") && has_flag(p + 2 * PAGE, "wf") && has_flag(p + 3 * PAGE, "wf") && !has_flag(p + 4 * PAGE, "wf"));
	for (int i = 0; i < 6; i++)
		check(p[i * PAGE] == 'w');
	pid_t pid = fork();
	if (pid == 0) {
		code = 0;
		for (int i = 0; i < 6; i++)
			code |= (p[i * PAGE] == 0) << i;
		_exit(code);
	}
	check(waitpid(pid, &code, 0) == pid && code == 0x0c << 8, "%#x", code);
	return finish();
}
