/* Names of anonymous mappings (PR_SET_VMA_ANON_NAME), for all and a part of one,
 * and of a shared one. */
#include "proc.h"
#include <linux/prctl.h>
#include <sys/prctl.h>

static int name(char *p, size_t n, const char *name) { return prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, p, n, name); }

static int named(char *p, const char *name)
{
	char *line = maps_line(p), *at = strchr(line, '[');

	return name ? at && SAME(at, name) : !at;
}

int main(void)
{
	char *all = anon(4 * PAGE), *part = anon(6 * PAGE), *shared = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1);

	must(name(all, 4 * PAGE, "all of it") == 0 && name(part + 2 * PAGE, 2 * PAGE, "a part") == 0 && name(shared, 4 * PAGE, "shared") == 0);
	must(named(all, "[anon:all of it]") && named(part + 2 * PAGE, "[anon:a part]") && named(shared, "[anon_shmem:shared]"));
	all[0] = part[0] = part[3 * PAGE] = shared[0] = 'n';
	save_me();
	check(named(all, "[anon:all of it]"), "%s", maps_line(all));
	for (int i = 0; i < 6; i++)
		check(named(part + i * PAGE, i == 2 || i == 3 ? "[anon:a part]" : NULL), "%s", maps_line(part + i * PAGE));
	check(named(shared, "[anon_shmem:shared]"), "%s", maps_line(shared));
	check(all[0] == 'n' && part[0] == 'n' && part[3 * PAGE] == 'n' && shared[0] == 'n');
	return finish();
}
