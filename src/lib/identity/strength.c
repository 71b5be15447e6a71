/*
 * The measure: take the guessable pieces away and see what is left. A piece is a common word, a run, a repeat, the name
 * or a year; each still counts as two characters of real choice, every other character as one (counted as different
 * ones). Below SQ_PASSWORD_MIN_CHARS - 4 that is too little. Four random words pass, "Password123!" and its kin don't.
 */
#include "lib/identity/strength.h"

#include "lib/core/buf.h"

#include <stdlib.h>

#define PIECE_COUNTS 2
#define NEEDED (SQ_PASSWORD_MIN_CHARS - 4)
#define MIN_RUN 4

static const char *const common[] = {
#include "lib/identity/common_words.def"
};
static const char *const rows[] = {"abcdefghijklmnopqrstuvwxyz", "qwertyuiop", "asdfghjkl", "zxcvbnm", "qwertzuiop",
                                   "yxcvbnm", "azertyuiop", "qsdfghjklm", "01234567890", "1qaz2wsx3edc4rfv5tgb6yhn7ujm",
                                   "!@#$%^&*()"};

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static char unleet(char c)
{
    switch (c) {
    case '0':
        return 'o';
    case '1':
    case '!':
    case '|':
        return 'i';
    case '3':
        return 'e';
    case '4':
    case '@':
        return 'a';
    case '5':
    case '$':
        return 's';
    case '7':
        return 't';
    default:
        return c;
    }
}

static bool starts(const char *at, size_t left, const char *word, bool is_leet)
{
    size_t n = strlen(word);
    if (n > left)
        return false;
    for (size_t i = 0; i < n; i++)
        if ((is_leet ? unleet(at[i]) : at[i]) != word[i] && at[i] != word[i])
            return false;
    return true;
}

static size_t longest_word(const char *at, size_t left)
{
    size_t best = 0;
    for (size_t w = 0; w < sizeof common / sizeof common[0]; w++) {
        size_t n = strlen(common[w]);
        if (n > best && starts(at, left, common[w], true))
            best = n;
    }
    return best;
}

/* along a row, forward or backward */
static size_t longest_run(const char *at, size_t left)
{
    size_t best = 0;
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        const char *row = rows[r], *c = *at ? strchr(row, *at) : NULL;
        if (!c)
            continue;
        size_t up = 1, down = 1;
        while (up < left && c[up] && at[up] == c[up])
            up++;
        while (down < left && c - row >= (ptrdiff_t)down && at[down] == c[-(ptrdiff_t)down])
            down++;
        best = up > best ? up : best;
        best = down > best ? down : best;
    }
    return best >= MIN_RUN ? best : 0;
}

/* what stands here already stood before */
static size_t longest_repeat(const char *all, size_t at, size_t n)
{
    size_t best = 0;
    for (size_t from = 0; from < at; from++) {
        size_t k = 0;
        while (at + k < n && all[from + k] == all[at + k])
            k++;
        best = k > best ? k : best;
    }
    return best >= 2 ? best : 0;
}

static size_t is_year(const char *at, size_t left)
{
    if (left < 4 || (strncmp(at, "19", 2) && strncmp(at, "20", 2)))
        return 0;
    return at[2] >= '0' && at[2] <= '9' && at[3] >= '0' && at[3] <= '9' ? 4 : 0;
}

static size_t max_of(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* the part of a mail address or name that is worth knowing, in lower case */
static void name_core(const char *name, char out[65])
{
    size_t n = 0;
    for (; name && name[n] && name[n] != '@' && n < 64; n++)
        out[n] = lower(name[n]);
    out[n] = 0;
}

static size_t n_chars(const char *s, size_t n) /* UTF-8: continuation bytes don't count */
{
    size_t k = 0;
    for (size_t i = 0; i < n; i++)
        k += ((unsigned char)s[i] & 0xc0) != 0x80;
    return k;
}

static size_t real_choice(const char *low, size_t n, const char *name)
{
    bool is_seen[256] = {false};
    size_t choice = 0, n_name = strlen(name);
    for (size_t at = 0; at < n;) {
        size_t piece = max_of(longest_word(low + at, n - at), longest_run(low + at, n - at));
        piece = max_of(piece, max_of(longest_repeat(low, at, n), is_year(low + at, n - at)));
        if (n_name >= 3 && starts(low + at, n - at, name, false))
            piece = max_of(piece, n_name);
        if (piece) {
            choice += PIECE_COUNTS;
            at += piece;
            continue;
        }
        unsigned char c = (unsigned char)low[at++];
        if (!is_seen[c])
            choice++;
        is_seen[c] = true;
    }
    return choice;
}

sq_err sq_password_strength(const char *password, size_t n, const char *name)
{
    if (n > SQ_PASSWORD_MAX_BYTES || n_chars(password, n) < SQ_PASSWORD_MIN_CHARS)
        return sq_fail(SQ_EWEAK);
    char core[65];
    char *low = malloc(n + 1);
    if (!low)
        return sq_fail(SQ_ENOMEM);
    name_core(name, core);
    for (size_t i = 0; i < n; i++)
        low[i] = lower(password[i]);
    low[n] = 0;
    size_t choice = real_choice(low, n, core);
    sq_wipe(low, n);
    free(low);
    return choice < NEEDED ? sq_fail(SQ_EWEAK) : SQ_OK;
}
