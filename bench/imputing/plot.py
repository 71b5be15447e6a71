"""Line plots with logarithmic axes, as SVG; nothing but Python."""
import math

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 460, 340, 62, 14, 34, 48
COLOURS = ("#0b6e4f", "#b5651d", "#3b5ba5", "#7a3b8f")


def number(x):
    return "%gk" % (x / 1000) if x >= 1000 else "%g" % x


def ticks(low, high):
    """1, 2 and 5 times powers of ten from low to high."""
    found = [m * 10.0 ** e for e in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1) for m in (1, 2, 5)]
    return [t for t in found if low <= t * 1.0001 and t <= high * 1.0001]


class Plot:
    """One panel: series are {name: [(x, y)]}; both axes are logarithmic."""

    def __init__(self, title, x_title, y_title, series):
        self.title, self.x_title, self.y_title = title, x_title, y_title
        self.series = {name: points for name, points in series.items() if points}
        xs = [x for points in self.series.values() for x, _ in points]
        ys = [y for points in self.series.values() for _, y in points]
        self.x_range = min(xs) / 1.15, max(xs) * 1.15
        self.y_range = min(ys) / 1.5, max(ys) * 1.5

    def x(self, value):
        low, high = (math.log(v) for v in self.x_range)
        return LEFT + (WIDTH - LEFT - RIGHT) * (math.log(value) - low) / (high - low)

    def y(self, value):
        low, high = (math.log(v) for v in self.y_range)
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (math.log(value) - low) / (high - low)

    def draw(self):
        out = ['<text x="%d" y="18" font-weight="bold">%s</text>' % (LEFT, self.title)]
        out.append('<rect x="%d" y="%d" width="%d" height="%d" fill="none" stroke="#888"/>' % (LEFT, TOP, WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM))
        measured = sorted({x for points in self.series.values() for x, _ in points})
        for value in measured:
            out.append('<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#ddd"/>' % (self.x(value), self.x(value), TOP, HEIGHT - BOTTOM))
            out.append('<text x="%.1f" y="%d" text-anchor="middle">%s</text>' % (self.x(value), HEIGHT - BOTTOM + 16, number(value)))
        for value in ticks(*self.y_range):
            out.append('<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#ddd"/>' % (LEFT, WIDTH - RIGHT, self.y(value), self.y(value)))
            out.append('<text x="%d" y="%.1f" text-anchor="end">%s</text>' % (LEFT - 6, self.y(value) + 4, number(value)))
        out.append('<text x="%d" y="%d" text-anchor="middle">%s</text>' % ((LEFT + WIDTH - RIGHT) // 2, HEIGHT - 10, self.x_title))
        out.append('<text transform="translate(14 %d) rotate(-90)" text-anchor="middle">%s</text>' % ((TOP + HEIGHT - BOTTOM) // 2, self.y_title))
        for i, (name, points) in enumerate(self.series.items()):
            colour = COLOURS[i % len(COLOURS)]
            path = " ".join("%.1f,%.1f" % (self.x(x), self.y(y)) for x, y in sorted(points))
            out.append('<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>' % (path, colour))
            out += ['<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>' % (self.x(x), self.y(y), colour) for x, y in points]
            out.append('<text x="%d" y="%d" fill="%s">%s</text>' % (LEFT + 8, TOP + 16 + 15 * i, colour, name))
        return "\n".join(out)


def write(path, plots):
    """Plots side by side."""
    with open(path, "w") as f:
        f.write('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">\n' % (WIDTH * len(plots), HEIGHT))
        f.write('<rect width="100%" height="100%" fill="white"/>\n')
        for i, p in enumerate(plots):
            f.write('<g transform="translate(%d 0)">\n%s\n</g>\n' % (WIDTH * i, p.draw()))
        f.write("</svg>\n")
