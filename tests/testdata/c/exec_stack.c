/* Code written at run time: in a mapping, in one that can also be written, and in
 * a page of the stack. */
#include "proc.h"

static int (*put(char *p, int n))(void)
{
	unsigned char code[] = {0xb8, n, 0, 0, 0, 0xc3}; /* mov $n,%eax; ret */

	return (int (*)(void))memcpy(p, code, sizeof code);
}

int main(void)
{
	char room[5 * PAGE];
	char *stack = (char *)(((uintptr_t)room + PAGE - 1) & -PAGE) + PAGE;
	char *rx = anon(PAGE), *rwx = map(PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	char *shared = map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1);

	memset(room, 's', sizeof room);
	int (*f[])(void) = {put(rx, 41), put(rwx, 42), put(stack, 43), put(shared, 44)};
	must(mprotect(rx, PAGE, PROT_READ | PROT_EXEC) == 0 && mprotect(shared, PAGE, PROT_READ | PROT_EXEC) == 0);
	must(mprotect(stack, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC) == 0);
	must(strstr(maps_line(stack), "rwxp"));
	save_me();
	for (int i = 0; i < 4; i++)
		check(f[i]() == 41 + i, "function %d", i);
	check(put(rwx, 52)() == 52 && put(stack, 53)() == 53);
	check(strstr(maps_line(rx), "r-xp") && strstr(maps_line(rwx), "rwxp") && strstr(maps_line(shared), "r-xs"));
	check(strstr(maps_line(stack), "rwxp") && strstr(maps_line(stack - PAGE), "rw-p") && strstr(maps_line(stack + PAGE), "rw-p"));
	check(stack[-1] == 's' && stack[PAGE] == 's' && stack[PAGE - 1] == 's');
	return finish();
}
