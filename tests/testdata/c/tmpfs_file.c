/* A file in /dev/shm, mapped shared by parent and child, and private. */
#include "kids.h"
#include "proc.h"

static char *shared, *private;

static void child(int arg)
{
	wait_restored();
	check(shared[0] == 's' && private[0] == 's' && private[PAGE] == 'p' && shared[PAGE] == 0);
	check(within(shared[1] == 'P'), "the parent's write is not seen");
	shared[2 * PAGE] = 'C';
}

int main(void)
{
	char name[64], c;

	snprintf(name, sizeof name, "/dev/shm/ckpt-test-%d", getpid());
	int fd = open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
	must(fd >= 0 && ftruncate(fd, 4 * PAGE) == 0);
	shared = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	private = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd);
	shared[0] = 's';
	private[PAGE] = 'p';
	start_kid(child, 0);
	save_me();
	check(shared[0] == 's' && private[0] == 's' && private[PAGE] == 'p' && shared[PAGE] == 0);
	shared[1] = 'P';
	finish_kids();
	check(shared[2 * PAGE] == 'C', "the child's write is not seen");
	check(private[2 * PAGE] == 'C', "the private mapping is another file");
	check(pread(fd, &c, 1, 2 * PAGE) == 1 && c == 'C', "the descriptor is another file");
	close(fd);
	fd = open(name, O_RDONLY);
	check(pread(fd, &c, 1, 1) == 1 && c == 'P', "the file is another");
	check(unlink(name) == 0);
	return finish();
}
