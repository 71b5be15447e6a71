/*
 * RunInfo, RunParameters and positions of every kind. Input: one byte, which; then the file (lane locs: and, behind a line "%%", the tile
 * index). Tiles come once, cycles add up, positions are those of an image.
 */
#include "fuzz_run.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char info[] = "<RunInfo><Run Id=\"r\"><Reads><Read Number=\"1\" NumCycles=\"2\"/></Reads><FlowcellLayout LaneCount=\"1\"><Tile>1_1101</Tile>"
                           "<Tile>1_1102</Tile></FlowcellLayout></Run></RunInfo>";

static void read_info(const uint8_t *p, size_t n)
{
    struct sq_run_why why;
    struct sq_run_info i;
    if (sq_run_info_read(p, n, &why, &i))
        return;
    uint32_t cycle = 1;
    sq_assert(i.n_read >= 1 && i.n_read <= SQ_RUN_MAX_READS && i.n_cycle <= SQ_RUN_MAX_CYCLES);
    for (uint32_t k = 0; k < i.n_read; k++) {
        sq_assert(i.read[k].first_cycle == cycle && i.read[k].n_cycle);
        cycle += i.read[k].n_cycle;
    }
    sq_assert(cycle == i.n_cycle + 1);
    for (uint32_t k = 0; k < i.n_tile; k++)
        sq_assert(i.tile[k].lane >= 1 && i.tile[k].lane <= SQ_RUN_MAX_LANES && i.tile[k].tile && i.tile[k].surface >= 1 && i.tile[k].surface <= 9);
    sq_assert(memchr(i.id, 0, sizeof i.id) && memchr(i.date, 0, sizeof i.date) && memchr(i.flowcell, 0, sizeof i.flowcell));
    sq_run_info_done(&i);
}

static void read_positions(const char *end, struct sq_span rest)
{
    struct fuzz_run files = {.end = {"RunInfo.xml", end}, .bytes = {fuzz_text(info)}};
    struct sq_run *run = NULL;
    struct sq_run_why why;
    files.bytes[1] = fuzz_bytes(&rest);
    if (rest.n) {
        files.end[2] = "s_1.bci";
        files.bytes[2] = rest;
    }
    struct sq_run_files open = {.ctx = &files, .open = fuzz_run_open};
    if (sq_run_open(&open, &why, &run))
        return;
    uint32_t n;
    const struct sq_run_tile *t = sq_run_tiles(run, 1, &n);
    for (uint32_t i = 0; i < n && i < 4; i++) {
        struct sq_positions p;
        if (sq_positions_read(run, &t[i], &why, &p))
            continue;
        for (uint32_t k = 0; k < p.n; k++)
            sq_assert(p.x[k] >= -100000000 && p.x[k] <= 100000000 && p.y[k] >= -100000000 && p.y[k] <= 100000000);
        sq_positions_done(&p);
    }
    sq_run_close(run);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const ends[] = {"s.locs", "s_1_1101.locs", "s_1.locs", "_1101.clocs", "_pos.txt"};
    struct sq_run_why why;
    struct sq_run_params params;
    if (size < 1 || size > 1 << 18)
        return 0;
    unsigned which = data[0] % 7;
    if (which == 5)
        read_info(data + 1, size - 1);
    else if (which == 6)
        (void)!sq_run_params_read(data + 1, size - 1, &why, &params);
    else
        read_positions(ends[which], sq_span_of(data + 1, size - 1));
    return 0;
}
