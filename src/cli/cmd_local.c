/* impute, phase, qc, panel ...: the worker does them on this machine, with no server. Also version and help. */
#include "cli/cli.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#define WORKER "sequester-worker"

/* beside this program, in a build tree, or where installing puts it. No PATH, no environment: what runs here reads genotypes. */
static bool find_worker(char out[PATH_MAX])
{
    static const char *const places[] = {"", "../worker/", "../libexec/sequester/", "../lib/sequester/"};
    char exe[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n < 0)
        return false;
    exe[n] = 0;
    const char *dir = dirname(exe);
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        int len = snprintf(out, PATH_MAX, "%s/%s" WORKER, dir, places[i]);
        if (len > 0 && len < PATH_MAX && !access(out, X_OK))
            return true;
    }
    return false;
}

int cmd_local(struct cli *c)
{
    char worker[PATH_MAX], local[] = "--local";
    char *argv[CLI_MAX_ARGS + 4];
    size_t n = 0;
    if (!find_worker(worker))
        return out_error(c, SQ_ENOTFOUND, "sequester-worker isn't installed beside this program", NULL);
    argv[n++] = worker;
    argv[n++] = local;
    for (int i = 1; i < c->argc && n < CLI_MAX_ARGS + 3; i++)
        argv[n++] = c->argv[i];
    argv[n] = NULL;
    execv(worker, argv);
    return out_error(c, SQ_ESYS, "sequester-worker can't be started", strerror(errno));
}

int cmd_version(struct cli *c)
{
    printf(c->opt[OPT_json] ? "{\"name\": \"sequester\", \"version\": \"%s\"}\n" : "sequester %s\n", SQ_VERSION);
    return 0;
}

int cmd_help(struct cli *c)
{
    char name[100];
    snprintf(name, sizeof name, "%.30s%s%.30s%s%.30s", c->n_arg ? c->arg[0] : "", c->n_arg > 1 ? " " : "",
             c->n_arg > 1 ? c->arg[1] : "", c->n_arg > 2 ? " " : "", c->n_arg > 2 ? c->arg[2] : "");
    if (c->opt[OPT_man])
        return cli_man(*name ? name : "sequester", stdout) ? 0 : cli_misused(c, "there is no manual page `%s`", name);
    if (c->opt[OPT_markdown] || c->opt[OPT_bash] || !c->n_arg) {
        (c->opt[OPT_markdown] ? cli_help_markdown : c->opt[OPT_bash] ? cli_bash : cli_help_all)(stdout);
        return 0;
    }
    size_t n, n_shown = 0;
    const struct cli_command *commands = cli_commands(&n);
    for (size_t i = 0; i < n; i++)
        if (!strcmp(commands[i].name, name)) {
            cli_help(&commands[i], stdout);
            return 0;
        }
    for (size_t i = 0; i < n; i++) /* the first words of several: `sequester help admin` */
        if (!strncmp(commands[i].name, name, strlen(name)) && commands[i].name[strlen(name)] == ' ')
            cli_help_line(&commands[i], stdout), n_shown++;
    const char *nearest = n_shown ? NULL : cli_nearest(name);
    return n_shown   ? 0
           : nearest ? cli_misused(c, "there is no command `%s`; do you mean sequester help %s?", name, nearest)
                     : cli_misused(c, "there is no command `%s`", name);
}
