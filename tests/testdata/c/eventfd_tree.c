/* An eventfd shared by parent and child, and one that only the child has. */
#include "kids.h"
#include <sys/eventfd.h>

static int shared, back;

static void child(int arg)
{
	uint64_t v = 0;
	int own = eventfd(9, 0);

	must(own >= 0 && eventfd_write(shared, 5) == 0);
	wait_restored();
	check(eventfd_read(own, &v) == 0 && v == 9, "%lu", v);
	check(eventfd_read(shared, &v) == 0 && v == 100, "%lu", v);
	check(eventfd_write(back, 200) == 0);
}

int main(void)
{
	uint64_t v = 0;

	must((shared = eventfd(3, 0)) >= 0 && (back = eventfd(0, 0)) >= 0);
	start_kid(child, 0);
	save_me();
	check(eventfd_read(shared, &v) == 0 && v == 8, "%lu", v);
	check(eventfd_write(shared, 100) == 0);
	finish_kids();
	check(fcntl(back, F_SETFL, O_NONBLOCK) == 0);
	check(eventfd_read(back, &v) == 0 && v == 200, "%lu", v);
	return finish();
}
