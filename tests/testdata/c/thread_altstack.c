/* Each thread has an alternate signal stack of its own, or none. */
#include "threads.h"

static __thread volatile char *handler_sp;
static void handler(int sig) { char here; handler_sp = &here; }

static void body(int i)
{
	static char stacks[4][65536];
	stack_t ss = {.ss_sp = stacks[i], .ss_size = sizeof stacks[i]}, now;

	if (i > 0)
		must(sigaltstack(&ss, NULL) == 0);
	wait_restored();
	check(sigaltstack(NULL, &now) == 0);
	if (i == 0) {
		check(now.ss_flags == SS_DISABLE);
		return;
	}
	check(now.ss_sp == stacks[i] && now.ss_size == sizeof stacks[i] && now.ss_flags == 0);
	check(pthread_kill(pthread_self(), SIGUSR1) == 0);
	check(handler_sp >= stacks[i] && handler_sp < stacks[i] + sizeof stacks[i]);
}

int main(void)
{
	struct sigaction sa = {.sa_handler = handler, .sa_flags = SA_ONSTACK};

	must(sigaction(SIGUSR1, &sa, NULL) == 0);
	for (int i = 0; i < 4; i++)
		start_thread(body, i);
	save_me();
	finish_threads();
	return finish();
}
