/*
 * Where an adapter begins in a read, as bcl2fastq and BCL Convert do it: at each start as many bases as overlap are compared; comparing stops
 * when more than one and more than half differ; it is one when matches / (matches + mismatches) >= stringency. N is neither.
 */
#include "lib/demux/demux_internal.h"

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

/*
 * A start where the whole adapter fits can't be one when its first bases alone hold more mismatches than the stringency allows for all;
 * these are counted for 32 starts at once. What is left is looked at exactly.
 */
static uint32_t find_one(const uint8_t *base, uint32_t n_base, const struct sq_sheet_settings *set, const uint8_t *call, uint32_t n, uint8_t *scratch)
{
    uint32_t n_look = n_base < LOOK ? n_base : LOOK;
    uint32_t allowed = (uint32_t)((1.0 - set->adapter_stringency) * n_base + 1e-9);
    if (!n_base)
        return n;
    if (n >= n_look)
        sq_demux_kernels()->differ(call, n - n_look + 1, base, n_look, scratch);
    for (uint32_t at = 0; at < n; at++) {
        if (at + n_look <= n && scratch[at] > allowed)
            continue;
        if (is_here(base, n_base, call + at, n - at, set))
            return at;
    }
    return n;
}

uint32_t adapter_find(const struct demux_adapters *a, const struct sq_sheet_settings *set, const uint8_t *call, uint32_t n, uint8_t *scratch)
{
    uint32_t first = n;
    for (uint32_t i = 0; i < a->n; i++) {
        uint32_t at = find_one(a->one[i].base, a->one[i].n, set, call, n, scratch);
        first = at < first ? at : first;
    }
    return first;
}
