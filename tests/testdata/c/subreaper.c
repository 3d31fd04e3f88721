/* A child subreaper inherits the grandchild whose parent ends after the restore. */
#include "check.h"
#include <sys/prctl.h>
#include <sys/wait.h>

int main(void)
{
	int ready[2], middle[2], last[2], v = 0, code;
	pid_t root = getpid(), child, grandchild;
	char c;

	must(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	must(pipe(ready) == 0 && pipe(middle) == 0 && pipe(last) == 0 && (child = fork()) >= 0);
	if (child == 0) {
		close(middle[1]);
		close(last[1]);
		if ((grandchild = fork()) == 0) {
			read(last[0], &c, 1);
			_exit(getppid() == root ? 5 : 6);
		}
		write(ready[1], &grandchild, sizeof grandchild);
		read(middle[0], &c, 1);
		prctl(PR_GET_CHILD_SUBREAPER, &v);
		_exit(v ? 4 : 3);
	}
	must(read(ready[0], &grandchild, sizeof grandchild) == sizeof grandchild && grandchild > 0);
	save_me();
	check(prctl(PR_GET_CHILD_SUBREAPER, &v) == 0 && v == 1);
	close(middle[1]);
	check(waitpid(child, &code, 0) == child && code == 3 << 8, "%#x", code);
	close(last[1]);
	check(waitpid(grandchild, &code, 0) == grandchild && code == 5 << 8, "%#x", code);
	return finish();
}
