/* 32-bit code without a library: waits by calls that a stop interrupts, until there is a
 * file "go", and says "pass" if none was cut short. */
static long call(long n, long a, long b, long c, long d, long e)
{
	long r;

	__asm__ volatile("int $0x80" : "=a"(r) : "a"(n), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e) : "memory");
	return r;
}

enum { EXIT = 1, READ = 3, WRITE = 4, ACCESS = 33, PIPE = 42, POLL = 168, NANOSLEEP = 162, FUTEX = 240, ALARM = 27, TIMEDOUT = -110 };

static void say(const char *text)
{
	long n = 0;

	while (text[n])
		n++;
	call(WRITE, 1, (long)text, n, 0, 0);
}

static void must(int ok, const char *what)
{
	if (ok)
		return;
	say(what);
	call(EXIT, 1, 0, 0, 0, 0);
}

void _start(void)
{
	long time[2] = {0, 30000000}, word = 7;

	call(ALARM, 120, 0, 0, 0, 0);
	say("ready\n");
	while (call(ACCESS, (long)"go", 0, 0, 0, 0) != 0) {
		must(call(NANOSLEEP, (long)time, 0, 0, 0, 0) == 0, "nanosleep was cut short\n");
		must(call(POLL, 0, 0, 30, 0, 0) == 0, "poll was cut short\n");
		must(call(FUTEX, (long)&word, 0, 7, (long)time, 0) == TIMEDOUT, "futex was cut short\n");
	}
	say("pass\n");
	call(EXIT, 0, 0, 0, 0, 0);
}
