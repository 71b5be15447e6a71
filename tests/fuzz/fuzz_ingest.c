/*
 * A stranger's upload in the sandbox: unpacking, VCF text, BCF, htslib's header parser and writer, all of stage_ingest.
 * Input: how | bytes.  how & 3: 0 the bytes as they come | 1 packed here as BGZF | 2 as gzip (what stands behind a checksum can't be
 * guessed), so BCF records are reached too. how & 4: the end is cut off after packing.
 * What ingest accepts, the next stage must read back as the very same records, without a name in them.
 */
#include "fuzz_file.h"
#include "lib/formats/bgzf_out.h"
#include "worker/worker.h"

#include <libdeflate.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int upload(uint8_t how, const uint8_t *p, size_t n)
{
    static struct libdeflate_compressor *gz;
    int fd = fuzz_file_of(0, NULL, 0);
    if ((how & 3) == 1) {
        struct sq_bgzf_out *out;
        sq_assert(!sq_bgzf_out_open(fd, &out) && !sq_bgzf_out_put(out, p, n) && !sq_bgzf_out_close(out, true, NULL));
    } else if ((how & 3) == 2) {
        if (!gz)
            sq_assert(gz = libdeflate_alloc_compressor(1));
        size_t room = libdeflate_gzip_compress_bound(gz, n);
        uint8_t *packed = malloc(room);
        sq_assert(packed);
        n = libdeflate_gzip_compress(gz, p, n, packed, room);
        sq_assert(n);
        fuzz_file_of(0, packed, n);
        free(packed);
    } else {
        fuzz_file_of(0, p, n);
    }
    struct stat st;
    if (how & 4)
        sq_assert(!fstat(fd, &st) && !ftruncate(fd, st.st_size - st.st_size / 8));
    sq_assert(lseek(fd, 0, SEEK_SET) == 0);
    return fd;
}

static void same_record(const struct sq_record *a, const struct sq_record *b, uint32_t n_sample)
{
    sq_assert(a->pos_bp == b->pos_bp && a->n_alt == b->n_alt && a->filter == b->filter);
    sq_assert(sq_span_eq(a->ref, b->ref) && sq_span_eq(a->alt, b->alt));
    sq_assert(memcmp(a->gt, b->gt, (size_t)2 * n_sample) == 0);
    for (uint32_t i = 0; i < n_sample; i++)
        sq_assert(a->phased[i] == b->phased[i] || a->gt[2 * i + 1] == SQ_GT_NONE);
}

static void read_back(const struct worker *w)
{
    struct sq_genotypes_limits limits = {.max_samples = 0};
    struct sq_genotypes *was = NULL, *is = NULL;
    struct sq_why why = {0};
    struct sq_record a, b;
    bool has_a, has_b;
    char name[8];
    for (int i = 0; i < 3; i++)
        sq_assert(lseek(w->port[i], 0, SEEK_SET) == 0);
    sq_assert(!sq_genotypes_open(w->port[0], &limits, &why, &was) && !sq_genotypes_open(w->port[1], &limits, &why, &is));
    uint32_t n_sample = sq_genotypes_n_sample(was);
    sq_assert(n_sample == sq_genotypes_n_sample(is) && n_sample == w->counts.n_sample);
    snprintf(name, sizeof name, "S%06u", n_sample % 1000000);
    sq_assert(!strcmp(sq_genotypes_sample(is, n_sample - 1), name));
    do {
        sq_assert(!sq_genotypes_next(was, &why, &a, &has_a));
        sq_assert(!sq_genotypes_next(is, &why, &b, &has_b));
        sq_assert(has_a == has_b);
        if (has_a)
            same_record(&a, &b, n_sample);
    } while (has_a);
    sq_assert(!strcmp(sq_genotypes_chrom(was), sq_genotypes_chrom(is)) && sq_genotypes_n_record(is) == w->counts.n_variant);
    sq_genotypes_close(was);
    sq_genotypes_close(is);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > (1 << 20))
        return 0;
    struct worker w = {.control = -1, .max_samples = 1000, .max_variants = 1000, .n_thread = 1, .progress_ms = INT64_MAX / 2};
    w.port[0] = upload(data[0], data + 1, size - 1);
    w.port[1] = fuzz_file_of(1, NULL, 0);
    w.port[2] = fuzz_file_of(2, NULL, 0);
    if (!stage_ingest(&w))
        read_back(&w);
    return 0;
}
