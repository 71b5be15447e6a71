/* registrar/admin - one request on the operator's socket, and the verbs that have a file of their own. */
#ifndef SQ_REGISTRAR_ADMIN_H
#define SQ_REGISTRAR_ADMIN_H

#include "daemon/registrar/registrar.h"

/* Who may use a verb where admin_sign_in is on; where it isn't, the uid is enough for all. */
enum admin_who { ADMIN_BY_UID, ADMIN_BY_OPERATOR, ADMIN_BY_SECURITY };

struct admin {
    struct registrar *r;
    struct caller by; /* the uid at the socket, or the officer whose session was looked at */
    uint64_t uid_too; /* then the uid + 1 */
    json_t *args;
    int fd[2];
    size_t n_fd;
    json_t *answer;
    struct sq_why why;
};

/** Text of the argument @key; NULL and a->why when it is missing or empty. */
const char *admin_arg(struct admin *a, const char *key);

sq_err admin_status(struct admin *a);

/**
 * admin_sign_in - may this be done by @session, as well as by the uid? a->by is the officer then. SQ_OK at once where the site doesn't ask for it, for
 * ADMIN_BY_UID, and until a security officer has a second factor. SQ_EAUTH: no session, or none that is good; SQ_EDENIED, SQ_ENOFACTOR, SQ_ESTEPUP.
 */
sq_err admin_sign_in(struct admin *a, enum admin_who who, struct sq_span session) SQ_MUST_CHECK;

/* admin_keys.c */
sq_err admin_key_status(struct admin *a);
sq_err admin_key_rotate(struct admin *a);
sq_err admin_key_replace(struct admin *a);
sq_err admin_key_passphrase(struct admin *a);
sq_err admin_key_split(struct admin *a);

/* admin_users.c */
sq_err admin_user_add(struct admin *a);
sq_err admin_user_revoke(struct admin *a);
sq_err admin_user_disable(struct admin *a);
sq_err admin_user_enable(struct admin *a);
sq_err admin_user_role(struct admin *a);
sq_err admin_user_expire(struct admin *a);
sq_err admin_user_networks(struct admin *a);
sq_err admin_user_factors_reset(struct admin *a);
sq_err admin_user_show(struct admin *a);
sq_err admin_user_list(struct admin *a);
sq_err admin_sessions_revoke(struct admin *a);

/* certificate.c */
sq_err admin_tls_reload(struct admin *a);
sq_err admin_network_reload(struct admin *a); /* network_rules.c */
void network_on_parent(const struct sq_msg *m);

#endif
