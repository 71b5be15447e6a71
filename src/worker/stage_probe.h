/* stage_probe - the program that tries to get out of the sandbox. Test builds only. */
#ifndef SQ_WORKER_STAGE_PROBE_H
#define SQ_WORKER_STAGE_PROBE_H

/** sq_stage_probe - do what @script_fd says, write what was possible to @findings_fd. 0, or 1 when it couldn't write. */
int sq_stage_probe(int script_fd, int findings_fd);

#endif
