/*
 * Base calls of every kind. Input: one byte, which kind; then the files with a line "%%" between: bcl, bcl.gz or cbcl: calls, filter;
 * bgzf: calls, filter, tile index, table of the cycle. What is read has the filter's number of calls, and none is an impossible one.
 */
#include "fuzz_run.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char info[] = "<RunInfo Version=\"5\"><Run Id=\"r\" Number=\"1\"><Reads><Read Number=\"1\" NumCycles=\"2\" IsIndexedRead=\"N\"/></Reads>"
                           "<FlowcellLayout LaneCount=\"1\"><TileSet><Tiles><Tile>1_1101</Tile><Tile>1_1102</Tile></Tiles></TileSet></FlowcellLayout></Run></RunInfo>";

static void read_tile(struct sq_run *run, struct sq_calls *r, const struct sq_run_tile *t)
{
    struct sq_run_why why;
    struct sq_calls_look look;
    struct sq_filter pf = {0};
    enum sq_cycle_state state;
    char text[600];
    uint32_t n = 0;
    bool has_filter = !sq_filter_read(run, t, &why, &pf);
    sq_err seen = sq_calls_look(r, t, 1, &why, &look);
    size_t cap = has_filter ? pf.n_pf : seen ? 0 : look.n_cluster;
    if (cap > 1U << 24) /* claimed, and believed only by who allocates for it */
        cap = 0;
    uint8_t *out = malloc(cap + 1);
    sq_assert(out);
    out[cap] = 0xa5;
    sq_err e = sq_calls_read(r, t, 1, has_filter ? &pf : NULL, out, cap, &why, &n);
    sq_assert(out[cap] == 0xa5);
    if (!e) {
        sq_assert(n == cap || (!has_filter && n <= cap));
        for (uint32_t i = 0; i < n; i++)
            sq_assert(!out[i] || sq_call_quality(out[i]) > 0);
    } else {
        sq_assert(why.file[0] || !why.detail[0]);
        sq_run_why_text(&why, text, sizeof text);
        sq_assert(strlen(text) < sizeof text);
    }
    (void)!sq_calls_state(r, t->lane, 1, &why, &state);
    free(out);
    sq_filter_done(&pf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const ends[] = {".bcl", ".bcl.gz", ".bcl.bgzf", ".cbcl"};
    struct sq_run *run = NULL;
    struct sq_calls *r = NULL;
    struct sq_run_why why;
    if (size < 1 || size > 1 << 20)
        return 0;
    struct sq_span rest = sq_span_of(data + 1, size - 1);
    struct fuzz_run files = {.end = {"RunInfo.xml", ends[data[0] & 3], ".filter"}, .bytes = {fuzz_text(info)}};
    files.bytes[1] = fuzz_bytes(&rest);
    files.bytes[2] = fuzz_bytes(&rest);
    if (rest.n) {
        files.end[3] = "s_1.bci";
        files.bytes[3] = fuzz_bytes(&rest);
    }
    if (rest.n) {
        files.end[4] = ".bgzf.bci";
        files.bytes[4] = fuzz_bytes(&rest);
    }
    struct sq_run_files open = {.ctx = &files, .open = fuzz_run_open};
    if (!sq_run_open(&open, &why, &run) && !sq_calls_new(run, &r)) {
        uint32_t n;
        const struct sq_run_tile *t = sq_run_tiles(run, 1, &n);
        for (uint32_t i = 0; i < n && i < 4; i++)
            read_tile(run, r, &t[i]);
    }
    sq_calls_free(r);
    sq_run_close(run);
    return 0;
}
