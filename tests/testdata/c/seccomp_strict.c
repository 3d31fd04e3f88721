/* Children in strict seccomp mode, where only read, write and exit are allowed,
 * blocked in read. One then answers, the other does what is forbidden. */
#include "proc.h"
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

int main(void)
{
	int question[2][2], answer[2][2], code;
	pid_t pid[2];
	char name[64], c;

	for (int i = 0; i < 2; i++) {
		must(pipe(question[i]) == 0 && pipe(answer[i]) == 0 && (pid[i] = fork()) >= 0);
		if (pid[i] == 0) {
			if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0)
				_exit(2);
			read(question[i][0], &c, 1);
			if (i == 1)
				syscall(SYS_getpid);
			c++;
			write(answer[i][1], &c, 1);
			syscall(SYS_exit, 7);
		}
		close(answer[i][1]);
		snprintf(name, sizeof name, "/proc/%d/syscall", pid[i]);
		while (!SAME(status_of(pid[i], "Seccomp"), "1") || strncmp(slurp(name), "0 ", 2)) {
			must(waitpid(pid[i], NULL, WNOHANG) == 0);
			usleep(1000);
		}
	}
	save_me();
	for (int i = 0; i < 2; i++) {
		check(SAME(status_of(pid[i], "Seccomp"), "1"), "%s", status_of(pid[i], "Seccomp"));
		check(write(question[i][1], "a", 1) == 1);
	}
	check(read(answer[0][0], &c, 1) == 1 && c == 'b');
	check(waitpid(pid[0], &code, 0) == pid[0] && WIFEXITED(code) && WEXITSTATUS(code) == 7, "%#x", code);
	check(read(answer[1][0], &c, 1) == 0);
	check(waitpid(pid[1], &code, 0) == pid[1] && WIFSIGNALED(code) && WTERMSIG(code) == SIGKILL, "%#x", code);
	return finish();
}
