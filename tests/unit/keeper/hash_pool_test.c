/* The line for password hashes: one at a time, known ones first, otherwise as they came, and no more than a few. */
#include "daemon/keeper/hash_pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#define MAX_WAIT (2 * KEEPER_HASH_WAITING)

static struct keeper_hash_pool pool;
static unsigned order[MAX_WAIT], n_done, n_inside;

struct waiter {
    pthread_t thread;
    unsigned no;
    bool is_known;
};

static void *wait_main(void *arg)
{
    struct waiter *w = arg;
    if (keeper_hash_enter(&pool, w->is_known))
        abort();
    if (__atomic_add_fetch(&n_inside, 1, __ATOMIC_SEQ_CST) != 1)
        abort(); /* two at once */
    order[n_done++] = w->no;
    __atomic_sub_fetch(&n_inside, 1, __ATOMIC_SEQ_CST);
    keeper_hash_leave(&pool);
    return NULL;
}

static void start(struct waiter *w, unsigned no, bool is_known)
{
    *w = (struct waiter){.no = no, .is_known = is_known};
    pthread_mutex_lock(&pool.lock);
    uint64_t before = pool.line[is_known].next;
    pthread_mutex_unlock(&pool.lock);
    assert_int_equal(pthread_create(&w->thread, NULL, wait_main, w), 0);
    for (bool is_there = false; !is_there;) { /* the next one begins when this one stands in the line */
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        pthread_mutex_lock(&pool.lock);
        is_there = pool.line[is_known].next > before;
        pthread_mutex_unlock(&pool.lock);
    }
}

static void test_known_first_then_as_they_came(void **state)
{
    struct waiter w[MAX_WAIT];
    (void)state;
    keeper_hash_pool_init(&pool);
    n_done = 0;
    assert_int_equal(keeper_hash_enter(&pool, false), SQ_OK);
    for (unsigned i = 0; i < KEEPER_HASH_WAITING; i++)
        start(&w[i], i, false);
    assert_int_equal(keeper_hash_enter(&pool, false), SQ_EBUSY); /* the strangers' line is full, the known ones' isn't */
    for (unsigned i = KEEPER_HASH_WAITING; i < MAX_WAIT; i++)
        start(&w[i], i, true);
    assert_int_equal(keeper_hash_enter(&pool, true), SQ_EBUSY);
    keeper_hash_leave(&pool);
    for (unsigned i = 0; i < MAX_WAIT; i++)
        pthread_join(w[i].thread, NULL);
    assert_int_equal(n_done, MAX_WAIT);
    for (unsigned i = 0; i < MAX_WAIT; i++)
        assert_int_equal(order[i], (i + KEEPER_HASH_WAITING) % MAX_WAIT);
    assert_int_equal(keeper_hash_enter(&pool, false), SQ_OK); /* and all of it is free again */
    keeper_hash_leave(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_known_first_then_as_they_came)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
