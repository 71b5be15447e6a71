/* result - what impute and finish agree on (docs/formats/stages.md). */
#ifndef SQ_WORKER_RESULT_H
#define SQ_WORKER_RESULT_H

/* The index port, one a chunk: magic (8), then u64 LE: number of samples, bytes of the body, of the header lines, of the index.
 * Then the header lines; then the index (sq_tbi_write_part) with offsets from the body's start. */
#define RESULT_INDEX_MAGIC "sqindex2"
#define RESULT_INDEX_HEAD_BYTES 40U

#endif
