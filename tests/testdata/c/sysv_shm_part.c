/* Of a large System V segment only the first page is attached still, the rest was
 * unmapped: where ckpt-apply finds room for itself first, if it does not look. */
#include "proc.h"
#include <sys/shm.h>

int main(void)
{
	const size_t size = 64 << 20;
	char *at = (char *)(1 << 28), *p;
	int id = shmget(IPC_PRIVATE, size, 0600 | IPC_CREAT);

	must(id >= 0 && (p = shmat(id, at, 0)) == at && munmap(p + PAGE, size - PAGE) == 0);
	must(shmctl(id, IPC_RMID, NULL) == 0);
	memset(p, 'x', PAGE);
	save_me();
	check(p[0] == 'x' && p[PAGE - 1] == 'x' && faults(p + PAGE));
	return finish();
}
