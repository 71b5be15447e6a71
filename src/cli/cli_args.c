/* Command line to struct cli, from commands.def and options.def. */
#include "cli/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>

static const struct cli_command commands[] = {
#define SQ_CMD(name, handler, args, least, most, opts, exits, summary, example) \
    {name, handler, args, least, most, opts, exits, summary, example},
#include "cli/commands.def"
#undef SQ_CMD
};
#define N_COMMAND (sizeof commands / sizeof commands[0])

static const struct cli_option options[OPT_COUNT] = {
#define SQ_OPT(name, letter, value, text) {#name, letter, value, text},
#include "cli/options.def"
#undef SQ_OPT
};


const struct cli_command *cli_commands(size_t *out_n)
{
    *out_n = N_COMMAND;
    return commands;
}

const struct cli_option *cli_option(size_t opt)
{
    return &options[opt];
}

/* ---- options ---- */

void cli_option_text(const struct cli_option *o, char out[32])
{
    snprintf(out, 32, "--%s", o->name);
    for (char *p = out; *p; p++)
        if (*p == '_')
            *p = '-';
}

bool cli_takes(const struct cli_command *command, size_t opt)
{
    if (opt == OPT_help || (opt == OPT_json && command->run != cmd_local)) /* what goes to the worker has options of its own */
        return true;
    size_t n = strlen(options[opt].name);
    for (const char *p = command->opts; (p = strstr(p, options[opt].name)); p += n)
        if ((p == command->opts || p[-1] == ' ') && (p[n] == ' ' || !p[n]))
            return true;
    return false;
}

/* the row that @word ("--name", "--name=value", "-n") means, or OPT_COUNT */
static size_t option_of(const char *word, const char **out_value)
{
    *out_value = NULL;
    for (size_t i = 0; i < OPT_COUNT; i++) {
        char text[32];
        cli_option_text(&options[i], text);
        size_t n = strlen(text);
        if (options[i].letter && word[1] == options[i].letter && !word[2])
            return i;
        if (strncmp(word, text, n) || (word[n] && word[n] != '='))
            continue;
        if (word[n] == '=')
            *out_value = word + n + 1;
        return i;
    }
    return OPT_COUNT;
}

int cli_misused(const struct cli *c, const char *what, ...)
{
    va_list ap;
    va_start(ap, what);
    fputs("sequester: ", stderr);
    vfprintf(stderr, what, ap);
    va_end(ap);
    fprintf(stderr, "\n  see: sequester %s%s--help\n", c->command ? c->command->name : "", c->command ? " " : "");
    return EXIT_USAGE;
}

static int take_option(struct cli *c, int argc, char **argv, int *i)
{
    const char *value;
    size_t opt = option_of(argv[*i], &value);
    if (opt == OPT_COUNT) /* the word itself isn't repeated when it carries a value: that could be a secret */
        return cli_misused(c, "unknown option %.*s", (int)strcspn(argv[*i], "="), argv[*i]);
    char text[32];
    cli_option_text(&options[opt], text);
    if (!options[opt].value && value)
        return cli_misused(c, "%s takes no value", text);
    if (options[opt].value && !value && *i + 1 >= argc)
        return cli_misused(c, "%s wants a value: %s %s", text, text, options[opt].value);
    if (c->opt[opt])
        return cli_misused(c, "%s is given twice", text);
    c->opt[opt] = !options[opt].value ? "" : value ? value
                                                   : argv[++*i];
    return 0;
}

/* how many of the words name @command, or 0 */
static int n_words(const struct cli_command *command, const struct cli *c)
{
    int n = 0;
    for (const char *p = command->name; *p; n++) {
        size_t len = strcspn(p, " ");
        if (n >= c->n_arg || strlen(c->arg[n]) != len || memcmp(c->arg[n], p, len))
            return 0;
        p += len;
        p += *p == ' ';
    }
    return n;
}

static int find_command(struct cli *c)
{
    int best = 0;
    for (size_t i = 0; i < N_COMMAND; i++) {
        int n = n_words(&commands[i], c);
        if (n > best) {
            best = n;
            c->command = &commands[i];
        }
    }
    c->n_arg -= best;
    memmove(c->arg, c->arg + best, (size_t)c->n_arg * sizeof c->arg[0]);
    return best;
}

/* words that longer commands begin with: `admin`, `admin user` */
static bool is_beginning(const struct cli *c, char words[64])
{
    size_t n = 0;
    for (int i = 0; i < c->n_arg && i < 3 && n < 60; i++)
        n += (size_t)snprintf(words + n, 64 - n, "%s%.19s", i ? " " : "", c->arg[i]);
    for (size_t i = 0; i < N_COMMAND && n; i++)
        if (!strncmp(commands[i].name, words, n) && commands[i].name[n] == ' ')
            return true;
    return false;
}

/* letters to put in, take out or exchange; @b has fewer than 64 */
static unsigned distance(const char *a, const char *b)
{
    unsigned row[64], n = (unsigned)strlen(b);
    for (unsigned i = 0; i <= n; i++)
        row[i] = i;
    for (; *a; a++) {
        unsigned before = row[0]++;
        for (unsigned i = 0; i < n; i++) {
            unsigned above = row[i + 1], best = before + (*a != b[i]);
            best = above + 1 < best ? above + 1 : best;
            row[i + 1] = row[i] + 1 < best ? row[i] + 1 : best;
            before = above;
        }
    }
    return row[n];
}

const char *cli_nearest(const char *typed)
{
    const char *nearest = NULL;
    unsigned least = strlen(typed) < 5 ? 2 : 3; /* so that other words aren't taken for slips */
    for (size_t i = 0; i < N_COMMAND; i++) {
        unsigned n = distance(typed, commands[i].name);
        if (n < least) {
            least = n;
            nearest = commands[i].name;
        }
    }
    return nearest;
}

static int no_such(const struct cli *c)
{
    char typed[64] = "";
    const char *nearest = NULL;
    for (int n = c->n_arg < 3 ? c->n_arg : 3; n && !nearest; n--) { /* the longest words first: the others may be arguments */
        snprintf(typed, sizeof typed, "%.20s%s%.20s%s%.20s", c->arg[0], n > 1 ? " " : "", n > 1 ? c->arg[1] : "", n > 2 ? " " : "", n > 2 ? c->arg[2] : "");
        nearest = cli_nearest(typed);
    }
    return cli_misused(c, "there is no command `%s%s%s`%s%s%s", c->arg[0], c->n_arg > 1 ? " " : "", c->n_arg > 1 ? c->arg[1] : "",
                       nearest ? "; do you mean sequester " : "", nearest ? nearest : "", nearest ? "?" : "");
}

/* Does @argv begin like a command without a server? Its options are its own, which the worker reads. */
static bool is_passed_on(int argc, char **argv)
{
    for (size_t i = 0; i < N_COMMAND && argc > 1; i++) {
        size_t n = strcspn(commands[i].name, " ");
        if (commands[i].run == cmd_local && !strncmp(argv[1], commands[i].name, n) && !argv[1][n])
            return !commands[i].name[n] || argc > 2;
    }
    return false;
}

int cli_parse(struct cli *c, int argc, char **argv)
{
    *c = (struct cli){.argc = argc, .argv = argv};
    bool is_passed = is_passed_on(argc, argv), is_literal = false;
    for (int i = 1; i < argc; i++) {
        if (is_passed && (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")))
            c->opt[OPT_help] = "";
        if (!is_passed && !is_literal && argv[i][0] == '-' && argv[i][1]) {
            if (!strcmp(argv[i], "--"))
                is_literal = true;
            else if (take_option(c, argc, argv, &i))
                return EXIT_USAGE;
            continue;
        }
        if (c->n_arg == CLI_MAX_ARGS)
            return cli_misused(c, "too many arguments");
        c->arg[c->n_arg++] = argv[i];
    }
    if (c->n_arg >= 2 && !strcmp(c->arg[0], "admin") &&
        !strcmp(c->arg[1], "clock-confirm")) /* also written with a hyphen */
        c->n_arg = 3, c->arg[1] = "clock", c->arg[2] = "confirm";
    char words[64];
    bool is_found = find_command(c) != 0;
    if (!is_found && !c->opt[OPT_help] && is_beginning(c, words))
        return cli_misused(c, "`%s` wants another word: sequester help %s", words, words);
    if (!is_found)
        return c->n_arg && !c->opt[OPT_help] ? no_such(c) : 0;
    if (c->opt[OPT_help])
        return 0;
    for (size_t i = 0; i < OPT_COUNT; i++) {
        char text[32];
        cli_option_text(&options[i], text);
        if (c->opt[i] && !cli_takes(c->command, i))
            return cli_misused(c, "%s has no option %s", c->command->name, text);
    }
    if (!is_passed && (c->n_arg < c->command->n_least || c->n_arg > c->command->n_most))
        return cli_misused(c, "expected: sequester %s%s%s", c->command->name, *c->command->args ? " " : "",
                           c->command->args);
    return 0;
}

int cli_number(const struct cli *c, enum cli_opt opt, long fallback, long least, long most, long *out)
{
    char text[32], *end;
    *out = fallback;
    if (!c->opt[opt])
        return 0;
    cli_option_text(&options[opt], text);
    errno = 0;
    long v = strtol(c->opt[opt], &end, 10);
    if (errno || *end || !*c->opt[opt] || v < least || v > most)
        return cli_misused(c, "%s must be a whole number, %ld to %ld", text, least, most);
    *out = v;
    return 0;
}
