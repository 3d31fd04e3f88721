/* Which mappings a core dump would have. */
#include "kids.h"
#include "proc.h"

static void child(int bits)
{
	char text[16];

	snprintf(text, sizeof text, "0x%x", bits);
	must(spit("/proc/self/coredump_filter", text) == 0);
	snprintf(text, sizeof text, "%08x\n", bits);
	wait_restored();
	check(SAME(slurp("/proc/self/coredump_filter"), text), "%s", slurp("/proc/self/coredump_filter"));
}

int main(void)
{
	start_kid(child, 0x1ff);
	start_kid(child, 0);
	must(spit("/proc/self/coredump_filter", "0x7") == 0);
	save_me();
	check(SAME(slurp("/proc/self/coredump_filter"), "00000007\n"), "%s", slurp("/proc/self/coredump_filter"));
	finish_kids();
	return finish();
}
