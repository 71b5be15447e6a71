#include "lib/demux/demux_internal.h"
sq_err demux_reports(struct demux_out *o, struct sq_demux_result *result)
{
    (void)o;
    (void)result;
    return SQ_OK;
}
