/* Both sides of pseudoterminals in one process: settings, window, packet mode, locks,
 * owner, a side that is exclusive, was never opened, or was closed; and they work */
#include "pty.h"
#include <sys/syscall.h>

static int same(int a, int b)
{
	return syscall(SYS_kcmp, getpid(), getpid(), 0, a, b) == 0;
}

static int flags(int fd)
{
	return fcntl(fd, F_GETFL) & ~0100000; /* O_LARGEFILE, which glibc takes for 0 */
}

int main(void)
{
	struct pty p = open_pty(1), packet = open_pty(1), alone = open_pty(1), locked = open_pty(0), fresh = open_pty(0), hung = open_pty(1);
	int again = open(p.name, O_WRONLY | O_NOCTTY | O_NONBLOCK), twin = dup(p.slave), path = open(p.name, O_PATH), one = 1, n;
	struct termios t = {0}, u = {0};
	struct winsize w = {.ws_row = 33, .ws_col = 120, .ws_xpixel = 640, .ws_ypixel = 480};
	struct stat before, after;
	char buf[200];

	must(again >= 0 && twin >= 0 && path >= 0);
	must(tcgetattr(p.slave, &t) == 0);
	t.c_lflag &= ~ECHO;
	t.c_oflag &= ~ONLCR;
	t.c_cc[VINTR] = 'K';
	must(tcsetattr(p.slave, TCSANOW, &t) == 0 && ioctl(p.master, TIOCSWINSZ, &w) == 0);
	must(fchmod(p.slave, 0604) == 0 && fchown(p.slave, 1234, 5) == 0);
	must(fcntl(p.master, F_SETFL, O_NONBLOCK) == 0);
	must(ioctl(packet.master, TIOCPKT, &one) == 0);
	must(ioctl(alone.slave, TIOCEXCL) == 0);
	must(ioctl(locked.master, TIOCSPTLCK, &one) == 0);
	must(close(hung.slave) == 0 && hung_up(hung.master));
	must(fstat(p.slave, &before) == 0);
	save_me();

	check(ptsname_r(p.master, buf, sizeof buf) == 0 && strcmp(buf, p.name) == 0, "%s, was %s", buf, p.name);
	check(ttyname_r(twin, buf, sizeof buf) == 0 && strcmp(buf, p.name) == 0, "%s, was %s", buf, p.name);
	check(fstat(p.slave, &after) == 0 && after.st_rdev == before.st_rdev && after.st_mode == before.st_mode && after.st_uid == 1234 && after.st_gid == 5,
		"%o %d:%d", after.st_mode, after.st_uid, after.st_gid);
	check(stat(p.name, &before) == 0 && before.st_ino == after.st_ino);
	check(fstat(path, &after) == 0 && after.st_ino == before.st_ino && read(path, buf, 1) == -1 && errno == EBADF);
	check(same(p.slave, twin) && !same(p.slave, again) && !same(p.master, p.slave));
	check(flags(p.slave) == O_RDWR && flags(again) == (O_WRONLY | O_NONBLOCK), "%#o %#o", flags(p.slave), flags(again));
	check(flags(p.master) == (O_RDWR | O_NONBLOCK), "%#o", flags(p.master));
	check(tcgetattr(p.slave, &u) == 0 && memcmp(&t, &u, sizeof t) == 0);
	memset(&w, 0, sizeof w);
	check(ioctl(twin, TIOCGWINSZ, &w) == 0 && w.ws_row == 33 && w.ws_col == 120 && w.ws_xpixel == 640 && w.ws_ypixel == 480);
	check(tcgetsid(p.master) == -1 && errno == ENOTTY, "it controls a session");

	check(write(again, "out\n", 4) == 4 && comes(p.master, "out\n", buf, sizeof buf), "%s", buf);
	check(write(p.master, "in\n", 3) == 3 && comes(twin, "in\n", buf, sizeof buf), "%s", buf);
	check(read(p.master, buf, sizeof buf) == -1 && errno == EAGAIN, "it echoes");

	check(write(packet.slave, "x", 1) == 1);
	check(read(packet.master, buf, sizeof buf) == 2 && buf[0] == TIOCPKT_DATA && buf[1] == 'x');
	check(ioctl(packet.master, TIOCGPKT, &n) == 0 && n == 1 && ioctl(p.master, TIOCGPKT, &n) == 0 && n == 0);

	check(ioctl(alone.slave, TIOCGEXCL, &n) == 0 && n == 1 && ioctl(p.slave, TIOCGEXCL, &n) == 0 && n == 0);
	check(write(alone.slave, "y", 1) == 1 && comes(alone.master, "y", buf, sizeof buf));

	check(ioctl(locked.master, TIOCGPTLCK, &n) == 0 && n == 1);
	check(open(locked.name, O_RDWR | O_NOCTTY) == -1 && errno == EIO);
	check(unlockpt(locked.master) == 0 && (locked.slave = open(locked.name, O_RDWR | O_NOCTTY)) >= 0);
	check(write(locked.slave, "z", 1) == 1 && comes(locked.master, "z", buf, sizeof buf));

	check(ioctl(fresh.master, TIOCGPTLCK, &n) == 0 && n == 0 && !hung_up(fresh.master));
	check((fresh.slave = open(fresh.name, O_RDWR | O_NOCTTY)) >= 0 && write(fresh.slave, "f", 1) == 1 && comes(fresh.master, "f", buf, sizeof buf));

	check(hung_up(hung.master) && read(hung.master, buf, 1) == -1 && errno == EIO);
	check((hung.slave = open(hung.name, O_RDWR | O_NOCTTY)) >= 0 && !hung_up(hung.master));
	check(close(p.master) == 0 && hung_up(p.slave) && write(twin, "x", 1) == -1 && errno == EIO, "%s", strerror(errno));
	return finish();
}
