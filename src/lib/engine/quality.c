#include "lib/engine/engine_internal.h"
#include "lib/engine/plain.h"

struct sq_quality sq_quality_of(const uint16_t *dosage_milli, size_t n)
{
    uint64_t sum = 0, sum_sq = 0; /* n <= 2^32: sum_sq < 2^52 */
    for (size_t i = 0; i < n; i++) {
        sum += dosage_milli[i];
        sum_sq += (uint64_t)dosage_milli[i] * dosage_milli[i];
    }
    double m = (double)n * 1000.0;
    struct sq_quality q = {.af = (double)sum / m};
    q.maf = q.af < 0.5 ? q.af : 1 - q.af;
    double expected = q.af * (1 - q.af);
    if (sum && expected > 0) {
        double var = (double)sum_sq / (m * 1000.0) - q.af * q.af;
        q.r2 = var <= 0 ? 0 : var >= expected ? 1
                                              : var / expected;
    }
    return q;
}

float quality_r2(const uint16_t *milli, size_t n)
{
    return (float)sq_quality_of(milli, n).r2;
}
