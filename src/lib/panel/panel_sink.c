#include "lib/panel/panel_sink.h"

#include "lib/core/file.h"

#include <stdio.h>

#define ENOUGH ((size_t)1 << 20)

sq_err panel_sink_open(struct panel_sink *s, int fd, bool is_packed)
{
    *s = (struct panel_sink){.fd = fd};
    sq_buf_init(&s->text, 0);
    return is_packed ? sq_bgzf_out_open(fd, &s->bgzf) : SQ_OK;
}

sq_err panel_sink_flush(struct panel_sink *s, bool all)
{
    if (!s->text.n || (!all && s->text.n < ENOUGH))
        return SQ_OK;
    sq_err e = s->bgzf ? sq_bgzf_out_put(s->bgzf, s->text.p, s->text.n) : sq_write_all(s->fd, s->text.p, s->text.n);
    sq_buf_clear(&s->text);
    return e;
}

sq_err panel_sink_close(struct panel_sink *s, sq_err e)
{
    if (!e)
        e = panel_sink_flush(s, true);
    if (s->bgzf && e)
        sq_bgzf_out_drop(s->bgzf);
    else if (s->bgzf)
        e = sq_bgzf_out_close(s->bgzf, true, NULL);
    s->bgzf = NULL;
    sq_buf_done(&s->text);
    return e;
}

sq_err panel_sink_head(struct panel_sink *s, const struct sq_panel_info *i, bool with_index)
{
    const char *idx = with_index ? ",IDX=0" : "";
    char length[48] = "";
    if (i->contig_bp)
        snprintf(length, sizeof length, ",length=%lld", (long long)i->contig_bp);
    return sq_buf_addf(&s->text,
                       "##fileformat=VCFv4.2\n"
                       "##FILTER=<ID=PASS,Description=\"All filters passed\"%s>\n"
                       "##source=sequester %s\n"
                       "##contig=<ID=%s%s%s%s%s>\n"
                       "##INFO=<ID=AC,Number=A,Type=Integer,Description=\"Observed ALT alleles\"%s>\n"
                       "##INFO=<ID=AN,Number=1,Type=Integer,Description=\"Observed alleles\"%s>\n",
                       idx, SQ_VERSION, i->chrom, length, i->build[0] ? ",assembly=" : "", i->build, idx, with_index ? ",IDX=1" : "",
                       with_index ? ",IDX=2" : "");
}
