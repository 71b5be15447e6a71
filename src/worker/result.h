/* result - what impute and finish agree on (docs/formats/stages.md). */
#ifndef SQ_WORKER_RESULT_H
#define SQ_WORKER_RESULT_H

/* The index port: magic (8), number of samples (u64 LE), then an unpacked .tbi whose offsets count from the body's start. */
#define RESULT_INDEX_MAGIC "sqindex1"
#define RESULT_INDEX_HEAD_BYTES 16U

#endif
