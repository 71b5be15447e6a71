#include "daemon/keeper/clock_watch.h"

#include "lib/core/clock.h"
#include "lib/core/fault.h"

#include <time.h>

int64_t keeper_clock_wall_s(void)
{
#ifdef SQ_TEST_HOOKS
    return sq_clock_now_s() - sq_hooks_clock_offset_s();
#else
    return sq_clock_now_s();
#endif
}

static int64_t boot_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return t.tv_sec;
}

bool keeper_clock_jumped(int64_t from_s, int64_t to_s, int64_t passed_s)
{
    int64_t ahead_s = to_s - from_s - passed_s;
    return ahead_s > KEEPER_CLOCK_AHEAD_S || ahead_s < -KEEPER_CLOCK_BEHIND_S;
}

void keeper_clock_start(struct keeper_clock *c, int64_t seen_s)
{
    pthread_mutex_init(&c->lock, NULL);
    c->wall_s = keeper_clock_wall_s();
    c->boot_s = boot_s();
    c->is_held = c->wall_s < seen_s - KEEPER_CLOCK_BEHIND_S;
}

/* Once held it stays so, even when the clock is put right again: an operator should know why it moved. */
bool keeper_clock_is_held(struct keeper_clock *c)
{
    pthread_mutex_lock(&c->lock);
    if (keeper_clock_jumped(c->wall_s, keeper_clock_wall_s(), boot_s() - c->boot_s))
        c->is_held = true;
    bool is_held = c->is_held;
    pthread_mutex_unlock(&c->lock);
    return is_held;
}

void keeper_clock_confirm(struct keeper_clock *c)
{
    pthread_mutex_lock(&c->lock);
    c->wall_s = keeper_clock_wall_s();
    c->boot_s = boot_s();
    c->is_held = false;
    pthread_mutex_unlock(&c->lock);
}
