/* A child subreaper has got a child of another session, whose leader is below
 * another child: it shares pages with the subreaper, copy on write. */
#include "check.h"
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define BYTES (64 << 10)

int main(void)
{
	int told[2];
	pid_t child, orphan = 0;
	volatile int *box = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char *mem = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(box != MAP_FAILED && mem != MAP_FAILED && prctl(PR_SET_CHILD_SUBREAPER, 1) == 0 && pipe(told) == 0);
	memset(mem, 'm', BYTES);
	must((child = fork()) >= 0);
	if (child == 0) {
		if (fork() == 0) { /* leads the session */
			setsid();
			if (fork() == 0) {
				if ((orphan = fork()) == 0) {
					while (!box[0])
						usleep(1000);
					int wrong = 0;
					for (int i = 0; i < BYTES; i++)
						wrong += mem[i] != 'm';
					_exit(wrong ? 3 : getsid(0) == box[1] ? 7 : 4);
				}
				box[1] = getsid(0);
				write(told[1], &orphan, sizeof orphan);
				_exit(0);
			}
			wait(NULL);
		}
		for (;;)
			pause();
	}
	must(read(told[0], &orphan, sizeof orphan) == sizeof orphan && orphan > 0);
	char path[64], line[64] = "";
	snprintf(path, sizeof path, "/proc/%d/stat", orphan);
	for (int parent = 0; parent != getpid(); usleep(1000)) {
		FILE *f = fopen(path, "r");
		must(f && fscanf(f, "%*d %63s %*c %d", line, &parent) == 2 && fclose(f) == 0);
	}
	save_me();
	int code;
	box[0] = 1;
	check(waitpid(orphan, &code, 0) == orphan && code == 7 << 8, "%#x", code);
	kill(child, SIGKILL);
	must(waitpid(child, &code, 0) == child);
	kill(box[1], SIGKILL);
	must(waitpid(box[1], &code, 0) == box[1]);
	return finish();
}
