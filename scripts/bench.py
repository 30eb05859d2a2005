"""Measures the drive; see scripts/bench, which builds it and starts this."""

import argparse
import http.client
import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

BINARY = os.environ.get("ASSETFS_BINARY", "target/release/assetfs")
API_LATENCY_MS, CDN_LATENCY_MS = 20, 50
THROTTLED_KBPS = 40_000
STEP_SECONDS_MAX = 300
MIB = 1 << 20


# ---- what is timed: each runs in a process of its own, so that a drive that hangs is a failed step, not a hung script


def timed(work):
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def files_below(folder):
    return [os.path.join(at, name) for at, _, names in os.walk(folder) for name in sorted(names)]


def do_stat(folder, rounds):
    """`stat` of every file below, again and again: the mean of one round."""
    files = files_below(folder)
    for path in files:
        os.stat(path)
    return timed(lambda: [os.stat(path) for _ in range(int(rounds)) for path in files]) / int(rounds)


def do_cat(folder):
    files = files_below(folder)

    def work():
        for path in files:
            with open(path, "rb", buffering=0) as file:
                while file.read(MIB):
                    pass

    return timed(work)


def do_sequential(path):
    def work():
        with open(path, "rb", buffering=0) as file:
            buffer = bytearray(MIB)
            while file.readinto(buffer):
                pass

    return timed(work)


def do_random(path, readers, count):
    size = os.path.getsize(path)

    def reader(seed):
        places = random.Random(seed)
        file = os.open(path, os.O_RDONLY)
        for _ in range(int(count)):
            os.pread(file, 4096, places.randrange(size // 4096) * 4096)
        os.close(file)

    def work():
        threads = [threading.Thread(target=reader, args=(seed,)) for seed in range(int(readers))]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]

    return timed(work)


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


def do_write(path, bytes_all):
    data = os.urandom(MIB)

    def work():
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        for _ in range(int(bytes_all) // MIB):
            os.write(file, data)
        os.fsync(file)
        os.close(file)

    return timed(work)


def do_ranges(url, size, connections):
    """Parallel ranges of 8 MiB over so many connections, thrown away as they come: what the line gives."""
    host, path = url.removeprefix("http://").split("/", 1)
    todo = list(range(0, int(size), 8 * MIB))
    lock = threading.Lock()

    def fetch():
        connection = http.client.HTTPConnection(host, timeout=60)
        buffer = bytearray(MIB)
        while True:
            with lock:
                if not todo:
                    return
                start = todo.pop(0)
            end = min(start + 8 * MIB, int(size)) - 1
            connection.request("GET", "/" + path, headers={"Range": f"bytes={start}-{end}"})
            answer = connection.getresponse()
            if answer.status != 206:
                raise SystemExit(f"the server answered {answer.status} to a range")
            while answer.readinto(buffer):
                pass

    def work():
        threads = [threading.Thread(target=fetch) for _ in range(int(connections))]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]

    return timed(work)


def do_shell(command):
    return timed(lambda: subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL))


WORK = {name[3:]: function for name, function in list(globals().items()) if name.startswith("do_")}


def run(name, *arguments):
    """One timed step, in seconds."""
    command = [sys.executable, os.path.abspath(__file__), "--do", name, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=STEP_SECONDS_MAX)
    if done.returncode != 0:
        raise RuntimeError(f"{name} {arguments} failed: {done.stderr.strip()[-400:]}")
    return float(done.stdout)


def drop_caches():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as file:
        file.write("3")


# ---- the sides


class Delay:
    """A relay before a server: holds each request back as long as the built-in server does, and counts it."""

    def __init__(self, port, kbps=0, api_ms=API_LATENCY_MS, cdn_ms=CDN_LATENCY_MS):
        self.target, self.kbps, self.api_ms, self.cdn_ms, self.requests = port, kbps, api_ms, cdn_ms, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            server = socket.create_connection(("127.0.0.1", self.target))
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.forth, args=(client, server), daemon=True).start()
            threading.Thread(target=self.back, args=(server, client), daemon=True).start()

    def forth(self, client, server):
        verbs = (b"GET ", b"PUT ", b"PROPFIND ", b"HEAD ", b"MKCOL ", b"MOVE ", b"DELETE ", b"COPY ", b"PROPPATCH ", b"OPTIONS ")
        try:
            while data := client.recv(256 << 10):
                if data.startswith(verbs):
                    self.requests += 1
                    time.sleep((self.cdn_ms if data.startswith(b"GET ") else self.api_ms) / 1000)
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)
        except OSError:
            server.close()

    def back(self, server, client):
        try:
            while data := server.recv((32 if self.kbps else 256) << 10):
                client.sendall(data)
                if self.kbps:
                    time.sleep(len(data) * 8 / (self.kbps * 1000))
            client.shutdown(socket.SHUT_WR)
        except OSError:
            client.close()


def wait_for(what, condition, seconds=30):
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise RuntimeError(f"{what}: nothing after {seconds} s")
        time.sleep(0.05)


def unmount(folder):
    for _ in range(20):
        if not os.path.ismount(folder):
            return
        if subprocess.run(["umount", folder], capture_output=True, timeout=60).returncode == 0:
            return
        time.sleep(0.25)
    subprocess.run(["umount", "-l", folder], check=False, timeout=60)


class Ours:
    def __init__(self, base, name, cleanups, api_ms=API_LATENCY_MS, cdn_ms=CDN_LATENCY_MS, kbps=0, seed="none"):
        self.base, self.root = f"{base}/{name}", f"{base}/{name}/mount"
        os.makedirs(self.root)
        self.server = subprocess.Popen(
            [BINARY, "serve", "imagerelay", "--seed", str(seed), "--latency-ms", str(api_ms)]
            + ["--cdn-latency-ms", str(cdn_ms), "--cdn-kbps", str(kbps)],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        cleanups.append(self.server.terminate)
        self.url = self.server.stdout.readline().strip()
        self.origin = self.url.removesuffix("/api/v2")
        cleanups.append(lambda: unmount(self.root))
        self.daemon = None

    def control(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.origin}/_emulator/{path}", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or "null")

    def requests(self):
        counters = self.control("counters")
        return counters["api"] + counters["content"]

    def mount(self, fresh=False):
        self.unmount()
        if fresh:
            for part in ("cache", "state"):
                shutil.rmtree(f"{self.base}/{part}", ignore_errors=True)
        log = open(f"{self.base}/log", "a")
        self.daemon = subprocess.Popen(
            [BINARY, "mount", "-f", "--cache-dir", f"{self.base}/cache", "--state-dir", f"{self.base}/state"]
            + ["-o", "rate=0,poll=0,list-ttl=1h,cache-size=20G", f"imagerelay+{self.url}", self.root],
            stdout=log, stderr=log, env={**os.environ, "ASSETFS_API_KEY": "emulator"})
        wait_for("assetfs mount", lambda: os.path.ismount(self.root))

    def unmount(self):
        if self.daemon:
            unmount(self.root)
            self.daemon.send_signal(signal.SIGTERM)
            try:
                self.daemon.wait(90)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
                self.daemon.wait()
            self.daemon = None

    def sync(self):
        subprocess.run([BINARY, "sync", self.root, "--cache-dir", f"{self.base}/cache", "--state-dir", f"{self.base}/state"],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=STEP_SECONDS_MAX)

    def rss_mib(self, field="VmRSS"):
        with open(f"/proc/{self.daemon.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith(field)) / 1024


class Rclone:
    def __init__(self, base, name, source, cleanups, **delay):
        self.base, self.root = f"{base}/{name}", f"{base}/{name}/mount"
        os.makedirs(self.root)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.server = subprocess.Popen(["rclone", "serve", "webdav", source, "--addr", f"127.0.0.1:{port}", "--config", "/dev/null"],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        cleanups.append(self.server.terminate)
        wait_for("rclone serve", lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
        self.delay, self.daemon = Delay(port, **delay), None
        cleanups.append(lambda: unmount(self.root))

    def requests(self):
        return self.delay.requests

    def mount(self, fresh=False):
        self.unmount()
        if fresh:
            shutil.rmtree(f"{self.base}/cache", ignore_errors=True)
        self.daemon = subprocess.Popen(
            ["rclone", "mount", ":webdav:", self.root, "--webdav-url", f"http://127.0.0.1:{self.delay.port}/"]
            + ["--config", "/dev/null", "--vfs-cache-mode", "full", "--attr-timeout", "60s", "--dir-cache-time", "1h"]
            + ["--poll-interval", "0", "--cache-dir", f"{self.base}/cache", "--vfs-cache-max-size", "20G"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("rclone mount", lambda: os.path.ismount(self.root))

    def unmount(self):
        if self.daemon:
            unmount(self.root)
            try:
                self.daemon.wait(30)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
                self.daemon.wait()
            self.daemon = None

    def sync(self):
        time.sleep(7)  # its write-back time is 5 s

    def rss_mib(self):
        with open(f"/proc/{self.daemon.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


class Native:
    def __init__(self, root):
        self.root = root

    def requests(self):
        return 0

    def mount(self, fresh=False):
        pass

    def sync(self):
        os.sync()


# ---- scenarios


class Bench:
    def __init__(self, options, base, cleanups):
        self.options, self.base, self.cleanups = options, base, cleanups
        self.rows, self.notes = [], []
        self.runs = options.runs or (3 if options.quick else 5)

    def say(self, text):
        print(f"== {text}", file=sys.stderr, flush=True)

    def wanted(self, name):
        return not self.options.only or any(part in name for part in self.options.only.split(","))

    def measure(self, name, sides, work, before=None, runs=None):
        """`work(side)` answers seconds; sides take turns, and begin with another one each time."""
        if not self.wanted(name):
            return
        times, requests = {key: [] for key in sides}, {key: [] for key in sides}
        order = list(sides)
        for number in range(runs or self.runs):
            for key in order[number % len(order):] + order[:number % len(order)]:
                side = sides[key]
                if before:
                    before(side)
                asked = side.requests()
                try:
                    times[key].append(work(side))
                except (RuntimeError, subprocess.TimeoutExpired) as error:
                    self.notes.append(f"{name}, {key}: {error}")
                    continue
                requests[key].append(side.requests() - asked)
        middle = {key: statistics.median(values) for key, values in times.items() if values}
        asked = {key: statistics.median(values) for key, values in requests.items() if values}
        self.row(name, middle, asked)

    def row(self, name, middle, asked, n=None):
        self.rows.append((name, middle, asked, n or self.runs))
        self.say(name + ": " + ", ".join(f"{key} {value:.4f} s" for key, value in middle.items())
                 + f"; requests {asked}")

    def table(self):
        def seconds(value):
            return "–" if value is None else f"{value * 1000:.1f} ms" if value < 1 else f"{value:.2f} s"

        def ratio(other, ours):
            return "–" if not other or not ours else f"{other / ours:.2f}"

        def count(value):
            return "–" if value is None else f"{value:.0f}"

        lines = ["| scenario | native | assetfs | rclone | raw ranges | speed against native | against rclone | against raw | requests: assetfs | rclone |",
                 "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"]
        for name, times, asked, _ in self.rows:
            get = times.get
            lines.append("| " + " | ".join([
                name, seconds(get("native")), seconds(get("ours")), seconds(get("rclone")), seconds(get("raw")),
                ratio(get("native"), get("ours")), ratio(get("rclone"), get("ours")), ratio(get("raw"), get("ours")),
                count(asked.get("ours")), count(asked.get("rclone"))]) + " |")
        return "\n".join(lines + [""] + [f"- {note}" for note in self.notes])

    # -- a library of small files

    def tree(self):
        ours = Ours(self.base, "ours", self.cleanups, seed=self.options.seed)
        ours.mount(fresh=True)
        local = f"{self.base}/native"
        subprocess.run(["cp", "-r", ours.root, local], check=True, timeout=STEP_SECONDS_MAX)
        served = f"{self.base}/served"
        subprocess.run(["cp", "-r", local, served], check=True)
        rclone = Rclone(self.base, "rclone", served, self.cleanups)
        sides = {"native": Native(local), "ours": ours, "rclone": rclone}
        remote = {key: sides[key] for key in ("ours", "rclone")}
        self.looking(sides, remote)
        self.reading(sides, remote)
        self.writing(sides)
        ours.unmount()
        rclone.unmount()

    def looking(self, sides, remote):
        self.measure("find, nothing known", remote, lambda s: run("shell", f"find {s.root}"), lambda s: s.mount(fresh=True))
        for side in remote.values():
            side.mount()
            run("shell", f"ls -lR {side.root}")
        cold = lambda _: drop_caches()
        self.measure("find, kernel cold", sides, lambda s: run("shell", f"find {s.root}"), cold)
        self.measure("find, warm", sides, lambda s: run("shell", f"find {s.root}"))
        self.measure("ls -R, kernel cold", sides, lambda s: run("shell", f"ls -R {s.root}"), cold)
        self.measure("ls -lR, kernel cold", sides, lambda s: run("shell", f"ls -lR {s.root}"), cold)
        self.measure("ls -lR, warm", sides, lambda s: run("shell", f"ls -lR {s.root}"))
        self.measure("stat of every file, warm", sides, lambda s: run("stat", s.root, 5))

    def reading(self, sides, remote):
        def unread(side):
            side.mount(fresh=True)
            run("shell", f"ls -lR {side.root}")

        self.measure("cat of every file, cold", remote, lambda s: run("cat", s.root), unread, runs=1 if self.options.quick else 3)
        self.measure("cat of every file, kernel cold", sides, lambda s: run("cat", s.root), lambda _: drop_caches())
        self.measure("cat of every file, warm", sides, lambda s: run("cat", s.root))
        out = f"{self.base}/out"
        clear = lambda _: shutil.rmtree(out, ignore_errors=True)
        self.measure("cp -r out, warm", sides, lambda s: run("shell", f"cp -r {s.root} {out}"), clear)
        self.measure("tar, warm", sides, lambda s: run("shell", f"tar cf - -C {s.root} . | cat"))
        self.measure("rsync -a out, nothing to do", sides, lambda s: run("shell", f"rsync -a {s.root}/ {out}-same/"),
                     lambda s: run("shell", f"rsync -a {s.root}/ {out}-same/"))

    def writing(self, sides):
        few = 200 if self.options.quick else 1000
        number = iter(range(1_000_000))
        fresh = lambda side: f"{side.root}/new-{next(number):04}"
        settled = lambda side: side.sync()
        source = f"{self.base}/source"
        run("create", source, few, 10_240, "none")
        self.measure(f"create {few} empty files", sides, lambda s: run("create", fresh(s), few, 0, "none"), runs=3)
        self.measure(f"write {few} × 10 KiB, native with fsync", sides,
                     lambda s: run("create", fresh(s), few, 10_240, "sync" if isinstance(s, Native) else "none"), settled, runs=3)
        self.measure(f"cp -r in, {few} × 10 KiB", sides, lambda s: run("shell", f"cp -r {source} {fresh(s)}"), settled, runs=3)
        same = {id(side): fresh(side) for side in sides.values()}
        copy = lambda s: run("shell", f"rsync -a {source}/ {same[id(s)]}/")
        self.measure(f"rsync -a in, {few} × 10 KiB", sides, copy, settled, runs=1)
        self.measure("rsync -a in, nothing to do", sides, copy, runs=3)
        size = (128 if self.options.quick else 1024) * MIB
        self.measure(f"write {size >> 20} MiB, with fsync", sides, lambda s: run("write", f"{s.root}/written.bin", size), settled, runs=3)

    # -- one large folder

    def folder(self):
        count = 20_000 if self.options.quick else 100_000
        ours = Ours(self.base, "folder", self.cleanups, api_ms=0, cdn_ms=0)
        parent = ours.control("edits", {"create_folder": {"parent": ours.control("tree?hashes=false")["id"], "name": "big"}})["ids"][0]
        local = f"{self.base}/folder-native/big"
        os.makedirs(local)
        for begin in range(0, count, 5000):
            names = [f"picture-{number:06}.jpg" for number in range(begin, min(begin + 5000, count))]
            ours.control("edits", [{"create_file": {"folder": parent, "name": name, "body": {"text": "x"}}} for name in names])
            for name in names:
                with open(f"{local}/{name}", "w") as file:
                    file.write("x")
        ours.mount(fresh=True)
        before = ours.rss_mib()
        # A slow machine needs longer than a program may be kept waiting: the folder is read on, and ls asks again.
        asked, took = ours.requests(), run("shell", f"for i in 1 2 3 4 5; do ls {ours.root}/big && break; done")
        self.row(f"ls of {count} files, nothing known, no latency", {"ours": took}, {"ours": ours.requests() - asked}, 1)
        sides = {"native": Native(f"{self.base}/folder-native"), "ours": ours}
        cold = lambda _: drop_caches()
        # Alphabetical order is the order of names on both sides, so no side pays for sorting that the other is spared.
        self.measure(f"ls -f of {count}, kernel cold", sides, lambda s: run("shell", f"ls -f {s.root}/big"), cold)
        self.measure(f"ls -l of {count}, kernel cold", sides, lambda s: run("shell", f"ls -l {s.root}/big"), cold)
        self.measure(f"ls -l of {count}, warm", sides, lambda s: run("shell", f"ls -l {s.root}/big"))
        self.notes.append(f"Memory of the daemon (RSS): {before:.0f} MiB after mounting, {ours.rss_mib():.0f} MiB after the folder"
                          f" of {count}, {ours.rss_mib('VmHWM'):.0f} MiB at most.")
        ours.unmount()

    # -- one large file

    def large(self):
        big = (128 if self.options.quick else 512) * MIB
        kinds = [("no latency", 0, 0, big, 8), ("50 ms", CDN_LATENCY_MS, 0, big, 8),
                 (f"50 ms, {THROTTLED_KBPS // 1000} Mbit/s a connection", CDN_LATENCY_MS, THROTTLED_KBPS, big, 32)]
        native = Native(f"{self.base}/large-native")
        os.makedirs(native.root)
        for place, (kind, latency, kbps, size, connections) in enumerate(kinds):
            ours = Ours(self.base, f"large-{place}", self.cleanups, api_ms=min(latency, API_LATENCY_MS), cdn_ms=latency, kbps=kbps)
            root = ours.control("tree?hashes=false")["id"]
            ours.control("edits", {"create_file": {"folder": root, "name": "large.bin",
                                                   "body": {"pattern": {"seed": 5, "bytes": size, "text": False}}}})
            ours.mount(fresh=True)
            with open(f"{ours.root}/large.bin", "rb") as file:
                file.read(1)
            path = [seen["path"] for seen in ours.control("log") if seen["kind"] == "content"][-1]
            if place == 0:
                shutil.copy(f"{ours.root}/large.bin", f"{native.root}/large.bin")
            rclone = Rclone(self.base, f"large-rclone-{place}", native.root, self.cleanups, kbps=kbps,
                            api_ms=min(latency, API_LATENCY_MS), cdn_ms=latency)

            class Raw(Native):
                pass

            raw = Raw(ours.origin + path)

            def read(side):
                if isinstance(side, Raw):
                    return run("ranges", side.root, size, connections)
                return run("sequential", f"{side.root}/large.bin")

            def cold(side):
                side.mount(fresh=True)
                if not isinstance(side, Raw):
                    run("shell", f"ls -l {side.root}")

            self.measure(f"sequential {size >> 20} MiB, cold, {kind}", {"raw": raw, "ours": ours, "rclone": rclone}, read, cold, runs=3)
            if place == 0:
                ours.mount()
                rclone.mount()
                self.warm({"native": native, "ours": ours, "rclone": rclone})
                self.notes.append(f"Memory after reading {size >> 20} MiB: assetfs {ours.rss_mib():.0f} MiB"
                                  f" ({ours.rss_mib('VmHWM'):.0f} at most), rclone {rclone.rss_mib():.0f} MiB.")
            ours.unmount()
            rclone.unmount()
            ours.server.terminate()

    def warm(self, sides):
        read = lambda s: run("sequential", f"{s.root}/large.bin")
        for side in sides.values():
            read(side)
        self.measure("sequential, kernel cold", sides, read, lambda _: drop_caches())
        self.measure("sequential, warm", sides, read)
        for readers in (1, 4):
            self.measure(f"random 4 KiB, warm, {readers} reader{'s' * (readers > 1)}", sides,
                         lambda s: run("random", f"{s.root}/large.bin", readers, 20_000))


def main():
    if len(sys.argv) > 1 and sys.argv[1] == "--do":
        print(WORK[sys.argv[2]](*sys.argv[3:]))
        return
    parser = argparse.ArgumentParser(description="Measures assetfs against the local disk and rclone.")
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument("--seed", type=int, help="small files of the library [default: 1000, quick 200]")
    parser.add_argument("--runs", type=int, help="samples of each figure [default: 5, quick 3]")
    parser.add_argument("--only", help="only scenarios with one of these words, separated by commas")
    parser.add_argument("--part", choices=["tree", "folder", "large"], action="append", help="only this part; repeatable")
    parser.add_argument("--output", help="file for the table")
    options = parser.parse_args()
    options.seed = options.seed or (200 if options.quick else 1000)
    base, cleanups = tempfile.mkdtemp(prefix="assetfs-bench-", dir="/var/tmp"), []
    bench = Bench(options, base, cleanups)
    began = time.monotonic()
    # A script that is ended cleans up too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        for part in options.part or ["tree", "folder", "large"]:
            bench.say(part)
            getattr(bench, part)()
    finally:
        for cleanup in reversed(cleanups):
            cleanup()
        shutil.rmtree(base, ignore_errors=True)
    table = (f"Medians of {bench.runs} interleaved runs unless told otherwise; {options.seed} small files; API {API_LATENCY_MS} ms,"
             f" content {CDN_LATENCY_MS} ms of latency; {os.cpu_count()} processors; took {time.monotonic() - began:.0f} s.\n"
             "Speeds above 1: assetfs is faster.\n\n" + bench.table())
    print(table)
    if options.output:
        with open(options.output, "w") as file:
            file.write(table + "\n")


if __name__ == "__main__":
    main()
