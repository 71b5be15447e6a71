/**
 * core/config - the keys of sequester.ini, made from config.def, and the check of one value.
 */
#ifndef SQ_CORE_CONFIG_H
#define SQ_CORE_CONFIG_H

#include "lib/core/err.h"

#include <stdbool.h>
#include <stddef.h>

#define SQ_CONFIG_MAX_VALUE 1024

enum sq_key_type { SQ_KEY_TEXT, SQ_KEY_PATH, SQ_KEY_NUMBER, SQ_KEY_YESNO, SQ_KEY_URL, SQ_KEY_MAIL, SQ_KEY_WORD, SQ_KEY_RATES };

struct sq_key_row {
    const char *name;
    enum sq_key_type type;
    const char *fallback, *who, *text;
};

const struct sq_key_row *sq_key_rows(size_t *out_n);
/** sq_key_type_name - "text", "path" and so on, as pages and people read it. */
const char *sq_key_type_name(enum sq_key_type type);
/** sq_key_row_of - the row called @name, or NULL. */
const struct sq_key_row *sq_key_row_of(const char *name);
/** sq_key_fallback - the value of @row where the file has none: for root the table's; an ordinary user has places of his own. */
void sq_key_fallback(const struct sq_key_row *row, bool is_root, char out[static SQ_CONFIG_MAX_VALUE]);
/** sq_key_is_for - does @row name role @role in its `who` list? */
bool sq_key_is_for(const struct sq_key_row *row, const char *role);
/** sq_peer_rsa_is_kept - false: courier would be started by others, without the rule that more than 2048 bits need (children.c). */
bool sq_peer_rsa_is_kept(const char *start_by, const char *peer_rsa_bits);
#define SQ_PEER_RSA_NOT_KEPT "can't be more than 2048 with start_by = sockets: courier would not be told. Take it out, or let parent start the processes (start_by = parent)"
/** sq_key_check - SQ_OK or SQ_ECONFIG with a sentence in @why->detail. A NUMBER's range stands in its text, "min..max", or its two values, "A or B";
 *  so do the schemes of a URL, "smtps://", behind which a plain one has "(loopback)". */
sq_err sq_key_check(const struct sq_key_row *row, const char *value, struct sq_why *why) SQ_MUST_CHECK;

#endif
