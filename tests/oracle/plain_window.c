/*
 * One window: batches of eight target haplotypes over threads; each batch goes forward with checkpoints, then backward,
 * handing out the dosages of the sites between two typed neighbours as soon as both posteriors are known.
 *
 * Forward rows are kept only every sqrt(n_typed) sites and computed again a block at a time: one more forward
 * pass, and the memory of a whole chromosome's window falls from n_typed rows to 2 sqrt(n_typed).
 */
#include "oracle/plain_internal.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct shared {
    const struct sq_plain_window *w;
    const struct sq_hmm_params *p;
    const struct sq_plain_sink *sink;
    uint32_t block;     /* typed sites between checkpoints */
    uint32_t *right_of; /* [n_site] first typed site with cm >= the site's, or n_typed */
    float *jump;        /* [n_typed] P(jump) between s-1 and s; [0] unused */
    atomic_uint next;   /* next batch */
    atomic_uint n_done; /* targets done */
    atomic_int failed;  /* sq_err of the first failure */
};

/* Scratch of one thread: all rows from one allocation. */
struct work {
    sq_lanes *rows; /* checkpoints, then the rows of one block, then beta, left, right */
    sq_lanes *sum_at_checkpoint, *sum_in_block;
    struct hmm_emission *emission; /* [n_typed] */
    uint32_t n_checkpoint;
};

static size_t work_bytes(const struct sq_plain_window *w, uint32_t block)
{
    size_t n_row = (w->n_typed + block - 1) / block + block + 3;
    return n_row * w->n_hap * sizeof(sq_lanes) + w->n_typed * sizeof(struct hmm_emission) + n_row * sizeof(sq_lanes);
}

static void work_done(struct work *k)
{
    free(k->rows);
    free(k->sum_at_checkpoint);
    free(k->sum_in_block);
    free(k->emission);
}

static sq_err work_init(struct work *k, const struct sq_plain_window *w, uint32_t block)
{
    *k = (struct work){.n_checkpoint = (w->n_typed + block - 1) / block};
    size_t n_row = (size_t)k->n_checkpoint + block + 3;
    k->rows = aligned_alloc(64, (n_row * w->n_hap * sizeof(sq_lanes) + 63) / 64 * 64);
    k->sum_at_checkpoint = aligned_alloc(64, (k->n_checkpoint * sizeof(sq_lanes) + 63) / 64 * 64);
    k->sum_in_block = aligned_alloc(64, (block * sizeof(sq_lanes) + 63) / 64 * 64);
    k->emission = aligned_alloc(64, (w->n_typed * sizeof(struct hmm_emission) + 63) / 64 * 64);
    if (k->rows && k->sum_at_checkpoint && k->sum_in_block && k->emission)
        return SQ_OK;
    work_done(k);
    return sq_fail(SQ_ENOMEM);
}

static const uint64_t *bits_at(const struct sq_plain_window *w, uint32_t s)
{
    return w->typed_bits + (size_t)s * sq_bit_words(w->n_hap);
}

/* Forward from typed site @from (whose row and sum are given) to @to, rows side by side. */
static void forward_block(const struct shared *sh, struct work *k, uint32_t from, uint32_t to, sq_lanes *rows)
{
    const struct sq_plain_window *w = sh->w;
    for (uint32_t s = from; s < to; s++) {
        sq_lanes *row = rows + (size_t)(s - from) * w->n_hap, *sum = &k->sum_in_block[s - from];
        if (s == from) {
            const sq_lanes *kept = k->rows + (size_t)(from / sh->block) * w->n_hap;
            memcpy(row, kept, w->n_hap * sizeof(sq_lanes));
            *sum = k->sum_at_checkpoint[from / sh->block];
        } else {
            hmm_forward(w->n_hap, bits_at(w, s), &k->emission[s], sh->jump[s], row - w->n_hap, sum - 1, row, sum);
        }
    }
}

/* The first pass: two rows in turn, and a copy at each checkpoint. */
static void forward_checkpoints(const struct shared *sh, struct work *k, sq_lanes *two_rows)
{
    const struct sq_plain_window *w = sh->w;
    sq_lanes sum[2];
    for (uint32_t s = 0; s < w->n_typed; s++) {
        sq_lanes *row = two_rows + (size_t)(s & 1) * w->n_hap, *prev = two_rows + (size_t)(~s & 1) * w->n_hap;
        if (s == 0)
            hmm_first(w->n_hap, bits_at(w, 0), &k->emission[0], row, &sum[0]);
        else
            hmm_forward(w->n_hap, bits_at(w, s), &k->emission[s], sh->jump[s], prev, &sum[~s & 1], row, &sum[s & 1]);
        if (s % sh->block == 0) {
            memcpy(k->rows + (size_t)(s / sh->block) * w->n_hap, row, w->n_hap * sizeof(sq_lanes));
            k->sum_at_checkpoint[s / sh->block] = sum[s & 1];
        }
    }
}

static void clamp_put(const struct shared *sh, uint32_t site, uint32_t first, uint32_t n, const sq_lanes *dosage)
{
    float out[SQ_HMM_LANES];
    for (uint32_t l = 0; l < SQ_HMM_LANES; l++)
        out[l] = (*dosage)[l] < 0.0F ? 0.0F : (*dosage)[l] > 1.0F ? 1.0F
                                                                  : (*dosage)[l];
    sh->sink->put(sh->sink->ctx, site, first, n, out);
}

/* Dosages at a site between typed neighbours with posteriors @left and @right; @weight is the right one's share. */
HMM_CLONES
static void dosage_at(const struct shared *sh, uint32_t site, uint32_t first, uint32_t n, const sq_lanes *left,
                      const sq_lanes *left_inv, const sq_lanes *right, const sq_lanes *right_inv, float weight)
{
    const struct sq_plain_site *s = &sh->w->site[site];
    sq_lanes sum_left = *left_inv - *left_inv, sum_right = sum_left; /* zeros */
    for (uint32_t c = 0; c < s->n_carrier; c++) {
        sum_left += left[s->carrier[c]];
        sum_right += right[s->carrier[c]];
    }
    sq_lanes d = sum_left * *left_inv * (1.0F - weight) + sum_right * *right_inv * weight;
    if (s->carriers_have_ref)
        d = 1.0F - d;
    clamp_put(sh, site, first, n, &d);
}

static float share_of_right(const struct sq_plain_window *w, uint32_t right, double cm)
{
    double span = w->typed_cm[right] - w->typed_cm[right - 1];
    return span > 0 ? (float)((cm - w->typed_cm[right - 1]) / span) : 1.0F;
}

/* No typed site at all: every panel haplotype is equally likely. */
static void batch_of_frequencies(const struct shared *sh, uint32_t first, uint32_t n)
{
    for (uint32_t i = 0; i < sh->w->n_site; i++) {
        const struct sq_plain_site *s = &sh->w->site[i];
        float af = (float)s->n_carrier / (float)sh->w->n_hap;
        sq_lanes d = {0};
        d += s->carriers_have_ref ? 1.0F - af : af;
        clamp_put(sh, i, first, n, &d);
    }
}

static void batch_run(const struct shared *sh, struct work *k, uint32_t first, uint32_t n)
{
    const struct sq_plain_window *w = sh->w;
    if (!w->n_typed) {
        batch_of_frequencies(sh, first, n);
        return;
    }
    for (uint32_t s = 0; s < w->n_typed; s++)
        hmm_emit(w->target + (size_t)s * w->n_target + first, n, (float)sh->p->mismatch, &k->emission[s]);
    sq_lanes *block_rows = k->rows + (size_t)k->n_checkpoint * w->n_hap;
    sq_lanes *beta = block_rows + (size_t)sh->block * w->n_hap;
    sq_lanes *left = beta + w->n_hap, *right = left + w->n_hap, left_inv, right_inv = {0};
    forward_checkpoints(sh, k, left); /* left and right lie side by side and are free until the way back */

    for (uint32_t h = 0; h < w->n_hap; h++)
        beta[h] = (sq_lanes){1, 1, 1, 1, 1, 1, 1, 1};
    uint32_t site = w->n_site; /* sites from here on are done */
    for (uint32_t s = w->n_typed; s-- > 0;) {
        if (s + 1 == w->n_typed || (s + 1) % sh->block == 0) {
            uint32_t from = s / sh->block * sh->block;
            forward_block(sh, k, from, s + 1, block_rows);
        }
        if (s + 1 < w->n_typed)
            hmm_backward(w->n_hap, bits_at(w, s + 1), &k->emission[s + 1], sh->jump[s + 1], beta);
        hmm_posterior(w->n_hap, block_rows + (size_t)(s % sh->block) * w->n_hap, beta, left, &left_inv);
        for (; site > 0 && sh->right_of[site - 1] == s + 1; site--) {
            if (s + 1 == w->n_typed)
                dosage_at(sh, site - 1, first, n, left, &left_inv, left, &left_inv, 0.0F);
            else
                dosage_at(sh, site - 1, first, n, left, &left_inv, right, &right_inv,
                          share_of_right(w, s + 1, w->site[site - 1].cm));
        }
        sq_lanes *swap = right;
        right = left;
        left = swap;
        right_inv = left_inv;
    }
    for (; site > 0; site--) /* left of the first typed site */
        dosage_at(sh, site - 1, first, n, right, &right_inv, right, &right_inv, 0.0F);
}

static sq_err thread_run(struct shared *sh, bool is_caller)
{
    struct work k = {0};
    if (sh->w->n_typed) {
        sq_err e = work_init(&k, sh->w, sh->block);
        if (e)
            return e;
    }
    sq_err e = SQ_OK;
    uint32_t n_target = sh->w->n_target;
    while (!e && !atomic_load(&sh->failed)) {
        uint32_t first = atomic_fetch_add(&sh->next, 1) * SQ_HMM_LANES;
        if (first >= n_target)
            break;
        uint32_t n = n_target - first < SQ_HMM_LANES ? n_target - first : SQ_HMM_LANES;
        batch_run(sh, &k, first, n);
        uint32_t n_done = atomic_fetch_add(&sh->n_done, n) + n;
        if (is_caller && sh->sink->progress)
            e = sh->sink->progress(sh->sink->ctx, n_done, n_target);
    }
    work_done(&k);
    return e;
}

static void *thread_main(void *arg)
{
    struct shared *sh = arg;
    sq_err e = thread_run(sh, false);
    int none = SQ_OK;
    if (e)
        atomic_compare_exchange_strong(&sh->failed, &none, (int)e);
    return NULL;
}

static sq_err window_check(const struct sq_plain_window *w, const struct sq_hmm_params *p)
{
    if (!w->n_hap || w->n_hap > SQ_HMM_MAX_HAP || p->n_thread < 1 || p->n_thread > SQ_HMM_MAX_THREADS)
        return sq_fail(SQ_ERANGE);
    if (!(p->ne > 0) || !(p->mismatch > 0) || !(p->mismatch < 0.5))
        return sq_fail(SQ_ERANGE);
    for (uint32_t s = 1; s < w->n_typed; s++)
        if (!(w->typed_cm[s] >= w->typed_cm[s - 1]))
            return sq_fail(SQ_ERANGE);
    for (uint32_t i = 0; i < w->n_site; i++) {
        if (i && !(w->site[i].cm >= w->site[i - 1].cm))
            return sq_fail(SQ_ERANGE);
        for (uint32_t c = 0; c < w->site[i].n_carrier; c++)
            if (w->site[i].carrier[c] >= w->n_hap)
                return sq_fail(SQ_ERANGE);
    }
    return SQ_OK;
}

static sq_err shared_init(struct shared *sh, const struct sq_plain_window *w, const struct sq_hmm_params *p)
{
    sh->block = w->n_typed ? (uint32_t)ceil(sqrt((double)w->n_typed)) : 1;
    sh->right_of = calloc((size_t)w->n_site + 1, sizeof *sh->right_of);
    sh->jump = calloc((size_t)w->n_typed + 1, sizeof *sh->jump);
    if (!sh->right_of || !sh->jump)
        return sq_fail(SQ_ENOMEM);
    for (uint32_t s = 1; s < w->n_typed; s++)
        sh->jump[s] = hmm_jump_p(w->typed_cm[s] - w->typed_cm[s - 1], p->ne, w->n_hap);
    uint32_t s = 0;
    for (uint32_t i = 0; i < w->n_site; i++) {
        while (s < w->n_typed && w->typed_cm[s] < w->site[i].cm)
            s++;
        sh->right_of[i] = s;
    }
    return SQ_OK;
}

sq_err sq_plain_impute(const struct sq_plain_window *w, const struct sq_hmm_params *p, const struct sq_plain_sink *sink)
{
    sq_err e = window_check(w, p);
    if (e)
        return e;
    struct shared sh = {.w = w, .p = p, .sink = sink};
    e = shared_init(&sh, w, p);
    pthread_t thread[SQ_HMM_MAX_THREADS];
    unsigned n_thread = p->n_thread, n_started = 0;
    if (!e) {
        size_t each = work_bytes(w, sh.block), n_fit = SQ_HMM_MAX_WORK_BYTES / each;
        if (!n_fit)
            e = sq_fail(SQ_ELIMIT);
        else if (n_fit < n_thread)
            n_thread = (unsigned)n_fit;
    }
    /* a thread that can't be started is work for the others, not an error */
    while (!e && n_started + 1 < n_thread && (size_t)n_started * SQ_HMM_LANES + SQ_HMM_LANES < w->n_target) {
        if (pthread_create(&thread[n_started], NULL, thread_main, &sh))
            break;
        n_started++;
    }
    if (!e) {
        e = thread_run(&sh, true);
        if (e)
            atomic_store(&sh.failed, (int)e);
    }
    for (unsigned t = 0; t < n_started; t++)
        pthread_join(thread[t], NULL);
    if (!e)
        e = (sq_err)atomic_load(&sh.failed);
    free(sh.right_of);
    free(sh.jump);
    return e;
}
