"""What others publish of themselves, and what was measured of some of them before, on other days and
at times on other machines: quoted for orientation, compared with nothing here."""

PUBLISHED = [
    ("LibreCodeInterpreter", "execution, warm", "20-40 ms", "the project's claim"),
    ("Cloudflare sandbox", "acquire, pre-warmed", "2-6 ms", "the project's claim"),
    ("Cloudflare sandbox", "Python runtime start to first result", "1.8 s", "the project's claim"),
    ("Mitos", "claim of a warm sandbox", "27 ms engine, 97 ms hosted", "the project's claim"),
    ("Daytona", "claim of a warm sandbox", "110-136 ms", "the project's claim"),
    ("E2B", "claim of a warm sandbox", "366-440 ms", "the project's claim"),
    ("agent-sandbox", "claim of a warm sandbox", "about 212 ms", "the project's claim"),
    ("OpenSandbox", "claim of a warm sandbox", "50 ms, elsewhere about 1 s", "the project's own documents"),
    ("E2B code interpreter", "print(1), p50", "48 ms", "measured, 2 cores, loopback"),
    ("Kernel Gateway", "print(1), p50", "48 ms", "measured, 2 cores, loopback"),
    ("OpenSandbox execd", "print(1), p50", "56 ms", "measured, 2 cores, loopback"),
    ("Caesarion 1", "print(1), p50", "1028 ms", "measured, 2 cores, loopback"),
    ("Kernel Gateway", "20 MB of stdout", "88 % lost", "measured, 2 cores, loopback"),
    ("E2B code interpreter", "memory beside the kernel", "148 MB", "measured, resident"),
    ("OpenSandbox execd", "memory beside the kernel", "117 MB", "measured, resident"),
    ("Kernel Gateway", "memory beside the kernel", "89 MB", "measured, resident"),
    ("Caesarion 1", "memory beside the kernel", "149 MB", "measured, resident"),
]


def show():
    print("\nOthers, as published or measured before (not in this run, not on this machine)")
    for who, what, number, source in PUBLISHED:
        print("  %-24s %-40s %-28s %s" % (who, what, number, source))


def data():
    return [dict(zip(("who", "what", "number", "source"), p)) for p in PUBLISHED]
