/* Arguments of the commands without a server, by the table that `sequester` shows them from (lib/jobs/local_options.def). */
#include "worker/local.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define WORD_BYTES 32U

static const struct {
    const char *name, *value, *commands, *text;
    char letter;
} rows[LOCAL_COUNT] = {
#define SQ_LOCAL_OPT(name, letter, value, commands, text) {#name, value, commands, text, letter},
#include "lib/jobs/local_options.def"
#undef SQ_LOCAL_OPT
};

/* "--min-r2" of min_r2 */
static void word_of(size_t opt, char out[WORD_BYTES])
{
    snprintf(out, WORD_BYTES, "--%s", rows[opt].name);
    for (char *p = out; *p; p++)
        if (*p == '_')
            *p = '-';
}

/* is @command one of the row's, which stand with ", " between? */
static bool takes(const char *command, size_t opt)
{
    size_t n = strlen(command);
    for (const char *p = rows[opt].commands; (p = strstr(p, command)); p += n)
        if ((p == rows[opt].commands || p[-1] == ' ') && (p[n] == ',' || !p[n]) &&
            (p - rows[opt].commands < 2 || p[-2] == ','))
            return true;
    return false;
}

void local_usage(const char *command, const char *args, FILE *to)
{
    fprintf(to, "usage: sequester %s%s%s [options]\n", command, *args ? " " : "", args);
    for (size_t i = 0; i < LOCAL_COUNT; i++) {
        char word[WORD_BYTES], all[2 * WORD_BYTES];
        if (!takes(command, i))
            continue;
        word_of(i, word);
        snprintf(all, sizeof all, "%s%c%s%s %s", rows[i].letter ? "-" : "", rows[i].letter ? rows[i].letter : ' ',
                 rows[i].letter ? ", " : "   ", word, rows[i].value ? rows[i].value : "");
        fprintf(to, "  %-28s %s\n", all, rows[i].text);
    }
}

int local_misused(const struct local *l, const char *what, ...)
{
    va_list args;
    va_start(args, what);
    fputs("sequester: ", stderr);
    vfprintf(stderr, what, args);
    fprintf(stderr, "\n  `sequester %s --help` lists the options\n", l->command);
    va_end(args);
    return LOCAL_MISUSED;
}

bool local_number(const struct local *l, enum local_opt opt, uint64_t least, uint64_t most, uint64_t *out)
{
    const char *text = l->opt[opt];
    char *end, word[WORD_BYTES];
    if (!text)
        return true;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || n < least || n > most) {
        word_of(opt, word);
        local_misused(l, "%s wants a whole number%s from %llu to %llu", word, opt == LOCAL_memory ? " of MB" : "", (unsigned long long)least, (unsigned long long)most);
        return false;
    }
    *out = n;
    return true;
}

/* The option of this word, LOCAL_COUNT when there is none; *out_value: what follows '='. */
static size_t find(const char *command, const char *arg, const char **out_value)
{
    *out_value = NULL;
    for (size_t i = 0; i < LOCAL_COUNT; i++) {
        char word[WORD_BYTES];
        word_of(i, word);
        size_t n = strlen(word);
        if (!takes(command, i))
            continue;
        if (rows[i].letter && arg[0] == '-' && arg[1] == rows[i].letter && !arg[2])
            return i;
        if (strncmp(arg, word, n) || (arg[n] && arg[n] != '='))
            continue;
        *out_value = arg[n] ? arg + n + 1 : NULL;
        return i;
    }
    return LOCAL_COUNT;
}

static int take(struct local *l, int argc, char **argv, int *i)
{
    const char *value;
    char word[WORD_BYTES];
    size_t opt = find(l->command, argv[*i], &value);
    if (opt == LOCAL_COUNT)
        return local_misused(l, "`%.*s` is no option of `sequester %s`", (int)strcspn(argv[*i], "="), argv[*i], l->command);
    word_of(opt, word);
    if (l->opt[opt])
        return local_misused(l, "%s is given twice", word);
    if (!rows[opt].value && value)
        return local_misused(l, "%s takes no value", word);
    if (rows[opt].value && !value && *i + 1 >= argc)
        return local_misused(l, "%s wants a value: %s %s", word, word, rows[opt].value);
    l->opt[opt] = !rows[opt].value ? "" : value ? value
                                                : argv[++*i];
    if (rows[opt].value && !*l->opt[opt])
        return local_misused(l, "%s wants a value: %s %s", word, word, rows[opt].value);
    return 0;
}

/* What was typed is shown again in messages: nothing in it may steer a terminal. */
static bool has_control(const char *word)
{
    for (; *word; word++)
        if ((unsigned char)*word < 0x20 || *word == 0x7f)
            return true;
    return false;
}

int local_parse(struct local *l, unsigned n_arg, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (has_control(argv[i]))
            return local_misused(l, "word %d has a control character: rename the file", i);
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            local_usage(l->command, l->args, stdout);
            exit(0);
        }
        if (argv[i][0] != '-') {
            if (!n_arg)
                return local_misused(l, "`%s` stands alone: each file is given with its option", argv[i]);
            if (l->n_arg == n_arg)
                return local_misused(l, "`%s` is one too many: %s", argv[i], l->args);
            l->arg[l->n_arg++] = argv[i];
            continue;
        }
        if (take(l, argc, argv, &i))
            return LOCAL_MISUSED;
    }
    if (l->n_arg < n_arg && l->args[0] != '[')
        return local_misused(l, "%s is missing", l->args);
    uint64_t n_thread = l->n_thread;
    if (!local_number(l, LOCAL_threads, 1, LOCAL_MAX_THREADS, &n_thread))
        return LOCAL_MISUSED;
    l->n_thread = (unsigned)n_thread;
    l->is_quiet = l->opt[LOCAL_quiet] != NULL;
    return 0;
}
