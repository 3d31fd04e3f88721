/* What parent and children share by descriptors and memory: an offset, pipes in
 * both directions with bytes in them, a shared mapping; one child has run itself
 * anew with execve. */
#include "kids.h"
#include "proc.h"

static volatile int *shared;
static int fd, to[2], from[2];

static void reader(int arg)
{
	char b[16] = {0};

	wait_restored();
	check(read(fd, b, 4) == 4 && !memcmp(b, "4567", 4), "%s", b);
	check(read(to[0], b, 6) == 6 && !memcmp(b, "before", 6), "%s", b);
	check(write(from[1], "answer", 6) == 6);
	__sync_fetch_and_add(&shared[0], 5);
	check(within(shared[1] == 77));
}

int main(int argc, char **argv)
{
	char b[16] = {0};
	int status, ran[2];

	if (argc > 1) { /* after execve */
		while (read(atoi(argv[1]), b, 1) == -1 && errno == EINTR)
			;
		_exit(b[0] == 'x' && !strcmp(argv[2], "an argument") ? 6 : 7);
	}
	must(pipe(to) == 0 && pipe2(ran, O_CLOEXEC) == 0);
	pid_t again = fork();
	if (again == 0) {
		char n[16];
		snprintf(n, sizeof n, "%d", to[0]);
		execl("/proc/self/exe", "again", n, "an argument", NULL);
		_exit(8);
	}
	close(ran[1]);
	must(read(ran[0], b, 1) == 0); /* closed by its execve */
	close(ran[0]);
	int first[2] = {to[0], to[1]};
	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(pipe(to) == 0 && pipe(from) == 0 && (fd = open("text", O_RDWR | O_CREAT, 0600)) >= 0 && write(fd, "0123456789", 10) == 10);
	must(lseek(fd, 4, SEEK_SET) == 4 && write(to[1], "before", 6) == 6);
	shared[0] = 100;
	start_kid(reader, 0);
	save_me();
	close(gate[1]); /* lets the child go on */
	check(read(from[0], b, 6) == 6 && !memcmp(b, "answer", 6), "%s", b);
	check(lseek(fd, 0, SEEK_CUR) == 8, "%ld", (long)lseek(fd, 0, SEEK_CUR));
	check(within(shared[0] == 105));
	shared[1] = 77;
	finish_kids();
	check(write(first[1], "x", 1) == 1 && waitpid(again, &status, 0) == again && WEXITSTATUS(status) == 6, "%#x", status);
	return finish();
}
