/*
 * InterOp metrics. Input: one byte, which kind; then the file. Reading a beginning of it gives a beginning of its records, and the tables are
 * made of whatever there is.
 */
#include "fuzz_run.h"
#include "lib/runs/run_summary.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char info[] = "<RunInfo><Run Id=\"r\"><Reads><Read Number=\"1\" NumCycles=\"12\"/><Read Number=\"2\" NumCycles=\"8\" IsIndexedRead=\"Y\"/></Reads>"
                           "<FlowcellLayout LaneCount=\"2\" SurfaceCount=\"2\"><Tile>1_1101</Tile></FlowcellLayout></Run></RunInfo>";

struct seen {
    uint64_t n, sum, stop;
};

static sq_err see(void *ctx, const struct sq_interop_head *h, const struct sq_interop_record *r)
{
    struct seen *s = ctx;
    sq_assert(h->n_bin <= SQ_INTEROP_MAX_BINS && h->n_channel <= SQ_INTEROP_MAX_CHANNELS && r->lane);
    s->n++;
    s->sum = s->sum * 31 + r->tile + r->cycle;
    return s->n == s->stop ? SQ_ECANCELLED : SQ_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > 1 << 18)
        return 0;
    enum sq_interop_kind kind = (enum sq_interop_kind)(data[0] % SQ_INTEROP_KINDS);
    struct sq_run_why why;
    struct sq_interop_end whole, part;
    struct seen all = {0}, some = {0};
    data++, size--;
    if (!sq_interop_parse(kind, data, size, &why, see, &all, &whole)) {
        sq_assert(all.n <= whole.n_record);
        size_t cut = size - size / 3;
        if (!sq_interop_parse(kind, data, cut, &why, see, &some, &part))
            sq_assert(part.n_record <= whole.n_record && some.n <= all.n);
        struct seen first = {.stop = some.n};
        if (some.n)
            sq_assert(sq_interop_parse(kind, data, size, &why, see, &first, &part) == SQ_ECANCELLED && first.sum == some.sum);
    }
    char name[64];
    snprintf(name, sizeof name, "InterOp/%sOut.bin", sq_interop_name(kind));
    struct fuzz_run files = {.end = {"RunInfo.xml", name}, .bytes = {fuzz_text(info), sq_span_of(data, size)}};
    struct sq_run_files open = {.ctx = &files, .open = fuzz_run_open};
    struct sq_run *run = NULL;
    struct sq_run_summary s;
    if (!sq_run_open(&open, &why, &run) && !sq_run_summarize(run, &why, &s))
        sq_run_summary_done(&s);
    sq_run_close(run);
    return 0;
}
