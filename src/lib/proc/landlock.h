/**
 * landlock - the part of sq_confine that the kernel's Landlock does. Inside lib/proc only: others ask by flags of confine.h.
 */
#ifndef SQ_PROC_LANDLOCK_H
#define SQ_PROC_LANDLOCK_H

#include "lib/core/err.h"

/**
 * What the kernel can do: 0 without Landlock (not built in, switched off), else its ABI. The first call asks the kernel, later ones
 * (a seccomp list forbids to ask again) repeat its answer.
 */
int sq_landlock_abi(void);

/**
 * Restricts this process, for good. @flags: those of sq_confine. no_new_privs must be set. SQ_OK without Landlock, too.
 * @out_abi: what was really used; 0: nothing.
 */
sq_err sq_landlock_restrict(unsigned flags, int *out_abi) SQ_MUST_CHECK;

#endif
