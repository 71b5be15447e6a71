#include "lib/demux/override_cycles.h"

#include <ctype.h>
#include <stdio.h>
#include <strings.h>

#define REST UINT32_MAX

struct part {
    char name[3]; /* "R1", "I2"; "" when not named */
    uint32_t n_span;
    char kind[SQ_CYCLES_MAX_SPANS];
    uint32_t n[SQ_CYCLES_MAX_SPANS];
};

static const char *skip_blanks(const char *p)
{
    while (*p == ' ' || *p == '\t')
        p++;
    return p;
}

/* One part, up to `;` or the end. NULL: not understood. */
static const char *part_of(const char *p, struct part *out)
{
    *out = (struct part){0};
    p = skip_blanks(p);
    char first = (char)toupper((unsigned char)p[0]);
    if ((first == 'R' || first == 'I') && (p[1] == '1' || p[1] == '2') && p[2] == ':') {
        out->name[0] = first;
        out->name[1] = p[1];
        p = skip_blanks(p + 3);
    }
    while (*p && *p != ';') {
        char kind = (char)toupper((unsigned char)*p++);
        uint32_t n = 0;
        if (!strchr("YIUN", kind) || out->n_span == SQ_CYCLES_MAX_SPANS)
            return NULL;
        if (*p == '*') {
            n = REST;
            p++;
        } else {
            if (!isdigit((unsigned char)*p))
                return NULL;
            for (; isdigit((unsigned char)*p); p++)
                if ((n = n * 10 + (uint32_t)(*p - '0')) > SQ_CYCLES_MAX_CYCLES)
                    return NULL;
        }
        out->kind[out->n_span] = kind;
        out->n[out->n_span++] = n;
        p = skip_blanks(p);
    }
    return out->n_span ? p : NULL;
}

/* All parts of @text; 0: not understood. */
static uint32_t parts_of(const char *text, struct part out[SQ_CYCLES_MAX_READS])
{
    uint32_t n = 0;
    for (const char *p = text;; p++) {
        if (n == SQ_CYCLES_MAX_READS || !(p = part_of(p, &out[n])))
            return 0;
        n++;
        if (!*p || !*skip_blanks(p + 1))
            return n;
    }
}

bool sq_cycles_look_right(const char *text)
{
    struct part part[SQ_CYCLES_MAX_READS];
    return parts_of(text, part) > 0;
}

static bool mask_of(const struct part *part, const struct sq_cycles_read *read, uint32_t first_cycle, uint32_t no, struct sq_cycles_mask *out, char wrong[160])
{
    uint64_t sum = 0;
    uint32_t n_rest = 0;
    *out = (struct sq_cycles_mask){0};
    for (uint32_t i = 0; i < part->n_span; i++) {
        n_rest += part->n[i] == REST;
        sum += part->n[i] == REST ? 0 : part->n[i];
    }
    if (n_rest > 1) {
        snprintf(wrong, 160, "The part for read %u has more than one `*`.", no);
        return false;
    }
    if (sum > read->n_cycle || (!n_rest && sum != read->n_cycle)) {
        snprintf(wrong, 160, "The part for read %u has %llu cycles, the read has %u.", no, (unsigned long long)sum, read->n_cycle);
        return false;
    }
    uint32_t at = first_cycle;
    for (uint32_t i = 0; i < part->n_span; i++) {
        uint32_t n = part->n[i] == REST ? read->n_cycle - (uint32_t)sum : part->n[i];
        char kind = part->kind[i];
        if (kind == 'I' && !read->is_index) {
            snprintf(wrong, 160, "The part for read %u has index cycles (I), but RunInfo.xml says that this read is no index read.", no);
            return false;
        }
        if (kind == 'Y' && read->is_index) {
            snprintf(wrong, 160, "The part for read %u has data cycles (Y), but RunInfo.xml says that this read is an index read.", no);
            return false;
        }
        if (n) {
            out->span[out->n_span++] = (struct sq_cycles_span){kind, at, n};
            out->n_data += kind == 'Y' ? n : 0;
            out->n_index += kind == 'I' ? n : 0;
            out->n_umi += kind == 'U' ? n : 0;
        }
        at += n;
    }
    if (out->n_umi > SQ_CYCLES_MAX_UMI) {
        snprintf(wrong, 160, "The part for read %u has %u UMI cycles; %u are the most.", no, out->n_umi, SQ_CYCLES_MAX_UMI);
        return false;
    }
    return true;
}

/* "R2" is the second read that isn't an index, "I1" the first that is. n_read: there is none. */
static uint32_t read_named(const char *name, const struct sq_cycles_read *read, uint32_t n_read)
{
    uint32_t seen = 0;
    for (uint32_t i = 0; i < n_read; i++)
        if (read[i].is_index == (name[0] == 'I') && ++seen == (uint32_t)(name[1] - '0'))
            return i;
    return n_read;
}

bool sq_cycles_parse(const char *text, const struct sq_cycles_read *read, uint32_t n_read, struct sq_cycles *out, char wrong[160])
{
    struct part part[SQ_CYCLES_MAX_READS];
    struct sq_cycles got = {.n_read = n_read};
    uint32_t n_part = parts_of(text, part), first = 0;
    const struct part *of[SQ_CYCLES_MAX_READS] = {NULL};
    sq_assert(n_read >= 1 && n_read <= SQ_CYCLES_MAX_READS);
    if (!n_part) {
        snprintf(wrong, 160, "It isn't understood.");
        return false;
    }
    if (n_part != n_read) {
        snprintf(wrong, 160, "It has %u parts, the run has %u reads.", n_part, n_read);
        return false;
    }
    for (uint32_t i = 0; i < n_part; i++) {
        uint32_t to = part[i].name[0] ? read_named(part[i].name, read, n_read) : i;
        if (!part[i].name[0] != !part[0].name[0] || to == n_read || of[to]) {
            snprintf(wrong, 160, "%s", !part[i].name[0] != !part[0].name[0] ? "Either all parts have names (R1:, I1:), or none."
                                       : to == n_read                       ? "A part is named after a read that the run doesn't have."
                                                                            : "Two parts are for the same read.");
            return false;
        }
        of[to] = &part[i];
    }
    for (uint32_t i = 0; i < n_read; first += read[i++].n_cycle)
        if (!mask_of(of[i], &read[i], first, i + 1, &got.read[i], wrong))
            return false;
    *out = got;
    return true;
}

bool sq_cycles_default(const struct sq_cycles_read *read, uint32_t n_read, const uint32_t n_index[2], struct sq_cycles *out, char wrong[160])
{
    uint32_t first = 0, no = 0;
    struct sq_cycles got = {.n_read = n_read};
    sq_assert(n_read >= 1 && n_read <= SQ_CYCLES_MAX_READS);
    for (uint32_t i = 0; i < n_read; first += read[i++].n_cycle) {
        struct sq_cycles_mask *m = &got.read[i];
        uint32_t n = read[i].n_cycle;
        if (!read[i].is_index) {
            *m = (struct sq_cycles_mask){.n_span = n > 0, .span = {{'Y', first, n}}, .n_data = n};
            continue;
        }
        uint32_t want = no < 2 ? n_index[no] : 0;
        no++;
        if (want != REST && want > n) {
            snprintf(wrong, 160, "Index %u of the sheet has %u bases, the run has %u cycles for it.", no, want, n);
            return false;
        }
        want = want == REST ? n : want;
        if (want)
            m->span[m->n_span++] = (struct sq_cycles_span){'I', first, want};
        if (want < n)
            m->span[m->n_span++] = (struct sq_cycles_span){'N', first + want, n - want};
        m->n_index = want;
    }
    for (uint32_t k = no; k < 2; k++)
        if (n_index[k] && n_index[k] != REST) {
            snprintf(wrong, 160, "The sheet has index %u, but the run has %s.", k + 1, no ? "only one index read" : "no index read");
            return false;
        }
    *out = got;
    return true;
}
