/*
 * A block becomes steps: rows of signs (a letter, or a run of it), rows of bases, repeats. They are counted, codes are made for the counts, and
 * steps are written with them. Every repeat is of bytes that were compared here, so records are no more than hints where to look.
 *
 * What costs time is a branch that the processor can't foresee, so qualities go through loops without one: what is a run and what isn't is one
 * table of codes, and bases are four a table's row.
 */
#include "lib/demux/fastq_pack.h"

#include "lib/core/buf.h"
#include "lib/demux/deflate_codes.h"

#include <stdlib.h>

#define FARTHEST 32768U
#define LEAST 3U /* bytes of a repeat */
#define MOST 258U
#define SEED 16U /* bases that are looked for */
#define HASH_BITS 12U
#define INLINE static inline __attribute__((always_inline))

enum step_kind { STEP_SIGNS,    /* n: how many, the next ones */
                 STEP_BASES,    /* n: how many; from: the first, as a place in squeezed */
                 STEP_REPEAT }; /* n: length; from: distance - 1 */
struct step {
    uint16_t kind, n;
    uint32_t from;
};

#define SIGN_RUN 256U /* a sign: a letter, or SIGN_RUN + n: the letter before it n times more, LEAST..MOST */
#define N_SIGN (SIGN_RUN + MOST + 1)

struct codes {
    uint8_t lit_n[DEFLATE_N_LIT], dist_n[DEFLATE_N_DIST];
    uint16_t lit[DEFLATE_N_LIT], dist[DEFLATE_N_DIST];
    uint64_t sign[N_SIGN];     /* bits << 8 | how many */
    uint32_t length[MOST + 1]; /* a length with its further bits << 8 | how many */
    uint32_t four[256];        /* four bases, bits << 8 | how many */
    bool has_four, has_pairs; /* has_pairs: two signs are below 57 bits */
    struct deflate_head head;
};

struct sq_fastq_packer {
    const struct sq_demux_kernels *kernel;
    void (*steps)(struct sq_fastq_packer *p, const uint8_t *text, size_t n, const struct sq_fastq_record *record, size_t n_record);
    void (*put)(const struct sq_fastq_packer *p, struct deflate_bits *b);
    uint32_t n_sign, n_step, n_squeezed;
    uint16_t sign[SQ_FASTQ_BLOCK + 64];
    struct step step[SQ_FASTQ_BLOCK]; /* a repeat is of three bytes at least, a row of one, and two rows are never neighbours but of different kinds */
    uint32_t n_base[4], n_signs[2][N_SIGN], n_length[MOST + 1], n_distance[DEFLATE_N_DIST];
    uint32_t seen[1U << HASH_BITS]; /* where SEED bases stood: place << 16 | half of their hash; 0: nowhere */
    uint64_t same[SQ_FASTQ_BLOCK / 64 + 1];
    uint16_t start[SQ_FASTQ_BLOCK + 64];
    uint8_t squeezed[SQ_FASTQ_BLOCK + 64]; /* bases, four a byte */
    struct codes codes;
};

/* ---- steps ---- */

INLINE uint64_t word_at(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return deflate_le64(v);
}

/* How many bytes at @a and @b are the same, at most @most. 8 behind may be read. */
INLINE uint32_t common(const uint8_t *a, const uint8_t *b, uint32_t most)
{
    for (uint32_t i = 0; i < most; i += 8) {
        uint64_t other = word_at(a + i) ^ word_at(b + i);
        if (other) {
            i += (uint32_t)__builtin_ctzll(other) / 8;
            return i < most ? i : most;
        }
    }
    return most;
}

INLINE unsigned distance_symbol(uint32_t less, unsigned *more) /* of a distance - 1; *more: how many of its low bits stand behind */
{
    if (less < 4) {
        *more = 0;
        return less;
    }
    unsigned top = 31U - (unsigned)__builtin_clz(less);
    *more = top - 1;
    return 2 * top + (less >> (top - 1) & 1U);
}

/* The next @n signs are there: count them. */
INLINE void signs_done(struct sq_fastq_packer *p, uint32_t n)
{
    const uint16_t *sign = p->sign + p->n_sign;
    uint32_t i = 0;
    if (!n)
        return;
    for (; i + 2 <= n; i += 2) { /* two counters each: a sign often follows itself */
        p->n_signs[0][sign[i]]++;
        p->n_signs[1][sign[i + 1]]++;
    }
    if (i < n)
        p->n_signs[0][sign[i]]++;
    p->n_sign += n;
    if (p->n_step && p->step[p->n_step - 1].kind == STEP_SIGNS)
        p->step[p->n_step - 1].n = (uint16_t)(p->step[p->n_step - 1].n + n);
    else
        p->step[p->n_step++] = (struct step){STEP_SIGNS, (uint16_t)n, 0};
}

INLINE void letters(struct sq_fastq_packer *p, const uint8_t *text, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        p->sign[p->n_sign + i] = text[i];
    signs_done(p, n);
}

/* @n >= LEAST. A repeat has MOST bytes at most, and what is left of a longer one LEAST at least. */
INLINE uint32_t part_of(uint32_t n)
{
    return n <= MOST ? n : n - MOST < LEAST ? MOST - LEAST
                                            : MOST;
}

INLINE void repeat(struct sq_fastq_packer *p, uint32_t n, uint32_t distance)
{
    unsigned more;
    unsigned symbol = distance_symbol(distance - 1, &more);
    for (uint32_t part; n; n -= part) {
        part = part_of(n);
        p->step[p->n_step++] = (struct step){STEP_REPEAT, (uint16_t)part, distance - 1};
        p->n_length[part]++;
        p->n_distance[symbol]++;
    }
}

INLINE void bases(struct sq_fastq_packer *p, uint32_t first, uint32_t n)
{
    if (n)
        p->step[p->n_step++] = (struct step){STEP_BASES, (uint16_t)n, first};
}

/* ---- lines ---- */

/* The header of @r with the line feed in front of it; @before: the record before, or NULL. */
INLINE void header(struct sq_fastq_packer *p, const uint8_t *text, const struct sq_fastq_record *r, const struct sq_fastq_record *before)
{
    uint32_t at = r->head ? r->head - 1 : 0;
    if (!before || r->base - before->head >= FARTHEST) {
        letters(p, text + at, r->base - at);
        return;
    }
    if (!before->head) /* there is no line feed before the first */
        letters(p, text + at++, 1);
    uint32_t back = r->head - before->head, n = common(text + at, text + at - back, r->base - at);
    if (n >= LEAST) {
        repeat(p, n, back);
        at += n;
    }
    if (at < r->blank) {
        uint32_t from = r->blank, less = r->blank - before->blank;
        n = common(text + from, text + from - less, r->base - from);
        while (from > at && from > less && text[from - 1] == text[from - 1 - less]) {
            from--;
            n++;
        }
        if (n > LEAST) {
            letters(p, text + at, from - at);
            repeat(p, n, less);
            at = from + n;
        }
    }
    letters(p, text + at, r->base - at);
}

/* Qualities, or anything else: letters and runs of them. text[from - 1] is there. */
INLINE void runs(struct sq_fastq_packer *p, const uint8_t *text, uint32_t from, uint32_t to)
{
    uint32_t n = to - from, n_start = 0;
    uint16_t *sign = p->sign + p->n_sign, *start = p->start;
    if (from >= to)
        return;
    p->kernel->repeats(text + from, n, p->same);
    for (uint32_t i = 0; i < n; i += 64) { /* where another letter begins; eight at once, as many as there are count */
        uint64_t other = ~p->same[i / 64] & (n - i < 64 ? (1ULL << (n - i)) - 1 : UINT64_MAX);
        uint32_t n_here = (uint32_t)__builtin_popcountll(other);
        for (uint32_t k = 0; k < n_here; k += 8)
            for (uint32_t j = 0; j < 8; j++, other &= other - 1)
                start[n_start + k + j] = (uint16_t)(i + (uint32_t)__builtin_ctzll(other | 1ULL << 63));
        n_start += n_here;
    }
    start[n_start] = (uint16_t)n;
    text += from;
    for (uint32_t left = start[0], part; left; left -= part) { /* goes on from before */
        part = left < LEAST ? 1 : part_of(left);
        *sign++ = (uint16_t)(part == 1 ? text[0] : SIGN_RUN + part);
    }
    for (uint32_t k = 0; k < n_start; k++) {
        uint32_t run = start[k + 1] - start[k] - 1U, letter = text[start[k]];
        sign[0] = (uint16_t)letter;
        if (run > MOST) {
            sign++;
            for (uint32_t part; run; run -= part)
                *sign++ = (uint16_t)(SIGN_RUN + (part = part_of(run)));
            continue;
        }
        uint32_t is_run = 0U - (uint32_t)(run >= LEAST); /* all bits, or none: a branch would be foreseen wrongly as often as not */
        sign[1] = (uint16_t)(letter ^ ((letter ^ (SIGN_RUN + run)) & is_run));
        sign[2] = (uint16_t)letter;
        sign += 1 + run - ((run - 1) & is_run);
    }
    signs_done(p, (uint32_t)(sign - (p->sign + p->n_sign)));
}

/* A row of bases. Four neighbouring places in each sixteen are looked up, each fourth is kept: so any two reads that share 35 bases meet. */
INLINE void base_line(struct sq_fastq_packer *p, const uint8_t *text, uint32_t from, uint32_t n)
{
    uint32_t count[4] = {0}, done = 0, first = 4 * p->n_squeezed;
    uint8_t *two = p->squeezed + p->n_squeezed;
    if (!p->kernel->squeeze(text + from, n, two, count)) {
        runs(p, text, from, from + n);
        return;
    }
    memset(two + (n + 3) / 4, 0, 8);
    for (uint32_t i = 0; i + SEED <= n; i += SEED) {
        uint64_t window = word_at(two + i / 4);
        for (uint32_t k = i; k < i + 4; k++) {
            uint32_t hash = (uint32_t)(window >> 2 * (k - i)) * 0x9e3779b1U, seen = p->seen[hash >> (32 - HASH_BITS)], at = seen >> 16, here = from + k;
            if ((seen ^ hash) & 0xffffU || !seen || here - at > FARTHEST || k < done || k + SEED > n || common(text + here, text + at, SEED) < SEED)
                continue;
            uint32_t more = SEED + common(text + here + SEED, text + at + SEED, n - k - SEED), less = 0;
            while (k - less > done && at > less && text[here - less - 1] == text[at - less - 1])
                less++;
            bases(p, first + done, k - less - done);
            repeat(p, more + less, here - at);
            for (uint32_t j = k - less; j < k + more; j++)
                count[two[j / 4] >> 2 * (j % 4) & 3]--;
            done = k + more;
        }
        for (uint32_t k = i; k < i + SEED && k + SEED <= n; k += 4) {
            uint32_t hash = (uint32_t)(window >> 2 * (k - i)) * 0x9e3779b1U;
            p->seen[hash >> (32 - HASH_BITS)] = (from + k) << 16 | (hash & 0xffffU);
        }
    }
    bases(p, first + done, n - done);
    for (unsigned i = 0; i < 4; i++)
        p->n_base[i] += count[i];
    p->n_squeezed += (n + 3) / 4;
}

INLINE void steps_make(struct sq_fastq_packer *p, const uint8_t *text, size_t n, const struct sq_fastq_record *record, size_t n_record)
{
    uint32_t end = 0;
    for (size_t i = 0; i < n_record; i++) {
        const struct sq_fastq_record *r = &record[i], *before = i ? r - 1 : NULL;
        uint32_t plus = r->base + r->n_base, at = plus;
        sq_assert(r->n_base < n && r->head == end && r->blank >= r->head && r->blank < r->base && plus + 3 + r->n_base < n);
        end = plus + 3 + r->n_base;
        header(p, text, r, before);
        base_line(p, text, r->base, r->n_base);
        uint32_t back = before ? plus - (before->base + before->n_base) : UINT32_MAX;
        if (back <= FARTHEST) { /* qualities often begin alike */
            uint32_t same = common(text + plus, text + plus - back, end - plus);
            if (same >= LEAST) {
                repeat(p, same, back);
                at += same;
            }
        }
        if (at == plus) {
            letters(p, text + plus, 3);
            at += 3;
        }
        runs(p, text, at, end);
        end++;
    }
    sq_assert(end == n);
    letters(p, text + n - 1, 1);
}

/* ---- codes ---- */

/* Symbol of a length, and how many bits stand behind it. */
static unsigned length_symbol(uint32_t n, unsigned *more)
{
    uint32_t less = n - LEAST;
    *more = 0;
    if (n == MOST)
        return 285;
    if (less < 8)
        return 257 + less;
    unsigned top = 31U - (unsigned)__builtin_clz(less);
    *more = top - 2;
    return 257 + 4 * (top - 1) + (less >> (top - 2) & 3U);
}

static void fours(struct codes *c)
{
    uint32_t bits[4], n[4], most = 0;
    for (unsigned i = 0; i < 4; i++) {
        uint8_t letter = (uint8_t)"ACTG"[i];
        bits[i] = c->lit[letter];
        n[i] = c->lit_n[letter];
        most = n[i] > most ? n[i] : most;
    }
    c->has_four = most <= 6;
    for (unsigned i = 0; i < 256 && c->has_four; i++) {
        uint32_t v = 0, at = 0;
        for (unsigned k = 0; k < 8; k += 2) {
            v |= bits[i >> k & 3] << at;
            at += n[i >> k & 3];
        }
        c->four[i] = v << 8 | at;
    }
}

/* Returns the bits of the block. */
static size_t codes_make(struct sq_fastq_packer *p)
{
    struct codes *c = &p->codes;
    uint32_t count[DEFLATE_N_LIT] = {0};
    unsigned more;
    size_t n_bit = 0;
    for (unsigned i = 0; i < 256; i++)
        count[i] = p->n_signs[0][i] + p->n_signs[1][i];
    for (unsigned i = 0; i < 4; i++)
        count[(uint8_t)"ACTG"[i]] += p->n_base[i];
    count[DEFLATE_END] = 1;
    for (uint32_t i = LEAST; i <= MOST; i++) {
        uint32_t n_run = p->n_signs[0][SIGN_RUN + i] + p->n_signs[1][SIGN_RUN + i];
        p->n_length[i] += n_run;
        p->n_distance[0] += n_run;
        unsigned symbol = length_symbol(i, &more);
        count[symbol] += p->n_length[i];
        n_bit += (size_t)more * p->n_length[i];
    }
    for (uint32_t i = 4; i < DEFLATE_N_DIST; i++)
        n_bit += (i / 2 - 1) * (size_t)p->n_distance[i];
    deflate_lengths(count, DEFLATE_N_LIT, 15, c->lit_n);
    deflate_lengths(p->n_distance, DEFLATE_N_DIST, 15, c->dist_n);
    deflate_codes(c->lit_n, DEFLATE_N_LIT, c->lit);
    deflate_codes(c->dist_n, DEFLATE_N_DIST, c->dist);
    for (unsigned i = 0; i < DEFLATE_N_LIT; i++)
        n_bit += (size_t)count[i] * c->lit_n[i];
    for (unsigned i = 0; i < DEFLATE_N_DIST; i++)
        n_bit += (size_t)p->n_distance[i] * c->dist_n[i];
    deflate_head_make(c->lit_n, c->dist_n, &c->head);
    unsigned most = 15;
    for (unsigned i = 0; i < 256; i++)
        c->sign[i] = (uint64_t)c->lit[i] << 8 | c->lit_n[i];
    for (uint32_t i = LEAST; i <= MOST; i++) {
        unsigned symbol = length_symbol(i, &more), n = c->lit_n[symbol] + more;
        uint64_t bits = c->lit[symbol] | (uint64_t)((i - LEAST) & ((1U << more) - 1)) << c->lit_n[symbol];
        c->length[i] = (uint32_t)bits << 8 | n;
        c->sign[SIGN_RUN + i] = (bits | (uint64_t)c->dist[0] << n) << 8 | (n + c->dist_n[0]);
        if (p->n_signs[0][SIGN_RUN + i] + p->n_signs[1][SIGN_RUN + i] && n + c->dist_n[0] > most)
            most = n + c->dist_n[0];
    }
    c->has_pairs = most <= 28;
    fours(c);
    return n_bit + c->head.n_bit;
}

/* ---- writing ---- */

INLINE void put_signs(struct deflate_bits *b, const struct codes *c, const uint16_t *sign, uint32_t n)
{
    uint32_t i = 0;
    for (; c->has_pairs && i + 2 <= n; i += 2) {
        uint64_t v = c->sign[sign[i]], w = c->sign[sign[i + 1]];
        deflate_put(b, v >> 8 | w >> 8 << (v & 0xff), (v & 0xff) + (w & 0xff));
        deflate_flush(b);
    }
    for (; i < n; i++) {
        uint64_t v = c->sign[sign[i]];
        deflate_put(b, v >> 8, v & 0xff);
        deflate_flush(b);
    }
}

INLINE void put_bases(struct deflate_bits *b, const struct codes *c, const uint8_t *two, uint32_t first, uint32_t n)
{
    for (; n && (first % 4 || n < 4 || !c->has_four); first++, n--) {
        uint64_t v = c->sign[(uint8_t)"ACTG"[two[first / 4] >> 2 * (first % 4) & 3]];
        deflate_put(b, v >> 8, v & 0xff);
        deflate_flush(b);
    }
    for (two += first / 4; n >= 8; two += 2, n -= 8) {
        uint32_t v = c->four[two[0]], w = c->four[two[1]];
        deflate_put(b, v >> 8, v & 0xff);
        deflate_put(b, w >> 8, w & 0xff);
        deflate_flush(b);
    }
    if (n >= 4) {
        deflate_put(b, c->four[*two] >> 8, c->four[*two] & 0xff);
        two++;
        n -= 4;
    }
    for (uint32_t i = 0; i < n; i++) { /* with those before 24 + 3 * 6 bits at most: has_four */
        uint64_t v = c->sign[(uint8_t)"ACTG"[*two >> 2 * i & 3]];
        deflate_put(b, v >> 8, v & 0xff);
    }
    deflate_flush(b);
}

INLINE void put_steps(const struct sq_fastq_packer *p, struct deflate_bits *to)
{
    const struct codes *c = &p->codes;
    const uint16_t *sign = p->sign;
    struct deflate_bits b = *to;
    for (const struct step *s = p->step, *end = s + p->n_step; s < end; s++) {
        if (s->kind == STEP_SIGNS) {
            put_signs(&b, c, sign, s->n);
            sign += s->n;
        } else if (s->kind == STEP_BASES) {
            put_bases(&b, c, p->squeezed, s->from, s->n);
        } else {
            uint32_t length = c->length[s->n];
            unsigned more, symbol = distance_symbol(s->from, &more);
            deflate_put(&b, length >> 8, length & 0xff);
            deflate_put(&b, c->dist[symbol] | (uint64_t)(s->from & ((1U << more) - 1)) << c->dist_n[symbol], c->dist_n[symbol] + more);
            deflate_flush(&b);
        }
    }
    *to = b;
}

/* Twice: for any processor, and for one that counts bits and shifts by any register. */
static void steps_plain(struct sq_fastq_packer *p, const uint8_t *text, size_t n, const struct sq_fastq_record *record, size_t n_record)
{
    steps_make(p, text, n, record, n_record);
}

static void put_plain(const struct sq_fastq_packer *p, struct deflate_bits *b)
{
    put_steps(p, b);
}

#ifdef __x86_64__
#define BMI2 __attribute__((target("bmi,bmi2,popcnt")))
BMI2 static void steps_bmi2(struct sq_fastq_packer *p, const uint8_t *text, size_t n, const struct sq_fastq_record *record, size_t n_record)
{
    steps_make(p, text, n, record, n_record);
}

BMI2 static void put_bmi2(const struct sq_fastq_packer *p, struct deflate_bits *b)
{
    put_steps(p, b);
}
#endif

size_t sq_fastq_pack(struct sq_fastq_packer *p, const uint8_t *text, size_t n, const struct sq_fastq_record *record, size_t n_record, uint8_t *out)
{
    struct deflate_bits b = {.to = out};
    sq_assert(n && n <= SQ_FASTQ_BLOCK && n_record);
    p->n_sign = p->n_step = p->n_squeezed = 0;
    memset(p->n_base, 0, sizeof p->n_base);
    memset(p->n_signs, 0, sizeof p->n_signs);
    memset(p->n_length, 0, sizeof p->n_length);
    memset(p->n_distance, 0, sizeof p->n_distance);
    memset(p->seen, 0, sizeof p->seen);
    p->steps(p, text, n, record, n_record);
    size_t size = (codes_make(p) + 7) / 8;
    if (size >= n + 5) {
        out[0] = 1; /* stored */
        sq_put_le16(out + 1, (uint16_t)n);
        sq_put_le16(out + 3, (uint16_t)~n);
        memcpy(out + 5, text, n);
        return n + 5;
    }
    deflate_head_put(&p->codes.head, &b);
    p->put(p, &b);
    deflate_put(&b, p->codes.lit[DEFLATE_END], p->codes.lit_n[DEFLATE_END]);
    deflate_flush(&b);
    sq_assert((size_t)(b.to - out) + (b.n > 0) == size);
    return size;
}

sq_err sq_fastq_packer_new(const struct sq_demux_kernels *kernel, struct sq_fastq_packer **out)
{
    struct sq_fastq_packer *p = calloc(1, sizeof *p);
    if (!p)
        return sq_fail(SQ_ENOMEM);
    p->kernel = kernel ? kernel : sq_demux_kernels();
    p->steps = steps_plain;
    p->put = put_plain;
#ifdef __x86_64__
    if (p->kernel != sq_demux_kernels_named("scalar") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt")) {
        p->steps = steps_bmi2;
        p->put = put_bmi2;
    }
#endif
    *out = p;
    return SQ_OK;
}

void sq_fastq_packer_free(struct sq_fastq_packer *p)
{
    free(p);
}
