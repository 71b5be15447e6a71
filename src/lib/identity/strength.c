#include "lib/identity/strength.h"

#include "lib/core/buf.h"

#include <stdlib.h>
#include <string.h>
#include <zxcvbn.h>

#define MAX_WORDS 128
#define MAX_WORD_BYTES 64
#define SHORTEST 3 /* of a name or address: shorter pieces are in every password */

static const char *const context[] = {
#include "lib/identity/context_words.def"
};

/* ---- the words that are near at hand for this account ---- */

struct words {
    char text[MAX_WORDS][MAX_WORD_BYTES];
    const char *at[MAX_WORDS + 1]; /* as libzxcvbn wants them, NULL at the end */
    size_t n;
};

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static void word_add(struct words *w, const char *p, size_t n)
{
    if (n < SHORTEST || n >= MAX_WORD_BYTES || w->n == MAX_WORDS)
        return;
    for (size_t i = 0; i < n; i++)
        w->text[w->n][i] = lower(p[i]);
    w->text[w->n][n] = 0;
    w->at[w->n] = w->text[w->n];
    w->n++;
}

static bool is_letter(char c) /* what isn't ASCII belongs to a word */
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (unsigned char)c >= 0x80;
}

/* "Alice.Miller@example.org": as a whole, what stands before the @, and each piece of letters and digits */
static void words_of(struct words *w, const char *text)
{
    if (!text)
        return;
    size_t n = strlen(text), n_local = strcspn(text, "@");
    word_add(w, text, n);
    if (n_local < n)
        word_add(w, text, n_local);
    for (size_t at = 0; at < n;) {
        size_t k = 0;
        while (at + k < n && is_letter(text[at + k]))
            k++;
        if (k < n)
            word_add(w, text + at, k);
        at += k ? k : 1;
    }
}

/* ---- the measure ---- */

static unsigned score_of(double bits)
{
    static const double from[] = {20.93, 27.58, 34.22, 40.86}; /* log2(2e6), log2(2e8), log2(2e10), log2(2e12) */
    unsigned score = 0;
    while (score < 4 && bits >= from[score])
        score++;
    return score;
}

static const char *said_of(ZxcTypeMatch_t type)
{
    switch ((unsigned)type & ~(unsigned)MULTIPLE_MATCH) {
    case DICTIONARY_MATCH:
    case DICT_LEET_MATCH:
        return "common words";
    case USER_MATCH:
    case USER_LEET_MATCH:
        return "your name, this site's or words of its trade";
    case REPEATS_MATCH:
        return "repeats";
    case SEQUENCE_MATCH:
        return "runs like abcd or 1234";
    case SPATIAL_MATCH:
        return "neighbouring keys";
    case DATE_MATCH:
    case YEAR_MATCH:
        return "dates";
    default:
        return "few different characters";
    }
}

/* what most of it is made of */
static const char *mostly(const ZxcMatch_t *all)
{
    const ZxcMatch_t *most = NULL;
    for (const ZxcMatch_t *m = all; m; m = m->Next)
        if (((unsigned)m->Type & ~(unsigned)MULTIPLE_MATCH) != BRUTE_MATCH && (!most || m->Length > most->Length))
            most = m;
    return said_of(most ? most->Type : BRUTE_MATCH);
}

static size_t n_chars(const char *s, size_t n) /* UTF-8: continuation bytes don't count */
{
    size_t k = 0;
    for (size_t i = 0; i < n; i++)
        k += ((unsigned char)s[i] & 0xc0) != 0x80;
    return k;
}

static sq_err judge(const struct sq_password_rules *rules, const char *password, size_t n, struct words *w, struct sq_why *why)
{
    ZxcMatch_t *parts = NULL;
    unsigned score = score_of(ZxcvbnMatch(password, w->at, &parts));
    const char *of = mostly(parts);
    ZxcvbnFreeInfo(parts);
    if (score >= rules->min_score)
        return SQ_OK;
    return sq_why_set(why, SQ_EWEAK, 0, 0, "password", "is soon guessed (%u of 4, %u needed): mostly %s; take four words or more that have nothing to do with each other", score, rules->min_score, of);
}

sq_err sq_password_strength(const struct sq_password_rules *rules, const char *password, size_t n, const char *name, const char *mail, struct sq_why *why)
{
    size_t n_char = n_chars(password, n);
    bool is_stolen = false;
    if (n_char < SQ_PASSWORD_MIN_CHARS)
        return sq_why_set(why, SQ_EWEAK, 0, 0, "password", "has %u characters, and %u are the least", (unsigned)n_char, SQ_PASSWORD_MIN_CHARS);
    if (n > SQ_PASSWORD_MAX_BYTES)
        return sq_why_set(why, SQ_EWEAK, 0, 0, "password", "has more than %u bytes", SQ_PASSWORD_MAX_BYTES);
    struct words *w = calloc(1, sizeof *w);
    char *copy = malloc(n + 1);
    sq_err e = w && copy ? sq_breached_has(rules->list, password, n, &is_stolen) : sq_fail(SQ_ENOMEM);
    if (!e && is_stolen)
        e = sq_why_set(why, SQ_EWEAK, 0, 0, "password", "stands in a list of passwords that were stolen from other sites, which guessers try first; choose another, and change it where you use it");
    if (!e) {
        memcpy(copy, password, n);
        copy[n] = 0;
        words_of(w, name);
        words_of(w, mail);
        words_of(w, rules->site);
        for (size_t i = 0; i < sizeof context / sizeof context[0]; i++)
            word_add(w, context[i], strlen(context[i]));
        e = judge(rules, copy, n, w, why);
    }
    if (copy)
        sq_wipe(copy, n);
    free(copy);
    if (w)
        sq_wipe(w, sizeof *w);
    free(w);
    return e;
}
