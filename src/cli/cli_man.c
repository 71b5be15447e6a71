/*
 * Manual pages (troff, macros of man(7)) and the completion for bash, from the tables. `meson install` puts them where man and bash look.
 */
#include "cli/cli.h"

#include "lib/core/config.h"

#include <ctype.h>

#define MAN_DATE "2026-11-22" /* of the texts' last thorough reading */

/* so that troff takes nothing amiss: no request at the start of a line, no escape, hyphens that can be copied */
static void plain(const char *text, FILE *to)
{
    for (const char *p = text; *p; p++) {
        if (p == text && (*p == '.' || *p == '\''))
            fputs("\\&", to);
        if (*p == '\\')
            fputs("\\e", to);
        else if (*p == '-')
            fputs("\\-", to);
        else if (*p == '`')
            fputs("\\(lq", to); /* `word` in our texts: quoted here */
        else
            fputc(*p, to);
        if (*p == '`') {
            size_t n = strcspn(p + 1, "`");
            for (size_t i = 1; i <= n; i++)
                fputs((char[3]){p[i] == '-' ? '\\' : p[i], p[i] == '-' ? '-' : 0, 0}, to);
            fputs(p[n + 1] ? "\\(rq" : "", to);
            p += n + (p[n + 1] ? 1 : 0);
        }
    }
}

/* each sentence on a line of its own, as manual pages have it */
static void sentences(const char *text, FILE *to)
{
    while (*text) {
        const char *end = text;
        while (*end && !((*end == '.' || *end == '?' || *end == '!') && (end[1] == ' ' || !end[1])))
            end++;
        end += *end ? 1 : 0;
        char line[2048];
        snprintf(line, sizeof line, "%.*s", (int)(end - text), text);
        plain(line, to);
        fputc('\n', to);
        text = end + strspn(end, " ");
    }
}

static void page_name(const char *command, char out[64])
{
    snprintf(out, 64, "sequester-%s", command);
    for (char *p = out; *p; p++)
        if (*p == ' ')
            *p = '-';
}

static void title(const char *name, unsigned section, const char *what, FILE *to)
{
    char upper[64];
    size_t n = 0;
    for (; name[n] && n < sizeof upper - 1; n++)
        upper[n] = (char)toupper((unsigned char)name[n]);
    upper[n] = 0;
    fputs(".\\\" Made by `sequester help --man` from the tables of the program.\n.TH ", to);
    plain(upper, to);
    fprintf(to, " %u \"" MAN_DATE "\" \"Sequester %s\" \"Sequester\"\n.SH NAME\n", section, SQ_VERSION);
    plain(name, to);
    fputs(" \\- ", to);
    plain(what, to);
    fputc('\n', to);
}

static void see_also(const char *const *pages, const unsigned *section, size_t n, FILE *to)
{
    fputs(".SH SEE ALSO\n", to);
    for (size_t i = 0; i < n; i++) {
        fputs(".BR ", to);
        plain(pages[i], to);
        fprintf(to, " (%u)%s\n", section[i], i + 1 < n ? "," : "");
    }
}

static void man_option(void *ctx, const struct cli_option *o)
{
    FILE *to = ctx;
    char text[32];
    cli_option_text(o, text);
    fputs(".TP\n", to);
    fputs(o->value ? ".BI \"" : ".B \"", to);
    if (o->letter)
        fprintf(to, "\\-%c, ", o->letter);
    plain(text, to);
    if (o->value)
        fprintf(to, " \" %s", o->value);
    else
        fputc('"', to);
    fputc('\n', to);
    plain(o->text, to);
    fputs(".\n", to);
}

/* the first sentence, without its full stop and with a small first letter: how NAME wants it */
static void headline(const struct cli_command *command, char out[200])
{
    const char *end = command->summary;
    while (*end && !(strchr(".:;", *end) && (end[1] == ' ' || !end[1])))
        end++;
    snprintf(out, 200, "%.*s", (int)(end - command->summary), command->summary);
    out[0] = (char)tolower((unsigned char)out[0]);
}

static bool is_given(const struct cli_command *command, const char *option)
{
    return strstr(command->opts, option) != NULL;
}

static void man_command(const struct cli_command *command, FILE *to)
{
    char name[64], what[200];
    bool is_local = command->run == cmd_local;
    const char *detail = cli_detail(command);
    page_name(command->name, name);
    headline(command, what);
    title(name, 1, what, to);
    fputs(".SH SYNOPSIS\n.B sequester ", to);
    plain(command->name, to);
    fputc('\n', to);
    if (*command->args && !is_local)
        fprintf(to, ".I %s\n", command->args);
    fputs(*command->opts || is_local ? "[options]\n" : "", to);
    fputs(".SH DESCRIPTION\n", to);
    sentences(command->summary, to);
    if (detail) {
        fputs(".PP\n", to);
        sentences(detail, to);
    }
    fputs(".SH OPTIONS\n", to);
    cli_each_option(command, man_option, to);
    if (is_given(command, "session") || is_given(command, "run_dir") || is_local)
        fputs(".SH FILES\n", to);
    if (is_given(command, "session"))
        fputs(".TP\n.I ~/.config/sequester/session.json\nServer, CA file and token of the session, mode 0600.\nAnother one is named by\n.B \\-\\-session\n"
              "or the variable\n.BR SEQUESTER_SESSION .\n", to);
    if (is_given(command, "run_dir"))
        fputs(".TP\n.I RUN_DIR/admin.sock\nThe operator's socket of a server on this machine.\n", to);
    if (is_local)
        fputs(".TP\n.I sequester\\-worker\nThe program that does the work; it is looked for beside this one and in libexec/sequester.\n", to);
    fputs(".SH EXIT STATUS\n", to);
    for (const char *p = command->exits; *p; p++)
        if (*p != ' ')
            fprintf(to, ".TP\n.B %c\n%s.\n", *p, cli_exit_text((unsigned)(*p - '0')));
    fputs(".SH EXAMPLES\n.EX\n", to);
    plain(command->example, to);
    fputs("\n.EE\n", to);
    bool is_admin = !strncmp(command->name, "admin", 5);
    see_also((const char *const[]){"sequester", is_admin ? "sequester.ini" : "sequester-help", "sequester-parent"}, (const unsigned[]){1, is_admin ? 5 : 1, 8}, 3, to);
}

static void man_all(FILE *to)
{
    size_t n;
    const struct cli_command *commands = cli_commands(&n);
    title("sequester", 1, "upload genotypes to a sealed hub, impute them, take the result, see it erased", to);
    fputs(".SH SYNOPSIS\n.B sequester\n.I COMMAND\n[arguments] [options]\n.SH DESCRIPTION\n"
          "Sequester is a hub for genomes that you run yourself.\n"
          "People upload genotypes; the hub imputes them against a reference panel, hands the result back under a one\\-time password, and erases everything.\n"
          "This program is how people, scripts and the operator reach it.\n"
          ".PP\n"
          "Results go to standard output, progress and errors to standard error.\n"
          "With\n.B \\-\\-json\nthe result is one JSON object.\n"
          "Passwords are asked for on the terminal without echo, or read with\n.B \\-\\-password\\-stdin\nor\n.BR \\-\\-password\\-file ;\n"
          "they are never taken from the command line or the environment.\n"
          "Connections are TLS 1.3 with a verified certificate; there is no switch to turn that off.\n"
          ".SH COMMANDS\nEach has a page of its own.\n", to);
    for (size_t i = 0; i < n; i++) {
        char name[64];
        page_name(commands[i].name, name);
        fputs(".TP\n.BR ", to);
        plain(name, to);
        fputs(" (1)\n", to);
        sentences(commands[i].summary, to);
    }
    fputs(".SH EXIT STATUS\n", to);
    for (unsigned i = 0; i < CLI_N_EXIT; i++)
        fprintf(to, ".TP\n.B %u\n%s.\n", i, cli_exit_text(i));
    fputs(".SH ENVIRONMENT\n.TP\n.B SEQUESTER_SESSION\nThe session file, when\n.B \\-\\-session\nisn't given.\n"
          ".TP\n.B SQ_LOG\nLeast level that is logged: debug, info (default), warn, error.\n"
          ".SH EXAMPLES\nThe whole way of a file, as its owner:\n.PP\n.EX\n"
          "sequester login \\-\\-server https://hub.example.org \\-\\-name ada@example.org\n"
          "sequester upload data.vcf.gz\n"
          "sequester submit \\-\\-upload UPLOAD \\-\\-panel 1kgp3\\-chr22\n"
          "sequester status JOB \\-\\-watch\n"
          "sequester claim JOB \\-\\-download \\-o results \\-\\-password\\-out results.password\n"
          "sequester delete JOB \\-\\-wait\n"
          "sequester receipt JOB \\-o receipt.txt\n"
          "sequester receipt verify receipt.txt\n.EE\n", to);
    see_also((const char *const[]){"sequester.ini", "sequester-parent"}, (const unsigned[]){5, 8}, 2, to);
}

static void man_ini(FILE *to)
{
    size_t n;
    const struct sq_key_row *rows = sq_key_rows(&n);
    title("sequester.ini", 5, "configuration of a Sequester server", to);
    fputs(".SH DESCRIPTION\nOne\n.I key = value\na line; a line that begins with ; is a comment.\n"
          "A key that isn't given has its default.\n"
          "An unknown key, a value of the wrong type or an insecure one stops the start with a message that names the line.\n"
          "The file is read once, at start, by\n.BR sequester\\-parent (8),\n"
          "which hands each process its own keys only.\n"
          ".SH KEYS\n", to);
    for (size_t i = 0; i < n; i++) {
        fputs(".TP\n.BR ", to);
        plain(rows[i].name, to);
        fprintf(to, " \" (%s", sq_key_type_name(rows[i].type));
        if (*rows[i].fallback) {
            fputs(", default: ", to);
            plain(rows[i].fallback, to);
        }
        fputs(")\"\n", to);
        sentences(rows[i].text, to);
    }
    fputs(".SH FILES\n.TP\n.I /etc/sequester/sequester.ini\nThe usual place;\n.B sequester init\nwrites one into the directory that it makes.\n"
          ".SH EXAMPLES\n.EX\nstate_dir = /srv/sequester/state\nrun_dir = /srv/sequester/run\nlisten = 192.0.2.10:443\nhosts = hub.example.org\n"
          "tls_certificate = /srv/sequester/tls/server.crt\ntls_key = /srv/sequester/tls/server.key\nkey_backend = passphrase\n.EE\n"
          ".PP\nTo check a file before the server meets it:\n.PP\n.EX\nsequester admin config check /srv/sequester/sequester.ini\n.EE\n", to);
    see_also((const char *const[]){"sequester-admin-config-check", "sequester-init", "sequester-parent"}, (const unsigned[]){1, 1, 8}, 3, to);
}

static void man_parent(FILE *to)
{
    title("sequester-parent", 8, "start and watch the processes of a Sequester server", to);
    fputs(".SH SYNOPSIS\n.B sequester\\-parent \\-\\-config\n.I FILE\n"
          ".SH DESCRIPTION\nReads the configuration, opens what needs a right to be opened (the listening socket, the certificate, the key file), "
          "starts each process with its own user, its own directory and exactly the descriptors it is meant to hold, links those that may speak with each other, "
          "and starts a process again when it dies: at once after a long life, else after 0.2 to 6.4 seconds.\n"
          "It holds no key and sees no data.\n"
          ".PP\n"
          "It stays in the foreground and logs to standard error, one event a line, without names, genotypes or free text.\n"
          "The other programs are looked for beside it; all must be of one version.\n"
          ".SH OPTIONS\n.TP\n.BI \"\\-\\-config \" FILE\nThe configuration; see\n.BR sequester.ini (5).\n"
          ".SH SIGNALS\n.TP\n.BR SIGTERM \", \" SIGINT\nStop: the others are asked to end, then parent does.\n"
          ".SH EXIT STATUS\n.TP\n.B 0\nStopped in order.\n.TP\n.B 78\nThe configuration is wrong, or something that it names isn't there: starting again won't help.\n"
          ".TP\nanother\nSomething failed; starting again may help.\n"
          ".SH FILES\n.TP\n.I STATE_DIR\nDatabase and audit log, key slab, sealed objects: a directory for each process that keeps something.\n"
          ".TP\n.I RUN_DIR/admin.sock\nThe operator's socket:\n.B sequester admin\nspeaks here.\n"
          ".SH ENVIRONMENT\n.TP\n.B SQ_LOG\nLeast level that is logged: debug, info (default), warn, error.\nIt is passed on; everything else of the environment is dropped.\n"
          ".SH EXAMPLES\n.EX\nsequester init /srv/sequester \\-\\-hosts hub.example.org\n"
          "sequester\\-parent \\-\\-config /srv/sequester/sequester.ini\n.EE\n", to);
    see_also((const char *const[]){"sequester", "sequester-admin-status", "sequester-admin-unseal", "sequester.ini"}, (const unsigned[]){1, 1, 1, 5}, 4, to);
}

bool cli_man(const char *name, FILE *to)
{
    static const struct {
        const char *name;
        void (*make)(FILE *to);
    } others[] = {{"sequester", man_all}, {"sequester.ini", man_ini}, {"sequester-parent", man_parent}};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (!strcmp(others[i].name, name)) {
            others[i].make(to);
            return true;
        }
    size_t n;
    const struct cli_command *commands = cli_commands(&n);
    for (size_t i = 0; i < n; i++)
        if (!strcmp(commands[i].name, name)) {
            man_command(&commands[i], to);
            return true;
        }
    return false;
}

/* ---- bash ---- */

static void bash_option(void *ctx, const struct cli_option *o)
{
    char text[32];
    cli_option_text(o, text);
    fprintf(ctx, " %s", text);
}

void cli_bash(FILE *to)
{
    size_t n;
    const struct cli_command *commands = cli_commands(&n);
    fputs("# Completion of sequester for bash. Made by `sequester help --bash`.\n"
          "_sequester() {\n"
          "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} words='' options='' i\n"
          "    case $prev in\n    ", to);
    bool is_first = true;
    for (size_t i = 0; i < OPT_COUNT; i++) {
        const struct cli_option *o = cli_option(i);
        char text[32];
        cli_option_text(o, text);
        if (o->value && (!strcmp(o->value, "FILE") || !strcmp(o->value, "DIR") || !strcmp(o->value, "PATH"))) {
            fprintf(to, "%s%s", is_first ? "" : " | ", text);
            is_first = false;
        }
    }
    fputs(") mapfile -t COMPREPLY < <(compgen -f -- \"$cur\"); return ;;\n    esac\n"
          "    for ((i = 1; i < COMP_CWORD; i++)); do [[ ${COMP_WORDS[i]} == -* ]] || words+=\" ${COMP_WORDS[i]}\"; done\n"
          "    case $words in\n", to);
    for (size_t pass = 3; pass > 0; pass--) /* longer names first: `receipt verify` before `receipt` */
        for (size_t i = 0; i < n; i++) {
            size_t n_word = 1;
            for (const char *p = commands[i].name; *p; p++)
                n_word += *p == ' ';
            if (n_word != pass)
                continue;
            fprintf(to, "    \" %s\"*) options='", commands[i].name);
            cli_each_option(&commands[i], bash_option, to);
            fputs("' ;;\n", to);
        }
    fputs("    esac\n    if [[ $cur == -* ]]; then\n        mapfile -t COMPREPLY < <(compgen -W \"$options\" -- \"$cur\")\n        return\n    fi\n"
          "    local next='' command\n    for command in", to);
    for (size_t i = 0; i < n; i++)
        fprintf(to, " '%s'", commands[i].name);
    fputs("; do\n        [[ \" $command\" == \"$words \"* ]] && command=\" $command\" && command=${command#\"$words \"} && next+=\" ${command%% *}\"\n    done\n"
          "    mapfile -t COMPREPLY < <(compgen -W \"$next\" -- \"$cur\"; [[ $options ]] && compgen -f -- \"$cur\")\n"
          "}\ncomplete -o filenames -F _sequester sequester\n", to);
}
