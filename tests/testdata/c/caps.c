/* The five sets of capabilities, all different, the bounding set reduced. */
#include "proc.h"
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define BIT(cap) (1ull << (cap))
#define LAST 40

static const unsigned long long
	effective = BIT(CAP_SETPCAP) | BIT(CAP_KILL) | BIT(CAP_BPF),
	permitted = effective | BIT(CAP_NET_RAW) | BIT(CAP_CHOWN) | BIT(CAP_CHECKPOINT_RESTORE),
	inheritable = BIT(CAP_NET_RAW) | BIT(CAP_KILL) | BIT(CAP_FOWNER) | BIT(CAP_BPF),
	ambient = BIT(CAP_NET_RAW) | BIT(CAP_BPF);

static unsigned long long number(const char *key) { return strtoull(status(key), NULL, 16); }

int main(void)
{
	struct __user_cap_header_struct hdr = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct caps[2] = {
		{(uint32_t)effective, (uint32_t)permitted, (uint32_t)inheritable},
		{effective >> 32, permitted >> 32, inheritable >> 32},
	};
	unsigned long long bounding = number("CapBnd") & ~(BIT(CAP_SYS_TIME) | BIT(CAP_SYS_MODULE) | BIT(CAP_MAC_ADMIN) | BIT(CAP_PERFMON));

	must(chmod(".", 0777) == 0);
	for (int i = 0; i <= LAST; i++)
		if (!(bounding & BIT(i)))
			must(prctl(PR_CAPBSET_DROP, i) == 0);
	must(syscall(SYS_capset, &hdr, caps) == 0);
	must(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_RAW, 0, 0) == 0);
	must(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_BPF, 0, 0) == 0);
	must(number("CapBnd") == bounding && number("CapAmb") == ambient);
	save_me();
	check(number("CapEff") == effective, "%llx", number("CapEff"));
	check(number("CapPrm") == permitted, "%llx", number("CapPrm"));
	check(number("CapInh") == inheritable, "%llx", number("CapInh"));
	check(number("CapAmb") == ambient, "%llx", number("CapAmb"));
	check(number("CapBnd") == bounding, "%llx", number("CapBnd"));
	check(chroot(".") == -1 && errno == EPERM);
	check(chown("go", 5, 5) == -1 && errno == EPERM, "a permitted capability is effective");
	return finish();
}
