/* package - the files of a result packed into one object, for claim.c and plan_package.c. Not for the other files. */
#ifndef SQ_REGISTRAR_PACKAGE_H
#define SQ_REGISTRAR_PACKAGE_H

#include "daemon/registrar/registrar.h"

#define PACKAGE_MAX_FILES 8
#define PACKAGE_MAX_OBJECTS 71 /* as task_package */
#define PACKAGE_GRANT_S 3600

struct result_files { /* and what they are joined from */
    struct sq_db_result_file row[PACKAGE_MAX_FILES];
    struct sq_db_result_part part[PACKAGE_MAX_OBJECTS];
    size_t n, n_part;
};

struct packing {
    struct sq_db_job job;
    uint8_t task[ID], package[ID];
    int64_t fence; /* of the task, once it is started */
    struct result_files files;
    uint8_t object[PACKAGE_MAX_OBJECTS][ID]; /* of all files, in order */
    struct sq_db_object row[PACKAGE_MAX_OBJECTS];
    int fd[PACKAGE_MAX_OBJECTS + 1]; /* theirs, then the package's own */
    size_t n_object;
    struct sq_buf plan;
};

void packing_init(struct packing *p);
void packing_done(struct packing *p); /* closes the files; the object of a package that came to nothing: packing_undo */
/** Files of p->job opened, and a new object for the package. */
sq_err packing_open(struct registrar *r, struct packing *p, int64_t not_after_s, const struct caller *by) SQ_MUST_CHECK;
/** In the transaction that names the package: it is what p->task writes. */
sq_err tx_packing_port(struct tx *tx, const struct packing *p) SQ_MUST_CHECK;
/** Keys of the files and of the package for p->task. */
sq_err packing_grant(struct registrar *r, const struct packing *p) SQ_MUST_CHECK;
/** Runner begins. @check: text of the zip's first entry; NULL: sealed to the job's public key. */
sq_err packing_send(struct registrar *r, const struct packing *p, const char *check) SQ_MUST_CHECK;
/** It couldn't be begun, for @code. */
void packing_undo(struct registrar *r, const struct packing *p, sq_err code);
/** Inside a transaction: what the package was made from goes. The report holds counts only: it stays to be seen. */
sq_err tx_vault_copy_erase(struct tx *tx, const struct sq_db_job *job, const struct caller *by) SQ_MUST_CHECK;

#endif
