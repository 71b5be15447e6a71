/*
 * sequester: the command line.
 *
 * Who I am: a program that a user, a script or the operator starts. I hold what he gives me: his password for the moment
 * of signing in, his token in a file of mode 0600, the one-time password of a result until it is shown or written.
 *
 * What I can't do: anything that the HTTPS API or the operator's socket doesn't offer; I have no door into the service.
 * Nothing secret goes through my command line or environment, where other processes could read it.
 */
#include "cli/cli.h"

#include "lib/crypt/crypt.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

int main(int argc, char **argv)
{
    static struct cli c;
    signal(SIGPIPE, SIG_IGN);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    prctl(PR_SET_DUMPABLE, 0);
    umask(077);
    secret_json_start();
    int rc = cli_parse(&c, argc, argv);
    if (rc)
        return rc;
    if (!c.command) {
        cli_help_all(argc > 1 ? stdout : stderr);
        return argc > 1 ? EXIT_DONE : EXIT_USAGE;
    }
    if (c.opt[OPT_help]) {
        cli_help(c.command, stdout);
        return EXIT_DONE;
    }
    sq_err e = sq_crypt_start();
    if (e)
        return out_error(&c, e, "the cryptographic library can't be started", NULL);
    rc = c.command->run(&c);
    if (fflush(stdout) && !rc)
        rc = out_error(&c, SQ_EIO, "writing the output failed", NULL);
    return rc;
}
