/* Inotify: an instance that parent and children share, one that only a child has, and one with thousands of watches */
#include "kids.h"
#include "inotify.h"

#define MANY 3000

static int shared, many;

static void first(int arg)
{
	int own = inotify_init1(IN_NONBLOCK), wd = add(own, "b", IN_CREATE);

	wait_restored();
	touch("b/from-child");
	tells(own, wd, IN_CREATE, "from-child");
	quiet(own);
	check(within(waiting(shared) > 0));
	tells(shared, 1, IN_CREATE, "from-parent");
}

int main(void)
{
	char name[32];

	must(mkdir("a", 0700) == 0 && mkdir("b", 0700) == 0 && mkdir("many", 0700) == 0);
	must((shared = inotify_init1(IN_NONBLOCK)) >= 0 && (many = inotify_init1(IN_NONBLOCK)) >= 0);
	must(add(shared, "a", IN_CREATE) == 1);
	for (int i = 1; i <= MANY; i++) {
		snprintf(name, sizeof name, "many/%d", i);
		must(mkdir(name, 0700) == 0 && add(many, name, IN_CREATE | (i % 2 ? IN_ONESHOT : 0)) == i);
	}
	start_kid(first, 0);
	save_me();

	quiet(shared);
	quiet(many);
	touch("a/from-parent");
	finish_kids();
	quiet(shared);
	for (int i = 1; i <= MANY; i += 97) {
		snprintf(name, sizeof name, "many/%d/x", i);
		touch(name);
		tells(many, i, IN_CREATE, "x");
		if (i % 2)
			tells(many, i, IN_IGNORED, "");
	}
	quiet(many);
	return finish();
}
