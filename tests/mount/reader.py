"""Reads random places of random files of a folder, by read and through mappings, while somebody else changes them.

Every line of such a file says which file, which version and which line it is, so that each byte tells where it belongs.
Whatever is read through one open file must be of one version. Errors are allowed, other bytes are not.
"""

import errno
import mmap
import os
import random
import signal
import sys
import time

LINE = 16
ALLOWED = {errno.ESTALE, errno.EIO, errno.ENOENT, errno.ENOTCONN, errno.ECONNABORTED, errno.EAGAIN, errno.EBUSY, errno.ETIMEDOUT}


def size_of(file, version):
    return LINE * (1 + (file * 7919 + version * 31_337) % 100_000)


def content(file, version, start, end):
    first, last = start // LINE, -(-end // LINE)
    text = "".join(f"{file:02}:{version:05}:{line:06}\n" for line in range(first, last)).encode()
    return text[start - first * LINE : end - first * LINE]


class Mixed(Exception):
    pass


class Handle:
    """One open file: which version it is shows with the first whole line."""

    def __init__(self, file):
        self.file, self.version = file, None

    def check(self, start, data, how):
        if self.version is None:
            line = data[-start % LINE :][:LINE]
            if len(line) < LINE:
                return
            try:
                file, version, _ = (int(part) for part in line.split(b":"))
            except ValueError:
                raise Mixed(f"{how} of file {self.file} at {start}: {line!r} is no line of it") from None
            if file != self.file:
                raise Mixed(f"{how} of file {self.file} at {start}: it is file {file}")
            self.version = version
        want = content(self.file, self.version, start, start + len(data))
        if data != want:
            at = next(i for i, (a, b) in enumerate(zip(data, want)) if a != b)
            raise Mixed(f"{how} of file {self.file}, version {self.version}, at {start + at}: "
                        f"{data[at - at % LINE:][:48]!r} instead of {want[at - at % LINE:][:48]!r}")

    def check_end(self, end, how):
        if self.version is not None and end != size_of(self.file, self.version):
            raise Mixed(f"{how} of file {self.file}, version {self.version}: it ends at {end}"
                        f" instead of {size_of(self.file, self.version)}")


def place(dice, size):
    return dice.randrange(size), dice.choice((1, 100, 4096, 70_000, 500_000))


def by_reading(dice, descriptor, handle):
    size = os.fstat(descriptor).st_size
    for _ in range(dice.randrange(1, 8)):
        start, length = place(dice, size)
        while length > 0:
            data = os.pread(descriptor, length, start)
            if not data:
                handle.check_end(start, "read")
                break
            handle.check(start, data, "read")
            start, length = start + len(data), length - len(data)
        if dice.random() < 0.2:
            time.sleep(dice.random() * 0.3)


def by_mapping(dice, descriptor, handle):
    # A mapping of bytes that cannot be had ends its process: a signal, and never wrong bytes.
    child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGBUS, signal.SIG_DFL)
            size = os.fstat(descriptor).st_size
            with mmap.mmap(descriptor, size, prot=mmap.PROT_READ) as mapped:
                for _ in range(dice.randrange(1, 6)):
                    start, length = place(dice, size)
                    handle.check(start, mapped[start : min(start + length, size)], "mapping")
                    if dice.random() < 0.3:
                        time.sleep(dice.random() * 0.3)
                handle.check_end(size, "mapping")
            os._exit(0)
        except OSError as error:
            os._exit(2 if error.errno in ALLOWED else 3)
        except Mixed as mixed:
            print(mixed, flush=True)
            os._exit(1)
        except BaseException as other:  # noqa: BLE001: the parent tells
            print(repr(other), flush=True)
            os._exit(3)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        if os.WTERMSIG(status) != signal.SIGBUS:
            sys.exit(f"a mapping's process died of signal {os.WTERMSIG(status)}")
        raise OSError(errno.EIO, "bus error")
    code = os.WEXITSTATUS(status)
    if code == 2:
        raise OSError(errno.EIO, "an error in the mapping's process")
    if code:
        sys.exit("a mapping's process failed")


def main():
    folder, files, seconds, seed = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    dice, until = random.Random(seed), time.monotonic() + seconds
    read = mapped = failed = 0
    versions = set()
    while time.monotonic() < until:
        file = dice.randrange(files)
        try:
            descriptor = os.open(f"{folder}/file-{file:02}.txt", os.O_RDONLY)
            try:
                handle = Handle(file)
                if dice.random() < 0.3:
                    by_mapping(dice, descriptor, handle)
                    mapped += 1
                else:
                    by_reading(dice, descriptor, handle)
                    read += 1
                    versions.add((file, handle.version))
            finally:
                os.close(descriptor)
        except OSError as error:
            if error.errno not in ALLOWED:
                raise
            failed += 1
            time.sleep(0.02)
        except Mixed as mixed:
            sys.exit(str(mixed))
    print(f"read {read} mapped {mapped} failed {failed} versions {len(versions)}")


main()
