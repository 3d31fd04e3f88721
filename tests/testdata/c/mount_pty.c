/* A pseudoterminal of a devpts of its own, which is mounted as a console, too, and a free one
 * whose other side nobody has open. */
#include "mounts.h"
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <termios.h>

static int master_of(int number)
{
	int fd = open("/dev/ptmx", O_RDWR | O_NOCTTY), zero = 0, n;

	must(fd >= 0 && ioctl(fd, TIOCSPTLCK, &zero) == 0 && ioctl(fd, TIOCGPTN, &n) == 0);
	check(n == number, "pseudoterminal %d, not %d", n, number);
	return fd;
}

int main(void)
{
	struct termios raw;
	struct stat a, b;
	char *before, buf[8] = "";
	int master, other, slave, n;

	own_mounts();
	must(mount("own", "/dev/pts", "devpts", 0, "newinstance,mode=620,ptmxmode=666") == 0);
	must(mount("/dev/pts/ptmx", "/dev/ptmx", NULL, MS_BIND, NULL) == 0);
	master = master_of(0);
	other = master_of(1);
	put("console", "");
	must(mount("/dev/pts/0", "console", NULL, MS_BIND, NULL) == 0);
	must((slave = open("/dev/pts/0", O_RDWR | O_NOCTTY)) >= 0 && tcgetattr(slave, &raw) == 0);
	cfmakeraw(&raw);
	must(tcsetattr(slave, TCSANOW, &raw) == 0);
	must(chmod("/dev/pts/1", 0600) == 0 && chown("/dev/pts/1", 5, 6) == 0);
	before = table();
	save_me();
	same_table(before);
	check(write(master, "in", 2) == 2 && read(slave, buf, sizeof buf) == 2 && strcmp(buf, "in") == 0);
	check(write(slave, "out", 3) == 3 && read(master, buf, sizeof buf) == 3 && strncmp(buf, "out", 3) == 0);
	check(stat("console", &a) == 0 && fstat(slave, &b) == 0 && a.st_ino == b.st_ino && a.st_dev == b.st_dev && a.st_rdev == makedev(136, 0));
	check(ioctl(other, TIOCGPTN, &n) == 0 && n == 1);
	check(stat("/dev/pts/1", &a) == 0 && a.st_uid == 5 && a.st_gid == 6 && (a.st_mode & 07777) == 0600);
	close(master_of(2));
	return finish();
}
