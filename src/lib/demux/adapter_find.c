/*
 * Where an adapter begins in a read, as bcl2fastq and BCL Convert do it: at each start as many bases as overlap are compared; comparing stops
 * when more than one and more than half differ; it is one when matches / (matches + mismatches) >= stringency. N is neither.
 */
#include "lib/demux/demux_internal.h"

#include <stdlib.h>

#define LOOK 16U

/* Exactly the rule, at one start. */
static bool is_here(const uint8_t *base, uint32_t n_base, const uint8_t *call, uint32_t n, const struct sq_sheet_settings *set)
{
    uint32_t n_same = 0, n_other = 0, n_look = n_base < n ? n_base : n;
    for (uint32_t i = 0; i < n_look; i++) {
        if (!call[i] || base[i] > 3)
            continue;
        if ((call[i] & 3) == base[i])
            n_same++;
        else if (++n_other > 1 && n_other > n_same)
            return false;
    }
    uint32_t least = set->min_adapter_overlap > 1 ? set->min_adapter_overlap : 1;
    return n_same >= least && (double)n_same >= set->adapter_stringency * (double)(n_same + n_other);
}

/* How many bases may differ, where @n overlap: more than that are too many for the stringency, whatever else is there. */
static uint8_t may_differ(double stringency, uint32_t n)
{
    double most = (1.0 - stringency) * n + 1e-9;
    return most < 200.0 ? (uint8_t)most : 200;
}

sq_err adapter_limits(struct demux_adapter *a, double stringency, uint32_t n_cycle)
{
    uint8_t most = may_differ(stringency, a->n);
    a->n_look = 6U + 2U * most < LOOK ? 6U + 2U * most : LOOK; /* by chance one start in some thousands gets through */
    a->n_look = a->n_look < a->n ? a->n_look : a->n;
    a->n_cycle = n_cycle;
    a->most = calloc((size_t)n_cycle + 64, 1);
    if (!a->most)
        return sq_fail(SQ_ENOMEM);
    for (uint32_t i = 0; i < n_cycle; i++)
        a->most[i] = may_differ(stringency, n_cycle - i < a->n ? n_cycle - i : a->n);
    return SQ_OK;
}

/*
 * Where the first bases of the adapter already hold more mismatches than the stringency allows for what overlaps, it can't be; these are
 * counted for 32 starts at once. What is left is looked at exactly.
 */
static uint32_t find_one(const struct demux_adapter *a, const struct sq_sheet_settings *set, const uint8_t *call, uint32_t n, uint8_t *room, uint32_t *bits)
{
    if (!a->n)
        return n;
    sq_assert(n <= a->n_cycle);
    sq_demux_kernels()->near(call, n, a->base, a->n_look, a->most + (a->n_cycle - n), room, bits);
    for (uint32_t w = 0; w < (n + 31) / 32; w++)
        for (uint32_t left = bits[w]; left; left &= left - 1) {
            uint32_t at = w * 32 + (uint32_t)__builtin_ctz(left);
            if (is_here(a->base, a->n, call + at, n - at, set))
                return at;
        }
    return n;
}

uint32_t adapter_find(const struct demux_adapters *a, const struct sq_sheet_settings *set, const uint8_t *call, uint32_t n, uint8_t *room, uint32_t *bits)
{
    uint32_t first = n;
    for (uint32_t i = 0; i < a->n; i++) {
        uint32_t at = find_one(&a->one[i], set, call, n, room, bits);
        first = at < first ? at : first;
    }
    return first;
}
