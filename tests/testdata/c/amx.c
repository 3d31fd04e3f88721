/* Tiles of AMX, where the CPU has them: what a thread and a child have in them, and a child that may use them and did not yet. */
#include "kids.h"
#include <immintrin.h>
#include <pthread.h>

enum { GET_SUPP = 0x1021, GET_PERM = 0x1022, REQ_PERM = 0x1023, TILE_DATA = 18 }; /* asm/prctl.h */

static int8_t in[2][1024], out[3][1024];

static int allowed(void)
{
	uint64_t features = 0;
	return syscall(SYS_arch_prctl, GET_PERM, &features) == 0 && features >> TILE_DATA & 1;
}

__attribute__((target("amx-tile"))) static void load(const int8_t *tile)
{
	static const struct { uint8_t palette, start, reserved[14]; uint16_t columns[16]; uint8_t rows[16]; } config = {
		.palette = 1, .columns = {64, 64}, .rows = {16, 16}};

	_tile_loadconfig(&config);
	_tile_loadd(1, tile, 64);
}

__attribute__((target("amx-tile"))) static void store(int8_t *tile) { _tile_stored(1, tile, 64); }

static volatile int loaded, over;

static void *threads_own(void *unused)
{
	load(in[0]);
	loaded = 1;
	while (!over)
		usleep(1000);
	store(out[0]);
	return unused;
}

static void child(int uses)
{
	if (uses)
		load(in[1]);
	wait_restored();
	check(allowed());
	if (!uses)
		load(in[1]);
	store(out[2]);
	check(memcmp(in[1], out[2], 1024) == 0, "the tile is another");
}

int main(void)
{
	uint64_t supported = 0;
	pthread_t t;

	syscall(SYS_arch_prctl, GET_SUPP, &supported);
	if (!(supported >> TILE_DATA & 1)) {
		check(!allowed() && syscall(SYS_arch_prctl, REQ_PERM, TILE_DATA) != 0);
		save_me();
		check(!allowed() && syscall(SYS_arch_prctl, REQ_PERM, TILE_DATA) != 0);
		return finish();
	}
	for (int i = 0; i < 1024; i++)
		in[0][i] = i * 7, in[1][i] = i * 11 + 3;
	must(!allowed() && syscall(SYS_arch_prctl, REQ_PERM, TILE_DATA) == 0);
	must(pthread_create(&t, NULL, threads_own, NULL) == 0);
	while (!loaded)
		usleep(1000);
	start_kid(child, 0);
	start_kid(child, 1);
	save_me();
	over = 1;
	must(pthread_join(t, NULL) == 0);
	check(allowed());
	check(memcmp(in[0], out[0], 1024) == 0, "the tile is another");
	load(in[1]);
	store(out[1]);
	check(memcmp(in[1], out[1], 1024) == 0);
	finish_kids();
	return finish();
}
