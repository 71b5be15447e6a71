/* registrar/admin - one request on the operator's socket, and the verbs that have a file of their own. */
#ifndef SQ_REGISTRAR_ADMIN_H
#define SQ_REGISTRAR_ADMIN_H

#include "daemon/registrar/registrar.h"

struct admin {
    struct registrar *r;
    struct caller by;
    json_t *args;
    int fd[2];
    size_t n_fd;
    json_t *answer;
    struct sq_why why;
};

/** Text of the argument @key; NULL and a->why when it is missing or empty. */
const char *admin_arg(struct admin *a, const char *key);

sq_err admin_status(struct admin *a);

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
