/*
 * The clock of a server under test: the machine's, and as many seconds as the file says that STEWARD_TEST_CLOCK names; or
 * the second that it says next, for as long as that is not 0: a clock that stands still.
 * Loaded before libc's. What measures how long something took (CLOCK_MONOTONIC) is not moved, nor are times of files.
 *
 * Debian's libfaketime does not do: processes that the postmaster forks while it waits in select() keep the machine's
 * clock there.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile const int64_t *ahead;

__attribute__((constructor)) static void begin(void)
{
	const char *name = getenv("STEWARD_TEST_CLOCK");
	int file = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
	void *seconds = file < 0 ? MAP_FAILED : mmap(NULL, 2 * sizeof *ahead, PROT_READ, MAP_SHARED, file, 0);

	if (seconds != MAP_FAILED)
		ahead = seconds;
	if (file >= 0)
		close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	int failed = syscall(SYS_clock_gettime, clock, now);

	if (!failed && ahead && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
	{
		int64_t stopped = ahead[1];

		now->tv_sec = stopped ? stopped : now->tv_sec + ahead[0];
		now->tv_nsec = stopped ? 0 : now->tv_nsec;
	}
	return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	struct timespec moment;
	int failed = clock_gettime(CLOCK_REALTIME, &moment);

	(void) zone;
	now->tv_sec = moment.tv_sec;
	now->tv_usec = moment.tv_nsec / 1000;
	return failed;
}

time_t time(time_t *now)
{
	struct timespec moment;

	clock_gettime(CLOCK_REALTIME, &moment);
	if (now)
		*now = moment.tv_sec;
	return moment.tv_sec;
}
