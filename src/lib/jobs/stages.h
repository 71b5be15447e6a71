/**
 * jobs/stages - the stages of sandboxed work and their ports, made from stages.def.
 */
#ifndef SQ_JOBS_STAGES_H
#define SQ_JOBS_STAGES_H

#include "lib/core/err.h"

#include <stddef.h>

#define SQ_STAGE_MAX_PORTS 6
#define SQ_ORDER_WANTS_PHASED 1U /* a flag of work_order: qc refuses what isn't phased (the parameter phasing=no_phasing) */
#define SQ_STAGE_CONTROL_FD 3
#define SQ_STAGE_FIRST_PORT_FD 4
#define SQ_STAGE_REPORT_MAX_BYTES (1U << 20)
#define SQ_MAX_CHUNKS 64                                        /* of one job */
#define SQ_TASK_MAX_OBJECTS (SQ_STAGE_MAX_PORTS + SQ_MAX_CHUNKS) /* one a port; one a chunk behind a JOINED port */

enum sq_stage {
#define PORT(name, direction, kind)
#define SQ_STAGE(name, no, mem_mib, cpu_s, wall_s, n_proc, ports) SQ_STAGE_##name = (no),
#include "lib/jobs/stages.def"
#undef SQ_STAGE
#undef PORT
};

enum sq_port_direction { SQ_PORT_IN = 1, SQ_PORT_OUT };
enum sq_port_kind { SQ_PORT_PIPE = 1, SQ_PORT_MEMORY, SQ_PORT_REPORT, SQ_PORT_JOINED };

struct sq_port {
    const char *name;
    enum sq_port_direction direction;
    enum sq_port_kind kind;
};

struct sq_stage_row {
    enum sq_stage stage;
    const char *name;
    unsigned mem_mib, cpu_s, wall_s, n_proc;
    size_t n_port;
    struct sq_port port[SQ_STAGE_MAX_PORTS + 1]; /* ends with a NULL name */
};

/** sq_stage_row_of - the row of @stage, or NULL when there is none. Static. */
const struct sq_stage_row *sq_stage_row_of(unsigned stage);
/** sq_stage_row_named - the row called @name, or NULL. */
const struct sq_stage_row *sq_stage_row_named(const char *name);

/* ---- walls.def: what a sandbox's program finds around itself ---- */
enum sq_wall {
#define SQ_WALL(name, bit, text) SQ_WALL_##name = 1 << bit,
#include "lib/jobs/walls.def"
#undef SQ_WALL
};
struct sq_wall_row {
    const char *name;
    uint32_t bit;
    const char *text;
};
/** All of them, in order. */
const struct sq_wall_row *sq_wall_rows(size_t *out_n);

#endif
