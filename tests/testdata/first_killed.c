/* The first thread is killed by a seccomp filter, alone. */
#include "c/first_ended.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

static void *goes_on(void *arg)
{
	while (stat_field(getpid(), 3) != 'Z')
		usleep(500);
	save_me();
	return arg;
}

int main(void)
{
	pthread_t t;
	struct sock_filter code[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_THREAD)};
	struct sock_fprog prog = {1, code};

	must(pthread_create(&t, NULL, goes_on, NULL) == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog);
	syscall(SYS_getpid);
}
