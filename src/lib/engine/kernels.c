/* Which version of the kernels this machine runs. */
#include "lib/engine/kernels_internal.h"

#include <string.h>

struct version {
    const struct sq_kernels *kernels;
    int can_run;
};

/* Quickest first. */
static const struct sq_kernels *choose(const char *name)
{
    const struct version version[] = {{&sq_kernels_scalar, 1}};
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
