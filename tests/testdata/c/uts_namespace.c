/* The host's and the domain's name of a UTS namespace, for an init and its child. */
#include "kids.h"
#include <sys/utsname.h>

static void named(const char *host, const char *domain)
{
	struct utsname u;

	check(uname(&u) == 0 && !strcmp(u.nodename, host) && !strcmp(u.domainname, domain), "%s %s", u.nodename, u.domainname);
}

static void child(int arg)
{
	wait_restored();
	named("inner \n\xff", "of.its.own");
	check(sethostname("changed", 7) == 0);
}

int main(void)
{
	must(getpid() == 1 && sethostname("inner \n\xff", 8) == 0 && setdomainname("of.its.own", 10) == 0);
	start_kid(child, 0);
	save_me();
	named("inner \n\xff", "of.its.own");
	finish_kids();
	named("changed", "of.its.own");
	return finish();
}
