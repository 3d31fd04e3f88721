/* MADV_SEQUENTIAL and MADV_RANDOM on parts of a file's mapping and of memory. */
#include "proc.h"

static void advise(char *p)
{
	must(madvise(p + PAGE, PAGE, MADV_SEQUENTIAL) == 0 && madvise(p + 3 * PAGE, PAGE, MADV_RANDOM) == 0);
	must(has_flag(p + PAGE, "sr") && has_flag(p + 3 * PAGE, "rr"));
}

static void verify(char *p)
{
	for (int i = 0; i < 5; i++) {
		check(has_flag(p + i * PAGE, "sr") == (i == 1), "page %d", i);
		check(has_flag(p + i * PAGE, "rr") == (i == 3), "page %d", i);
		check(p[i * PAGE] == 'a' + i, "page %d", i);
	}
}

int main(void)
{
	int fd = open("file", O_RDWR | O_CREAT, 0600);

	must(ftruncate(fd, 5 * PAGE) == 0);
	char *file = map(5 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd), *private = map(5 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd);
	char *memory = anon(5 * PAGE);
	for (int i = 0; i < 5; i++)
		file[i * PAGE] = memory[i * PAGE] = 'a' + i;
	advise(file);
	advise(private);
	advise(memory);
	save_me();
	verify(file);
	verify(private);
	verify(memory);
	return finish();
}
