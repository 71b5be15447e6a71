/* Erasure receipts: only the very bytes that writing would make are read. */
#include "lib/store/receipt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sq_receipt r;
    struct sq_job_receipt j;
    struct sq_why why;
    struct sq_buf b;
    if (!sq_job_receipt_read((const char *)data, size, &j, &why)) {
        sq_buf_init(&b, SQ_RECEIPT_MAX_BYTES);
        sq_assert(sq_job_receipt_text(&j, &b) == SQ_OK && b.n == size && memcmp(b.p, data, size) == 0);
        sq_buf_done(&b);
    }
    if (sq_receipt_read((const char *)data, size, &r, &why))
        return 0;
    sq_buf_init(&b, SQ_RECEIPT_MAX_BYTES);
    sq_assert(sq_receipt_text(&r, &b) == SQ_OK && b.n == size && memcmp(b.p, data, size) == 0);
    sq_buf_done(&b);
    return 0;
}
