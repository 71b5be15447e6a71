#include "lib/db/db_internal.h"

static const struct {
    enum sq_db_table table;
    int no;
    const char *name;
} values[] = {
#define SQ_MOVE(table, from, to)
#define SQ_STATE(table, name, no) {SQ_DB_##table, (no), #name},
#include "lib/db/states.def"
#undef SQ_STATE
#undef SQ_MOVE
};

static const struct {
    enum sq_db_table table;
    int from, to;
} moves[] = {
#define SQ_STATE(table, name, no)
#define SQ_MOVE(table, from, to) {SQ_DB_##table, SQ_DB_##table##_##from, SQ_DB_##table##_##to},
#include "lib/db/states.def"
#undef SQ_STATE
#undef SQ_MOVE
};

const char *sq_db_name(enum sq_db_table table, int no)
{
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        if (values[i].table == table && values[i].no == no)
            return values[i].name;
    return NULL;
}

int sq_db_named(enum sq_db_table table, const char *name)
{
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        if (values[i].table == table && strcmp(values[i].name, name) == 0)
            return values[i].no;
    return 0;
}

bool sq_db_may_move(enum sq_db_table table, int from, int to)
{
    for (size_t i = 0; i < sizeof moves / sizeof *moves; i++)
        if (moves[i].table == table && moves[i].from == from && moves[i].to == to)
            return true;
    return false;
}

sq_err sq_db_move(enum sq_db_table table, int from, int to)
{
    return sq_db_may_move(table, from, to) ? SQ_OK : sq_fail(SQ_ECONFLICT);
}
