/* What programs with a mount namespace of their own share. */
#ifndef MOUNTS_H
#define MOUNTS_H
#include "check.h"
#include <limits.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

/* own_mounts enters a mount namespace of its own, in which nothing comes from or goes to
 * others. */
static inline void own_mounts(void)
{
	must(unshare(CLONE_NEWNS) == 0);
	must(mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
}

/* here mounts a tmpfs on a new folder in the working folder. */
static inline void here(const char *name, const char *options)
{
	must(mkdir(name, 0755) == 0);
	must(mount("test", name, "tmpfs", 0, options) == 0);
}

static inline void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	must(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) && close(fd) == 0);
}

static inline int holds(const char *path, const char *text)
{
	char buf[256] = "";
	int fd = open(path, O_RDONLY), n = fd < 0 ? -1 : read(fd, buf, sizeof buf - 1);

	close(fd);
	return n == (int)strlen(text) && strcmp(buf, text) == 0;
}

struct line { char text[2048]; int shared, master; };

static int by_text(const void *a, const void *b)
{
	return strcmp(((const struct line *)a)->text, ((const struct line *)b)->text);
}

/* table tells of all mounts without numbers, but of which are peers and slaves of which. */
static inline char *table(void)
{
	static struct line lines[512];
	static int ids[512], parents[512];
	static char points[512][PATH_MAX];
	char *all = calloc(1, 4 << 20), *end = all, buf[8192];
	FILE *f = fopen("/proc/thread-self/mountinfo", "r");
	int n = 0, major, minor, at, group;

	must(f != NULL);
	for (; fgets(buf, sizeof buf, f) && n < 512; n++) {
		struct line *l = &lines[n];

		memset(l, 0, sizeof *l);
		must(sscanf(buf, "%d %d %d:%d %n%*s %4095s", &ids[n], &parents[n], &major, &minor, &at, points[n]) == 5);
		for (char *word = strtok(buf + at, " \n"); word; word = strtok(NULL, " \n")) {
			if (sscanf(word, "shared:%d", &group) == 1)
				l->shared = group;
			else if (sscanf(word, "master:%d", &group) == 1)
				l->master = group;
			else
				strcat(strcat(l->text, word), " ");
		}
	}
	fclose(f);
	for (int i = 0; i < n; i++)
		for (int j = 0; j < n; j++)
			if (ids[j] == parents[i] && i != j)
				strcat(strcat(lines[i].text, "on "), points[j]);
	qsort(lines, n, sizeof *lines, by_text);
	for (int i = 0; i < n; i++) {
		end += sprintf(end, "%s%s%s", lines[i].text, lines[i].shared ? " shared" : "", lines[i].master ? " slave" : "");
		for (int j = 0; j < n; j++) {
			if (j != i && lines[i].shared && lines[j].shared == lines[i].shared)
				end += sprintf(end, " peer %d", j);
			if (lines[i].master && lines[j].shared == lines[i].master)
				end += sprintf(end, " of %d", j);
		}
		end += sprintf(end, "\n");
	}
	return all;
}

/* same_table checks that the mounts are as they were. */
static inline void same_table(const char *before)
{
	char *now = table();

	check(strcmp(before, now) == 0, "\n%s\n%s", before, now);
}
#endif
