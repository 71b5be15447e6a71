/**
 * jobs/chunks - a chromosome cut into chunks, each the work of one sandbox.
 *
 * Cuts lie on multiples of the chunk's size, so that they don't move when a panel grows. The first chunk begins at the start and
 * the last one goes to the end of the chromosome: what the target has outside the panel is theirs.
 */
#ifndef SQ_JOBS_CHUNKS_H
#define SQ_JOBS_CHUNKS_H

#include "lib/jobs/stages.h"

#include <stdint.h>

struct sq_chunk {
    uint64_t from_bp, to_bp; /* from_bp <= position < to_bp; 0: from the start, to the end */
};

/**
 * sq_chunks_plan - chunks of @size_bp for a panel from @first_bp to @last_bp; of a multiple of it when they would be more than
 * SQ_MAX_CHUNKS. Returns their number, at least 1; nonsense (last before first, size 0) is one chunk.
 */
size_t sq_chunks_plan(uint64_t first_bp, uint64_t last_bp, uint64_t size_bp, struct sq_chunk out[SQ_MAX_CHUNKS]);

#endif
