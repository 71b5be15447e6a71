#include "lib/formats/dosage.h"

#include <pthread.h>

static struct sq_dosage_text table[2 * SQ_DOSAGE_FULL + 1];
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static void table_fill(void)
{
    for (unsigned v = 0; v <= 2 * SQ_DOSAGE_FULL; v++) {
        struct sq_dosage_text *t = &table[v];
        t->text[t->n++] = (char)('0' + v / 1000);
        if (v % 1000) {
            t->text[t->n++] = '.';
            unsigned rest = v % 1000;
            for (unsigned unit = 100; rest; rest %= unit, unit /= 10)
                t->text[t->n++] = (char)('0' + rest / unit);
        }
    }
}

const struct sq_dosage_text *sq_dosage_texts(void)
{
    pthread_once(&table_once, table_fill);
    return table;
}

size_t sq_dosage_number(unsigned milli, char *out)
{
    sq_assert(milli <= 2 * SQ_DOSAGE_FULL);
    memcpy(out, sq_dosage_texts()[milli].text, sizeof table[milli].text);
    return table[milli].n;
}
