/* Result packages. What opens is listed, and its first entries are taken out with the password of the golden one. */
#include "fuzz_file.h"
#include "lib/vault/zip_ae2_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char golden_password[] = "Kq7-mB2_zX9.rT4w"; /* docs/formats/result-package.md */

static sq_err count(void *ctx, const void *p, size_t n)
{
    *(uint64_t *)ctx += n;
    return SQ_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool is_started;
    struct sq_unzip *z = NULL;
    if (!is_started)
        sq_assert(sq_crypt_start() == SQ_OK);
    is_started = true;
    if (!sq_unzip_open(fuzz_file(data, size), &z)) {
        for (size_t i = 0; i < sq_unzip_n_entry(z); i++) {
            struct sq_unzip_entry e = sq_unzip_entry(z, i);
            size_t at = 0;
            uint64_t n_out = 0;
            sq_assert(sq_unzip_find(z, e.name, &at) == SQ_OK && at == i && e.plain_bytes <= size);
            if (i < 2 && !sq_unzip_extract(z, i, golden_password, sizeof golden_password - 1, count, &n_out))
                sq_assert(n_out == e.plain_bytes);
        }
    }
    sq_unzip_free(z);
    return 0;
}
