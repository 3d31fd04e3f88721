/* Private mappings of shared memory (a memfd, a file in /dev/shm, shared anonymous
 * memory): pages that were only read are still the object's, those that were
 * written are their own, and a child forked before has the same. */
#include "kids.h"
#include "proc.h"

#define N 3

static char *shared[N], *private[N];
static const char *kinds[N] = {"memfd", "file in /dev/shm", "shared anonymous memory"};

static void follows(void)
{
	for (int i = 0; i < N; i++) {
		check(private[i][PAGE] == 'p' && shared[i][PAGE] == 'B', "%s: the page that was written", kinds[i]);
		check(private[i][2 * PAGE] == 'N', "%s: the page that was only read is %#x", kinds[i], private[i][2 * PAGE]);
		check(private[i][3 * PAGE] == 'M', "%s: the page never touched is %#x", kinds[i], private[i][3 * PAGE]);
		check(private[i][0] == 'h', "%s: %#x", kinds[i], private[i][0]);
	}
}

static void child(int arg)
{
	for (int i = 0; i < N; i++)
		must(private[i][2 * PAGE] == 'c');
	wait_restored();
	follows();
}

int main(void)
{
	char name[64];
	int fd[N];
	unsigned long a;

	snprintf(name, sizeof name, "/dev/shm/ckpt-follows-%d", getpid());
	must((fd[0] = memfd_create("m", 0)) >= 0 && (fd[1] = open(name, O_RDWR | O_CREAT | O_EXCL, 0600)) >= 0);
	shared[2] = map(5 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1);
	a = (unsigned long)shared[2];
	snprintf(name, sizeof name, "/proc/self/map_files/%lx-%lx", a, a + 5 * PAGE);
	must((fd[2] = open(name, O_RDWR)) >= 0);
	for (int i = 0; i < N; i++) {
		if (i < 2) {
			must(ftruncate(fd[i], 5 * PAGE) == 0);
			shared[i] = map(5 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd[i]);
		}
		private[i] = map(5 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd[i]);
		shared[i][0] = 'h', shared[i][PAGE] = 'b', shared[i][2 * PAGE] = 'c', shared[i][3 * PAGE] = 'd';
		private[i][PAGE] = 'p';
		must(private[i][0] == 'h' && private[i][2 * PAGE] == 'c');
		close(fd[i]);
	}
	start_kid(child, 0);
	save_me();
	for (int i = 0; i < N; i++)
		shared[i][PAGE] = 'B', shared[i][2 * PAGE] = 'N', shared[i][3 * PAGE] = 'M';
	follows();
	finish_kids();
	snprintf(name, sizeof name, "/dev/shm/ckpt-follows-%d", getpid());
	check(unlink(name) == 0);
	return finish();
}
