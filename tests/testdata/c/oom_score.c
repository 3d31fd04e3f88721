/* How ready the kernel is to kill each process when memory is short. */
#include "kids.h"
#include "proc.h"

static void child(int score)
{
	char text[16];

	snprintf(text, sizeof text, "%d\n", score);
	must(spit("/proc/self/oom_score_adj", text) == 0);
	wait_restored();
	check(SAME(slurp("/proc/self/oom_score_adj"), text), "%s", slurp("/proc/self/oom_score_adj"));
}

int main(void)
{
	start_kid(child, 500);
	start_kid(child, 1000);
	must(spit("/proc/self/oom_score_adj", "123\n") == 0);
	start_kid(child, 124);
	save_me();
	check(SAME(slurp("/proc/self/oom_score_adj"), "123\n"), "%s", slurp("/proc/self/oom_score_adj"));
	finish_kids();
	return finish();
}
