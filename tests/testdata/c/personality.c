/* Personalities, a different one in each child, and what they do. */
#include "kids.h"
#include "proc.h"
#include <sys/personality.h>
#include <sys/utsname.h>

static const unsigned kinds[] = {ADDR_NO_RANDOMIZE, READ_IMPLIES_EXEC, UNAME26, PER_LINUX32 | ADDR_LIMIT_3GB | STICKY_TIMEOUTS, 0};

static void child(int i)
{
	struct utsname u;

	must(personality(kinds[i]) != -1);
	wait_restored();
	check((unsigned)personality(0xffffffff) == kinds[i], "%#x", personality(0xffffffff));
	check(uname(&u) == 0 && !strncmp(u.release, "2.6.", 4) == (kinds[i] == UNAME26), "%s", u.release);
	check(SAME(u.machine, "x86_64") == ((kinds[i] & PER_MASK) != PER_LINUX32), "%s", u.machine);
	char *p = anon(PAGE);
	check(has_flag(p, "ex") == (kinds[i] == READ_IMPLIES_EXEC));
}

int main(void)
{
	must(personality(ADDR_COMPAT_LAYOUT) != -1);
	for (int i = 0; i < 5; i++)
		start_kid(child, i);
	save_me();
	check(personality(0xffffffff) == ADDR_COMPAT_LAYOUT);
	finish_kids();
	return finish();
}
