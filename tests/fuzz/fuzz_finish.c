/* finish alone, with everything on its ports hostile. Input: ids | a line "%%" | the chunks' index parts, joined (binary). */
#include "fuzz_file.h"
#include "worker/worker.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > (1 << 20))
        return 0;
    struct sq_span rest = sq_span_of(data, size), ids = fuzz_piece(&rest), index = rest;
    struct worker w = {.control = -1, .n_thread = 1, .progress_ms = INT64_MAX / 2};
    struct sq_span in[] = {ids, index};
    for (unsigned i = 0; i < 4; i++)
        w.port[i] = i < 2 ? fuzz_file_of(i, in[i].p, in[i].n) : fuzz_file_of(i, NULL, 0);
    if (!stage_finish(&w)) { /* as long as it came, without its head, and packed */
        size_t n;
        free(fuzz_content(w.port[3], &n));
        sq_assert(n > 28 && w.counts.n_sample <= ids.n);
    }
    return 0;
}
