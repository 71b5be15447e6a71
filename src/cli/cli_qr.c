/* A QR code on a terminal (libqrencode, LGPL 2.1 or later): two rows of it a line, light on dark and with the quiet zone that cameras want. */
#include "cli/cli.h"

#include "lib/crypt/crypt.h"

#include <qrencode.h>
#include <unistd.h>

#define QUIET 2

static bool is_dark(const QRcode *qr, int x, int y)
{
    return x >= 0 && y >= 0 && x < qr->width && y < qr->width && qr->data[y * qr->width + x] & 1;
}

bool qr_show(const char *text, FILE *to)
{
    QRcode *qr = QRcode_encodeString8bit(text, 0, QR_ECLEVEL_L);
    if (!qr)
        return false;
    bool is_terminal = isatty(fileno(to)); /* whatever its colours are: black on white here */
    for (int y = -QUIET; y < qr->width + QUIET; y += 2) {
        fputs(is_terminal ? "\033[97;40m" : "", to);
        for (int x = -QUIET; x < qr->width + QUIET; x++) {
            bool upper = !is_dark(qr, x, y), lower = !is_dark(qr, x, y + 1);
            fputs(upper && lower ? "\u2588" : upper ? "\u2580"
                                          : lower ? "\u2584"
                                                  : " ",
                  to);
        }
        fputs(is_terminal ? "\033[0m\n" : "\n", to);
    }
    sq_wipe(qr->data, (size_t)qr->width * (size_t)qr->width);
    QRcode_free(qr);
    return true;
}
