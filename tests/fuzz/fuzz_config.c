/* sequester.ini as an operator may have spoiled it: libinih's lines, our keys and their limits. */
#include "daemon/parent/parent.h"
#include "fuzz_file.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct config config;
    static FILE *nowhere;
    char path[40];
    if (!nowhere)
        sq_assert(nowhere = fopen("/dev/null", "we"));
    snprintf(path, sizeof path, "/proc/self/fd/%d", fuzz_file(data, size));
    FILE *was = stderr;
    stderr = nowhere; /* it explains each error there */
    sq_err err = config_read(path, &config);
    stderr = was;
    size_t n;
    const struct sq_key_row *rows = sq_key_rows(&n);
    for (size_t i = 0; i < n && !err; i++) {
        struct sq_why why;
        const char *value = config_get(&config, rows[i].name);
        sq_assert(strlen(value) < SQ_CONFIG_MAX_VALUE && !sq_key_check(&rows[i], value, &why));
    }
    return 0;
}
