/**
 * core/address - where something may be sent to: mail addresses and URLs, checked strictly before anyone uses them.
 *
 * Pure functions. What passes here holds no control character, no space, no quote and no user name or password, so that
 * it can stand in a mail's header, in an SMTP command or in a URL as it is.
 */
#ifndef SQ_CORE_ADDRESS_H
#define SQ_CORE_ADDRESS_H

#include "lib/core/err.h"

#include <stdbool.h>
#include <stdint.h>

#define SQ_MAIL_MAX_BYTES 254 /* RFC 5321 §4.5.3.1.3, without the angle brackets */

/**
 * sq_mail_check - SQ_OK when @address is local@domain: a dot-atom of at most 64 bytes (RFC 5322 §3.2.3) at a host name.
 * No quoted local part, no address literal, ASCII alone. SQ_EFIELD with a sentence in @why (may be NULL).
 */
sq_err sq_mail_check(const char *address, struct sq_why *why) SQ_MUST_CHECK;

struct sq_url {
    char scheme[16];
    char host[254];   /* without the brackets of an IPv6 address */
    bool is_ipv6;
    bool is_loopback; /* a literal 127.0.0.0/8 or ::1 address: never a name, which could lead elsewhere */
    uint16_t port;    /* 0: the scheme's own */
    char path[512];   /* "" or from the slash on */
};

/**
 * sq_url_read - scheme://host[:port][/path]. SQ_EFIELD with a sentence in @why (may be NULL) for anything else:
 * user names, passwords, fragments, spaces and control characters are refused.
 */
sq_err sq_url_read(const char *text, struct sq_url *out, struct sq_why *why) SQ_MUST_CHECK;

#endif
