/* Inotify: watches on file systems of the kernel, on tmpfs, the root folder, the program's own executable, FIFOs, sockets, devices and a memfd */
#include "inotify.h"
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

int main(void)
{
	static const char *where[] = {"/", "/proc", "/proc/self/exe", "/sys/kernel", "/sys/fs", "/dev/shm", "/dev/null", "fifo", "socket", "/etc/passwd"};
	enum { COUNT = sizeof where / sizeof *where };
	struct sockaddr_un sa = {.sun_family = AF_UNIX, .sun_path = "socket"};
	char name[64], link[64];
	int fd, s, f;

	must(mkfifo("fifo", 0600) == 0);
	must((s = socket(AF_UNIX, SOCK_DGRAM, 0)) >= 0 && bind(s, (void *)&sa, sizeof sa) == 0 && close(s) == 0);
	snprintf(name, sizeof name, "/dev/shm/ckpt-test-%d", getpid());
	must((fd = inotify_init1(IN_NONBLOCK)) >= 0);
	for (int i = 0; i < COUNT; i++)
		must(add(fd, where[i], IN_DELETE_SELF | IN_MOVE_SELF) == i + 1);
	touch(name);
	int mine = add(fd, name, IN_ATTRIB | IN_DELETE_SELF);
	int memory = memfd_create("watched", 0);
	snprintf(link, sizeof link, "/proc/self/fd/%d", memory);
	int in_memory = add(fd, link, IN_ATTRIB);
	must(waiting(fd) == 0);
	save_me();

	quiet(fd);
	for (int i = 0; i < COUNT; i++)
		check(mask_of(fd, i + 1) == (IN_DELETE_SELF | IN_MOVE_SELF), "%s: %#llx", where[i], mask_of(fd, i + 1));
	check(inotify_add_watch(fd, "/sys/kernel", IN_MASK_ADD | IN_DELETE_SELF) == 4);
	check(fchmod(memory, 0600) == 0);
	tells(fd, in_memory, IN_ATTRIB, "");
	check(rename("fifo", "pipe") == 0);
	tells(fd, 8, IN_MOVE_SELF, "");
	check(unlink("socket") == 0);
	tells(fd, 9, IN_DELETE_SELF, "");
	tells(fd, 9, IN_IGNORED, "");
	check((f = open(name, O_RDONLY)) >= 0 && unlink(name) == 0);
	tells(fd, mine, IN_ATTRIB, "");
	check(close(f) == 0);
	tells(fd, mine, IN_DELETE_SELF, "");
	tells(fd, mine, IN_IGNORED, "");
	return finish();
}
