/**
 * core/fault - named places where a test can make the process die, fail or pause. Nothing at all in production.
 *
 * A test build shares one page among all processes (the "hooks" file, handed out by parent as descriptor `hooks`):
 * the clock's offset, and the name of one armed fault. `sq_fault("create.3")` kills the process with SIGKILL when
 * that name is armed, and disarms it first (or counts it down), so that the restarted process goes on. Or its thread is
 * held there, until the test releases it: while it waits, other processes can be killed in a state that doesn't pass by.
 */
#ifndef SQ_CORE_FAULT_H
#define SQ_CORE_FAULT_H

#include "lib/core/err.h"

#ifdef SQ_TEST_HOOKS
#include <stdint.h>

/* The page, as tests/support/hub.py writes it: little-endian. */
struct sq_hooks {
    int64_t clock_offset_s;
    volatile int32_t is_armed; /* 1: die; 2: fail with `fail_code`; 3: wait until released; taken by compare-and-swap */
    int32_t fail_code;         /* 3: the number of this wait */
    char name[48];             /* of a fault, or fault:what, where `what` was reached */
    volatile uint64_t n_hit;
    volatile int32_t held, released; /* waits that were reached; all up to `released` are over */
    volatile uint64_t n_count;       /* sq_count(): what a test wants to know the number of */
    volatile int32_t n_more;         /* so many times more than once; then it is disarmed */
};

void sq_hooks_map(int fd); /* borrowed; maps the page; aborts when it can't */
int64_t sq_hooks_clock_offset_s(void);
sq_err sq_fault(const char *name); /* SQ_OK, or the armed code; or doesn't return */
sq_err sq_fault_at(const char *name, const char *what); /* the same; armed as NAME, or as NAME:WHAT to choose a stage */
void sq_count(void); /* one more password was hashed */
#else
static inline void sq_count(void)
{
}

static inline sq_err sq_fault(const char *name)
{
    (void)name;
    return SQ_OK;
}

static inline sq_err sq_fault_at(const char *name, const char *what)
{
    (void)name, (void)what;
    return SQ_OK;
}
#endif

#endif
