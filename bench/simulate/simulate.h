/*
 * simulate.h - what the programs of the simulator share: random numbers, and the file between them.
 *
 * coalescent writes a haplotype file, cohort reads it: records of one site each, in ascending order, native byte order:
 * struct sim_site, then the haplotypes as bits (haplotype h is bit h % 8 of byte h / 8; 1 is the derived allele).
 */
#ifndef SIMULATE_H
#define SIMULATE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct sim_site {
    int32_t pos_bp;
    int32_t n_derived;
};

static inline size_t sim_bit_bytes(int32_t n_hap)
{
    return ((size_t)n_hap + 7) / 8;
}

/* splitmix64: Steele, Lea and Flood, OOPSLA 2014 */
static inline uint64_t sim_splitmix(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static inline void sim_must(int is_ok, const char *what)
{
    if (is_ok)
        return;
    perror(what);
    exit(1);
}

static inline void *sim_alloc(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size);
    sim_must(p != NULL, "memory");
    return p;
}

#endif
