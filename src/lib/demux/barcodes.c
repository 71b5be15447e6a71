#include "lib/demux/barcodes.h"

#include <stdlib.h>

#define DIGITS 0x1249249249249249ULL /* the lowest bit of each of 21 digits */
#define N_DIGIT 4U
#define WORD_BASES 21U

/* One distinct barcode of an index. wild: digits that match anything (N in the sheet) are 7. */
struct barcode {
    struct sq_barcode_key key, wild;
    uint32_t mismatches; /* the most that any of its rows allows */
};

struct slot { /* of a table of keys */
    struct sq_barcode_key key;
    uint32_t first, n; /* candidates; n 0: the slot is free */
};

struct candidate {
    uint32_t barcode, mismatches;
};

struct index {
    uint32_t n_base, n_barcode;
    struct barcode *barcode;
    struct slot *slot;           /* [mask + 1]; NULL: go through all */
    uint64_t mask;
    struct candidate *candidate;
};

struct pair_slot {
    uint32_t barcode[2];
    int32_t row; /* -1: free */
};

struct sq_barcodes {
    struct sq_barcode_rule rule;
    uint32_t n_row;
    struct index index[2];
    uint32_t (*of_row)[2];     /* [n_row] barcodes */
    uint32_t (*mismatches)[2]; /* [n_row] */
    int32_t *any_row[2];       /* [n_barcode] a row with that barcode */
    struct pair_slot *pair;
    uint64_t pair_mask;
};

static uint64_t mix(uint64_t v)
{
    v ^= v >> 32;
    v *= 0xd6e8feb86659fd93ULL;
    v ^= v >> 32;
    v *= 0xd6e8feb86659fd93ULL;
    return v ^ v >> 32;
}

static uint64_t key_hash(struct sq_barcode_key k)
{
    return mix(k.w[0] ^ mix(k.w[1] + 0x9e3779b97f4a7c15ULL));
}

static bool key_same(struct sq_barcode_key a, struct sq_barcode_key b)
{
    return a.w[0] == b.w[0] && a.w[1] == b.w[1];
}

static void digit_set(struct sq_barcode_key *k, uint32_t at, uint64_t digit)
{
    uint32_t shift = 60 - 3 * (at % WORD_BASES);
    uint64_t *w = &k->w[at / WORD_BASES];
    *w = (*w & ~(7ULL << shift)) | digit << shift;
}

static uint64_t digit_of(struct sq_barcode_key k, uint32_t at)
{
    return k.w[at / WORD_BASES] >> (60 - 3 * (at % WORD_BASES)) & 7;
}

/* Digits of eight calls, the first highest; @is_reverse: of the reverse complement of them. */
static uint64_t eight_digits(const uint8_t *call, bool is_reverse)
{
    const uint64_t ones = 0x0101010101010101ULL;
    uint64_t v;
    memcpy(&v, call, sizeof v);
    if ((__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__) != is_reverse)
        v = __builtin_bswap64(v);
    uint64_t some = v | v >> 4; /* a call is none when no bit is set: bit 0 of each byte becomes their "or" */
    some |= some >> 2;
    some = (some | some >> 1) & ones;
    uint64_t digit = (is_reverse ? ~v : v) & (some | some << 1); /* 3 - base: its bits turned */
    digit |= (ones ^ some) << 2; /* N_DIGIT */
    digit = (digit | digit >> 5) & 0x003f003f003f003fULL; /* bytes to pairs of digits, fours, eight */
    digit = (digit | digit >> 10) & 0x00000fff00000fffULL;
    return (digit | digit >> 20) & 0xffffff;
}

struct sq_barcode_key sq_barcode_key(const uint8_t *call, uint32_t n, bool is_reverse)
{
    struct sq_barcode_key k = {{0, 0}};
    for (uint32_t w = 0, i = 0; i < n; w++) {
        uint64_t v = 0;
        uint32_t end = i + WORD_BASES < n ? i + WORD_BASES : n, from = i;
        for (; i + 8 <= end; i += 8)
            v = v << 24 | eight_digits(is_reverse ? call + n - 8 - i : call + i, is_reverse);
        for (; i < end; i++) {
            uint8_t c = is_reverse ? call[n - 1 - i] : call[i];
            v = v << 3 | (c ? (is_reverse ? 3U - (c & 3U) : c & 3U) : N_DIGIT);
        }
        k.w[w] = v << 3 * (WORD_BASES - (end - from));
    }
    return k;
}

struct sq_barcode_key sq_barcode_key_text(const char *text)
{
    static const char bases[] = "ACGTN";
    struct sq_barcode_key k = {{0, 0}};
    for (uint32_t i = 0; text[i] && i < SQ_BARCODE_MAX; i++) {
        const char *at = strchr(bases, text[i]);
        digit_set(&k, i, at ? (uint64_t)(at - bases) : N_DIGIT);
    }
    return k;
}

void sq_barcode_text(struct sq_barcode_key key, uint32_t n, char *out)
{
    for (uint32_t i = 0; i < n; i++)
        out[i] = "ACGTNNNN"[digit_of(key, i)];
    out[n] = 0;
}

/* Digits of a read that differ from a barcode's; N of the read differs, N of the sheet doesn't. */
static uint32_t distance(struct sq_barcode_key read, const struct barcode *b)
{
    uint32_t n = 0;
    for (int w = 0; w < 2; w++) {
        uint64_t d = (read.w[w] ^ b->key.w[w]) & ~b->wild.w[w];
        n += (uint32_t)__builtin_popcountll((d | d >> 1 | d >> 2) & DIGITS);
    }
    return n;
}

static uint32_t no_calls(struct sq_barcode_key k)
{
    return (uint32_t)(__builtin_popcountll(k.w[0] >> 2 & DIGITS) + __builtin_popcountll(k.w[1] >> 2 & DIGITS));
}

/* As distance(), but N in the read differs from nothing. */
static uint32_t distance_called(struct sq_barcode_key read, const struct barcode *b)
{
    uint32_t n = 0;
    for (int w = 0; w < 2; w++) {
        uint64_t d = (read.w[w] ^ b->key.w[w]) & ~b->wild.w[w];
        n += (uint32_t)__builtin_popcountll((d | d >> 1 | d >> 2) & ~(read.w[w] >> 2) & DIGITS);
    }
    return n;
}

/* ---- making the tables ---- */

struct variants {
    struct slot *slot;
    uint64_t mask, n_used;
    struct candidate *candidate;
    uint32_t *next; /* [n_candidate] of the same key, UINT32_MAX: the last */
    uint32_t n_candidate, cap;
};

static sq_err variant_add(struct variants *v, struct sq_barcode_key key, uint32_t barcode, uint32_t mismatches)
{
    uint64_t at = key_hash(key) & v->mask;
    while (v->slot[at].n && !key_same(v->slot[at].key, key))
        at = (at + 1) & v->mask;
    if (v->n_candidate == v->cap)
        return sq_fail(SQ_ERANGE); /* counted before: can't be */
    uint32_t no = v->n_candidate++;
    v->candidate[no] = (struct candidate){barcode, mismatches};
    v->next[no] = v->slot[at].n ? v->slot[at].first : UINT32_MAX;
    v->slot[at].key = key;
    v->slot[at].first = no;
    v->slot[at].n++;
    return SQ_OK;
}

/* All keys within @left more mismatches, from base @from on; wild bases are gone through as if exact. */
static sq_err variants_from(struct variants *v, struct sq_barcode_key key, const struct barcode *b, uint32_t no, uint32_t n_base, uint32_t from, uint32_t done,
                            uint32_t left)
{
    sq_err e = variant_add(v, key, no, done);
    for (uint32_t i = from; i < n_base && left && !e; i++) {
        uint64_t was = digit_of(b->key, i);
        for (uint64_t d = 0; d <= N_DIGIT && !e; d++)
            if (d != was) {
                struct sq_barcode_key other = key;
                digit_set(&other, i, d);
                e = variants_from(v, other, b, no, n_base, i + 1, done + 1, left - 1);
            }
    }
    return e;
}

static uint64_t variants_count(uint32_t n_base, uint32_t mismatches)
{
    uint64_t n = n_base, one = 4 * n, two = n * (n - 1) / 2 * 16;
    return 1 + (mismatches > 0 ? one : 0) + (mismatches > 1 && n ? two : 0);
}

/* Candidates of a key are brought together, ascending by barcode. */
static void variants_gather(struct variants *v, struct candidate *out)
{
    uint32_t at = 0;
    for (uint64_t i = 0; i <= v->mask; i++) {
        uint32_t from = at, no = v->slot[i].first;
        for (uint32_t k = 0; k < v->slot[i].n; k++, no = v->next[no])
            out[at++] = v->candidate[no];
        for (uint32_t a = from + 1; a < at; a++)
            for (uint32_t k = a; k > from && out[k].barcode < out[k - 1].barcode; k--) {
                struct candidate t = out[k];
                out[k] = out[k - 1];
                out[k - 1] = t;
            }
        v->slot[i].first = from;
    }
}

static sq_err index_table(struct index *x, uint32_t max_variants)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < x->n_barcode; i++) {
        if (x->barcode[i].wild.w[0] || x->barcode[i].wild.w[1] || x->barcode[i].mismatches > 2)
            return SQ_OK; /* gone through one by one */
        n += variants_count(x->n_base, x->barcode[i].mismatches);
    }
    if (!n || n > max_variants)
        return SQ_OK;
    struct variants v = {.mask = 15, .cap = (uint32_t)n};
    while (v.mask < 2 * n)
        v.mask = 2 * v.mask + 1;
    v.slot = calloc(v.mask + 1, sizeof *v.slot);
    v.candidate = calloc(n, sizeof *v.candidate);
    v.next = calloc(n, sizeof *v.next);
    x->candidate = calloc(n, sizeof *x->candidate);
    sq_err e = v.slot && v.candidate && v.next && x->candidate ? SQ_OK : sq_fail(SQ_ENOMEM);
    for (uint32_t i = 0; i < x->n_barcode && !e; i++)
        e = variants_from(&v, x->barcode[i].key, &x->barcode[i], i, x->n_base, 0, 0, x->barcode[i].mismatches);
    if (!e) {
        variants_gather(&v, x->candidate);
        x->slot = v.slot;
        x->mask = v.mask;
        v.slot = NULL;
    }
    free(v.slot);
    free(v.candidate);
    free(v.next);
    return e;
}

/* The distinct barcodes of index @k; rows find theirs. */
static sq_err index_new(struct sq_barcodes *b, const struct sq_barcode_row *row, uint32_t n, int k, uint32_t max_variants)
{
    struct index *x = &b->index[k];
    uint64_t mask = 15;
    while (mask < 2 * (uint64_t)n)
        mask = 2 * mask + 1;
    uint32_t *seen = calloc(mask + 1, sizeof *seen); /* number of the barcode + 1 */
    x->barcode = calloc((size_t)n + 1, sizeof *x->barcode);
    b->any_row[k] = calloc((size_t)n + 1, sizeof *b->any_row[k]);
    if (!seen || !x->barcode || !b->any_row[k]) {
        free(seen);
        return sq_fail(SQ_ENOMEM);
    }
    for (uint32_t i = 0; i < n; i++) {
        struct barcode one = {.key = sq_barcode_key_text(x->n_base ? row[i].index[k] : ""), .mismatches = row[i].mismatches[k]};
        for (uint32_t p = 0; p < x->n_base; p++)
            if (row[i].index[k][p] == 'N')
                digit_set(&one.wild, p, 7);
        uint64_t at = key_hash(one.key) & mask;
        while (seen[at] && !key_same(x->barcode[seen[at] - 1].key, one.key))
            at = (at + 1) & mask;
        if (!seen[at]) {
            b->any_row[k][x->n_barcode] = (int32_t)i;
            x->barcode[x->n_barcode++] = one;
            seen[at] = x->n_barcode;
        }
        struct barcode *have = &x->barcode[seen[at] - 1];
        have->mismatches = one.mismatches > have->mismatches ? one.mismatches : have->mismatches;
        b->of_row[i][k] = seen[at] - 1;
        b->mismatches[i][k] = row[i].mismatches[k];
    }
    free(seen);
    return b->rule.is_concatenated ? SQ_OK : index_table(x, max_variants);
}

static uint64_t pair_hash(uint32_t a, uint32_t b)
{
    return mix((uint64_t)a << 32 | b);
}

static sq_err pairs_new(struct sq_barcodes *b)
{
    b->pair_mask = 15;
    while (b->pair_mask < 2 * (uint64_t)b->n_row)
        b->pair_mask = 2 * b->pair_mask + 1;
    b->pair = calloc(b->pair_mask + 1, sizeof *b->pair);
    if (!b->pair)
        return sq_fail(SQ_ENOMEM);
    for (uint64_t i = 0; i <= b->pair_mask; i++)
        b->pair[i].row = -1;
    for (uint32_t i = 0; i < b->n_row; i++) {
        uint64_t at = pair_hash(b->of_row[i][0], b->of_row[i][1]) & b->pair_mask;
        while (b->pair[at].row >= 0)
            at = (at + 1) & b->pair_mask;
        b->pair[at] = (struct pair_slot){{b->of_row[i][0], b->of_row[i][1]}, (int32_t)i};
    }
    return SQ_OK;
}

sq_err sq_barcodes_new(const struct sq_barcode_row *row, uint32_t n, const uint32_t n_base[2], const struct sq_barcode_rule *rule, uint32_t max_variants,
                       struct sq_barcodes **out)
{
    if (n_base[0] > SQ_BARCODE_MAX || n_base[1] > SQ_BARCODE_MAX || n > INT32_MAX / 2)
        return sq_fail(SQ_ERANGE);
    struct sq_barcodes *b = calloc(1, sizeof *b);
    if (!b)
        return sq_fail(SQ_ENOMEM);
    b->rule = *rule;
    b->n_row = n;
    b->of_row = calloc((size_t)n + 1, sizeof *b->of_row);
    b->mismatches = calloc((size_t)n + 1, sizeof *b->mismatches);
    sq_err e = b->of_row && b->mismatches ? SQ_OK : sq_fail(SQ_ENOMEM);
    for (int k = 0; k < 2 && !e; k++) {
        b->index[k].n_base = n_base[k];
        e = index_new(b, row, n, k, max_variants);
    }
    if (!e)
        e = pairs_new(b);
    if (e) {
        sq_barcodes_free(b);
        return e;
    }
    *out = b;
    return SQ_OK;
}

void sq_barcodes_free(struct sq_barcodes *b)
{
    if (!b)
        return;
    for (int k = 0; k < 2; k++) {
        free(b->index[k].barcode);
        free(b->index[k].slot);
        free(b->index[k].candidate);
        free(b->any_row[k]);
    }
    free(b->of_row);
    free(b->mismatches);
    free(b->pair);
    free(b);
}

/* ---- matching ---- */

#define MAX_CANDIDATES 64U /* of a search without a table; more within reach can't belong to one sample */

struct candidates {
    const struct candidate *p;
    uint32_t n;
};

/* @own [MAX_CANDIDATES] is needed for an index without a table only. */
static void candidates_of(const struct index *x, struct sq_barcode_key key, struct candidate *own, struct candidates *out)
{
    out->p = own;
    out->n = 0;
    if (x->slot) {
        for (uint64_t at = key_hash(key) & x->mask; x->slot[at].n; at = (at + 1) & x->mask)
            if (key_same(x->slot[at].key, key)) {
                out->p = x->candidate + x->slot[at].first;
                out->n = x->slot[at].n;
                return;
            }
        return;
    }
    for (uint32_t i = 0; i < x->n_barcode && out->n < MAX_CANDIDATES; i++) {
        uint32_t d = distance(key, &x->barcode[i]);
        if (d <= x->barcode[i].mismatches)
            own[out->n++] = (struct candidate){i, d};
    }
}

static bool is_exact(const struct sq_barcodes *b, int32_t row, struct sq_barcode_key k1, struct sq_barcode_key k2)
{
    return row >= 0 && key_same(b->index[0].barcode[b->of_row[row][0]].key, k1) && key_same(b->index[1].barcode[b->of_row[row][1]].key, k2);
}

static struct sq_barcode_match match_concatenated(const struct sq_barcodes *b, struct sq_barcode_key k1, struct sq_barcode_key k2)
{
    struct sq_barcode_match m = {.row = -1, .hop = {-1, -1}};
    uint32_t best = UINT32_MAX, second = UINT32_MAX;
    int32_t at = -1;
    if (no_calls(k1) + no_calls(k2) > b->rule.max_no_call)
        return m;
    for (uint32_t i = 0; i < b->n_row; i++) {
        uint32_t d = distance_called(k1, &b->index[0].barcode[b->of_row[i][0]]) + distance_called(k2, &b->index[1].barcode[b->of_row[i][1]]);
        if (d < best) {
            second = best;
            best = d;
            at = (int32_t)i;
        } else if (d < second) {
            second = d;
        }
    }
    if (at >= 0 && best <= b->rule.max_mismatch && (second == UINT32_MAX || second - best >= b->rule.min_delta)) {
        m.row = at;
        m.mismatches = best;
        m.is_exact = !best && is_exact(b, at, k1, k2);
    }
    return m;
}

static int32_t row_of_pair(const struct sq_barcodes *b, uint32_t c1, uint32_t c2, uint64_t *at)
{
    for (; b->pair[*at].row >= 0; *at = (*at + 1) & b->pair_mask)
        if (b->pair[*at].barcode[0] == c1 && b->pair[*at].barcode[1] == c2)
            return b->pair[*at].row;
    return -1;
}

static struct sq_barcode_match match_by(const struct sq_barcodes *b, struct sq_barcode_key k1, struct sq_barcode_key k2, struct candidate *own1, struct candidate *own2)
{
    struct sq_barcode_match m = {.row = -1, .hop = {-1, -1}};
    struct candidates c[2];
    uint32_t n_found = 0;
    candidates_of(&b->index[0], k1, own1, &c[0]);
    if (!c[0].n)
        return m;
    candidates_of(&b->index[1], k2, own2, &c[1]);
    for (uint32_t i = 0; i < c[0].n; i++)
        for (uint32_t j = 0; j < c[1].n; j++) {
            uint64_t at = pair_hash(c[0].p[i].barcode, c[1].p[j].barcode) & b->pair_mask;
            for (int32_t r; (r = row_of_pair(b, c[0].p[i].barcode, c[1].p[j].barcode, &at)) >= 0; at = (at + 1) & b->pair_mask)
                if (c[0].p[i].mismatches <= b->mismatches[r][0] && c[1].p[j].mismatches <= b->mismatches[r][1]) {
                    n_found++;
                    m.row = r;
                    m.mismatches = c[0].p[i].mismatches + c[1].p[j].mismatches;
                }
        }
    m.is_exact = n_found == 1 && !m.mismatches && is_exact(b, m.row, k1, k2);
    if (n_found > 1)
        m = (struct sq_barcode_match){.row = -1, .hop = {-1, -1}};
    else if (!n_found && c[0].n == 1 && c[1].n == 1 && b->index[1].n_base)
        for (int k = 0; k < 2; k++)
            m.hop[k] = b->any_row[k][c[k].p[0].barcode];
    return m;
}

/* Room for a search is made, and wiped by a hardened build, only when it's needed. */
static struct sq_barcode_match match_searched(const struct sq_barcodes *b, struct sq_barcode_key k1, struct sq_barcode_key k2)
{
    struct candidate own[2][MAX_CANDIDATES];
    return match_by(b, k1, k2, own[0], own[1]);
}

struct sq_barcode_match sq_barcodes_match(const struct sq_barcodes *b, struct sq_barcode_key k1, struct sq_barcode_key k2)
{
    if (b->rule.is_concatenated)
        return match_concatenated(b, k1, k2);
    return b->index[0].slot && b->index[1].slot ? match_by(b, k1, k2, NULL, NULL) : match_searched(b, k1, k2);
}

bool sq_barcodes_collide(const struct sq_barcode_row *a, const struct sq_barcode_row *b, const uint32_t n_base[2], const struct sq_barcode_rule *rule,
                         bool is_independent, uint32_t out_distance[2])
{
    uint32_t n_index = 0, n_close = 0;
    for (int k = 0; k < 2; k++) {
        out_distance[k] = 0;
        for (uint32_t i = 0; i < n_base[k]; i++)
            out_distance[k] += a->index[k][i] != b->index[k][i] && a->index[k][i] != 'N' && b->index[k][i] != 'N';
        n_index += n_base[k] > 0;
        n_close += n_base[k] > 0 && a->mismatches[k] + b->mismatches[k] >= out_distance[k];
    }
    if (rule->is_concatenated) /* the nearer one has it; equal ones can't be told apart */
        return out_distance[0] + out_distance[1] == 0;
    return !n_index || (is_independent ? n_close > 0 : n_close == n_index);
}

