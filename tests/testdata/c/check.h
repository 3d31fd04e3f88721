/* What the programs share: they set something up, call save_me(), after which
 * they have been saved, killed and restored, and check what they set up. */
#ifndef CHECK_H
#define CHECK_H
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int checks, failures;

static inline __attribute__((format(printf, 1, 2))) void explain(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
}

#define check(cond, ...) do { \
	checks++; \
	if (!(cond)) { \
		failures++; \
		printf("%s:%d: %s: ", __FILE__, __LINE__, #cond); \
		explain(" " __VA_ARGS__); \
		printf("\n"); \
	} \
} while (0)

#define must(cond) do { \
	if (!(cond)) { \
		printf("setup: %s:%d: %s: %s\n", __FILE__, __LINE__, #cond, strerror(errno)); \
		fflush(stdout); \
		exit(2); \
	} \
} while (0)

/* The rest of the world sees "ready" and makes a file "go" when all is done. */
static inline void save_me(void)
{
	printf("ready\n");
	fflush(stdout);
	while (access("go", F_OK))
		usleep(1000);
}

static inline int finish(void)
{
	if (checks == 0)
		printf("nothing was checked\n");
	if (checks > 0 && failures == 0)
		printf("pass\n");
	fflush(stdout);
	return failures != 0 || checks == 0;
}
#endif
