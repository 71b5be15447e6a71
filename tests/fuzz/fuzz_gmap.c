/* Genetic maps, plain or packed. What is read ascends, and the cM of no position falls. Input: chromosome's number | the file. */
#include "fuzz_file.h"
#include "lib/formats/gmap.h"

#include <math.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const chrom[] = {"22", "chr22", "X", "1"};
    struct sq_gmap m = {0};
    struct sq_why why = {0};
    if (size < 1 || size > (1 << 20) || sq_gmap_read(fuzz_file(data + 1, size - 1), chrom[data[0] & 3], &why, &m))
        return 0;
    sq_assert(m.n >= 2);
    double last = -INFINITY;
    for (size_t i = 0; i < m.n; i++) {
        sq_assert(i == 0 || (m.pos_bp[i] > m.pos_bp[i - 1] && m.cm[i] >= m.cm[i - 1]));
        for (int64_t d = -1; d <= 1; d++) {
            double cm = sq_gmap_cm(&m, m.pos_bp[i] + d);
            sq_assert(isfinite(cm) && (d < 0 || cm >= last - 1e-9));
            last = cm;
        }
    }
    sq_assert(sq_gmap_cm(&m, 1) <= sq_gmap_cm(&m, 536870911));
    sq_gmap_done(&m);
    return 0;
}
