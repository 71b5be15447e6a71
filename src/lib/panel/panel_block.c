/*
 * Runs are found by walking the columns in the present order and comparing each pattern with the one before: neighbours
 * mostly agree, so of 50,000 columns some thousand meet the hash table. The next order is the stable counting sort of the runs.
 */
#include "lib/panel/panel_block.h"

#include <stdlib.h>

#define MAX_UNIQUE (SQ_PANEL_MAX_PATTERNS + 1)
#define N_SLOT (1U << 18)

sq_err block_maker_init(struct block_maker *m, uint32_t n_col)
{
    *m = (struct block_maker){.bits = panel_bits_best(), .n_col = n_col, .n_word = ((size_t)n_col + 63) / 64};
    m->row = calloc(m->n_word * SQ_PANEL_BLOCK_ROWS, sizeof *m->row);
    m->pattern = malloc(m->n_word * 64 * sizeof *m->pattern);
    m->order = malloc((size_t)n_col * sizeof *m->order);
    m->next = malloc((size_t)n_col * sizeof *m->next);
    m->run_class = malloc((size_t)n_col * sizeof *m->run_class);
    m->run_n = malloc((size_t)n_col * sizeof *m->run_n);
    m->unique = malloc(MAX_UNIQUE * sizeof *m->unique);
    m->sorted = malloc(MAX_UNIQUE * sizeof *m->sorted);
    m->start = malloc((MAX_UNIQUE + 1) * sizeof *m->start);
    m->slot = malloc(N_SLOT * sizeof *m->slot);
    m->stamp = calloc(N_SLOT, sizeof *m->stamp);
    if (!m->row || !m->pattern || !m->order || !m->next || !m->run_class || !m->run_n || !m->unique || !m->sorted || !m->start || !m->slot ||
        !m->stamp)
        return sq_fail(SQ_ENOMEM);
    block_maker_restart(m);
    return SQ_OK;
}

void block_maker_done(struct block_maker *m)
{
    free(m->row);
    free(m->pattern);
    free(m->order);
    free(m->next);
    free(m->rank);
    free(m->run_class);
    free(m->run_n);
    free(m->unique);
    free(m->sorted);
    free(m->start);
    free(m->slot);
    free(m->stamp);
    free(m->miss);
    free(m->change);
    *m = (struct block_maker){0};
}

void block_maker_restart(struct block_maker *m)
{
    for (uint32_t i = 0; i < m->n_col; i++)
        m->order[i] = i;
}

static sq_err grow(void **p, size_t *cap, size_t n, size_t size)
{
    if (n < *cap)
        return SQ_OK;
    size_t more = *cap ? *cap * 2 : 256;
    void *q = realloc(*p, more * size);
    if (!q)
        return sq_fail(SQ_ENOMEM);
    *p = q;
    *cap = more;
    return SQ_OK;
}

sq_err block_maker_miss(struct block_maker *m, uint32_t row, uint32_t col, uint32_t n)
{
    if (m->n_miss) {
        struct miss_run *last = &m->miss[m->n_miss - 1];
        if (last->row == row && last->first + last->n == col) {
            last->n += n;
            return SQ_OK;
        }
    }
    void *p = m->miss;
    sq_err e = grow(&p, &m->miss_cap, m->n_miss, sizeof *m->miss);
    m->miss = p;
    if (!e)
        m->miss[m->n_miss++] = (struct miss_run){row, col, n};
    return e;
}

sq_err block_maker_change(struct block_maker *m, uint32_t row, uint32_t sample)
{
    void *p = m->change;
    sq_err e = grow(&p, &m->change_cap, m->n_change, sizeof *m->change);
    m->change = p;
    if (!e)
        m->change[m->n_change++] = (struct ploidy_change){row, sample};
    return e;
}

/* ---- missing alleles ----------------------------------------------------------------------------------------------------------------- */

static bool bit_of(const uint64_t *row, uint32_t col)
{
    return row[col / 64] >> (col % 64) & 1;
}

static bool is_missing(const struct miss_run *run, size_t n, uint32_t col)
{
    size_t low = 0, high = n; /* runs ascend and don't touch */
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (run[mid].first + run[mid].n <= col)
            low = mid + 1;
        else
            high = mid;
    }
    return low < n && run[low].first <= col;
}

/* The allele of a missing column: of the nearest one before it in the order that isn't missing, else the nearest behind, else REF. */
static bool neighbour_allele(const struct block_maker *m, const uint64_t *row, const struct miss_run *run, size_t n, uint32_t col)
{
    for (uint32_t i = m->rank[col]; i-- > 0;)
        if (!is_missing(run, n, m->order[i]))
            return bit_of(row, m->order[i]);
    for (uint32_t i = m->rank[col] + 1; i < m->n_col; i++)
        if (!is_missing(run, n, m->order[i]))
            return bit_of(row, m->order[i]);
    return false;
}

static void set_bit(uint64_t *row, uint32_t col, bool v)
{
    uint64_t bit = (uint64_t)1 << (col % 64);
    row[col / 64] = v ? row[col / 64] | bit : row[col / 64] & ~bit;
}

/* When much is missing, looking for the neighbour of each would be quadratic: one walk along the order gives all of them. */
static void fill_by_walk(struct block_maker *m, uint64_t *row, const struct miss_run *run, size_t n)
{
    bool has = false, allele = false;
    uint32_t n_before = 0;
    for (uint32_t i = 0; i < m->n_col; i++) {
        uint32_t col = m->order[i];
        if (is_missing(run, n, col)) {
            if (has)
                set_bit(row, col, allele);
            else
                n_before++;
            continue;
        }
        allele = bit_of(row, col);
        if (!has)
            for (uint32_t j = 0; j < n_before; j++)
                set_bit(row, m->order[j], allele);
        has = true;
    }
}

/* In all rows that wait; those that the block leaves to the next one are filled again there, by its order. */
static sq_err fill_missing(struct block_maker *m)
{
    if (!m->n_miss)
        return SQ_OK;
    if (!m->rank && !(m->rank = malloc((size_t)m->n_col * sizeof *m->rank)))
        return sq_fail(SQ_ENOMEM);
    for (uint32_t i = 0; i < m->n_col; i++)
        m->rank[m->order[i]] = i;
    for (size_t from = 0, to; from < m->n_miss; from = to) {
        uint64_t n = 0;
        for (to = from; to < m->n_miss && m->miss[to].row == m->miss[from].row; to++)
            n += m->miss[to].n;
        uint64_t *row = block_maker_row(m, m->miss[from].row);
        const struct miss_run *run = m->miss + from;
        if (n > 32) {
            fill_by_walk(m, row, run, to - from);
            continue;
        }
        for (size_t r = 0; r < to - from; r++)
            for (uint32_t c = run[r].first; c < run[r].first + run[r].n; c++)
                set_bit(row, c, neighbour_allele(m, row, run, to - from, c));
    }
    return SQ_OK;
}

/* ---- runs ---------------------------------------------------------------------------------------------------------------------------- */

/* The number of pattern @x in `unique`, which it is added to if need be; n_unique may become MAX_UNIQUE. */
static uint32_t number_of(struct block_maker *m, uint64_t x)
{
    uint32_t at = (uint32_t)((x * 0x9e3779b97f4a7c15U) >> 46);
    for (; m->stamp[at] == m->turn; at = (at + 1) & (N_SLOT - 1))
        if (m->unique[m->slot[at]] == x)
            return m->slot[at];
    m->stamp[at] = m->turn;
    m->slot[at] = m->n_unique;
    m->unique[m->n_unique] = x;
    return m->n_unique++;
}

/* Runs of equal patterns of the first @n_row rows, in the present order. False: too many patterns. */
static bool find_runs(struct block_maker *m, uint32_t n_row)
{
    uint64_t mask = n_row == 64 ? ~(uint64_t)0 : ((uint64_t)1 << n_row) - 1;
    m->n_run = m->n_unique = 0;
    if (!++m->turn) {
        memset(m->stamp, 0, N_SLOT * sizeof *m->stamp);
        m->turn = 1;
    }
    for (uint32_t i = 0; i < m->n_col;) {
        uint64_t x = m->pattern[m->order[i]] & mask;
        uint32_t from = i;
        while (++i < m->n_col && (m->pattern[m->order[i]] & mask) == x)
            continue;
        m->run_class[m->n_run] = number_of(m, x);
        m->run_n[m->n_run++] = i - from;
        if (m->n_unique > SQ_PANEL_MAX_PATTERNS)
            return false;
    }
    return true;
}

struct numbered {
    uint64_t pattern;
    uint32_t no;
};

static int by_pattern(const void *a, const void *b)
{
    const struct numbered *x = a, *y = b;
    return x->pattern < y->pattern ? -1 : x->pattern > y->pattern;
}

/* Patterns ascending; the runs' numbers become classes. */
static sq_err sort_patterns(struct block_maker *m)
{
    struct numbered *list = malloc((size_t)m->n_unique * sizeof *list);
    if (!list)
        return sq_fail(SQ_ENOMEM);
    for (uint32_t i = 0; i < m->n_unique; i++)
        list[i] = (struct numbered){m->unique[i], i};
    qsort(list, m->n_unique, sizeof *list, by_pattern);
    for (uint32_t i = 0; i < m->n_unique; i++) {
        m->unique[i] = list[i].pattern;
        m->sorted[list[i].no] = i;
    }
    free(list);
    for (uint32_t i = 0; i < m->n_run; i++)
        m->run_class[i] = m->sorted[m->run_class[i]];
    return SQ_OK;
}

static void carry_order_on(struct block_maker *m)
{
    memset(m->start, 0, ((size_t)m->n_unique + 1) * sizeof *m->start);
    for (uint32_t i = 0; i < m->n_run; i++)
        m->start[m->run_class[i] + 1] += m->run_n[i];
    for (uint32_t i = 0; i < m->n_unique; i++)
        m->start[i + 1] += m->start[i];
    const uint32_t *from = m->order;
    for (uint32_t i = 0; i < m->n_run; i++) {
        memcpy(m->next + m->start[m->run_class[i]], from, (size_t)m->run_n[i] * sizeof *from);
        m->start[m->run_class[i]] += m->run_n[i];
        from += m->run_n[i];
    }
    uint32_t *was = m->order;
    m->order = m->next;
    m->next = was;
}

/* ---- bytes --------------------------------------------------------------------------------------------------------------------------- */

static sq_err put_patterns(const struct block_maker *m, struct sq_buf *b)
{
    sq_err e = varint_add(b, m->n_unique);
    for (uint32_t i = 0; i < m->n_unique && !e; i++) {
        uint64_t x = m->unique[i];
        e = sq_buf_reserve(b, 1 + 64);
        if (e)
            break;
        b->p[b->n++] = (uint8_t)__builtin_popcountll(x);
        for (unsigned last = 0; x; x &= x - 1) {
            unsigned bit = (unsigned)__builtin_ctzll(x);
            b->p[b->n++] = (uint8_t)(bit - last);
            last = bit;
        }
    }
    return e;
}

static sq_err put_runs(const struct block_maker *m, struct sq_buf *class, struct sq_buf *length)
{
    sq_err e = varint_add(class, m->n_run);
    if (!e)
        e = sq_buf_reserve(class, (size_t)m->n_run * 3);
    if (!e)
        e = sq_buf_reserve(length, (size_t)m->n_run * 4 + 4);
    if (e)
        return e;
    for (uint32_t i = 0; i < m->n_run; i++) {
        class->n += varint_put(class->p + class->n, m->run_class[i]);
        length->n += varint_put(length->p + length->n, m->run_n[i] - 1);
    }
    return SQ_OK;
}

/* Exceptions of the first @n_row rows; those of the others move to the front. */
static sq_err put_special(struct block_maker *m, uint32_t n_row, struct sq_buf *b)
{
    size_t n = 0;
    while (n < m->n_change && m->change[n].row < n_row)
        n++;
    sq_err e = varint_add(b, n);
    uint32_t row = 0, end = 0;
    for (size_t i = 0; i < n && !e; i++) {
        e = varint_add(b, m->change[i].row - row);
        if (!e)
            e = varint_add(b, m->change[i].sample);
        row = m->change[i].row;
    }
    m->n_change -= n;
    for (size_t i = 0; i < m->n_change; i++)
        m->change[i] = (struct ploidy_change){m->change[n + i].row - n_row, m->change[n + i].sample};
    n = 0;
    while (n < m->n_miss && m->miss[n].row < n_row)
        n++;
    if (!e)
        e = varint_add(b, n);
    row = 0;
    for (size_t i = 0; i < n && !e; i++) {
        const struct miss_run *r = &m->miss[i];
        e = varint_add(b, r->row - row);
        if (!e)
            e = varint_add(b, r->row == row ? r->first - end : r->first);
        if (!e)
            e = varint_add(b, r->n);
        row = r->row;
        end = r->first + r->n;
    }
    m->n_miss -= n;
    for (size_t i = 0; i < m->n_miss; i++)
        m->miss[i] = (struct miss_run){m->miss[n + i].row - n_row, m->miss[n + i].first, m->miss[n + i].n};
    return e;
}

sq_err block_maker_close(struct block_maker *m, struct sq_buf *column, uint32_t *out_n_row)
{
    uint32_t n_row = m->n_row;
    sq_err e = fill_missing(m);
    if (e)
        return e;
    m->bits->transpose(m->row, m->n_word, n_row, m->pattern);
    while (!find_runs(m, n_row))
        n_row /= 2;
    e = sort_patterns(m);
    if (!e)
        e = put_patterns(m, &column[HAPS_PATTERNS]);
    if (!e)
        e = put_runs(m, &column[HAPS_CLASSES], &column[HAPS_LENGTHS]);
    if (!e)
        e = put_special(m, n_row, &column[HAPS_SPECIAL]);
    if (e)
        return e;
    carry_order_on(m);
    m->n_row -= n_row;
    memmove(m->row, block_maker_row(m, n_row), (size_t)m->n_row * m->n_word * sizeof *m->row);
    *out_n_row = n_row;
    return SQ_OK;
}
