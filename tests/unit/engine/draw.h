/* draw - numbers by chance for tests, the same each time (xorshift: Marsaglia, J. Stat. Softw. 8:14, 2003). One sequence a program, begun where it sets @seed. */
#ifndef SQ_TEST_DRAW_H
#define SQ_TEST_DRAW_H

#include <stdint.h>

static uint64_t seed = 20261122;

static inline uint32_t draw(uint32_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)((seed >> 33) % n);
}

#endif
