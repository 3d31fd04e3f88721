/* An io_uring without a library. */
#ifndef URING_H
#define URING_H
#include "check.h"
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#ifndef IORING_SETUP_NO_SQARRAY
#define IORING_SETUP_NO_SQARRAY (1U << 16)
#endif

struct ring {
	int fd;
	char *mem;
	struct io_uring_sqe *sqes;
	struct io_uring_params p;
	size_t len;
};

#define FIELD(r, queue, name) ((unsigned *)((r)->mem + (r)->p.queue##_off.name))

static inline int setup(struct ring *r, unsigned entries, unsigned flags)
{
	size_t cq;

	memset(r, 0, sizeof *r);
	r->p.flags = flags;
	if ((r->fd = syscall(SYS_io_uring_setup, entries, &r->p)) < 0)
		return -1;
	r->len = flags & IORING_SETUP_NO_SQARRAY ? 0 : r->p.sq_off.array + r->p.sq_entries * 4;
	cq = r->p.cq_off.cqes + r->p.cq_entries * sizeof(struct io_uring_cqe);
	r->len = r->len > cq ? r->len : cq;
	r->mem = mmap(NULL, r->len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQ_RING);
	r->sqes = mmap(NULL, r->p.sq_entries * sizeof *r->sqes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQES);
	must(r->mem != MAP_FAILED && r->sqes != MAP_FAILED);
	if (!(flags & IORING_SETUP_NO_SQARRAY))
		for (unsigned i = 0; i < r->p.sq_entries; i++)
			FIELD(r, sq, array)[i] = i;
	return 0;
}

/* prepare returns the next entry, cleared; submit gives it to the kernel. */
static inline struct io_uring_sqe *prepare(struct ring *r, int op, uint64_t data)
{
	unsigned tail = *FIELD(r, sq, tail);
	struct io_uring_sqe *e = &r->sqes[tail & *FIELD(r, sq, ring_mask)];

	memset(e, 0, sizeof *e);
	e->opcode = op;
	e->user_data = data;
	__atomic_store_n(FIELD(r, sq, tail), tail + 1, __ATOMIC_RELEASE);
	return e;
}

static inline int submit(struct ring *r, unsigned n, unsigned wait)
{
	int k;

	do
		k = syscall(SYS_io_uring_enter, r->fd, n, wait, wait ? IORING_ENTER_GETEVENTS : 0, NULL, 0);
	while (k < 0 && errno == EINTR);
	return k;
}

/* take takes a completion, if there is one. */
static inline int take(struct ring *r, struct io_uring_cqe *c)
{
	unsigned head = *FIELD(r, cq, head);

	if (head == __atomic_load_n(FIELD(r, cq, tail), __ATOMIC_ACQUIRE))
		return 0;
	*c = ((struct io_uring_cqe *)(r->mem + r->p.cq_off.cqes))[head & *FIELD(r, cq, ring_mask)];
	__atomic_store_n(FIELD(r, cq, head), head + 1, __ATOMIC_RELEASE);
	return 1;
}

static inline void nops(struct ring *r, unsigned n)
{
	struct io_uring_cqe c;

	for (unsigned i = 0; i < n; i++) {
		prepare(r, IORING_OP_NOP, i);
		must(submit(r, 1, 1) == 1 && take(r, &c) && c.user_data == i);
	}
}
#endif
