/* What /proc and a fault say about a process. */
#ifndef PROC_H
#define PROC_H
#include "check.h"
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

#define PAGE 4096
#define SAME(a, b) (!strcmp(a, b))

/* slurp returns what is in a small file; the text lives as long as the program. */
static inline char *slurp(const char *name)
{
	char *text = calloc(1, 1 << 16);
	int fd = open(name, O_RDONLY);
	size_t n = 0;

	for (ssize_t k; fd >= 0 && (k = read(fd, text + n, (1 << 16) - 1 - n)) > 0;)
		n += k;
	if (fd >= 0)
		close(fd);
	return text;
}

static inline int spit(const char *name, const char *text)
{
	int fd = open(name, O_WRONLY), n = fd >= 0 ? (int)write(fd, text, strlen(text)) : -1;

	if (fd >= 0)
		close(fd);
	return n == (int)strlen(text) ? 0 : -1;
}

/* status_of returns the value of a line of /proc/PID/status, or "". */
static inline char *status_of(int pid, const char *key)
{
	char name[64], *p;

	snprintf(name, sizeof name, "/proc/%d/status", pid);
	snprintf(p = malloc(64), 64, "\n%s:\t", key);
	char *text = slurp(name), *at = strstr(text, p);
	if (!at)
		return "";
	at += strlen(p);
	at[strcspn(at, "\n")] = 0;
	return at;
}

static inline char *status(const char *key) { return status_of(getpid(), key); }

/* smaps returns what follows key in the first such line about the mapping that p
 * is in, or "". */
static inline char *smaps(const void *p, const char *key)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	char line[4096], *found = "";
	unsigned long a, b;
	int inside = 0;

	while (f && fgets(line, sizeof line, f)) {
		if (sscanf(line, "%lx-%lx ", &a, &b) == 2)
			inside = (unsigned long)p >= a && (unsigned long)p < b;
		if (inside && !strncmp(line, key, strlen(key))) {
			line[strcspn(line, "\n")] = 0;
			found = strdup(line + strlen(key));
			break;
		}
	}
	if (f)
		fclose(f);
	return found;
}

static inline char *maps_line(const void *p) { return smaps(p, ""); }

/* has_flag tells whether the mapping has one of the VmFlags. */
static inline int has_flag(const void *p, const char *flag)
{
	char word[8];

	snprintf(word, sizeof word, " %s ", flag);
	return strstr(smaps(p, "VmFlags:"), word) != NULL;
}

static sigjmp_buf faulted;
static inline void on_fault(int sig) { siglongjmp(faulted, 1); }

/* faults tells whether reading p gives SIGSEGV. */
static inline int faults(volatile char *p)
{
	struct sigaction sa = {.sa_handler = on_fault}, old;
	int result = 1;

	sigaction(SIGSEGV, &sa, &old);
	if (sigsetjmp(faulted, 1) == 0) {
		(void)*p;
		result = 0;
	}
	sigaction(SIGSEGV, &old, NULL);
	return result;
}

static inline char *map(size_t n, int prot, int flags, int fd)
{
	char *p = mmap(NULL, n, prot, flags, fd, 0);

	must(p != MAP_FAILED);
	return p;
}

static inline char *anon(size_t n) { return map(n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1); }
#endif
