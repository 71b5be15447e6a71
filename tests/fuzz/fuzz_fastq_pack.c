/*
 * Packing of FASTQ. Input: records, each two bytes (length of the header, length of the read times 4) and as many bytes as that takes, headers
 * and reads of any bytes. libdeflate gives the text back; plain kernels make the same bytes.
 */
#include "lib/demux/fastq_pack.h"

#include <libdeflate.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct sq_fastq_packer *packer[2];
    static struct libdeflate_decompressor *opener;
    static struct sq_fastq_record record[SQ_FASTQ_BLOCK / 6];
    if (!opener) {
        opener = libdeflate_alloc_decompressor();
        sq_assert(opener && !sq_fastq_packer_new(NULL, &packer[0]) && !sq_fastq_packer_new(sq_demux_kernels_named("scalar"), &packer[1]));
    }
    uint8_t *text = calloc(1, SQ_FASTQ_BLOCK + SQ_FASTQ_SLACK), *out[2] = {NULL, NULL}, *back = malloc(SQ_FASTQ_BLOCK);
    size_t n = 0, n_record = 0, got = 0;
    sq_assert(text && back);
    while (size >= 2) {
        uint32_t n_head = 1U + data[0], n_base = 4U * data[1];
        data += 2, size -= 2;
        if (size < n_head + n_base) /* the last one takes what there is */
            n_head = size < n_head ? (uint32_t)size : n_head, n_base = (uint32_t)size - n_head;
        if (!n_head || n + n_head + 2 * n_base + 5 > SQ_FASTQ_BLOCK)
            break;
        record[n_record++] = (struct sq_fastq_record){(uint32_t)n, (uint32_t)n + n_head / 2, (uint32_t)n + n_head + 1, n_base};
        memcpy(text + n, data, n_head);
        text[n += n_head] = '\n';
        memcpy(text + n + 1, data + n_head, n_base);
        memcpy(text + n + 1 + n_base, "\n+\n", 3);
        for (uint32_t i = 0; i < n_base; i++) /* other bytes of the same kind */
            text[n + 4 + n_base + i] = data[n_head + n_base - 1 - i];
        text[n + 4 + 2 * n_base] = '\n';
        n += 5 + 2 * (size_t)n_base;
        data += n_head + n_base, size -= n_head + n_base;
    }
    for (int k = 0; k < 2 && n; k++) {
        out[k] = malloc(n + 5 + 8);
        sq_assert(out[k]);
        size_t made = sq_fastq_pack(packer[k], text, n, record, n_record, out[k]);
        sq_assert(made <= n + 5);
        sq_assert(!libdeflate_deflate_decompress(opener, out[k], made, back, SQ_FASTQ_BLOCK, &got) && got == n && !memcmp(back, text, n));
        sq_assert(!k || !memcmp(out[0], out[1], made));
    }
    free(out[0]);
    free(out[1]);
    free(text);
    free(back);
    return 0;
}
