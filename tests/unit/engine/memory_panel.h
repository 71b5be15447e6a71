/* memory_panel - a panel of arrays behind the engine's cursor, for tests and fuzzing. */
#ifndef SQ_TEST_MEMORY_PANEL_H
#define SQ_TEST_MEMORY_PANEL_H

#include "lib/engine/engine.h"

/** What the panel holds. Borrowed by the panel and its cursors. */
struct memory_panel {
    uint32_t n_hap, n_site;
    const uint8_t *allele; /* [n_site][n_hap] 0 or 1 */
    const double *cm;      /* [n_site] ascending */
    struct sq_engine_segment whole;
};

/** memory_panel_open - the panel, of one segment. @m must outlive it. */
struct sq_engine_panel memory_panel_open(struct memory_panel *m);

#endif
