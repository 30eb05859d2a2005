"""Measures the drive; see scripts/bench, which builds it and starts this."""

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from bench_sides import Native, Ours, Rclone, drop_caches, run, slow_sync, tidy

API_LATENCY_MS, CDN_LATENCY_MS = 20, 50
THROTTLED_KBPS = 160_000  # 20 MB/s a connection
SYNC_MS = (0.25, 1, 4)  # what disks take to make something durable: for a machine room, a fast SSD, a plain one
MIB = 1 << 20
USER = "nobody"


class Bench:
    def __init__(self, options, base, cleanups):
        self.options, self.base, self.cleanups = options, base, cleanups
        self.rows, self.bars, self.notes = [], [], []
        self.runs = options.runs or (3 if options.quick else 5)
        self.few = options.runs or (1 if options.quick else 3)

    def say(self, text):
        print(f"== {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)

    def wanted(self, name):
        return not self.options.only or any(part in name for part in self.options.only.split(","))

    def measure(self, name, sides, work, before=None, runs=None, bars=()):
        """`work(side)` answers seconds; sides take turns, and begin with another one each time. A bar is (against whom,
        the least ratio)."""
        if not self.wanted(name):
            return
        times, requests = {key: [] for key in sides}, {key: [] for key in sides}
        order, runs = list(sides), runs or self.runs
        for number in range(runs):
            for key in order[number % len(order):] + order[:number % len(order)]:
                side = sides[key]
                try:
                    if before:
                        before(side)
                    asked = side.requests()
                    times[key].append(work(side))
                    requests[key].append(side.requests() - asked)
                except (RuntimeError, subprocess.TimeoutExpired, OSError) as error:
                    self.notes.append(f"{name}, {key}: {error}")
        middle = {key: statistics.median(values) for key, values in times.items() if values}
        asked = {key: statistics.median(values) for key, values in requests.items() if values}
        self.row(name, middle, asked, runs)
        for against, least in bars:
            if middle.get("ours") and middle.get(against):
                ratio = middle[against] / middle["ours"]
                self.bar(f"{name}: speed against {against}", f"≥ {least:g}", f"{ratio:.2f}", ratio >= least)

    def row(self, name, middle, asked, runs=1):
        self.rows.append((name, middle, asked, runs))
        self.say(name + ": " + ", ".join(f"{key} {value:.4f} s" for key, value in middle.items()) + f"; requests {asked}")

    def bar(self, what, wanted, got, met):
        self.bars.append((what, wanted, got, met))
        self.say(f"{'met' if met else 'MISSED'}: {what}: {got} ({wanted})")

    def table(self):
        def seconds(value):
            if value is None:
                return "–"
            return f"{value * 1000:.2f} ms" if value < 0.1 else f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"

        def ratio(other, ours):
            return "–" if not other or not ours else f"{other / ours:.2f}"

        def count(value):
            return "–" if value is None else f"{value:.0f}"

        lines = ["| scenario | n | native | assetfs | rclone | raw ranges | speed against native | against rclone | against raw"
                 " | requests: assetfs | rclone |", "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"]
        for name, times, asked, runs in self.rows:
            get = times.get
            lines.append("| " + " | ".join([
                name, str(runs), seconds(get("native")), seconds(get("ours")), seconds(get("rclone")), seconds(get("raw")),
                ratio(get("native"), get("ours")), ratio(get("rclone"), get("ours")), ratio(get("raw"), get("ours")),
                count(asked.get("ours")), count(asked.get("rclone"))]) + " |")
        lines += ["", "| bar | wanted | measured | |", "|---|--:|--:|---|"]
        lines += [f"| {what} | {wanted} | {got} | {'met' if met else '**missed**'} |" for what, wanted, got, met in self.bars]
        return "\n".join(lines + [""] + [f"- {note}" for note in self.notes])

    # -- a library of small files

    def tree(self):
        ours = Ours(self.base, "ours", self.cleanups, API_LATENCY_MS, CDN_LATENCY_MS, seed=self.options.seed)
        ours.mount(fresh=True)
        local, served = f"{self.base}/native", f"{self.base}/served"
        subprocess.run(["cp", "-r", ours.root, local], check=True, timeout=300)
        subprocess.run(["cp", "-r", local, served], check=True)
        rclone = Rclone.over_webdav(self.base, "rclone", served, self.cleanups, API_LATENCY_MS, CDN_LATENCY_MS)
        sides = {"native": Native(local), "ours": ours, "rclone": rclone}
        remote = {key: sides[key] for key in ("ours", "rclone")}
        self.looking(sides, remote)
        self.reading(sides, remote)
        self.writing(sides)
        ours.close()
        rclone.close()

    def looking(self, sides, remote):
        self.measure("find, nothing known", remote, lambda s: run("shell", f"find {s.root}"), lambda s: s.mount(fresh=True),
                     runs=self.few)
        for side in remote.values():
            side.mount()
            run("shell", f"ls -lR {side.root}")
        self.measure("find, kernel cold", sides, lambda s: run("shell", f"find {s.root}"), lambda _: drop_caches())
        self.measure("find, warm", sides, lambda s: run("shell", f"find {s.root}"))

    def reading(self, sides, remote):
        def unread(side):
            side.mount(fresh=True)
            run("shell", f"ls -lR {side.root}")

        count = self.options.seed
        self.measure(f"open and read {count} small files, cold", remote, lambda s: run("cat", s.root), unread, runs=1)
        self.measure(f"open and read {count} small files, kernel cold", sides, lambda s: run("cat", s.root), lambda _: drop_caches())
        self.measure(f"open and read {count} small files, warm", sides, lambda s: run("cat", s.root))
        out = f"{self.base}/out"
        if not self.options.quick:
            self.measure("cp -r out, warm", sides, lambda s: run("shell", f"cp -r {s.root} {out}"),
                         lambda _: shutil.rmtree(out, ignore_errors=True))
            self.measure("rsync -a out, nothing to do", sides, lambda s: run("shell", f"rsync -a {s.root}/ {out}-same/"),
                         lambda s: run("shell", f"rsync -a {s.root}/ {out}-same/"))

    def writing(self, sides):
        few = 200 if self.options.quick else 1000
        number = iter(range(1_000_000))
        fresh = lambda side: f"{side.root}/new-{next(number):04}"
        settled = lambda side: side.sync()
        sync = lambda side: "sync" if isinstance(side, Native) else "none"
        self.measure(f"create {few} empty files", sides, lambda s: run("create", fresh(s), few, 0, "none"), runs=self.few)
        self.measure(f"write {few} × 10 KiB (native: with fsync)", sides,
                     lambda s: run("create", fresh(s), few, 10_240, sync(s)), settled, runs=self.few)
        size = (128 if self.options.quick else 1024) * MIB
        self.measure(f"write {size >> 20} MiB, 1 MiB writes, with fsync", sides, lambda s: run("write", f"{s.root}/written.bin", size),
                     settled, runs=self.few, bars=[("native", 0.25), ("rclone", 1.5)])

    # -- many small files into a store that allows few requests

    def saving(self):
        few = 200 if self.options.quick else 1000
        source, native = f"{self.base}/source", Native(f"{self.base}/saving-native")
        run("create", source, few, 10_240, "none")
        ours = Ours(self.base, "saving", self.cleanups, rate=5)
        number = iter(range(1_000_000))
        fresh = lambda side: f"{side.root}/new-{next(number):04}"

        def anew(side):
            if side is ours:
                ours.abandon()
                ours.mount(fresh=True)

        def save(side):
            return run("shell", f"cp -r {source} {fresh(side)}") if side is ours else run("save", source, fresh(side))

        self.measure(f"cp -r of {few} × 10 KiB, 5 requests a second (native: write + fsync each)", {"native": native, "ours": ours},
                     save, anew, bars=[("native", 1 / 3)])
        self.writers(native, ours, few, anew, fresh)
        ours.abandon()
        ours.close()
        self.sending(source, few)

    def writers(self, native, ours, few, anew, fresh):
        """Several programs that save at once: what they share is the sync, so a disk that syncs at once shows little of it."""
        if not self.wanted("writers"):
            return
        own = self.several(native, few, lambda _: None, fresh, "native, fsync each")
        at_once = self.several(ours, few, anew, fresh, "ours")
        for sync_ms in SYNC_MS:
            ours.preload = slow_sync(self.base, sync_ms)
            slowly = self.several(ours, few, anew, fresh, f"ours, {sync_ms} ms a sync")
            self.bar(f"8 writers: rate against that of one, {sync_ms} ms a sync", "≥ 3", f"{slowly:.2f}", slowly >= 3)
        ours.preload = None
        self.bar("the same on this disk, against what the disk itself gains", "≥ 1", f"{at_once:.2f} / {own:.2f}", at_once >= own)

    def several(self, side, few, anew, fresh, what):
        """How many times the rate of one writer eight have."""
        times = {1: [], 8: []}
        for _ in range(self.runs):
            for writers, took in times.items():
                anew(side)
                took.append(run("writers", fresh(side), few, 10_240, writers, "sync" if isinstance(side, Native) else "none"))
        middle = {writers: statistics.median(took) for writers, took in times.items()}
        for writers, took in middle.items():
            key = "native" if isinstance(side, Native) else "ours"
            self.row(f"{writers} writer{'s' * (writers > 1)} of {few} × 10 KiB in all ({what})", {key: took}, {}, self.runs)
        return middle[1] / middle[8]

    def sending(self, source, few):
        """How fast the store gets them, where it allows 50 requests a second."""
        if not self.wanted("sync of saved files"):
            return
        ours = Ours(self.base, "sending", self.cleanups, rate=50)
        ours.mount(fresh=True)
        os.listdir(ours.root)
        asked = ours.requests()
        run("shell", f"cp -r {source} {ours.root}/sent")
        began = time.perf_counter()
        ours.sync()
        took, asked = time.perf_counter() - began, ours.requests() - asked
        self.row(f"sync of {few} saved files, 50 requests a second", {"ours": took}, {"ours": asked})
        self.bar("sync: requests a second, of 50 allowed", "≥ 45", f"{asked / took:.1f}", asked / took >= 45)
        self.bar("sync: requests a file", "2, and few in all", f"{asked / few:.3f}", 2 * few <= asked <= 2 * few + 10)
        ours.close()

    # -- one large folder, and memory

    def folder(self):
        count = 20_000 if self.options.quick else 100_000
        ours = Ours(self.base, "folder", self.cleanups)
        parent = ours.add_folder("big")
        native = Native(f"{self.base}/folder-native")
        os.makedirs(f"{native.root}/big")
        for begin in range(0, count, 5000):
            names = [f"picture-{number:06}.jpg" for number in range(begin, min(begin + 5000, count))]
            ours.control("edits", [{"create_file": {"folder": parent, "name": name, "body": {"text": "x"}}} for name in names])
            for name in names:
                with open(f"{native.root}/big/{name}", "w") as file:
                    file.write("x")
        rclone = Rclone.over_webdav(self.base, "folder-rclone", native.root, self.cleanups)
        remote = {"ours": ours, "rclone": rclone}
        self.measure(f"ls of {count} files, nothing known", remote, lambda s: run("shell", f"ls {s.root}/big"),
                     lambda s: s.mount(fresh=True), runs=1)
        sides, cold = {"native": native, **remote}, lambda _: drop_caches()
        self.measure(f"find of {count}, kernel cold", sides, lambda s: run("shell", f"find {s.root}/big"), cold)
        self.measure(f"ls of {count}, kernel cold", sides, lambda s: run("shell", f"ls {s.root}/big"), cold)
        self.measure(f"ls -l of {count}, kernel cold", sides, lambda s: run("shell", f"ls -l {s.root}/big"), cold,
                     bars=[("native", 0.5), ("rclone", 5)])
        self.measure(f"ls -l of {count}, kernel warm", sides, lambda s: run("shell", f"ls -l {s.root}/big"),
                     bars=[("native", 0.8), ("rclone", 5)])
        self.measure(f"stat of {count}, warm", sides, lambda s: run("stat", f"{s.root}/big", 2), bars=[("native", 0.8)])
        self.measure("ENOENT of 10000, warm", sides, lambda s: run("absent", f"{s.root}/big", 10_000, 5), bars=[("native", 0.8)])
        rclone.close()
        self.memory(ours, count)
        ours.close()

    def memory(self, ours, count):
        """In the mount that has just shown the large folder."""
        if not self.wanted("memory"):
            return
        run("shell", f"ls -l {ours.root}/big")
        after_folder = ours.rss_mib()
        many, each = (16, 16) if self.options.quick else (64, 64)
        read = ours.add_folder("many")
        for number in range(many):
            ours.add_pattern(read, f"film-{number:02}.mov", each * MIB, number)
        ours.refresh()
        took = run("parallel", f"{ours.root}/many")
        self.row(f"{many} readers of {each} MiB each at a time, cold, no latency", {"ours": took}, {})
        peak, after = ours.rss_mib("VmHWM"), ours.rss_mib()
        self.notes.append(f"Memory of the daemon (RSS): {after_folder:.0f} MiB after the folder of {count}, {after:.0f} MiB after {many}"
                          f" parallel reads, {peak:.0f} MiB at most.")
        self.bar(f"RSS after the folder of {count} and {many} parallel reads", "< 60 MiB + 128 MiB of read memory",
                 f"{after:.0f} MiB (at most {peak:.0f})", after < 188)

    # -- one large file

    def large(self):
        size = (256 if self.options.quick else 1024) * MIB
        native = Native(f"{self.base}/large-native")
        kinds = [("no latency", 0, 0, 8, []), ("50 ms", CDN_LATENCY_MS, 0, 8, [("raw", 0.85), ("rclone", 1.5)]),
                 ("50 ms and 20 MB/s a connection", CDN_LATENCY_MS, THROTTLED_KBPS, 32, [("raw", 0.8), ("rclone", 10)])]
        for place, (kind, latency, kbps, connections, bars) in enumerate(kinds):
            ours = Ours(self.base, f"large-{place}", self.cleanups, min(latency, API_LATENCY_MS), latency, kbps)
            ours.add_pattern(ours.root_folder(), "large.bin", size)
            ours.mount(fresh=True)
            with open(f"{ours.root}/large.bin", "rb") as file:
                file.read(1)
            url = ours.content_url()
            if place == 0:
                shutil.copy(f"{ours.root}/large.bin", f"{native.root}/large.bin")
            rclone = Rclone.over_http(self.base, f"large-rclone-{place}", native.root, self.cleanups, latency, kbps)
            raw = Native(f"{self.base}/raw")
            range_bytes = (4 if kbps else 8) * MIB

            def read(side):
                if side is raw:
                    return run("ranges", url, size, connections, range_bytes, f"{raw.root}/large.bin")
                return run("sequential", f"{side.root}/large.bin")

            def cold(side):
                side.mount(fresh=True)
                if side is not raw:
                    run("shell", f"ls -l {side.root}")

            # A connection of 20 MB/s takes rclone a minute for each GiB.
            self.measure(f"sequential {size >> 20} MiB, cold, {kind}", {"raw": raw, "ours": ours, "rclone": rclone}, read, cold,
                         runs=1 if kbps else self.few, bars=bars)
            if place == 0:
                self.warm({"native": native, "ours": ours, "rclone": rclone}, "root")
            if place == 1:
                self.jumps(ours, raw, rclone, url, size)
                self.video(ours)
            for side in (ours, rclone):
                side.close()
            shutil.rmtree(raw.root)
        self.ordinary_user(native, size)

    def warm(self, sides, who, user=None):
        root = who == "root"
        read = lambda s: run("sequential", f"{s.root}/large.bin", user=user)
        for side in sides.values():
            side.mount()
            read(side)
            read(side)
        self.measure(f"sequential, page caches dropped, {who}", sides, read, lambda _: drop_caches())
        self.measure(f"sequential, warm, {who}", sides, read,
                     bars=[("native", 0.9)] if root else [("native", 0.25), ("rclone", 2.5)])
        for readers, least in ((1, 0.85), (4, 0.5)):
            self.measure(f"random 4 KiB, warm, {readers} reader{'s' * (readers > 1)}, {who}", sides,
                         lambda s: run("random", f"{s.root}/large.bin", readers, 20_000, user=user),
                         bars=[("native", least)] if root else [])

    def jumps(self, ours, raw, rclone, url, size):
        name, count = "random 4 KiB, uncached, 50 ms, median of one read", 20
        if not self.wanted(name):
            return
        moved = []

        def one(side):
            if side is raw:
                return statistics.median(run("requests", url, size, count, 128 << 10))
            side.mount(fresh=True)
            run("shell", f"ls -l {side.root}; head -c 1 {side.root}/large.bin")
            before = ours.content_bytes()
            took = statistics.median(run("jumps", f"{side.root}/large.bin", count, 8 * MIB))
            if side is ours:
                moved.append((ours.content_bytes() - before) / count)
            return took

        self.measure(name, {"raw": raw, "ours": ours, "rclone": rclone}, one, runs=self.few, bars=[("raw", 1 / 1.2)])
        kib = statistics.median(moved) / 1024
        self.bar("bytes moved per uncached 4 KiB read", "≤ 256 KiB", f"{kib:.0f} KiB", kib <= 256)

    def video(self, ours):
        if not self.wanted("video"):
            return
        size = 64 * MIB
        name = "film.mov"
        if not os.path.exists(f"{ours.root}/{name}"):
            ours.add_pattern(ours.root_folder(), name, size, 9)
        ours.mount(fresh=True)
        run("shell", f"ls -l {ours.root}")
        before = ours.content_bytes()
        first = run("video", f"{ours.root}/{name}", size)
        fetched = ours.content_bytes() - before
        most = 3 * CDN_LATENCY_MS / 1000 + 0.02
        self.row("video: first byte of the head, of the end, of the rest", {"ours": max(first)}, {})
        self.bar("video: first byte of the head, of the end, of the rest", "≤ 3 latencies each",
                 ", ".join(f"{took * 1000:.0f} ms" for took in first), max(first) <= most)
        self.bar("video: bytes fetched for bytes in the file", "1.00", f"{fetched / size:.2f}", fetched <= size)

    def ordinary_user(self, native, size):
        """Without the right to passthrough: cached reads go through the daemon."""
        ours = Ours(self.base, "user", self.cleanups, user=USER)
        ours.add_pattern(ours.root_folder(), "large.bin", size)
        rclone = Rclone.over_http(self.base, "user-rclone", native.root, self.cleanups)
        ours.mount(fresh=True)
        self.warm({"native": native, "ours": ours}, "ordinary user", USER)
        # rclone's mount is the administrator's: it has no faster way than that either.
        rclone.mount(fresh=True)
        read = lambda s: run("sequential", f"{s.root}/large.bin", user=None if s is rclone else USER)
        read(rclone)
        self.measure("sequential, warm, ordinary user against rclone", {"ours": ours, "rclone": rclone}, read, bars=[("rclone", 2.5)])
        for side in (ours, rclone):
            side.close()


def main():
    parser = argparse.ArgumentParser(description="Measures assetfs against the local disk and rclone.")
    parser.add_argument("--quick", action="store_true", help="less of everything, in three minutes")
    parser.add_argument("--seed", type=int, help="small files of the library [default: 1000, quick 200]")
    parser.add_argument("--runs", type=int, help="samples of each figure [default: 5, quick 3; of slow ones fewer]")
    parser.add_argument("--only", help="only scenarios with one of these words, separated by commas")
    parser.add_argument("--part", choices=["tree", "saving", "folder", "large"], action="append", help="only this part; repeatable")
    parser.add_argument("--output", help="file for the table")
    options = parser.parse_args()
    options.seed = options.seed or (200 if options.quick else 1000)
    base, cleanups = tempfile.mkdtemp(prefix="assetfs-bench-", dir="/var/tmp"), []
    os.chmod(base, 0o755)
    bench = Bench(options, base, cleanups)
    began = time.monotonic()
    # A script that is ended cleans up too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        for part in options.part or ["tree", "saving", "folder", "large"]:
            bench.say(part)
            getattr(bench, part)()
    finally:
        tidy(cleanups)
        shutil.rmtree(base, ignore_errors=True)
    table = (f"Medians of n interleaved runs; API {API_LATENCY_MS} ms, content {CDN_LATENCY_MS} ms of latency for the library of"
             f" {options.seed} small files; {os.cpu_count()} processors; took {time.monotonic() - began:.0f} s.\n"
             "Speeds above 1: assetfs is faster.\n\n" + bench.table())
    print(table)
    if options.output:
        with open(options.output, "w") as file:
            file.write(table + "\n")


if __name__ == "__main__":
    main()
