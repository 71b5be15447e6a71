/* Which command without a server it is. */
#include "worker/local.h"

#include <string.h>
#include <unistd.h>

static const struct {
    const char *name;
    const char *args; /* words that stand alone, as the help shows them: "FILE"; in brackets: may be missing */
    unsigned n_arg;
    int (*run)(struct local *);
} commands[] = {
    {"impute", "", 0, local_impute},
    {"phase", "", 0, local_phase},
    {"qc", "", 0, local_qc},
    {"panel build", "[FILE]", 1, local_panel_build},
    {"panel info", "[PANEL]", 1, local_panel_info},
    {"panel verify", "[PANEL]", 1, local_panel_verify},
    {"panel sites", "[PANEL]", 1, local_panel_sites},
    {"panel export", "[PANEL]", 1, local_panel_export},
    {"demux", "RUNDIR", 1, local_demux},
    {"run check", "RUNDIR", 1, local_run_check},
    {"run summary", "RUNDIR", 1, local_run_summary},
};

/* the words of @name at the start of the arguments; 0: they aren't */
static int n_words(const char *name, int argc, char **argv)
{
    int n = 0;
    for (const char *at = name; *at; n++) {
        size_t len = strcspn(at, " ");
        if (n >= argc || strlen(argv[n]) != len || memcmp(argv[n], at, len))
            return 0;
        at += len + (at[len] == ' ');
    }
    return n;
}

int local_main(int argc, char **argv)
{
    struct local l = {.is_terminal = isatty(STDERR_FILENO)};
    long n_cpu = sysconf(_SC_NPROCESSORS_ONLN);
    l.n_thread = n_cpu < 1 ? 1 : n_cpu > (long)LOCAL_MAX_THREADS ? LOCAL_MAX_THREADS
                                                                 : (unsigned)n_cpu;
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        int n = n_words(commands[i].name, argc - 1, argv + 1);
        if (!n)
            continue;
        l.command = commands[i].name;
        l.args = commands[i].args;
        int misused = local_parse(&l, commands[i].n_arg, argc - n, argv + n);
        return misused ? misused : commands[i].run(&l);
    }
    bool is_help = argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"));
    FILE *to = is_help ? stdout : stderr;
    if (!is_help)
        fputs("sequester: say what to do\n", to);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        local_usage(commands[i].name, commands[i].args, to);
    return is_help ? 0 : LOCAL_MISUSED;
}
