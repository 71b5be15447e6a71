/* crypt_pair DIR HOSTS - write ca.pem, server.pem and server.key into DIR, print fingerprint and last day. For x509_test.py. */
#include "lib/core/file.h"
#include "lib/crypt/crypt.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct sq_x509_pair ca = {0}, server = {0};
    uint8_t sha[SQ_SHA256_BYTES];
    char hex[2 * SQ_SHA256_BYTES + 1];
    int64_t not_after = 0;
    if (argc != 3 || sq_crypt_start())
        return 2;
    int dir = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 || sq_x509_ca("Sequester test CA", 3650, &ca) || sq_x509_server(&ca, argv[2], 397, &server) ||
        sq_file_write(dir, "ca.pem", ca.cert_pem.p, ca.cert_pem.n, 0644) ||
        sq_file_write(dir, "server.pem", server.cert_pem.p, server.cert_pem.n, 0644) ||
        sq_file_write(dir, "server.key", server.key_pem.p, server.key_pem.n, 0600) ||
        sq_x509_look(server.cert_pem.p, server.cert_pem.n, sha, &not_after))
        return 1;
    sq_hex(sha, sizeof sha, hex);
    printf("%s %" PRId64 "\n", hex, not_after);
    sq_x509_pair_done(&ca);
    sq_x509_pair_done(&server);
    return 0;
}
