/*
 * The same stages without a server: `sequester-worker --local impute|panel`, which `sequester impute` starts.
 *
 * This process plays the runner: it opens the files, makes memory for what passes between stages, forks one child a stage
 * with its ports at the places the sandbox would give them, and speaks the same messages. The children run the same code under
 * the same list of system calls; what there isn't here is the container, the vault and the other processes.
 */
#include "worker/worker.h"

#include "lib/core/clock.h"
#include "lib/core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOCAL_MAX_SAMPLES 1000000U
#define LOCAL_MAX_VARIANTS 1000000000U
#define HIGH_FD 100 /* out of the way of 3 and the ports */

struct local {
    const char *panel, *target, *map, *out, *report;
    unsigned n_thread;
    bool is_quiet;
    int fd_panel, fd_target, fd_map;
    struct sq_msg_work_counts counts; /* of the last stage; without chrom */
    char chrom[SQ_CHROM_MAX];
};

enum { LOCAL_help = 'h', LOCAL_FIRST = 256,
#define SQ_LOCAL_OPT(name, letter, value, commands, text) LOCAL_##name,
#include "lib/jobs/local_options.def"
#undef SQ_LOCAL_OPT
};

static void usage(FILE *to)
{
    fputs("usage: sequester impute --panel REF.bcf --target T.vcf.gz [--map MAP.gz] -o OUT.vcf.gz\n"
          "       sequester panel check --panel REF.bcf [--map MAP.gz]\n", to);
    static const struct {
        const char *name, *value, *text;
        char letter;
    } rows[] = {
#define SQ_LOCAL_OPT(name, letter, value, commands, text) {#name, value, text, letter},
#include "lib/jobs/local_options.def"
#undef SQ_LOCAL_OPT
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char word[32];
        snprintf(word, sizeof word, "%s%c%s--%s %s", rows[i].letter ? "-" : "", rows[i].letter ? rows[i].letter : ' ', rows[i].letter ? ", " : "   ",
                 rows[i].name, rows[i].value ? rows[i].value : "");
        fprintf(to, "  %-20s %s\n", word, rows[i].text);
    }
    fputs("exit code: 0 done, 1 an error in the data or in writing, 2 wrong arguments\n", to);
}

static int say_error(const char *where, sq_err e, const struct sq_why *why)
{
    fprintf(stderr, "sequester: %s: %s", where, sq_err_text(e));
    if (why && why->detail[0])
        fprintf(stderr, ": %s", why->detail);
    if (why && why->line)
        fprintf(stderr, " (line %llu", (unsigned long long)why->line);
    if (why && why->line && why->column)
        fprintf(stderr, ", column %u", why->column);
    if (why && why->line && why->field[0])
        fprintf(stderr, ", %s", why->field);
    fprintf(stderr, "%s\n  %s\n", why && why->line ? ")" : "", sq_err_hint(e));
    return 1;
}

static int cannot_open(const char *path)
{
    fprintf(stderr, "sequester: %s can't be opened: %s\n", path, strerror(errno));
    return 1;
}

static int memory(const char *name)
{
    int fd = memfd_create(name, MFD_CLOEXEC);
    return fd < 0 ? fd : fcntl(fd, F_DUPFD_CLOEXEC, HIGH_FD);
}

static int open_input(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int high = fd < 0 ? fd : fcntl(fd, F_DUPFD_CLOEXEC, HIGH_FD);
    sq_close(&fd);
    return high;
}

/* The child: descriptors to their places, then the worker as in the sandbox. */
_Noreturn static void child(const struct sq_stage_row *row, int control, const int *port, unsigned n_thread)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    bool is_ok = dup2(control, SQ_STAGE_CONTROL_FD) >= 0;
    for (size_t i = 0; i < row->n_port; i++)
        is_ok = is_ok && dup2(port[i], SQ_STAGE_FIRST_PORT_FD + (int)i) >= 0;
    if (!is_ok || close_range((unsigned)SQ_STAGE_FIRST_PORT_FD + (unsigned)row->n_port, ~0U, 0))
        _exit(2);
    _exit(worker_serve(n_thread));
}

static void show_progress(const struct local *l, const char *stage, const struct sq_msg_work_progress *p)
{
    if (l->is_quiet || !isatty(STDERR_FILENO))
        return;
    if (p->total)
        fprintf(stderr, "\r%-8s %3u %%", stage, (unsigned)(100 * p->done / p->total));
    else
        fprintf(stderr, "\r%-8s ...", stage);
}

/* Listen to the child until it says how it ended. */
static sq_err listen_to(struct local *l, const char *stage, int control, uint32_t flags, struct sq_why *why)
{
    struct sq_packet *packet = sq_packet_new();
    sq_err e = packet ? sq_wire_hello(control, SQ_ROLE_RUNNER, SQ_ROLE_WORKER) : sq_fail(SQ_ENOMEM);
    if (!e)
        e = sq_wire_send(control, SQ_ROLE_RUNNER, SQ_ROLE_WORKER,
                         &sq_msg_of(work_order, .stage = (uint8_t)sq_stage_row_named(stage)->stage,
                                    .max_samples = LOCAL_MAX_SAMPLES, .max_variants = LOCAL_MAX_VARIANTS,
                                    .flags = flags));
    for (bool is_done = false; !e && !is_done;) {
        struct sq_msg m;
        sq_packet_done(packet);
        e = sq_wire_recv(control, SQ_ROLE_WORKER, SQ_ROLE_RUNNER, packet, &m);
        if (e)
            break;
        if (m.no == SQ_MSG_work_progress) {
            show_progress(l, stage, &m.u.work_progress);
        } else if (m.no == SQ_MSG_work_counts) {
            l->counts = m.u.work_counts;
            e = sq_span_copy(m.u.work_counts.chrom, l->chrom, sizeof l->chrom);
        } else if (m.no == SQ_MSG_work_failed) {
            e = sq_err_from_no(m.u.work_failed.code);
            why->line = m.u.work_failed.line;
            why->column = m.u.work_failed.column;
            if (sq_span_copy(m.u.work_failed.field, why->field, sizeof why->field) ||
                sq_span_copy(m.u.work_failed.detail, why->detail, sizeof why->detail))
                e = sq_fail(SQ_EPROTO);
        } else {
            is_done = m.no == SQ_MSG_work_done;
        }
    }
    sq_packet_free(packet);
    return e == SQ_EDOWN ? sq_fail(SQ_ECRASHED) : e;
}

static sq_err run_stage(struct local *l, const char *name, const int *port, uint32_t flags, struct sq_why *why)
{
    const struct sq_stage_row *row = sq_stage_row_named(name);
    int pair[2];
    for (size_t i = 0; i < row->n_port; i++)
        if (lseek(port[i], 0, SEEK_SET) < 0 && errno != ESPIPE)
            return sq_fail(SQ_EIO);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
        return sq_fail(SQ_ESYS);
    int control = fcntl(pair[1], F_DUPFD_CLOEXEC, HIGH_FD);
    fflush(NULL);
    pid_t pid = control < 0 ? -1 : fork();
    if (pid == 0)
        child(row, control, port, l->n_thread);
    close(pair[1]);
    if (control >= 0)
        close(control);
    sq_err e = pid < 0 ? sq_fail(SQ_ESYS) : listen_to(l, name, pair[0], flags, why);
    close(pair[0]);
    int status = 0;
    if (pid > 0 && waitpid(pid, &status, 0) == pid && !e && !(WIFEXITED(status) && WEXITSTATUS(status) == 0))
        e = sq_fail(SQ_ECRASHED);
    if (e == SQ_ECRASHED) /* the words of that code are about the server's second try */
        e = sq_why_set(why, sq_fail(SQ_EKILLED), 0, 0, NULL, "stage %s ended by signal %d", name,
                       WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    if (!l->is_quiet && isatty(STDERR_FILENO))
        fputs("\r                    \r", stderr);
    return e;
}

static sq_err append(int from, int to)
{
    static uint8_t part[1 << 18];
    if (lseek(from, 0, SEEK_SET) < 0)
        return sq_fail(SQ_EIO);
    for (;;) {
        size_t got = 0;
        sq_err e = sq_read_full(from, part, sizeof part, &got);
        if (!e)
            e = sq_write_all(to, part, got);
        if (e || got < sizeof part)
            return e;
    }
}

/* Write @n pieces to @path so that either the whole file is there or nothing new. */
static sq_err write_file(const char *path, const int *piece, size_t n)
{
    char temp[4096];
    if ((size_t)snprintf(temp, sizeof temp, "%s.part", path) >= sizeof temp)
        return sq_fail(SQ_ERANGE);
    int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd < 0)
        return sq_fail(sq_err_errno());
    sq_err e = SQ_OK;
    for (size_t i = 0; i < n && !e; i++)
        e = append(piece[i], fd);
    if (!e)
        e = sq_fsync(fd);
    close(fd);
    if (!e && rename(temp, path))
        e = sq_fail(sq_err_errno());
    if (e)
        unlink(temp);
    return e;
}

/* Where a large body lies until its header is known: an unnamed file beside the result, else memory. */
static int body_file(const char *out)
{
    char copy[4096];
    int fd = -1;
    if ((size_t)snprintf(copy, sizeof copy, "%s", out) < sizeof copy)
        fd = open(dirname(copy), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        return memory("body");
    int high = fcntl(fd, F_DUPFD_CLOEXEC, HIGH_FD);
    close(fd);
    return high;
}

static sq_err write_results(const struct local *l, int header, int body, int final_index, const char **out_where)
{
    char index_path[4096];
    *out_where = l->out;
    if ((size_t)snprintf(index_path, sizeof index_path, "%s.tbi", l->out) >= sizeof index_path)
        return sq_fail(SQ_ERANGE);
    sq_err e = write_file(l->out, (const int[]){header, body}, 2);
    return e ? e : write_file(index_path, &final_index, 1);
}

static int impute(struct local *l)
{
    struct sq_why why = {0};
    int genotypes = memory("genotypes"), ids = memory("ids"), kept = memory("kept"), report = memory("report"),
        body = body_file(l->out), index = memory("index"), header = memory("header"),
        final_index = memory("final_index");
    if (genotypes < 0 || ids < 0 || kept < 0 || report < 0 || body < 0 || index < 0 || header < 0 || final_index < 0)
        return say_error(l->out, sq_fail(SQ_ESYS), NULL);
    int64_t start = sq_clock_steady_ms();
    sq_err e = run_stage(l, "ingest", (const int[]){l->fd_target, genotypes, ids}, 0, &why);
    if (e)
        return say_error(l->target, e, &why);
    if (!l->is_quiet)
        fprintf(stderr, "target   %llu samples, %llu variants, chromosome %s:%llu-%llu, %s\n",
                (unsigned long long)l->counts.n_sample, (unsigned long long)l->counts.n_variant, l->chrom,
                (unsigned long long)l->counts.first_bp, (unsigned long long)l->counts.last_bp,
                l->counts.is_phased ? "phased" : "not phased");
    e = run_stage(l, "qc", (const int[]){genotypes, l->fd_panel, kept, report}, 0, &why);
    if (l->report && write_file(l->report, &report, 1))
        say_error(l->report, sq_fail(SQ_EIO), NULL);
    if (e)
        return say_error(e == SQ_EPANEL ? l->panel : l->target, e, &why);
    if (!l->is_quiet)
        fprintf(stderr, "qc       %llu kept, of which %llu in the panel; %llu left out\n",
                (unsigned long long)l->counts.n_kept, (unsigned long long)l->counts.n_in_panel,
                (unsigned long long)l->counts.n_excluded);
    e = run_stage(l, "impute", (const int[]){kept, l->fd_panel, l->fd_map, body, index},
                  l->map ? 0 : SQ_WORK_NO_MAP, &why);
    if (e)
        return say_error(e == SQ_EMAP ? l->map : e == SQ_EPANEL ? l->panel
                                                                : l->target,
                         e, &why);
    if (!l->is_quiet)
        fprintf(stderr, "impute   %llu panel sites from %llu haplotypes%s\n", (unsigned long long)l->counts.n_site,
                (unsigned long long)l->counts.n_haplotype, l->map ? "" : "; no map: 1 cM/Mb assumed");
    e = run_stage(l, "finish", (const int[]){ids, index, header, final_index}, 0, &why);
    const char *where = l->out;
    if (!e)
        e = write_results(l, header, body, final_index, &where);
    if (e)
        return say_error(where, e, &why);
    if (!l->is_quiet)
        fprintf(stderr, "done     %s and .tbi, %.1f s\n", l->out, (double)(sq_clock_steady_ms() - start) / 1000);
    return 0;
}

static int panel_check(struct local *l)
{
    struct sq_why why = {0};
    sq_err e = run_stage(l, "panel", (const int[]){l->fd_panel, l->fd_map}, l->map ? 0 : SQ_WORK_NO_MAP, &why);
    if (e)
        return say_error(e == SQ_EMAP ? l->map : l->panel, e, &why);
    printf("panel    %llu haplotypes, %llu sites, chromosome %s:%llu-%llu%s\n",
           (unsigned long long)l->counts.n_haplotype, (unsigned long long)l->counts.n_site, l->chrom,
           (unsigned long long)l->counts.first_bp, (unsigned long long)l->counts.last_bp,
           l->map ? "; the map fits" : "");
    return 0;
}

static int wrong_usage(const char *what)
{
    fprintf(stderr, "sequester: %s\n", what);
    usage(stderr);
    return 2;
}

static bool parse_options(int argc, char **argv, struct local *l)
{
    static const struct option options[] = {
#define SQ_LOCAL_OPT(name, letter, value, commands, text) {#name, (const char *)value ? required_argument : no_argument, NULL, LOCAL_##name},
#include "lib/jobs/local_options.def"
#undef SQ_LOCAL_OPT
        {"help", no_argument, NULL, LOCAL_help},
        {NULL, 0, NULL, 0}};
    opterr = 0; /* the message is ours, and doesn't repeat what was typed */
    for (int c; (c = getopt_long(argc, argv, "o:hq", options, NULL)) != -1;) {
        char *end = NULL;
        unsigned long n = 0;
        switch (c) {
        case LOCAL_panel: l->panel = optarg; break;
        case LOCAL_target: l->target = optarg; break;
        case LOCAL_map: l->map = optarg; break;
        case LOCAL_out: case 'o': l->out = optarg; break;
        case LOCAL_report: l->report = optarg; break;
        case LOCAL_quiet: case 'q': l->is_quiet = true; break;
        case LOCAL_threads:
            n = strtoul(optarg, &end, 10);
            if (*end || n < 1 || n > 64)
                return false;
            l->n_thread = (unsigned)n;
            break;
        case LOCAL_help: usage(stdout); exit(0);
        default: return false;
        }
    }
    return optind == argc;
}

int local_main(int argc, char **argv)
{
    struct local l = {.fd_panel = -1, .fd_target = -1, .fd_map = -1};
    long n_cpu = sysconf(_SC_NPROCESSORS_ONLN);
    l.n_thread = n_cpu < 1 ? 1 : n_cpu > 64 ? 64
                                            : (unsigned)n_cpu;
    const char *verb = argc > 1 ? argv[1] : "";
    bool is_panel = !strcmp(verb, "panel"), is_impute = !strcmp(verb, "impute");
    if (!strcmp(verb, "--help") || !strcmp(verb, "-h")) {
        usage(stdout);
        return 0;
    }
    if (!is_panel && !is_impute)
        return wrong_usage("say what to do: impute, or panel check");
    int skip = is_panel && argc > 2 && !strcmp(argv[2], "check") ? 2 : 1;
    if (!parse_options(argc - skip, argv + skip, &l))
        return wrong_usage("an argument isn't understood");
    if (!l.panel || (is_impute && (!l.target || !l.out)))
        return wrong_usage(is_impute ? "--panel, --target and -o are needed" : "--panel is needed");
    l.fd_panel = open_input(l.panel);
    if (l.fd_panel < 0)
        return cannot_open(l.panel);
    l.fd_map = l.map ? open_input(l.map) : memory("no map");
    if (l.fd_map < 0)
        return cannot_open(l.map ? l.map : "memory for the map");
    if (is_panel)
        return panel_check(&l);
    l.fd_target = open_input(l.target);
    return l.fd_target < 0 ? cannot_open(l.target) : impute(&l);
}
