#include "lib/jobs/stages.h"

#include <string.h>

static const struct sq_stage_row rows[] = {
#define PORT(name_, direction_, kind_) {#name_, SQ_PORT_##direction_, SQ_PORT_##kind_},
#define SQ_STAGE(name_, no_, mem_mib_, cpu_s_, wall_s_, n_proc_, ports_)                                       \
    {.stage = SQ_STAGE_##name_,                                                                                 \
     .name = #name_,                                                                                            \
     .mem_mib = (mem_mib_),                                                                                     \
     .cpu_s = (cpu_s_),                                                                                         \
     .wall_s = (wall_s_),                                                                                       \
     .n_proc = (n_proc_),                                                                                       \
     .n_port = sizeof((const struct sq_port[]){ports_}) / sizeof(struct sq_port),                               \
     .port = {ports_}},
#include "lib/jobs/stages.def"
#undef SQ_STAGE
#undef PORT
};

const struct sq_stage_row *sq_stage_row_of(unsigned stage)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if ((unsigned)rows[i].stage == stage)
            return &rows[i];
    return NULL;
}

const struct sq_stage_row *sq_stage_row_named(const char *name)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (!strcmp(rows[i].name, name))
            return &rows[i];
    return NULL;
}

const struct sq_wall_row *sq_wall_rows(size_t *out_n)
{
    static const struct sq_wall_row walls[] = {
#define SQ_WALL(name, bit, text) {#name, 1u << bit, text},
#include "lib/jobs/walls.def"
#undef SQ_WALL
    };
    *out_n = sizeof walls / sizeof walls[0];
    return walls;
}
