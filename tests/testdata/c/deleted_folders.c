/* Deleted folders as working folder, as root and as descriptors: owner, mode, attributes and
 * time, also of one whose parent is deleted, too; what is shared; and that nothing is or can
 * be made in them. A program that watches where they were sees nothing of the restore. */
#include "kids.h"
#include "inotify.h"
#include "proc.h"
#include <dirent.h>
#include <sys/stat.h>
#include <sys/xattr.h>

static struct stat was[4];

static int make(const char *name, int flags)
{
	int fd;

	must(mkdir(name, 0700) == 0 && (fd = open(name, flags)) >= 0);
	return fd;
}

/* dead checks that a folder is the deleted one that it was. */
static void dead(const char *what, int fd, const struct stat *st)
{
	struct stat now;

	check(fstat(fd, &now) == 0 && now.st_nlink == 0 && S_ISDIR(now.st_mode), "%s is not a deleted folder", what);
	check(now.st_mode == st->st_mode && now.st_uid == st->st_uid && now.st_gid == st->st_gid, "%s: %o %d %d", what, now.st_mode, now.st_uid, now.st_gid);
	check(now.st_mtim.tv_sec == st->st_mtim.tv_sec && now.st_mtim.tv_nsec == st->st_mtim.tv_nsec, "%s: another time", what);
	check(openat(fd, "file", O_CREAT | O_RDWR, 0600) == -1 && errno == ENOENT, "%s: %s", what, strerror(errno));
}

static void child(int i)
{
	const char *name = i ? "root" : "work";
	char buf[100];
	int fd = make(name, O_PATH | O_DIRECTORY);

	must(fchownat(fd, "", 1000 + i, 2000, AT_EMPTY_PATH) == 0 && chmod(name, 0711) == 0);
	must(i ? chroot(name) == 0 && chdir("/") == 0 : chdir(name) == 0);
	must(fstat(fd, &was[0]) == 0);
	wait_restored();
	dead(name, fd, &was[0]);
	struct stat cwd, root;
	check(stat(".", &cwd) == 0 && fstat(fd, &root) == 0 && cwd.st_ino == root.st_ino, "the working folder is not what is open");
	if (i)
		check(stat("/", &root) == 0 && root.st_ino == cwd.st_ino && root.st_nlink == 0, "the root is another");
	check(getcwd(buf, sizeof buf) == NULL && errno == ENOENT, "%s", strerror(errno));
}

int main(void)
{
	struct stat st, other;
	struct timespec times[2] = {{1, 2}, {1000000, 77}};
	int up, plain, path, twice, inner, below;

	must(mkdir("d", 0755) == 0 && close(open("d/there", O_CREAT | O_WRONLY, 0600)) == 0);
	plain = make("d/plain", O_RDONLY | O_DIRECTORY);
	must(fsetxattr(plain, "user.ckpt", "value", 5, 0) == 0 && fchown(plain, 12, 34) == 0 && fchmod(plain, 01751) == 0);
	must((twice = open("d/plain", O_RDONLY)) >= 0 && (path = open("d/plain", O_PATH)) >= 0 && rmdir("d/plain") == 0);
	must(futimens(plain, times) == 0 && fstat(plain, &was[1]) == 0 && lseek(twice, 5, SEEK_SET) == 5);
	must(mkdir("deep", 0755) == 0);
	below = make("deep/below", O_RDONLY);
	inner = make("deep/below/inner", O_RDONLY);
	must(rmdir("deep/below/inner") == 0 && rmdir("deep/below") == 0 && rmdir("deep") == 0);
	must(fstat(below, &was[2]) == 0 && fstat(inner, &was[3]) == 0);
	char here[40];
	snprintf(here, sizeof here, "/proc/self/fd/%d", plain);
	int above = inotify_init1(IN_NONBLOCK), itself = inotify_init1(IN_NONBLOCK);
	must(add(above, "d", IN_ALL_EVENTS) == 1 && add(itself, here, IN_ATTRIB) == 1);
	start_kid(child, 0);
	start_kid(child, 1);
	must(rmdir("work") == 0 && rmdir("root") == 0);
	save_me();
	quiet(above);
	quiet(itself);
	check(fchmod(plain, 0700) == 0);
	tells(itself, 1, IN_ATTRIB | IN_ISDIR, "");
	check(fchmod(plain, 01751) == 0 && futimens(plain, times) == 0);
	char buf[10];
	dead("plain", plain, &was[1]);
	check(fgetxattr(plain, "user.ckpt", buf, sizeof buf) == 5 && !memcmp(buf, "value", 5), "the attribute differs");
	check(fstat(plain, &st) == 0 && fstat(path, &other) == 0 && st.st_ino == other.st_ino && st.st_dev == other.st_dev);
	check(fstat(twice, &other) == 0 && st.st_ino == other.st_ino && lseek(twice, 0, SEEK_CUR) == 5 && lseek(plain, 0, SEEK_CUR) == 0, "the position differs");
	check((fcntl(path, F_GETFL) & O_PATH) && !(fcntl(plain, F_GETFL) & O_PATH) && (fcntl(plain, F_GETFL) & O_DIRECTORY));
	dead("below", below, &was[2]);
	dead("inner", inner, &was[3]);
	check((up = openat(inner, "..", O_PATH)) >= 0 && fstat(up, &st) == 0 && st.st_nlink == 0, "what inner was in is there");
	check((up = openat(plain, "..", O_PATH)) >= 0 && faccessat(up, "there", F_OK, 0) == 0, "plain is in another folder");
	check(syscall(SYS_getdents64, plain, buf, sizeof buf) == -1 && errno == ENOENT, "%s", strerror(errno));
	DIR *d = opendir(".");
	for (struct dirent *e; (e = readdir(d));)
		check(strncmp(e->d_name, ".ckpt", 5), "%s is left behind", e->d_name);
	finish_kids();
	return finish();
}
