/* A deleted file that is set-user-id root and open in a process of another user
 * comes back without that bit, one that is the user's own with it. */
#include "check.h"
#include <sys/stat.h>

static int ghost(const char *name, mode_t mode, int id)
{
	int fd = open(name, O_RDWR | O_CREAT | O_EXCL, 0600);

	must(fd >= 0 && write(fd, "text", 4) == 4 && fchown(fd, id, id) == 0 && fchmod(fd, mode) == 0 && unlink(name) == 0);
	return fd;
}

static mode_t mode_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 ? st.st_mode & 07777 : -1;
}

int main(void)
{
	int roots = ghost("roots", 06755, 0), own = ghost("own", 06751, 1234);

	must(setresgid(1234, 1234, 1234) == 0 && setresuid(1234, 1234, 1234) == 0);
	save_me();
	check(mode_of(roots) == 0755, "%o", mode_of(roots));
	check(mode_of(own) == 06751, "%o", mode_of(own));
	return finish();
}
