/* Extended attributes, access list, set-user-id bit and write hint of a deleted
 * file. */
#include "check.h"
#include <sys/stat.h>
#include <sys/xattr.h>

#define GET_HINT 1035
#define SET_HINT 1036

int main(void)
{
	/* Version 2: owner rwx, user 1234 r-x, group r-x, mask r-x, others ---. */
	static const unsigned char acl[] = {
		2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 5, 0, 0xd2, 4, 0, 0,
		4, 0, 5, 0, 255, 255, 255, 255, 16, 0, 5, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255};
	/* Revision 2: CAP_NET_BIND_SERVICE permitted, and in effect. */
	static const unsigned char caps[] = {1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
	unsigned long hint = 3;
	unsigned char buf[256];
	struct stat st;
	int fd = open("gone", O_RDWR | O_CREAT | O_EXCL, 0600);

	must(fd >= 0 && write(fd, "text", 4) == 4 && fchmod(fd, 04750) == 0);
	must(fsetxattr(fd, "user.ckpt", "a\0value", 7, 0) == 0 && fsetxattr(fd, "user.empty", "", 0, 0) == 0);
	must(fsetxattr(fd, "system.posix_acl_access", acl, sizeof acl, 0) == 0 && fsetxattr(fd, "security.capability", caps, sizeof caps, 0) == 0);
	must(fcntl(fd, SET_HINT, &hint) == 0 && unlink("gone") == 0);
	save_me();
	hint = 0;
	check(fgetxattr(fd, "user.ckpt", buf, sizeof buf) == 7 && !memcmp(buf, "a\0value", 7));
	check(fgetxattr(fd, "user.empty", buf, sizeof buf) == 0);
	check(fgetxattr(fd, "system.posix_acl_access", buf, sizeof buf) == sizeof acl && !memcmp(buf, acl, sizeof acl), "the access list is another");
	check(fgetxattr(fd, "security.capability", buf, sizeof buf) == sizeof caps && !memcmp(buf, caps, sizeof caps), "%s", strerror(errno));
	check(fcntl(fd, GET_HINT, &hint) == 0 && hint == 3, "%lu", hint);
	check(fstat(fd, &st) == 0 && (st.st_mode & 07777) == 04750 && st.st_nlink == 0 && st.st_size == 4, "mode %o", st.st_mode);
	return finish();
}
