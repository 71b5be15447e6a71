/*
 * sequester panel ...: files of reference panels. What reads a stranger's bytes runs in a child (local_child.c); this process opens files,
 * maps them and renames what is written.
 */
#include "worker/local.h"

#include "lib/core/clock.h"
#include "lib/core/file.h"
#include "lib/panel/panel_build.h"
#include "lib/panel/panel_export.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- a panel in memory --------------------------------------------------------------------------------------------------------------- */

struct opened {
    const char *path;
    void *bytes;
    size_t n;
};

/* The panel's file, mapped. Returns an exit code; 0: it is there. */
static int open_panel(const struct local *l, struct opened *o)
{
    o->path = l->opt[LOCAL_panel] ? l->opt[LOCAL_panel] : l->arg[0];
    if (!o->path)
        return local_misused(l, "say which panel: sequester %s FILE.sqp", l->command);
    int fd = open(o->path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st))
        return local_cannot_open(o->path);
    if (S_ISDIR(st.st_mode)) {
        close(fd);
        errno = EISDIR;
        return local_cannot_open(o->path);
    }
    o->n = (size_t)st.st_size;
    o->bytes = !S_ISREG(st.st_mode) || !o->n ? MAP_FAILED : mmap(NULL, o->n, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (o->bytes == MAP_FAILED) {
        struct sq_why why = {0};
        return local_say_error(o->path, sq_why_set(&why, SQ_EPANEL, 0, 0, "file", "it is empty, or no ordinary file"), &why);
    }
    return 0;
}

/* ---- build --------------------------------------------------------------------------------------------------------------------------- */

struct building {
    int fd_in, fd_out;
    struct sq_panel_plan plan;
    uint64_t n_in;
    struct local_child *child;
};

static sq_err build_progress(void *ctx, uint64_t n_packed)
{
    struct building *b = ctx;
    return local_child_progress(b->child, n_packed, b->n_in);
}

static sq_err build_work(struct local_child *child, void *ctx, struct sq_why *why)
{
    struct building *b = ctx;
    enum sq_panel_file about = SQ_PANEL_FILE_INPUT;
    b->child = child;
    b->plan.progress = build_progress;
    b->plan.ctx = b;
    sq_err e = sq_panel_build(b->fd_in, b->fd_out, &b->plan, why, &about);
    local_child_note(child, about);
    return e;
}

static void say_built(const struct local *l, const char *out, int64_t start_ms)
{
    struct stat st;
    if (!l->is_quiet && !stat(out, &st))
        fprintf(stderr, "done     %s, %lld bytes, %.1f s; look at it: sequester panel info %s\n", out, (long long)st.st_size,
                (double)(sq_clock_steady_ms() - start_ms) / 1000, out);
}

int local_panel_build(struct local *l)
{
    const char *in = l->opt[LOCAL_input] ? l->opt[LOCAL_input] : l->arg[0], *map = l->opt[LOCAL_map], *populations = l->opt[LOCAL_populations],
               *out = l->opt[LOCAL_out];
    struct local_new new;
    struct sq_why why = {0};
    uint32_t about = SQ_PANEL_FILE_INPUT;
    if (!in || !out)
        return local_misused(l, in ? "-o is needed: the panel to write" : "say what to make it of: sequester panel build REF.bcf -o REF.sqp");
    int64_t start_ms = sq_clock_steady_ms();
    struct stat st = {0};
    struct building b = {.fd_in = local_open_input(in),
                         .plan = {.map_fd = map ? local_open_input(map) : -1,
                                  .populations_fd = populations ? local_open_input(populations) : -1,
                                  .build = l->opt[LOCAL_build],
                                  .keep_names = l->opt[LOCAL_keep_names] != NULL}};
    if (b.fd_in < 0 || (map && b.plan.map_fd < 0) || (populations && b.plan.populations_fd < 0))
        return local_cannot_open(b.fd_in < 0 ? in : map && b.plan.map_fd < 0 ? map
                                                                             : populations);
    const char *const read[] = {in, map, populations};
    int code = local_check_outputs(l, &out, 1, read, 3);
    if (code)
        return code;
    b.n_in = fstat(b.fd_in, &st) || !S_ISREG(st.st_mode) ? 0 : (uint64_t)st.st_size;
    if (local_new_open(out, &new))
        return local_cannot_write(out);
    b.fd_out = new.fd;
    sq_err e = local_in_child(l, build_work, &b, &why, &about);
    const char *const names[] = {[SQ_PANEL_FILE_INPUT] = in, [SQ_PANEL_FILE_MAP] = map, [SQ_PANEL_FILE_POPULATIONS] = populations,
                                 [SQ_PANEL_FILE_OUTPUT] = out};
    const char *where = about <= SQ_PANEL_FILE_OUTPUT && names[about] ? names[about] : in;
    if (!e)
        where = out;
    e = local_new_close(&new, e);
    if (e)
        return local_say_error(e == SQ_EFULL ? out : where, e, &why);
    say_built(l, out, start_ms);
    return 0;
}

/* ---- info, verify -------------------------------------------------------------------------------------------------------------------- */

struct reading {
    const struct opened *panel;
    struct local_child *child;
    const struct local *local;
    int fd_out;
    struct sq_panel_export export;
};

static sq_err verify_progress(void *ctx, uint64_t done, uint64_t total)
{
    struct reading *r = ctx;
    return local_child_progress(r->child, done, total);
}

/* What a child prints it writes whole: no stream of the C library's, which asks the terminal things that the list forbids. */
static sq_err put(int fd, struct sq_buf *b)
{
    sq_err e = sq_write_all(fd, b->p, b->n);
    sq_buf_done(b);
    return e;
}

static sq_err text_info(const struct sq_panel_info *i, const char *path, struct sq_buf *b)
{
    char cm[96] = "no map: 1 cM/Mb is assumed", length[32] = "not known";
    if (i->contig_bp)
        snprintf(length, sizeof length, "%lld", (long long)i->contig_bp);
    if (i->has_map)
        snprintf(cm, sizeof cm, "%.4f to %.4f cM", i->first_cm, i->last_cm);
    sq_err e = sq_buf_addf(b,
                           "file         %s, %llu bytes\n"
                           "chromosome   %s, length %s%s%s\n"
                           "positions    %lld to %lld, %s\n"
                           "haplotypes   %u of %u samples; %u samples haploid somewhere\n"
                           "rows         %u, of %u records; %llu records without an ALT were left out\n"
                           "missing      %llu alleles\n"
                           "blocks       %u in %u segments; %.1f patterns and %.1f runs each\n"
                           "names        %s\n",
                           path, (unsigned long long)i->n_bytes, i->chrom, length,
                           i->build[0] ? ", build " : "", i->build, (long long)i->first_bp, (long long)i->last_bp, cm, i->n_hap, i->n_sample,
                           i->n_haploid, i->n_site, i->n_record, (unsigned long long)i->n_without_alt, (unsigned long long)i->n_missing, i->n_block,
                           i->n_segment, (double)i->n_pattern / i->n_block, (double)i->n_run / i->n_block,
                           i->has_names ? "kept" : "not kept");
    return e;
}

static sq_err json_info(const struct sq_panel_info *i, struct sq_buf *b)
{
    return sq_buf_addf(b,
                       "{\"chromosome\": \"%s\", \"build\": \"%s\", \"length_bp\": %lld, \"first_bp\": %lld, \"last_bp\": %lld, \"has_map\": %s, "
                       "\"first_cm\": %.6f, \"last_cm\": %.6f, \"samples\": %u, \"haplotypes\": %u, \"haploid_samples\": %u, \"rows\": %u, "
                       "\"records\": %u, \"records_without_alt\": %llu, \"missing_alleles\": %llu, \"segments\": %u, \"blocks\": %u, "
                       "\"patterns\": %llu, \"runs\": %llu, \"has_names\": %s, \"bytes\": %llu, \"populations\": [",
                       i->chrom, i->build, (long long)i->contig_bp, (long long)i->first_bp, (long long)i->last_bp, i->has_map ? "true" : "false",
                       i->first_cm, i->last_cm, i->n_sample, i->n_hap, i->n_haploid, i->n_site, i->n_record, (unsigned long long)i->n_without_alt,
                       (unsigned long long)i->n_missing, i->n_segment, i->n_block, (unsigned long long)i->n_pattern, (unsigned long long)i->n_run,
                       i->has_names ? "true" : "false", (unsigned long long)i->n_bytes);
}

static sq_err populations_info(const struct sq_panel *p, bool is_json, struct sq_buf *b)
{
    const struct sq_panel_info *i = sq_panel_info(p);
    sq_err e = SQ_OK;
    for (uint32_t k = 0; k < i->n_population && !e; k++) {
        uint32_t n = 0;
        for (uint32_t s = 0; s < i->n_sample; s++)
            n += sq_panel_sample_population(p, s) == k;
        e = is_json ? sq_buf_addf(b, "%s{\"name\": \"%s\", \"samples\": %u}", k ? ", " : "", sq_panel_population(p, k), n)
                    : sq_buf_addf(b, "population   %s, %u samples\n", sq_panel_population(p, k), n);
    }
    return !e && is_json ? sq_buf_addf(b, "]}\n") : e;
}

static sq_err info_work(struct local_child *child, void *ctx, struct sq_why *why)
{
    struct reading *r = ctx;
    struct sq_panel *p;
    struct sq_buf text;
    bool is_json = r->local->opt[LOCAL_json];
    sq_err e = sq_panel_open(r->panel->bytes, r->panel->n, NULL, why, &p);
    if (e)
        return e;
    sq_buf_init(&text, 0);
    e = is_json ? json_info(sq_panel_info(p), &text) : text_info(sq_panel_info(p), r->panel->path, &text);
    if (!e)
        e = populations_info(p, is_json, &text);
    if (!e)
        e = put(STDOUT_FILENO, &text);
    sq_panel_close(p);
    return e;
}

static sq_err verify_work(struct local_child *child, void *ctx, struct sq_why *why)
{
    struct reading *r = ctx;
    struct sq_panel *p;
    r->child = child;
    sq_err e = sq_panel_open(r->panel->bytes, r->panel->n, NULL, why, &p);
    if (e)
        return e;
    e = sq_panel_verify(p, verify_progress, r, why);
    struct sq_buf text;
    sq_buf_init(&text, 0);
    const struct sq_panel_info *i = sq_panel_info(p);
    if (!e && !r->local->is_quiet)
        e = sq_buf_addf(&text, "panel    %u haplotypes, %u rows, chromosome %s:%lld-%lld; all of it was read and fits\n", i->n_hap, i->n_site, i->chrom,
                        (long long)i->first_bp, (long long)i->last_bp);
    if (!e)
        e = put(STDOUT_FILENO, &text);
    sq_panel_close(p);
    return e;
}

static int read_only(struct local *l, local_work *work)
{
    struct opened o = {0};
    struct reading r = {.panel = &o, .local = l};
    struct sq_why why = {0};
    int code = open_panel(l, &o);
    if (code)
        return code;
    sq_err e = local_in_child(l, work, &r, &why, NULL);
    return e ? local_say_error(o.path, e, &why) : 0;
}

int local_panel_info(struct local *l)
{
    return read_only(l, info_work);
}

int local_panel_verify(struct local *l)
{
    return read_only(l, verify_work);
}

/* ---- sites, export ------------------------------------------------------------------------------------------------------------------- */

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);
    return n >= k && !strcmp(s + n - k, end);
}

/* "22:1000-2000", "22:1000-", "22". False: has said why. The chromosome is compared once the panel is open. */
static bool parse_region(const struct local *l, char chrom[SQ_CHROM_MAX], struct sq_panel_export *how)
{
    const char *text = l->opt[LOCAL_region], *colon = text ? strchr(text, ':') : NULL;
    if (!text)
        return true;
    size_t n = colon ? (size_t)(colon - text) : strlen(text);
    long long from = 0, to = 0;
    int used = 0;
    bool is_ok = n && n < SQ_CHROM_MAX;
    if (is_ok && colon) {
        bool has_both = sscanf(colon, ":%9lld-%9lld%n", &from, &to, &used) == 2 && !colon[used];
        bool has_start = !has_both && sscanf(colon, ":%9lld-%n", &from, &used) == 1 && used && !colon[used];
        is_ok = (has_both && from >= 1 && to >= from) || (has_start && from >= 1);
        if (has_start)
            to = 0;
    }
    if (!is_ok) {
        local_misused(l, "--region wants CHROMOSOME:FROM-TO, as in 22:16000000-17000000");
        return false;
    }
    memcpy(chrom, text, n);
    chrom[n] = 0;
    how->from_bp = from;
    how->to_bp = to;
    return true;
}

struct writing {
    struct reading reading;
    char chrom[SQ_CHROM_MAX]; /* of the region; "": not said */
    bool is_sites;
};

static sq_err write_work(struct local_child *child, void *ctx, struct sq_why *why)
{
    struct writing *w = ctx;
    struct reading *r = &w->reading;
    struct sq_panel *p;
    r->child = child;
    r->export.progress = verify_progress;
    r->export.ctx = r;
    sq_err e = sq_panel_open(r->panel->bytes, r->panel->n, NULL, why, &p);
    if (e)
        return e;
    if (w->chrom[0] && !sq_chrom_same(w->chrom, sq_panel_info(p)->chrom))
        e = sq_why_set(why, sq_fail(SQ_ENOVARIANT), 0, 0, "region", "the panel is of another chromosome than the region: %s", sq_panel_info(p)->chrom);
    if (!e)
        e = w->is_sites ? sq_panel_sites(p, &r->export, r->fd_out, why) : sq_panel_export(p, &r->export, r->fd_out, why);
    sq_panel_close(p);
    return e;
}

/* To -o, which is there once it is whole, or to standard output as plain text. */
static int write_out(struct local *l, bool is_sites)
{
    struct opened o = {0};
    struct writing w = {.is_sites = is_sites, .reading = {.panel = &o, .local = l, .fd_out = STDOUT_FILENO}};
    struct sq_panel_export *how = &w.reading.export;
    const char *out = l->opt[LOCAL_out];
    struct local_new new;
    struct sq_why why = {0};
    if (!parse_region(l, w.chrom, how))
        return LOCAL_MISUSED;
    bool is_bcf = out && ends_with(out, ".bcf"), is_gz = out && ends_with(out, ".gz"), is_vcf = out && (ends_with(out, ".vcf") || ends_with(out, ".vcf.gz"));
    how->container = is_bcf ? SQ_PANEL_BCF : is_gz ? SQ_PANEL_VCF_GZ
                                                   : SQ_PANEL_VCF;
    how->is_table = is_sites && !is_vcf;
    if (out && !is_sites && !is_bcf && !is_vcf)
        return local_misused(l, "the output's name says what it becomes: .vcf, .vcf.gz or .bcf");
    if (is_sites && is_bcf)
        return local_misused(l, "sites are written as a table (.tsv, .tsv.gz) or as .vcf or .vcf.gz");
    int code = open_panel(l, &o);
    if (!code)
        code = local_check_outputs(l, &out, 1, &o.path, 1);
    if (code)
        return code;
    if (out && local_new_open(out, &new))
        return local_cannot_write(out);
    if (out)
        w.reading.fd_out = new.fd;
    sq_err e = local_in_child(l, write_work, &w, &why, NULL);
    if (out)
        e = local_new_close(&new, e);
    return e ? local_say_error(e == SQ_EIO || e == SQ_EFULL ? out ? out : "standard output" : o.path, e, &why) : 0;
}

int local_panel_sites(struct local *l)
{
    return write_out(l, true);
}

int local_panel_export(struct local *l)
{
    return write_out(l, false);
}
