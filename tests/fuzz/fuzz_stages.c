/*
 * qc, phase, impute and finish, in a row, on what an earlier stage (which had met a stranger's file) may have written.
 * Input: how | target | a line "%%" | panel, of which a panel file is made | a line "%%" | map, as text or packed.
 * how & 1: without the map | 2: impute gets the target itself, not what qc kept | 4: the panel stage first | 8: the map replaces the panel's own |
 * 16: impute phases on the way | 32: the phase stage before impute | 64: the phase stage makes a file, and that's all.
 * What impute and phase write, finish must accept, and header and body joined must be a file that our own reader takes.
 */
#include "fuzz_file.h"
#include "lib/panel/panel_build.h"
#include "worker/worker.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct worker worker_new(void)
{
    return (struct worker){.control = -1, .n_thread = 1, .progress_ms = INT64_MAX / 2, .choice = worker_choice_default()};
}

static void again(int fd)
{
    sq_assert(lseek(fd, 0, SEEK_SET) == 0);
}

/* header | body, as the runner joins them */
static void read_result(int header, int body, uint64_t n_sample)
{
    size_t n_header, n_body;
    uint8_t *h = fuzz_content(header, &n_header), *b = fuzz_content(body, &n_body), *all = malloc(n_header + n_body);
    sq_assert(all && n_header);
    memcpy(all, h, n_header);
    memcpy(all + n_header, b, n_body);
    struct sq_genotypes_limits limits = {.max_samples = 0};
    struct sq_genotypes *g = NULL;
    struct sq_record r;
    struct sq_why why = {0};
    bool has;
    sq_assert(!sq_genotypes_open(fuzz_file_of(7, all, n_header + n_body), &limits, &why, &g));
    sq_assert(sq_genotypes_n_sample(g) == n_sample);
    do
        sq_assert(!sq_genotypes_next(g, &why, &r, &has));
    while (has);
    sq_genotypes_close(g);
    free(h);
    free(b);
    free(all);
}

static void finish(int index, int body, uint64_t n_sample)
{
    struct worker w = worker_new();
    struct sq_buf ids;
    sq_buf_init(&ids, 0);
    sq_assert(!sq_buf_addf(&ids, "sequester-ids/v1 %llu\n", (unsigned long long)n_sample));
    for (uint64_t i = 0; i < n_sample; i++)
        sq_assert(!sq_buf_addf(&ids, "person %llu\n", (unsigned long long)i));
    again(index);
    w.port[0] = fuzz_file_of(0, ids.p, ids.n);
    w.port[1] = index;
    w.port[2] = fuzz_file_of(1, NULL, 0);
    w.port[3] = fuzz_file_of(2, NULL, 0);
    sq_assert(!stage_finish(&w));
    sq_buf_done(&ids);
    read_result(w.port[2], body, n_sample);
}

/* What impute @m would read, through the phase stage: the stream that it then reads, or a file, which is looked at. -1: refused. */
static int phase(const struct worker *m, bool as_file)
{
    struct worker w = worker_new();
    again(m->port[0]);
    w.port[0] = m->port[0];
    w.port[1] = m->port[1];
    w.port[2] = fuzz_file_of(as_file ? 8 : 9, NULL, 0);
    w.choice.fd_map = m->choice.fd_map;
    w.choice.fd_phased_index = as_file ? fuzz_file_of(5, NULL, 0) : -1;
    if (w.choice.fd_map >= 0)
        again(w.choice.fd_map);
    sq_err e = stage_phase(&w);
    if (w.choice.fd_map >= 0)
        again(w.choice.fd_map);
    if (!e && as_file)
        finish(w.choice.fd_phased_index, w.port[2], w.counts.n_sample);
    return e ? -1 : w.port[2];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > (1 << 18))
        return 0;
    uint8_t how = data[0];
    struct sq_span rest = sq_span_of(data + 1, size - 1), target = fuzz_piece(&rest), panel = fuzz_piece(&rest), map = rest;
    struct worker p = worker_new(), q = worker_new(), m = worker_new();
    int source_fd = fuzz_file_of(1, panel.p, panel.n), panel_fd = fuzz_file_of(6, NULL, 0), map_fd = fuzz_file_of(2, map.p, map.n);
    struct sq_panel_plan plan = {.map_fd = how & 1 ? -1 : map_fd, .populations_fd = -1};
    if (sq_panel_build(source_fd, panel_fd, &plan, &p.why, NULL))
        return 0;
    again(map_fd);
    if (how & 4) {
        p.port[0] = panel_fd;
        sq_assert(!stage_panel(&p)); /* what was made is sound */
    }
    q.port[0] = fuzz_file_of(0, target.p, target.n);
    q.port[1] = panel_fd;
    q.port[2] = fuzz_file_of(3, NULL, 0);
    q.port[3] = fuzz_file_of(4, NULL, 0);
    if (stage_qc(&q) && !(how & 2))
        return 0;
    m.port[0] = how & 2 ? q.port[0] : q.port[2];
    m.port[1] = panel_fd;
    m.choice.fd_map = how & 8 ? map_fd : -1;
    m.choice.phases = how & 16;
    if (how & 64) {
        phase(&m, true);
        return 0;
    }
    if (how & 32)
        m.port[0] = phase(&m, false);
    if (m.port[0] < 0)
        return 0;
    again(m.port[0]);
    m.port[2] = fuzz_file_of(4, NULL, 0);
    m.port[3] = fuzz_file_of(5, NULL, 0);
    if (!stage_impute(&m))
        finish(m.port[3], m.port[2], m.counts.n_sample);
    return 0;
}
