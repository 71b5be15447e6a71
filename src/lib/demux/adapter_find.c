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
 * Where the first bases of the adapter already hold more mismatches than the stringency allows for the whole of it, it can't be; these are
 * counted for 32 starts at once, no-calls behind the read's end standing for what isn't there. What is left is looked at exactly.
 */
static uint32_t find_one(const uint8_t *base, uint32_t n_base, const struct sq_sheet_settings *set, const uint8_t *call, uint32_t n, uint32_t *bits)
{
    if (!n_base)
        return n;
    sq_demux_kernels()->near(call, n, base, n_base < LOOK ? n_base : LOOK, (unsigned)((1.0 - set->adapter_stringency) * n_base + 1e-9), bits);
    for (uint32_t w = 0; w < (n + 31) / 32; w++)
        for (uint32_t left = bits[w]; left; left &= left - 1) {
            uint32_t at = w * 32 + (uint32_t)__builtin_ctz(left);
            if (is_here(base, n_base, call + at, n - at, set))
                return at;
        }
    return n;
}

uint32_t adapter_find(const struct demux_adapters *a, const struct sq_sheet_settings *set, const uint8_t *call, uint32_t n, uint32_t *bits)
{
    uint32_t first = n;
    for (uint32_t i = 0; i < a->n; i++) {
        uint32_t at = find_one(a->one[i].base, a->one[i].n, set, call, n, bits);
        first = at < first ? at : first;
    }
    return first;
}
