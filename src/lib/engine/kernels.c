/* Which version of the kernels this machine runs. */
#include "lib/engine/kernels_internal.h"

#include <string.h>

struct version {
    const struct sq_kernels *kernels;
    int can_run;
};

/* Quickest first. The features are those which meson.build names for each file. */
static const struct sq_kernels *choose(const char *name)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    int has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
                   __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt");
    int has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                     __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    const struct version version[] = {{&sq_kernels_avx512, has_avx512}, {&sq_kernels_avx2, has_avx2}, {&sq_kernels_scalar, 1}};
#elif defined(__aarch64__)
    const struct version version[] = {{&sq_kernels_neon, 1}, {&sq_kernels_scalar, 1}}; /* part of every such processor */
#else
    const struct version version[] = {{&sq_kernels_scalar, 1}};
#endif
    for (size_t i = 0; i < sizeof version / sizeof version[0]; i++)
        if (version[i].can_run && (!name || !strcmp(name, version[i].kernels->name)))
            return version[i].kernels;
    return NULL;
}

const struct sq_kernels *sq_kernels(void)
{
    static const struct sq_kernels *chosen; /* threads may meet here: they find the same */
    const struct sq_kernels *k = __atomic_load_n(&chosen, __ATOMIC_RELAXED);
    if (!k) {
        k = choose(NULL);
        __atomic_store_n(&chosen, k, __ATOMIC_RELAXED);
    }
    return k;
}

const struct sq_kernels *sq_kernels_named(const char *name)
{
    return choose(name);
}
