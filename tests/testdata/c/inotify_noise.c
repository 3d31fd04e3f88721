/* Inotify: nothing that the restore itself does to what is watched is seen: files that are opened, mapped, executed, made again after they were deleted; nor does it use up a watch for one event */
#include "kids.h"
#include "inotify.h"

static void child(int arg)
{
	must(chdir("d") == 0);
	wait_restored();
	check(access("open", R_OK) == 0);
}

int main(void)
{
	int fd, once, files, f, wd;
	static const char *name[] = {"d/open", "d/mapped", "d/deleted", "d/append", "d/read"};

	must(mkdir("d", 0700) == 0 && mkfifo("d/fifo", 0600) == 0);
	for (int i = 0; i < 5; i++) {
		touch(name[i]);
		must(truncate(name[i], 10000) == 0);
	}
	int rw = open("d/open", O_RDWR), map = open("d/mapped", O_RDWR), gone = open("d/deleted", O_RDWR);
	must(rw >= 0 && map >= 0 && gone >= 0 && unlink("d/deleted") == 0 && open("d/append", O_WRONLY | O_APPEND) >= 0 && open("d/read", O_RDONLY) >= 0);
	must(open("d/fifo", O_RDWR) >= 0 && open("d", O_RDONLY | O_DIRECTORY) >= 0 && open("d/read", O_PATH) >= 0);
	volatile char *m = mmap(NULL, 10000, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);
	must(m != MAP_FAILED && close(map) == 0);
	m[5000] = 'x';
	start_kid(child, 0);
	must((fd = inotify_init1(IN_NONBLOCK)) >= 0 && (once = inotify_init1(IN_NONBLOCK)) >= 0 && (files = inotify_init1(IN_NONBLOCK)) >= 0);
	must((wd = add(fd, "d", IN_ALL_EVENTS)) == 1 && add(once, "d", IN_ALL_EVENTS | IN_ONESHOT) == 1);
	for (int i = 0; i < 5; i++)
		if (i != 2)
			add(files, name[i], IN_ALL_EVENTS);
	add(files, "/proc/self/exe", IN_ALL_EVENTS);
	add(files, "d/fifo", IN_ALL_EVENTS);
	save_me();

	quiet(fd);
	quiet(files);
	quiet(once);
	check(m[5000] == 'x');
	check((f = open("d/mapped", O_RDONLY)) >= 0);
	tells(fd, wd, IN_OPEN, "mapped");
	tells(once, 1, IN_OPEN, "mapped");
	tells(once, 1, IN_IGNORED, "");
	tells(files, 2, IN_OPEN, "");
	check(close(f) == 0);
	tells(fd, wd, IN_CLOSE_NOWRITE, "mapped");
	quiet(once);
	finish_kids();
	return finish();
}
