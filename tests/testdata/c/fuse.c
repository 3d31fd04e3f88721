/* A program with a file open and mapped on FUSE, and working in a folder there,
 * whose server is its child (inside) or its parent (outside), answers until the
 * file is open and then never again. Its list of robust mutexes is there. The file system is mounted on ./mnt, or was
 * and is not any more (detached), or is mounted over the file, which is none of
 * its own (covered). */
#include "check.h"
#include <linux/fuse.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static int dev, covered, detached;

static void answer(const struct fuse_in_header *in, const void *body, size_t n, int error)
{
	char buf[512];
	struct fuse_out_header out = {.len = sizeof out + n, .error = error, .unique = in->unique};

	memcpy(buf, &out, sizeof out);
	if (n)
		memcpy(buf + sizeof out, body, n);
	must(write(dev, buf, out.len) == (ssize_t)out.len);
}

static struct fuse_attr attr(uint64_t ino)
{
	return (struct fuse_attr){.ino = ino, .mode = ino == 1 ? S_IFDIR | 0755 : S_IFREG | 0644, .nlink = 1, .size = 3};
}

/* serve answers until a file is open, and then reads on without a word. */
static void serve(void)
{
	static char buf[1 << 17];

	for (int opened = covered;;) {
		ssize_t n = read(dev, buf, sizeof buf);
		struct fuse_in_header *in = (void *)buf;

		if (n < 0 && errno == ENODEV)
			exit(0);
		if (n < 0)
			continue;
		if (opened && in->opcode != FUSE_INIT)
			continue;
		switch (in->opcode) {
		case FUSE_INIT:
			answer(in, &(struct fuse_init_out){.major = 7, .minor = 31, .max_write = 4096}, sizeof(struct fuse_init_out), 0);
			break;
		case FUSE_LOOKUP:
			answer(in, &(struct fuse_entry_out){.nodeid = 2, .attr = attr(2)}, sizeof(struct fuse_entry_out), 0);
			break;
		case FUSE_GETATTR:
			answer(in, &(struct fuse_attr_out){.attr = attr(in->nodeid)}, sizeof(struct fuse_attr_out), 0);
			break;
		case FUSE_OPEN:
			answer(in, &(struct fuse_open_out){.fh = 1}, sizeof(struct fuse_open_out), 0);
			opened = 1;
			break;
		case FUSE_FORGET:
			break;
		default:
			answer(in, NULL, 0, -ENOSYS);
		}
	}
}

static void use(void)
{
	char *mnt = realpath("mnt", NULL);
	char *map;
	int fd;

	if (!covered) {
		must(mnt && chdir("mnt") == 0 && (fd = open("f", O_RDONLY)) >= 0);
		must((map = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0)) != MAP_FAILED);
		/* Who looks at the list reads the memory, and waits for the server. */
		must(syscall(SYS_set_robust_list, map, 24) == 0);
	}
	must(!detached || umount2(mnt, MNT_DETACH) == 0);
	printf("ready %d\n", getpid());
	fflush(stdout);
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	char opts[100];
	int outside = argc > 1 && !strcmp(argv[1], "outside");
	pid_t child;

	detached = argc > 2 && !strcmp(argv[2], "detached");
	covered = argc > 2 && !strcmp(argv[2], "covered");
	must(mkdir("mnt", 0755) == 0);
	must(!covered || open("mnt/f", O_RDWR | O_CREAT, 0600) >= 0);
	must((dev = open("/dev/fuse", O_RDWR | O_CLOEXEC)) >= 0);
	snprintf(opts, sizeof opts, "fd=%d,rootmode=40000,user_id=0,group_id=0", dev);
	must(mount("test", "mnt", "fuse.test", 0, opts) == 0);
	must((child = fork()) >= 0);
	if ((child == 0) == outside) {
		close(dev);
		use();
	}
	serve();
}
