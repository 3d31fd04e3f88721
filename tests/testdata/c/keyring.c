/* The session keyring of whoever restores it is not the program's */
#include "check.h"
#include <linux/keyctl.h>
#include <sys/syscall.h>

int main(int argc, char **argv)
{
	must(syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) > 0);
	if (argc > 1) { /* run a command with a key in a session keyring of its own */
		must(syscall(SYS_add_key, "user", "ckpt:secret", "secret", 6, KEY_SPEC_SESSION_KEYRING) > 0);
		must(syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_SESSION_KEYRING, "user", "ckpt:secret", 0) > 0);
		execvp(argv[1], argv + 1);
		must(0);
	}
	save_me();
	check(syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_SESSION_KEYRING, "user", "ckpt:secret", 0) == -1 && errno == ENOKEY, "%m");
	return finish();
}
