/* The file mode masks of several processes. */
#include "kids.h"
#include <sys/stat.h>

static const int masks[] = {0, 022, 077, 0777};

static void child(int i)
{
	char name[] = "file0";
	struct stat st;

	umask(masks[i]);
	wait_restored();
	name[4] += i;
	check(close(open(name, O_CREAT | O_WRONLY, 0777)) == 0 && stat(name, &st) == 0);
	check((st.st_mode & 0777) == (0777u & ~masks[i]), "%o", st.st_mode);
	check(umask(0) == (mode_t)masks[i]);
}

int main(void)
{
	umask(0131);
	for (int i = 0; i < 4; i++)
		start_kid(child, i);
	save_me();
	finish_kids();
	check(umask(0) == 0131);
	return finish();
}
