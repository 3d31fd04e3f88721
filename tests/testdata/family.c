/* A parent of 500 MiB and twenty children that share its pages copy on write, all
 * but one each. They check all of it when the file "go" appears. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define SIZE (500ul << 20)
#define WORDS (SIZE / sizeof(unsigned))

static int right(const unsigned *p, unsigned own)
{
	for (unsigned long i = 0; i < WORDS; i++)
		if (p[i] != (i == own * 1024ul ? own : (unsigned)i * 2654435761u))
			return 0;
	return 1;
}

int main(void)
{
	unsigned *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int status, bad = 0;

	for (unsigned long i = 0; i < WORDS; i++)
		p[i] = (unsigned)i * 2654435761u;
	for (unsigned k = 1; k <= 20; k++) {
		switch (fork()) {
		case -1:
			return 2;
		case 0:
			p[k * 1024] = k;
			while (access("go", F_OK))
				usleep(20000);
			_exit(!right(p, k));
		}
	}
	p[0] = 0;
	sleep(1);
	printf("ready\n");
	fflush(stdout);
	while (wait(&status) > 0)
		bad += status != 0;
	printf(bad || !right(p, 0) ? "%d children are wrong\n" : "pass\n", bad);
	return 0;
}
