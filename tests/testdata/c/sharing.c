/* 4 is a dup of 3, 5 a second open of the same file, 6 and 7 a pipe's ends. */
#include "check.h"

int main(void)
{
	char buf[64];
	int p[2];

	must(open("data", O_RDWR | O_CREAT | O_TRUNC, 0600) == 3);
	must(write(3, "0123456789", 10) == 10);
	must(dup(3) == 4);
	must(open("data", O_RDWR) == 5);
	must(pipe(p) == 0 && p[0] == 6 && p[1] == 7);
	must(write(7, "in the pipe", 11) == 11);
	must(lseek(3, 4, SEEK_SET) == 4 && lseek(5, 7, SEEK_SET) == 7);
	save_me();
	check(lseek(4, 0, SEEK_CUR) == 4);
	check(lseek(5, 0, SEEK_CUR) == 7);
	lseek(3, 9, SEEK_SET);
	check(lseek(4, 0, SEEK_CUR) == 9, "the dup does not move along");
	check(lseek(5, 0, SEEK_CUR) == 7, "the second open moves along");
	check(read(6, buf, sizeof buf) == 11 && !memcmp(buf, "in the pipe", 11));
	check(write(7, "x", 1) == 1 && read(6, buf, 1) == 1 && buf[0] == 'x');
	check(write(3, "Z", 1) == 1 && pread(5, buf, 1, 9) == 1 && buf[0] == 'Z');
	return finish();
}
