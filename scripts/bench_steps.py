"""What scripts/bench times. Each step runs in a process of its own, so that a drive that hangs is a failed step and not a
hung script, and so that it may run as another user. Answers are JSON on standard output."""

import errno
import json
import multiprocessing
import os
import random
import socket
import subprocess
import sys
import threading
import time

MIB = 1 << 20


def timed(work):
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def together(works):
    """Runs all of them at a time; an error of one is an error of all."""
    errors = []

    def guarded(work):
        try:
            work()
        except BaseException as error:  # noqa: BLE001: told below
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def files_below(folder):
    return [os.path.join(at, name) for at, _, names in os.walk(folder) for name in sorted(names)]


def do_stat(folder, rounds):
    """`stat` of every file below, again and again: the mean of one round."""
    files = files_below(folder)
    for path in files:
        os.stat(path)
    return timed(lambda: [os.stat(path) for _ in range(int(rounds)) for path in files]) / int(rounds)


def do_absent(folder, count, rounds):
    """`stat` of names that are not there, again and again: the mean of one round."""
    names = [f"{folder}/not-here-{number}" for number in range(int(count))]

    def one_round():
        for name in names:
            try:
                os.stat(name)
            except OSError as error:
                if error.errno != errno.ENOENT:
                    raise

    one_round()
    return timed(lambda: [one_round() for _ in range(int(rounds))]) / int(rounds)


def read_all(path):
    buffer = bytearray(MIB)
    with open(path, "rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def do_cat(folder):
    files = files_below(folder)
    return timed(lambda: [read_all(path) for path in files])


def do_sequential(path):
    return timed(lambda: read_all(path))


def do_parallel(folder):
    """All files of a folder at a time, each read from its beginning to its end."""
    return timed(lambda: together([lambda path=path: read_all(path) for path in files_below(folder)]))


def do_random(path, readers, count):
    size = os.path.getsize(path)

    def reader(seed):
        places = random.Random(seed)
        file = os.open(path, os.O_RDONLY)
        for _ in range(int(count)):
            os.pread(file, 4096, places.randrange(size // 4096) * 4096)
        os.close(file)

    return timed(lambda: together([lambda seed=seed: reader(seed) for seed in range(int(readers))]))


def do_jumps(path, count, apart):
    """Reads of 4 KiB far from each other, none of them near an earlier one: how long each took."""
    places = list(range(0, os.path.getsize(path) - 4096, int(apart)))
    random.Random(1).shuffle(places)
    file = os.open(path, os.O_RDONLY)
    took = [timed(lambda place=place: os.pread(file, 4096, place)) for place in places[: int(count)]]
    os.close(file)
    return took


def do_video(path, on_bytes):
    """As players do: the head, the index at the end, then on from the beginning. How long each first byte took."""
    size = os.path.getsize(path)
    file = os.open(path, os.O_RDONLY)
    first = [timed(lambda: os.pread(file, 64 << 10, 0)), timed(lambda: os.pread(file, 64 << 10, size - (64 << 10)))]
    first.append(timed(lambda: os.pread(file, 256 << 10, 64 << 10)))
    at = 320 << 10
    while at < int(on_bytes):
        at += len(os.pread(file, MIB, at))
    os.close(file)
    return first


def do_create(folder, count, bytes_each, sync):
    """New files, one after the other. `sync` makes each durable before the next, as the drive's close does."""
    os.makedirs(folder)
    data = os.urandom(int(bytes_each))

    def work():
        for number in range(int(count)):
            file = os.open(f"{folder}/new-{number:05}.bin", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            if data:
                os.write(file, data)
            if sync == "sync":
                os.fsync(file)
            os.close(file)

    return timed(work)


def do_save(source, folder):
    """Each file of a folder into another one, durable before the next: what a careful program does."""
    os.makedirs(folder)
    paths = files_below(source)

    def work():
        for path in paths:
            with open(path, "rb") as file:
                data = file.read()
            file = os.open(f"{folder}/{os.path.basename(path)}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            os.write(file, data)
            os.fsync(file)
            os.close(file)

    return timed(work)


def do_writers(folder, count, bytes_each, writers, sync):
    """As many new files, by several processes at a time; "sync": each made durable before it is closed."""
    os.makedirs(folder)
    data, ready = os.urandom(int(bytes_each)), multiprocessing.Barrier(int(writers) + 1)

    def write(first):
        ready.wait()
        for number in range(first, int(count), int(writers)):
            file = os.open(f"{folder}/new-{number:05}.bin", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            os.write(file, data)
            if sync == "sync":
                os.fsync(file)
            os.close(file)

    processes = [multiprocessing.get_context("fork").Process(target=write, args=(first,)) for first in range(int(writers))]
    for process in processes:
        process.start()

    def work():
        ready.wait()
        for process in processes:
            process.join()

    took = timed(work)
    if any(process.exitcode for process in processes):
        raise SystemExit("a writer failed")
    return took


def do_write(path, bytes_all):
    data = os.urandom(MIB)

    def work():
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        for _ in range(int(bytes_all) // MIB):
            os.write(file, data)
        os.fsync(file)
        os.close(file)

    return timed(work)


class Connection:
    """HTTP with as little in between as possible: the limit must be the line's and not this program's."""

    def __init__(self, url):
        address, self.path = url.removeprefix("http://").split("/", 1)
        self.host = address
        name, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((name, int(port)), 60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray(MIB)

    def get(self, start, end, take):
        """Asks for a range and hands its bytes on as they come."""
        self.socket.sendall(
            f"GET /{self.path} HTTP/1.1\r\nHost: {self.host}\r\nRange: bytes={start}-{end - 1}\r\n\r\n".encode()
        )
        view, filled = memoryview(self.buffer), 0
        while (head_end := self.buffer.find(b"\r\n\r\n", 0, filled)) < 0:
            got = self.socket.recv_into(view[filled:])
            if not got:
                raise SystemExit("the server closed the connection")
            filled += got
        if not self.buffer.startswith(b"HTTP/1.1 206"):
            raise SystemExit(f"the server answered {bytes(self.buffer[:40])} to a range")
        take(view[head_end + 4 : filled], start)
        at = start + filled - head_end - 4
        while at < end:
            got = self.socket.recv_into(view[: min(len(view), end - at)])
            if not got:
                raise SystemExit("the server closed the connection")
            take(view[:got], at)
            at += got


def do_ranges(url, size, connections, range_bytes, out):
    """Parallel ranges straight into a file: what the line gives."""
    todo = list(range(0, int(size), int(range_bytes)))
    lock = threading.Lock()
    file = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.ftruncate(file, int(size))

    def fetch():
        connection = Connection(url)
        while True:
            with lock:
                if not todo:
                    return
                start = todo.pop(0)
            end = min(start + int(range_bytes), int(size))
            connection.get(start, end, lambda data, at: os.pwrite(file, data, at))

    took = timed(lambda: together([fetch] * int(connections)))
    os.close(file)
    return took


def do_requests(url, size, count, bytes_each):
    """One request after the other on one connection that is open already: how long each took."""
    connection, places = Connection(url), random.Random(2)
    connection.get(0, 1, lambda data, at: None)

    def once():
        start = places.randrange(int(size) // int(bytes_each)) * int(bytes_each)
        connection.get(start, start + int(bytes_each), lambda data, at: None)

    return [timed(once) for _ in range(int(count))]


def do_shell(command):
    return timed(lambda: subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL))


if __name__ == "__main__":
    print(json.dumps(globals()["do_" + sys.argv[1]](*sys.argv[2:])))
