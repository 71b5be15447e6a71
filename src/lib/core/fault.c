#include "lib/core/fault.h"

#ifdef SQ_TEST_HOOKS
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct sq_hooks *hooks;

void sq_hooks_map(int fd)
{
    void *p = mmap(NULL, sizeof *hooks, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    sq_assert(p != MAP_FAILED);
    hooks = p;
}

int64_t sq_hooks_clock_offset_s(void)
{
    return hooks ? __atomic_load_n(&hooks->clock_offset_s, __ATOMIC_SEQ_CST) : 0;
}

void sq_count(void)
{
    if (hooks)
        __atomic_add_fetch(&hooks->n_count, 1, __ATOMIC_SEQ_CST);
}

/* armed as NAME, or as NAME:WHAT */
static bool is_meant(const char *name, const char *what)
{
    char armed[sizeof hooks->name + 1] = "";
    memcpy(armed, hooks->name, sizeof hooks->name);
    size_t n = strlen(name);
    return !strncmp(armed, name, n) && (!armed[n] || (armed[n] == ':' && what && !strcmp(armed + n + 1, what)));
}

/* one of its times is ours; the last one disarms it */
static bool take(int32_t armed)
{
    int32_t more = __atomic_load_n(&hooks->n_more, __ATOMIC_SEQ_CST);
    while (more > 0)
        if (__atomic_compare_exchange_n(&hooks->n_more, &more, more - 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
            return true;
    return __atomic_compare_exchange_n(&hooks->is_armed, &armed, 0, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static void wait_released(int32_t number)
{
    __atomic_store_n(&hooks->held, number, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&hooks->released, __ATOMIC_SEQ_CST) < number)
        usleep(2000);
}

sq_err sq_fault(const char *name)
{
    return sq_fault_at(name, NULL);
}

sq_err sq_fault_at(const char *name, const char *what)
{
    if (!hooks)
        return SQ_OK;
    int32_t armed = __atomic_load_n(&hooks->is_armed, __ATOMIC_SEQ_CST), code = hooks->fail_code;
    if (!armed || !is_meant(name, what) || !take(armed))
        return SQ_OK;
    __atomic_add_fetch(&hooks->n_hit, 1, __ATOMIC_SEQ_CST);
    if (armed == 1) {
        kill(getpid(), SIGKILL);
        for (;;)
            pause();
    }
    if (armed == 3) {
        wait_released(code);
        return SQ_OK;
    }
    return sq_fail(sq_err_from_no((uint32_t)code));
}
#else
typedef int sq_fault_not_in_production;
#endif
