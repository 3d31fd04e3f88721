/* Segment descriptors of the LDT, with gaps, one of them in use, and others in a child */
#include "check.h"
#include <asm/ldt.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static unsigned char before[LDT_ENTRIES * LDT_ENTRY_SIZE], after[sizeof before];
static uint32_t *low;

static long modify_ldt(int func, void *p, unsigned long n)
{
	return (int)syscall(SYS_modify_ldt, func, p, n);
}

static void set(struct user_desc d)
{
	must(modify_ldt(0x11, &d, sizeof d) == 0);
}

/* through_gs reads the first word of a segment. */
static uint32_t through_gs(int entry)
{
	uint32_t v;

	asm volatile("mov %1, %%gs\n\tmov %%gs:0, %0" : "=r"(v) : "r"(entry << 3 | 7));
	return v;
}

static void note(unsigned char *to, int want)
{
	long n = modify_ldt(0, to, sizeof before);

	must(n == want);
}

static void same(void)
{
	note(after, sizeof after);
	for (int i = 0; i < LDT_ENTRIES; i++)
		check(!memcmp(before + 8 * i, after + 8 * i, 8), "entry %d", i);
}

int main(void)
{
	unsigned base;
	uint16_t gs;
	int kid, status;

	low = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	must(low != MAP_FAILED);
	low[0] = 4711;
	low[1024] = 815;
	base = (uintptr_t)low;
	must((kid = fork()) >= 0);
	if (kid == 0) {
		set((struct user_desc){.entry_number = 8191, .base_addr = base, .limit = 1, .seg_32bit = 1, .limit_in_pages = 1, .useable = 1});
		note(before, sizeof before);
		close(open("child", O_CREAT | O_WRONLY, 0600));
		while (access("go", F_OK))
			usleep(1000);
		same();
		check(through_gs(8191) == 4711);
		fflush(stdout);
		_exit(failures != 0);
	}
	while (access("child", F_OK))
		usleep(1000);
	set((struct user_desc){.entry_number = 0, .base_addr = base, .limit = 0xfffff, .seg_32bit = 1, .limit_in_pages = 1, .useable = 1});
	set((struct user_desc){.entry_number = 2, .base_addr = base + 4096, .limit = 4095, .seg_32bit = 1, .contents = 0, .read_exec_only = 1});
	set((struct user_desc){.entry_number = 3, .base_addr = 0x12345678, .limit = 0xabcde, .seg_32bit = 1, .contents = 1, .seg_not_present = 1});
	set((struct user_desc){.entry_number = 700, .base_addr = base, .limit = 100, .seg_32bit = 1, .contents = 2, .useable = 1});
	must(through_gs(0) == 4711 && through_gs(2) == 815);
	note(before, sizeof before);
	save_me();
	asm("mov %%gs, %0" : "=r"(gs));
	check(gs == (2 << 3 | 7), "%x", gs);
	asm volatile("mov %%gs:0, %0" : "=r"(base));
	check(base == 815, "%u", base);
	check(through_gs(0) == 4711 && through_gs(2) == 815);
	same();
	check(waitpid(kid, &status, 0) == kid && status == 0, "%x", status);
	return finish();
}
