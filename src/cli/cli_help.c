/* Help as people read it, and the same as docs/cli.md: from commands.def, details.def and options.def. */
#include "cli/cli.h"

#include "lib/core/buf.h"

#define WIDTH 80 /* columns of a terminal that nobody made larger */
#define OPTION_AT 30
#define FAMILY_SHOWN 8U /* commands with one first word; more than these are one line of the whole list */

static const char *const exit_texts[CLI_N_EXIT] = {"done",
                                                   "refused or failed; the message says why",
                                                   "wrong use of the command",
                                                   "the server can't be reached, or its certificate isn't trusted",
                                                   "not signed in",
                                                   "data is damaged, or a signature, checksum or password doesn't fit"};

const char *cli_exit_text(unsigned code)
{
    return code < CLI_N_EXIT ? exit_texts[code] : "";
}

const char *cli_detail(const struct cli_command *command)
{
    static const struct {
        const char *name, *text;
    } details[] = {
#define SQ_DETAIL(name, text) {name, text},
#include "cli/details.def"
#undef SQ_DETAIL
    };
    for (size_t i = 0; i < sizeof details / sizeof details[0]; i++)
        if (!strcmp(details[i].name, command->name))
            return details[i].text;
    return NULL;
}

/* @n letters of @name: a command without a server, or the first words of some ("panel")? *is_this: @command is one of them. */
static bool names_local(const struct cli_command *command, const char *name, size_t n, bool *is_this)
{
    size_t n_command;
    const struct cli_command *commands = cli_commands(&n_command);
    bool is_one = false;
    for (size_t i = 0; i < n_command; i++)
        if (commands[i].run == cmd_local && !strncmp(commands[i].name, name, n) && (!commands[i].name[n] || commands[i].name[n] == ' ')) {
            is_one = true;
            *is_this = *is_this || &commands[i] == command;
        }
    return is_one;
}

/* Is @sentence, of @n letters, for @command? *out_skip: what names the commands it is for. */
static bool is_for(const struct cli_command *command, const char *sentence, size_t n, size_t *out_skip)
{
    const char *colon = memmem(sentence, n, ": ", 2);
    bool is_this = false;
    *out_skip = 0;
    for (const char *p = sentence; colon && p < colon;) {
        size_t len = strcspn(p, ",:");
        if (!names_local(command, p, len, &is_this))
            return true; /* a colon of its own */
        p += len + (p[len] == ',' ? 2 : 0);
    }
    *out_skip = colon ? (size_t)(colon - sentence) + 2 : 0;
    return !colon || is_this;
}

/* An option's text without what is said of other commands. */
static void text_of(const struct cli_command *command, const char *text, char *out, size_t cap)
{
    size_t at = 0;
    *out = 0;
    while (*text) {
        const char *end = strstr(text, ". ");
        size_t n = end ? (size_t)(end - text) : strlen(text), skip;
        if (is_for(command, text, n, &skip) && at < cap)
            at += (size_t)snprintf(out + at, cap - at, "%s%.*s", at ? "; " : "", (int)(n - skip), text + skip);
        text += n + (end ? 2 : 0);
    }
}

static void each_local(const struct cli_command *command, void (*fn)(void *ctx, const struct cli_option *o), void *ctx)
{
    static const struct {
        struct cli_option o;
        const char *commands;
    } local[] = {
#define SQ_LOCAL_OPT(name, letter, value, commands, text) {{#name, letter, value, text}, commands},
#include "lib/jobs/local_options.def"
#undef SQ_LOCAL_OPT
    };
    for (size_t i = 0; i < sizeof local / sizeof local[0]; i++)
        if (strstr(local[i].commands, command->name)) {
            char text[1024];
            struct cli_option o = local[i].o;
            text_of(command, local[i].o.text, text, sizeof text);
            o.text = text;
            fn(ctx, &o);
        }
}

void cli_each_option(const struct cli_command *command, void (*fn)(void *ctx, const struct cli_option *o), void *ctx)
{
    if (command->run == cmd_local)
        each_local(command, fn, ctx);
    for (size_t i = 0; i < OPT_COUNT; i++)
        if (i != OPT_help && i != OPT_json && cli_takes(command, i))
            fn(ctx, cli_option(i));
    if (cli_takes(command, OPT_json)) /* those that all have come last */
        fn(ctx, cli_option(OPT_json));
    fn(ctx, cli_option(OPT_help));
}

void cli_option_word(const struct cli_option *o, char out[64])
{
    char text[32];
    cli_option_text(o, text);
    snprintf(out, 64, "%s%c%s%s%s%s", o->letter ? "-" : "", o->letter ? o->letter : ' ', o->letter ? ", " : "   ", text, o->value ? " " : "",
             o->value ? o->value : "");
}

/* @text from column @at on, broken at spaces before column WIDTH; the cursor stands at column @at */
static void wrap(const char *text, size_t at, FILE *to)
{
    size_t column = at;
    while (*text) {
        size_t n = strcspn(text, " \n");
        if (column > at && column + 1 + n > WIDTH) {
            fprintf(to, "\n%*s", (int)at, "");
            column = at;
        } else if (column > at) {
            fputc(' ', to);
            column++;
        }
        fprintf(to, "%.*s", (int)n, text);
        column += n;
        text += n;
        text += *text == ' ' || *text == '\n';
    }
    fputc('\n', to);
}

static void usage_line(const struct cli_command *command, FILE *to)
{
    bool is_local = command->run == cmd_local;
    bool has_args = *command->args && strcmp(command->args, "..."); /* "...": its options say all */
    fprintf(to, "sequester %s%s%s%s", command->name, has_args ? " " : "", has_args ? command->args : "",
            *command->opts || is_local ? " [options]" : "");
}

static void show_option(void *ctx, const struct cli_option *o)
{
    FILE *to = ctx;
    char word[64];
    cli_option_word(o, word);
    int n = fprintf(to, "  %-*s", OPTION_AT - 3, word);
    if (n >= OPTION_AT)
        fprintf(to, "\n%*s", OPTION_AT, "");
    else
        fprintf(to, "%*s", OPTION_AT - n, "");
    wrap(o->text, OPTION_AT, to);
}

void cli_help(const struct cli_command *command, FILE *to)
{
    const char *detail = cli_detail(command);
    fputs("usage: ", to);
    usage_line(command, to);
    fputs("\n\n", to);
    wrap(command->summary, 0, to);
    if (detail) {
        fputc('\n', to);
        wrap(detail, 0, to);
    }
    fputs("\noptions:\n", to);
    cli_each_option(command, show_option, to);
    fprintf(to, "\nexample:\n  %s\n\nexit codes:\n", command->example);
    for (const char *p = command->exits; *p; p++)
        if (*p != ' ')
            fprintf(to, "  %c  %s\n", *p, cli_exit_text((unsigned)(*p - '0')));
}

void cli_help_line(const struct cli_command *command, FILE *to)
{
    char first[200];
    const char *summary = command->summary, *end = strstr(summary, ". "); /* its first sentence */
    snprintf(first, sizeof first, "%.*s", (int)(end ? (size_t)(end - summary) : strlen(summary) - 1), summary);
    fprintf(to, "  %-22s ", command->name);
    if (strlen(command->name) > 22)
        fprintf(to, "\n%25s", "");
    wrap(first, 25, to);
}

/* How many commands from @first on have its first word; *out_n: the letters of that word. */
static size_t family(const struct cli_command *first, const struct cli_command *end, size_t *out_n)
{
    size_t n = 0;
    *out_n = strcspn(first->name, " ");
    while (first + n < end && !strncmp(first[n].name, first->name, *out_n) && strchr(" ", first[n].name[*out_n]))
        n++;
    return n;
}

/* One line for many commands: their second words, each once. */
static void show_family(const struct cli_command *first, size_t n, size_t n_word, FILE *to)
{
    char text[1024];
    size_t at = 0, n_last = 0;
    const char *last = "";
    for (size_t i = 0; i < n; i++) {
        const char *word = first[i].name + n_word;
        word += *word == ' ';
        size_t n_this = strcspn(word, " ");
        if (n_this && !(n_this == n_last && !strncmp(word, last, n_this)) && at < sizeof text)
            at += (size_t)snprintf(text + at, sizeof text - at, "%s%.*s", at ? ", " : "", (int)n_this, word);
        last = word;
        n_last = n_this;
    }
    if (at < sizeof text)
        snprintf(text + at, sizeof text - at, ": see sequester help %.*s", (int)n_word, first->name);
    fprintf(to, "  %.*s ...%*s", (int)n_word, first->name, (int)(19 - n_word), "");
    wrap(text, 25, to);
}

void cli_help_all(FILE *to)
{
    static const struct {
        const char *title, *first; /* first: the command it begins with in commands.def; it ends where another begins */
    } topics[] = {{"On this machine alone, without a server", "impute"},
                  {"Genotypes to a server, results back", "panels"},
                  {"An account on a server", "register"},
                  {"Proof of what a server did", "receipt"},
                  {"A server of your own", "init"}};
    enum { N_TOPIC = sizeof topics / sizeof topics[0] };
    size_t n;
    const struct cli_command *commands = cli_commands(&n);
    fputs("usage: sequester COMMAND [arguments] [options]\n", to);
    for (size_t t = 0; t < N_TOPIC; t++) {
        bool is_in = false;
        fprintf(to, "\n%s\n", topics[t].title);
        for (size_t i = 0, n_word; i < n; i++) {
            for (size_t other = 0; other < N_TOPIC; other++)
                if (!strcmp(commands[i].name, topics[other].first))
                    is_in = other == t;
            size_t n_family = is_in ? family(&commands[i], commands + n, &n_word) : 0;
            if (n_family > FAMILY_SHOWN) {
                show_family(&commands[i], n_family, n_word, to);
                i += n_family - 1;
            } else if (is_in) {
                cli_help_line(&commands[i], to);
            }
        }
    }
    fputs("\n`sequester COMMAND --help` shows options, an example and exit codes.\n"
          "First steps: panel build, impute. With a server: init, admin user add, login.\n", to);
}

static void markdown_option(void *ctx, const struct cli_option *o)
{
    struct {
        FILE *to;
        bool is_any;
    } *m = ctx;
    char text[32];
    if (!strcmp(o->name, "help") || !strcmp(o->name, "json"))
        return;
    cli_option_text(o, text);
    if (!m->is_any)
        fputs("| option | |\n|---|---|\n", m->to);
    m->is_any = true;
    fprintf(m->to, "| `%s%s%s` | %s |\n", text, o->value ? " " : "", o->value ? o->value : "", o->text);
}

void cli_help_markdown(FILE *to)
{
    size_t n;
    const struct cli_command *commands = cli_commands(&n);
    fputs("# The command line\n\n"
          "Made by `sequester help --markdown`; a test holds it current. The same as manual pages: `man sequester-upload`.\n\n"
          "All commands but `impute`, `phase`, `demux` and `panel ...` (`panel info` does) take `--json`, all take `--help`. Results go to standard output, progress and errors to standard "
          "error. Passwords are asked for\n"
          "on the terminal without echo, or read with `--password-stdin` or `--password-file FILE`: never from the "
          "command line or the environment.\n"
          "The session (server, CA file, token) lies in a file of mode 0600. Connections are TLS 1.3 with a verified "
          "certificate; there is no switch\n"
          "to turn that off.\n\n"
          "| exit code | meaning |\n|---|---|\n",
          to);
    for (unsigned i = 0; i < CLI_N_EXIT; i++)
        fprintf(to, "| %u | %s |\n", i, cli_exit_text(i));
    for (size_t i = 0; i < n; i++) {
        const char *detail = cli_detail(&commands[i]);
        fprintf(to, "\n## sequester %s\n\n%s%s%s\n\n```\n", commands[i].name, commands[i].summary, detail ? " " : "", detail ? detail : "");
        usage_line(&commands[i], to);
        fprintf(to, "\n\n%s\n```\n\n", commands[i].example);
        struct {
            FILE *to;
            bool is_any;
        } m = {to, false};
        cli_each_option(&commands[i], markdown_option, &m);
        fprintf(to, "%sExit codes: %s.\n", m.is_any ? "\n" : "", commands[i].exits);
    }
}
