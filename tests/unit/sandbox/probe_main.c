/* The probe as a program of its own: what the sandbox test puts in place of sequester-worker. Linked statically. */
#include "lib/jobs/stages.h"
#include "worker/stage_probe.h"

int main(void)
{
    return sq_stage_probe(SQ_STAGE_FIRST_PORT_FD, SQ_STAGE_FIRST_PORT_FD + 1);
}
