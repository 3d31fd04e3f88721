/* A session on a pseudoterminal whose master the parent has: who it controls, its
 * foreground and background groups, /dev/tty, and signals from the keyboard */
#include "kids.h"
#include "pty.h"

static struct pty p;
static int in_front[2], behind[2];
static volatile struct {
	pid_t leader, front, back;
	int interrupted, resized, hup, stopped, session, group, own, own_session, status;
} *shared;

static void interrupted(int sig) { shared->interrupted++; }
static void resized(int sig) { shared->resized++; }
static void hung(int sig) { shared->hup++; }

/* The foreground job: it is interrupted, and reads a line. */
static void job(void)
{
	char buf[100];
	int tty;

	signal(SIGINT, interrupted);
	signal(SIGWINCH, resized);
	must(write(in_front[1], "", 1) == 1);
	while (access("go", F_OK))
		usleep(1000);
	shared->own = (tty = open("/dev/tty", O_RDWR)) >= 0 && write(tty, "job\n", 4) == 4;
	shared->own_session = tcgetsid(0) == shared->leader;
	int n = -1;
	while (n < 0)
		n = read(0, buf, sizeof buf);
	must(write(1, buf, n) == n);
	_exit(0);
}

/* The background job reads, too, for which it is stopped. */
static void back(void)
{
	char c;

	must(write(behind[1], "", 1) == 1);
	while (access("go", F_OK))
		usleep(1000);
	shared->status = read(0, &c, 1);
	_exit(0);
}

static pid_t start_job(void (*body)(void), int wait[2])
{
	pid_t pid = fork();
	char c;

	if (pid == 0) {
		setpgid(0, 0);
		body();
	}
	setpgid(pid, pid);
	must(read(wait[0], &c, 1) == 1);
	return pid;
}

static void session(int arg)
{
	int status;

	must(setsid() > 0 && close(p.master) == 0);
	must((p.slave = open(p.name, O_RDWR)) >= 0);
	must(dup2(p.slave, 0) == 0 && dup2(p.slave, 1) == 1 && dup2(p.slave, 2) == 2);
	signal(SIGTTOU, SIG_IGN);
	signal(SIGHUP, hung);
	shared->leader = getpid();
	shared->front = start_job(job, in_front);
	shared->back = start_job(back, behind);
	must(tcsetpgrp(0, shared->front) == 0);
	me->ready = 1;
	while (access("go", F_OK))
		usleep(1000);
	shared->session = tcgetsid(0);
	shared->group = tcgetpgrp(0);
	if (waitpid(shared->back, &status, WUNTRACED) == shared->back && WIFSTOPPED(status))
		shared->stopped = WSTOPSIG(status);
	kill(shared->back, SIGKILL);
	waitpid(shared->back, NULL, 0);
	check(waitpid(shared->front, &status, 0) == shared->front && status == 0, "%#x", status);
	check(within(shared->hup), "the end of the terminal is not told");
	check(open("/dev/tty", O_RDWR) == -1, "it still controls");
}

int main(void)
{
	struct winsize w = {.ws_row = 10, .ws_col = 20};
	char buf[200];

	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(shared != MAP_FAILED && pipe(in_front) == 0 && pipe(behind) == 0);
	p = open_pty(0);
	start_kid(session, 0);
	save_me();

	check(comes(p.master, "job\r\n", buf, sizeof buf), "%s", buf);
	check(within(shared->own && shared->own_session));
	check(within(shared->stopped) && shared->stopped == SIGTTIN, "%d", shared->stopped);
	check(within(shared->group) && shared->session == shared->leader && shared->group == shared->front, "session %d of %d, group %d of %d", shared->session, shared->leader, shared->group, shared->front);
	check(tcgetsid(p.master) == shared->leader && tcgetpgrp(p.master) == shared->front);
	check(ioctl(p.master, TIOCSWINSZ, &w) == 0 && within(shared->resized == 1), "%d", shared->resized);
	check(write(p.master, "\3", 1) == 1 && within(shared->interrupted == 1), "%d", shared->interrupted);
	check(comes(p.master, "^C", buf, sizeof buf), "%s", buf);
	check(write(p.master, "text\n", 5) == 5 && comes(p.master, "text\r\ntext\r\n", buf, sizeof buf), "%s", buf);
	check(close(p.master) == 0);
	finish_kids();
	return finish();
}
