#include "lib/jobs/chunks.h"

size_t sq_chunks_plan(uint64_t first_bp, uint64_t last_bp, uint64_t size_bp, struct sq_chunk out[SQ_MAX_CHUNKS])
{
    uint64_t size = size_bp;
    if (!size || last_bp < first_bp) {
        out[0] = (struct sq_chunk){0, 0};
        return 1;
    }
    while (last_bp / size - first_bp / size >= SQ_MAX_CHUNKS)
        size += size_bp;
    uint64_t first = first_bp / size;
    size_t n = (size_t)(last_bp / size - first) + 1;
    for (size_t i = 0; i < n; i++)
        out[i] = (struct sq_chunk){.from_bp = i ? (first + i) * size : 0, .to_bp = i + 1 < n ? (first + i + 1) * size : 0};
    return n;
}
