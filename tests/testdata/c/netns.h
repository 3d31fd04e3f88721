/* A network namespace of its own, which ip(8) fills and lists. */
#ifndef NETNS_H
#define NETNS_H
#include "kids.h"
#include "net.h"
#include <net/if.h>

/* shell returns what a command says; the program ends if it fails during the setup. */
static inline char *shell(const char *command)
{
	static char line[65536];
	char *text = calloc(1, 1 << 20);
	FILE *f;

	must(text);
	snprintf(line, sizeof line, "PATH=/usr/sbin:/usr/bin:/sbin:/bin; exec 2>&1; %s", command);
	must((f = popen(line, "r")) != NULL);
	must(fread(text, 1, (1 << 20) - 1, f) < 1 << 20);
	if (pclose(f) != 0)
		printf("setup: %s: %s\n", command, text), fflush(stdout), exit(2);
	return text;
}

static inline char *value(const char *name)
{
	char command[300];

	snprintf(command, sizeof command, "cat /proc/sys/net/%s", name);
	return shell(command);
}

/* listed is all that ip(8) and bridge(8) list, but for what changes by itself. */
static inline char *listed(void)
{
	return shell("ip -d -o link | sed 's/_timer  *[0-9.]*//g'; ip -o addr | sed 's/_lft [0-9]*sec//g';"
		"for v in -4 -6; do ip -d $v route show table all | sed 's/expires [0-9]*sec//' | sort; ip $v rule; done;"
		"ip neigh show nud permanent | sort; ip neigh show proxy | sort; ip -d link show type bridge >/dev/null");
}

/* settled waits until all addresses can be used. */
static inline void settled(void)
{
	must(within(!*shell("for d in $(ip -o link show up | grep LOWER_UP | cut -d: -f2 | cut -d@ -f1); do ip -6 -o addr show dev $d tentative; done")));
}

static inline void fill(const char *commands)
{
	free(shell(commands));
	settled();
}

static inline void as_before(char *before)
{
	char *now = listed(), *a, *b, *save_a, *save_b;

	check(!strcmp(before, now));
	for (a = strtok_r(before, "\n", &save_a), b = strtok_r(now, "\n", &save_b); a && b && !strcmp(a, b); a = strtok_r(NULL, "\n", &save_a), b = strtok_r(NULL, "\n", &save_b))
		;
	check(!a && !b, "\n%s\nis now\n%s", a ? a : "", b ? b : "");
}
#endif
