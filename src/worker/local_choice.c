/* Options of `sequester impute` and `sequester phase`, read and checked before any file is touched. */
#include "worker/local.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MIN_MEMORY_MIB 16U
#define MAX_MEMORY_MIB (1U << 20)

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n > m && !strcmp(text + n - m, end);
}

/* The container by the file's name. */
static int take_name(const struct local *l, const char *path, enum sq_rows_container *out)
{
    if (ends_with(path, ".vcf.gz") || ends_with(path, ".vcf.bgz"))
        *out = SQ_ROWS_VCF;
    else if (ends_with(path, ".bcf"))
        *out = SQ_ROWS_BCF;
    else
        return local_misused(l, "the name of %s must end in .vcf.gz or .bcf: it says in which format it is written", path);
    return 0;
}

/* Digits, with commas between for the eye. */
static bool take_position(const char **p, int64_t *out)
{
    int64_t n = 0;
    const char *at = *p;
    for (; (*at >= '0' && *at <= '9') || (*at == ',' && at > *p); at++)
        if (*at != ',' && (n = n * 10 + (*at - '0')) > SQ_ROWS_POS_MAX)
            return false;
    bool is_ok = at > *p && at[-1] != ',' && n > 0;
    *p = at;
    *out = n;
    return is_ok;
}

/* "22:1000-2000", "22:1000-", "22:1000", "1000-2000", "22" */
bool local_region(const char *text, char chrom[SQ_CHROM_MAX], int64_t *out_from, int64_t *out_to)
{
    const char *colon = strrchr(text, ':'), *p = colon ? colon + 1 : text;
    size_t n = colon ? (size_t)(colon - text) : 0;
    *chrom = 0;
    *out_from = *out_to = 0;
    if (!colon && !strchr(text, '-')) {
        n = strlen(text);
        p = NULL;
    }
    if (n >= SQ_CHROM_MAX || (colon && !n) || (!p && !n))
        return false;
    memcpy(chrom, text, n);
    chrom[n] = 0;
    if (!p)
        return true;
    if (!take_position(&p, out_from))
        return false;
    if (!*p) {
        *out_to = *out_from;
        return true;
    }
    if (*p++ != '-')
        return false;
    return !*p || (take_position(&p, out_to) && !*p && *out_from <= *out_to);
}

static bool take_real(const struct local *l, enum local_opt opt, const char *word, double least, double most, double *out)
{
    const char *text = l->opt[opt];
    char *end;
    if (!text)
        return true;
    errno = 0;
    double v = strtod(text, &end);
    if (end == text || *end || errno || !isfinite(v) || v < least || v > most || strpbrk(text, "xXpP")) {
        local_misused(l, "%s wants a number from %g to %g", word, least, most);
        return false;
    }
    *out = v;
    return true;
}

int local_choice(struct local *l, char region_chrom[SQ_CHROM_MAX])
{
    struct worker_choice *c = &l->choice;
    uint64_t n_state = 0, level = 0, memory_mib = 0;
    *region_chrom = 0;
    if (!l->opt[LOCAL_panel] || !l->opt[LOCAL_target])
        return local_misused(l, "--panel and --target are needed");
    if (!l->opt[LOCAL_out] && !l->opt[LOCAL_dry_run])
        return local_misused(l, "--out is needed: where the result goes");
    int rc = l->opt[LOCAL_out] ? take_name(l, l->opt[LOCAL_out], &c->container) : 0;
    const enum local_opt beside[] = {LOCAL_sites, LOCAL_empirical};
    for (size_t i = 0; i < 2 && !rc; i++) {
        enum sq_rows_container other = c->container;
        if (l->opt[beside[i]])
            rc = take_name(l, l->opt[beside[i]], &other);
        if (!rc && other != c->container)
            rc = local_misused(l, "the files of one run are all .vcf.gz or all .bcf");
    }
    if (rc)
        return rc;
    if (l->opt[LOCAL_region] && !local_region(l->opt[LOCAL_region], region_chrom, &c->region_from_bp, &c->region_to_bp))
        return local_misused(l, "--region is written 22:1000000-2000000, or 1000000-2000000");
    c->n_field = 2; /* GT and DS, in the order of the default: what Beagle writes and what others read; the rest can be had from it or on demand */
    if (l->opt[LOCAL_format] && sq_rows_fields(l->opt[LOCAL_format], c->field, &c->n_field))
        return local_misused(l, "--format takes some of GT,DS,HDS,GP, each once, with GT in front if it is among them");
    if (!local_number(l, LOCAL_states, 8, SQ_ENGINE_MAX_STATES, &n_state) || !local_number(l, LOCAL_level, 1, 12, &level) ||
        !local_number(l, LOCAL_memory, MIN_MEMORY_MIB, MAX_MEMORY_MIB, &memory_mib) ||
        !take_real(l, LOCAL_min_r2, "--min-r2", 0, 1, &c->min_r2) || !take_real(l, LOCAL_scale, "--scale", 1, 1e9, &c->scale))
        return LOCAL_MISUSED;
    c->n_state = (uint32_t)n_state;
    c->level = (int)level;
    c->memory_bytes = (size_t)memory_mib << 20;
    c->wants_csi = l->opt[LOCAL_csi] != NULL;
    c->wants_phased = l->opt[LOCAL_phased] != NULL;
    c->overwrite_typed = l->opt[LOCAL_overwrite_typed] != NULL;
    return 0;
}
