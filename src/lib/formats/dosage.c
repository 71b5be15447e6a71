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

static char *put_number(char *at, unsigned milli)
{
    memcpy(at, table[milli].text, sizeof table[milli].text);
    return at + table[milli].n;
}

size_t sq_dosage_number(unsigned milli, char *out)
{
    sq_assert(milli <= 2 * SQ_DOSAGE_FULL);
    pthread_once(&table_once, table_fill);
    return (size_t)(put_number(out, milli) - out);
}

static char allele(unsigned gt, unsigned milli)
{
    return (char)('0' + (gt < SQ_DOSAGE_NO_ALLELE ? gt : milli > SQ_DOSAGE_FULL / 2));
}

static unsigned product_milli(unsigned a, unsigned b)
{
    return (a * b + SQ_DOSAGE_FULL / 2) / SQ_DOSAGE_FULL;
}

size_t sq_dosage_diploid(unsigned gt1, unsigned gt2, unsigned milli1, unsigned milli2, char *out)
{
    sq_assert(milli1 <= SQ_DOSAGE_FULL && milli2 <= SQ_DOSAGE_FULL);
    if (!milli1 && !milli2 && gt1 != 1 && gt2 != 1) { /* most of all there is */
        static const char none[] = "0|0:0:0,0:1,0,0";
        memcpy(out, none, sizeof none - 1);
        return sizeof none - 1;
    }
    pthread_once(&table_once, table_fill);
    unsigned p2 = product_milli(milli1, milli2), p0 = product_milli(SQ_DOSAGE_FULL - milli1, SQ_DOSAGE_FULL - milli2);
    unsigned p1 = p0 + p2 < SQ_DOSAGE_FULL ? SQ_DOSAGE_FULL - p0 - p2 : 0;
    if (p0 + p2 > SQ_DOSAGE_FULL)
        p0 = SQ_DOSAGE_FULL - p2;
    char *at = out;
    *at++ = allele(gt1, milli1);
    *at++ = '|';
    *at++ = allele(gt2, milli2);
    *at++ = ':';
    at = put_number(at, milli1 + milli2);
    *at++ = ':';
    at = put_number(at, milli1);
    *at++ = ',';
    at = put_number(at, milli2);
    *at++ = ':';
    at = put_number(at, p0);
    *at++ = ',';
    at = put_number(at, p1);
    *at++ = ',';
    at = put_number(at, p2);
    return (size_t)(at - out);
}

size_t sq_dosage_haploid(unsigned gt, unsigned milli, char *out)
{
    sq_assert(milli <= SQ_DOSAGE_FULL);
    pthread_once(&table_once, table_fill);
    char *at = out;
    *at++ = allele(gt, milli);
    *at++ = ':';
    at = put_number(at, milli);
    *at++ = ':';
    at = put_number(at, milli);
    *at++ = ':';
    at = put_number(at, SQ_DOSAGE_FULL - milli);
    *at++ = ',';
    at = put_number(at, milli);
    return (size_t)(at - out);
}
