#include "worker/phase_filter.h"

#include <stdlib.h>

#define MAX_SET 255U /* numbers of phase sets in a window, of a sample; 1 is the chromosome as a whole */

void phase_filter_open(struct phase_filter *f, struct worker *w, struct typed_queue *q, const struct sq_engine_panel *panel, unsigned n_sampled,
                       sq_err (*progress)(void *ctx, double cm), void *ctx)
{
    sq_assert(q->takes_unphased);
    *f = (struct phase_filter){.w = w, .q = q, .panel = panel, .next_no = INT64_MIN, .n_sampled = n_sampled, .progress = progress, .ctx = ctx};
}

static void sites_free(struct sq_phase_site *site, uint32_t n, uint32_t n_hap)
{
    for (uint32_t i = 0; i < n; i++) {
        if (site[i].allele)
            sq_wipe(site[i].allele, n_hap);
        free(site[i].allele);
        free((void *)(uintptr_t)site[i].set);
        free(site[i].swap);
        free(site[i].confidence);
    }
    free(site);
}

static void window_done(struct phase_filter *f)
{
    sites_free(f->site, f->n, f->q->n_target);
    free(f->entry);
    f->site = NULL;
    f->entry = NULL;
    f->n = 0;
}

void phase_filter_close(struct phase_filter *f)
{
    if (!f->q)
        return; /* never opened */
    window_done(f);
    sites_free(f->shared, f->n_shared, f->q->n_target);
    f->shared = NULL;
    f->n_shared = 0;
    free(f->last_set);
    free(f->last_turned);
    f->last_set = NULL;
    f->last_turned = NULL;
}

/* ---- what a window is made of ---------------------------------------------------------------------------------------- */

static const uint8_t *raw_of(const struct typed_entry *t)
{
    return t->raw ? t->raw : t->allele;
}

static sq_err copy_site(const struct phase_filter *f, const struct typed_entry *t, struct sq_phase_site *out)
{
    const struct typed_queue *q = f->q;
    out->site = t->row;
    out->allele = malloc(q->n_target);
    out->swap = f->n_sampled ? calloc(q->n_sample, 1) : NULL;
    out->confidence = q->keeps_filled ? calloc(q->n_sample, 1) : NULL;
    if (!out->allele || (f->n_sampled && !out->swap) || (q->keeps_filled && !out->confidence))
        return sq_fail(SQ_ENOMEM);
    memcpy(out->allele, raw_of(t), q->n_target);
    return SQ_OK;
}

/* Typed rows in the window and its flanks, ascending by row: records of one position may come in another order. */
static sq_err gather(struct phase_filter *f)
{
    const struct typed_queue *q = f->q;
    f->site = calloc((size_t)q->n + 1, sizeof *f->site);
    f->entry = calloc((size_t)q->n + 1, sizeof *f->entry);
    if (!f->site || !f->entry)
        return sq_fail(SQ_ENOMEM);
    for (uint32_t i = 0; i < q->n; i++) {
        const struct typed_entry *t = &q->entry[i];
        if (t->row == QUEUE_NO_ROW || t->cm < f->from_cm - FLANK_CM || t->cm >= f->to_cm + FLANK_CM)
            continue;
        uint32_t at = f->n++;
        for (; at > 0 && q->entry[f->entry[at - 1]].row > t->row; at--)
            f->entry[at] = f->entry[at - 1];
        f->entry[at] = i;
    }
    sq_err e = SQ_OK;
    for (uint32_t k = 0; k < f->n && !e; k++)
        e = copy_site(f, &q->entry[f->entry[k]], &f->site[k]);
    return e;
}

/* ---- phase sets ------------------------------------------------------------------------------------------------------ */

/* Sets of one sample in one window: what each is called, how many heterozygotes it has, its number for the engine. */
struct set_row {
    uint32_t name, n_het, sample;
    uint8_t number;
    int64_t as_read[1 + SQ_PHASE_MAX_SAMPLED]; /* heterozygotes that stand as they were read, less those that don't: best phasing, sampled ones */
};

static struct set_row *set_find(struct set_row *table, uint32_t mask, uint32_t name, uint32_t sample)
{
    uint32_t at = name * 2654435761U & mask;
    while (table[at].sample == sample && table[at].name != name)
        at = (at + 1) & mask;
    if (table[at].sample != sample)
        table[at] = (struct set_row){.name = name, .sample = sample};
    return &table[at];
}

static uint32_t set_at(const struct phase_filter *f, uint32_t k, uint32_t sample)
{
    const uint32_t *set = f->q->entry[f->entry[k]].set;
    return set ? set[sample] : 0;
}

/* A set of one heterozygote says nothing; so numbers go to those that have more. */
static void number_sets(struct phase_filter *f, struct set_row *table, uint32_t mask, uint32_t sample, uint8_t *const *out)
{
    uint32_t n_number = 1;
    for (uint32_t k = 0; k < f->n; k++)
        if (set_at(f, k, sample))
            set_find(table, mask, set_at(f, k, sample), sample + 1)->n_het++;
    for (uint32_t k = 0; k < f->n; k++) {
        uint32_t name = set_at(f, k, sample);
        struct set_row *row = name ? set_find(table, mask, name, sample + 1) : NULL;
        if (!row || row->n_het < 2)
            continue;
        if (name == 1)
            row->number = 1;
        else if (!row->number && n_number < MAX_SET)
            row->number = (uint8_t)++n_number;
        else if (!row->number && row->n_het != UINT32_MAX) {
            f->counts.n_set_left++;
            row->n_het = UINT32_MAX; /* counted */
        }
        if (out[k])
            out[k][sample] = row->number;
    }
}

/* A table for the sets of any one sample; NULL with SQ_OK: there are none. */
static sq_err set_table(const struct phase_filter *f, struct set_row **out, uint32_t *out_mask)
{
    uint32_t n_with = 0, mask = 15;
    for (uint32_t k = 0; k < f->n; k++)
        n_with += f->q->entry[f->entry[k]].set != NULL;
    while (mask < 2 * n_with)
        mask = mask * 2 + 1;
    *out_mask = mask;
    *out = n_with ? calloc((size_t)mask + 1, sizeof **out) : NULL;
    return n_with && !*out ? sq_fail(SQ_ENOMEM) : SQ_OK;
}

static sq_err take_sets(struct phase_filter *f)
{
    const struct typed_queue *q = f->q;
    struct set_row *table;
    uint32_t mask;
    sq_err e = set_table(f, &table, &mask);
    if (e || !table)
        return e;
    uint8_t **out = calloc(f->n, sizeof(*out));
    e = out ? SQ_OK : sq_fail(SQ_ENOMEM);
    for (uint32_t k = 0; k < f->n && !e; k++) {
        if (!q->entry[f->entry[k]].set)
            continue;
        f->site[k].set = out[k] = calloc(q->n_sample, 1);
        e = out[k] ? SQ_OK : sq_fail(SQ_ENOMEM);
    }
    for (uint32_t i = 0; i < q->n_sample && !e; i++)
        number_sets(f, table, mask, i, out);
    free(table);
    free(out);
    return e;
}

/* Of each sampled phasing, and the best one: does it have this heterozygote as it was read? */
static bool is_as_read(const struct sq_phase_site *s, const uint8_t *raw, uint32_t i, uint32_t h, unsigned phasing)
{
    bool is_same = s->allele[h] == raw[h];
    return phasing ? is_same != (s->swap && (s->swap[i] >> (phasing - 1) & 1)) : is_same;
}

static void hold_sample(struct phase_filter *f, struct set_row *table, uint32_t mask, uint32_t i, uint32_t h)
{
    const struct typed_queue *q = f->q;
    for (uint32_t k = 0; k < f->n; k++) {
        const struct typed_entry *t = &q->entry[f->entry[k]];
        struct set_row *row = set_at(f, k, i) ? set_find(table, mask, set_at(f, k, i), i + 1) : NULL;
        bool is_out = f->is_turned && k < f->n_shared && t->cm < f->from_cm; /* handed out by the window before, for good */
        for (unsigned p = 0; row && p <= f->n_sampled; p++)
            row->as_read[p] += (is_as_read(is_out ? &f->shared[k] : &f->site[k], raw_of(t), i, h, p) ? 1 : -1) * (is_out ? (int64_t)1 << 32 : 1);
        for (unsigned p = 0; row && f->is_turned && f->last_set && row->name == f->last_set[i] && p <= f->n_sampled; p++)
            row->as_read[p] += f->last_turned[i] >> p & 1 ? -((int64_t)1 << 32) : (int64_t)1 << 32; /* over a gap of the panel, too */
    }
    for (uint32_t k = 0; k < f->n; k++) {
        const struct set_row *row = set_at(f, k, i) ? set_find(table, mask, set_at(f, k, i), i + 1) : NULL;
        if (!row)
            continue;
        const uint8_t *raw = raw_of(&q->entry[f->entry[k]]);
        bool keeps = row->as_read[0] >= 0;
        unsigned swap = 0;
        for (unsigned p = 1; p <= f->n_sampled; p++)
            swap |= (unsigned)((row->as_read[p] >= 0) != keeps) << (p - 1);
        f->site[k].allele[h] = raw[h + !keeps];
        f->site[k].allele[h + 1] = raw[h + keeps];
        if (f->site[k].swap)
            f->site[k].swap[i] = (uint8_t)swap;
    }
}

/* What is given is kept whatever the engine made of it: of a set all heterozygotes stand as they were read, or none. Once the window is turned, a
 * set that began before it goes on as it was handed out. */
static sq_err hold_sets(struct phase_filter *f)
{
    const struct typed_queue *q = f->q;
    struct set_row *table;
    uint32_t mask;
    sq_err e = set_table(f, &table, &mask);
    for (uint32_t i = 0, h = 0; !e && table && i < q->n_sample; h += q->is_haploid[i++] ? 1 : 2)
        if (!q->is_haploid[i])
            hold_sample(f, table, mask, i, h);
    free(table);
    return e;
}

/* Where each sample's last set stands, for the window to come. */
static sq_err keep_last_sets(struct phase_filter *f)
{
    const struct typed_queue *q = f->q;
    for (uint32_t k = 0; k < f->n; k++) {
        const struct typed_entry *t = &q->entry[f->entry[k]];
        if (!t->set || t->cm < f->from_cm || t->cm >= f->to_cm)
            continue;
        if (!f->last_set) {
            f->last_set = calloc(q->n_sample, sizeof *f->last_set);
            f->last_turned = calloc(q->n_sample, sizeof *f->last_turned);
            if (!f->last_set || !f->last_turned)
                return sq_fail(SQ_ENOMEM);
        }
        for (uint32_t i = 0, h = 0; i < q->n_sample; h += q->is_haploid[i++] ? 1 : 2) {
            if (!t->set[i])
                continue;
            f->last_set[i] = t->set[i];
            f->last_turned[i] = 0;
            for (unsigned p = 0; p <= f->n_sampled; p++)
                f->last_turned[i] = (uint16_t)(f->last_turned[i] | (unsigned)!is_as_read(&f->site[k], raw_of(t), i, h, p) << p);
        }
    }
    return SQ_OK;
}

/* ---- after the engine -------------------------------------------------------------------------------------------------- */

/* A sample whose order was given for all of the chromosome keeps it. */
static void turn_to_given(struct phase_filter *f)
{
    const struct typed_queue *q = f->q;
    for (uint32_t i = 0, h = 0; i < q->n_sample; h += q->is_haploid[i++] ? 1 : 2) {
        int64_t n_same = 0;
        for (uint32_t k = 0; k < f->n && !q->is_haploid[i]; k++)
            if (set_at(f, k, i) == 1)
                n_same += f->site[k].allele[h] == raw_of(&q->entry[f->entry[k]])[h] ? 1 : -1;
        for (uint32_t k = 0; k < f->n && n_same < 0; k++) {
            uint8_t *a = f->site[k].allele + h, first = a[0];
            a[0] = a[1];
            a[1] = first;
        }
    }
}

/* What the next window will be turned by: the sites that it has, too. */
static sq_err keep_shared(struct phase_filter *f)
{
    const struct typed_queue *q = f->q;
    sites_free(f->shared, f->n_shared, q->n_target);
    f->n_shared = 0;
    uint32_t first = 0;
    while (first < f->n && q->entry[f->entry[first]].cm < f->to_cm - FLANK_CM)
        first++;
    f->shared = calloc((size_t)(f->n - first) + 1, sizeof *f->shared);
    if (!f->shared)
        return sq_fail(SQ_ENOMEM);
    for (uint32_t k = first; k < f->n; k++) {
        struct sq_phase_site *s = &f->shared[f->n_shared++];
        s->site = f->site[k].site;
        s->allele = malloc(q->n_target);
        s->swap = f->n_sampled ? malloc(q->n_sample) : NULL;
        if (!s->allele || (f->n_sampled && !s->swap))
            return sq_fail(SQ_ENOMEM);
        memcpy(s->allele, f->site[k].allele, q->n_target);
        if (s->swap)
            memcpy(s->swap, f->site[k].swap, q->n_sample);
    }
    return SQ_OK;
}

static void count_core(struct phase_filter *f, const struct typed_entry *t)
{
    const struct typed_queue *q = f->q;
    for (uint32_t i = 0, h = 0; i < q->n_sample; h += q->is_haploid[i++] ? 1 : 2) {
        f->counts.n_missing += t->allele[h] == SQ_ENGINE_MISSING;
        f->counts.n_het += !q->is_haploid[i] && t->allele[h] != SQ_ENGINE_MISSING && t->allele[h] != t->allele[h + 1];
    }
}

/* The window's own sites, to where the queue's readers find them. */
static sq_err hand_out(struct phase_filter *f)
{
    struct typed_queue *q = f->q;
    sq_err e = SQ_OK;
    for (uint32_t k = 0; k < f->n && !e; k++) {
        struct typed_entry *t = &q->entry[f->entry[k]];
        struct sq_phase_site *s = &f->site[k];
        size_t before = queue_bytes_of(q, t);
        if (t->cm < f->from_cm && t->raw) { /* no window to come reads it again */
            sq_wipe(t->raw, q->n_target);
            free(t->raw);
            t->raw = NULL;
        }
        if (t->cm >= f->from_cm && t->cm < f->to_cm) {
            count_core(f, t);
            uint8_t *raw = t->allele, *filled = q->keeps_filled ? malloc(q->n_target) : NULL;
            if (q->keeps_filled && !filled)
                return sq_fail(SQ_ENOMEM);
            if (filled)
                memcpy(filled, s->allele, q->n_target);
            for (uint32_t h = 0; h < q->n_target; h++)
                if (raw[h] == SQ_ENGINE_MISSING)
                    s->allele[h] = SQ_ENGINE_MISSING;
            *t = (struct typed_entry){.pos_bp = t->pos_bp, .cm = t->cm, .row = t->row, .before = t->before, .allele = s->allele, .text = t->text, .n_id = t->n_id,
                                      .n_ref = t->n_ref, .n_alt = t->n_alt, .swap = s->swap, .unphased = t->unphased, .set = t->set, .raw = raw, .filled = filled,
                                      .confidence = s->confidence};
            s->allele = s->swap = s->confidence = NULL;
            if (t->cm < f->to_cm - FLANK_CM) {
                sq_wipe(t->raw, q->n_target);
                free(t->raw);
                t->raw = NULL;
            }
        }
        e = queue_add_bytes(q, queue_bytes_of(q, t) - before);
    }
    return e;
}

static sq_err beat(void *ctx, uint64_t n_done, uint64_t n_all)
{
    struct phase_filter *f = ctx;
    double share = n_all ? (double)n_done / (double)n_all : 0;
    return f->progress ? f->progress(f->ctx, f->from_cm + (f->to_cm - f->from_cm) * (share < 1 ? share : 1)) : worker_beat(f->w);
}

static bool agrees(const struct phase_filter *f)
{
    bool is_ok = f->n_shared <= f->n;
    for (uint32_t k = 0; k < f->n_shared && is_ok; k++)
        is_ok = f->shared[k].site == f->site[k].site;
    return is_ok;
}

static sq_err window_phase(struct phase_filter *f, int64_t k)
{
    struct typed_queue *q = f->q;
    struct sq_phase_window window = {.panel = f->panel, .n_sample = q->n_sample, .n_hap = q->n_target, .is_haploid = q->is_haploid, .n_typed = f->n, .typed = f->site, .key = (uint64_t)k};
    struct sq_phase_params params = {.n_thread = f->w->n_thread, .n_sampled = f->n_sampled, .progress = beat, .progress_ctx = f};
    struct sq_phase_report report = {.n_het = 0};
    sq_err e = take_sets(f);
    if (!e)
        e = sq_phase(&window, &params, &report);
    if (e)
        return e;
    f->counts.cpu_s += report.cpu_typed + report.cpu_start + report.cpu_sweep + report.cpu_rows + report.cpu_pairs + report.cpu_lines;
    sq_assert(!f->n_shared || agrees(f)); /* nothing of the stretch around the line was dropped */
    f->is_turned = false;
    e = hold_sets(f);
    if (e)
        return e;
    sq_phase_ligate(f->shared, f->n_shared, f->site, f->n, q->n_sample, q->is_haploid);
    f->is_turned = true;
    e = hold_sets(f);
    if (!e) {
        turn_to_given(f);
        e = keep_last_sets(f);
    }
    if (!e)
        e = keep_shared(f);
    return e ? e : hand_out(f);
}

/* Behind a window without typed rows nothing is shared. */
static sq_err window_run(struct phase_filter *f, int64_t k)
{
    double origin_cm = sq_panel_info(f->q->panel)->origin_cm;
    bool has_core = false;
    f->from_cm = grid_line(origin_cm, k);
    f->to_cm = grid_line(origin_cm, k + 1);
    sq_err e = queue_fill(f->q, f->to_cm + FLANK_CM);
    if (!e)
        e = gather(f);
    for (uint32_t i = 0; i < f->n && !has_core; i++) {
        double cm = f->q->entry[f->entry[i]].cm;
        has_core = cm >= f->from_cm && cm < f->to_cm;
    }
    if (!e && has_core) {
        e = window_phase(f, k);
    } else if (!e) {
        sites_free(f->shared, f->n_shared, f->q->n_target);
        f->shared = NULL;
        f->n_shared = 0;
    }
    window_done(f);
    return e;
}

sq_err phase_filter_to(struct phase_filter *f, int64_t k)
{
    const struct typed_queue *q = f->q;
    double origin_cm = sq_panel_info(q->panel)->origin_cm;
    sq_err e = SQ_OK;
    if (f->next_no == INT64_MIN) { /* the first record's window */
        double cm = q->n ? q->entry[0].cm : q->has_next ? sq_gmap_cm(q->map, q->next.pos_bp) : grid_line(origin_cm, k);
        f->next_no = grid_no(origin_cm, cm);
    }
    for (; f->next_no <= k && !e; f->next_no++)
        e = window_run(f, f->next_no);
    return e;
}
