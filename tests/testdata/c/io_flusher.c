/* PR_SET_IO_FLUSHER, which takes CAP_SYS_RESOURCE. */
#include "kids.h"
#include <sys/prctl.h>

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#define PR_GET_IO_FLUSHER 58
#endif

static void child(int arg)
{
	wait_restored();
	check(prctl(PR_GET_IO_FLUSHER, 0, 0, 0, 0) == 0);
}

int main(void)
{
	start_kid(child, 0);
	must(prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) == 0);
	save_me();
	check(prctl(PR_GET_IO_FLUSHER, 0, 0, 0, 0) == 1);
	finish_kids();
	return finish();
}
