"""Who takes part in scripts/bench: the local disk, assetfs on its built-in server, and rclone."""

import email.utils
import html
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request

BINARY = os.path.abspath(os.environ.get("ASSETFS_BINARY", "target/release/assetfs"))
STEPS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bench_steps.py")
STEP_SECONDS_MAX = 300


def as_user(user):
    """What a command of another user begins with."""
    if user is None:
        return []
    entry = pwd.getpwnam(user)
    return ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]


def run(name, *arguments, user=None):
    """One step; answers what it measured."""
    command = [*as_user(user), sys.executable, STEPS, name, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=STEP_SECONDS_MAX)
    if done.returncode != 0:
        raise RuntimeError(f"{name} {arguments} failed: {done.stderr.strip()[-400:]}")
    return json.loads(done.stdout)


def drop_caches():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as file:
        file.write("3")


def wait_for(what, condition, seconds=60):
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


def end(process, seconds=90):
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def tidy(cleanups):
    """All of them, the latest first; one that fails does not keep the others from their work."""
    for cleanup in reversed(cleanups):
        try:
            cleanup()
        except (OSError, subprocess.SubprocessError) as error:
            print(f"left behind: {error}", file=sys.stderr)


def resident_mib(process, field="VmRSS"):
    with open(f"/proc/{process.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field)) / 1024


# A disk of a shelf, not of a machine room: each sync takes its time, and one waits for the other. Loaded into the daemon.
SLOW_SYNC = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <unistd.h>
static pthread_mutex_t disk = PTHREAD_MUTEX_INITIALIZER;
static int slowly(const char *name, int fd) {
    int (*sync)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    pthread_mutex_lock(&disk);
    usleep(SYNC_US);
    int done = sync(fd);
    pthread_mutex_unlock(&disk);
    return done;
}
int fsync(int fd) { return slowly("fsync", fd); }
int fdatasync(int fd) { return slowly("fdatasync", fd); }
"""


def slow_sync(base, milliseconds):
    """Builds what makes each sync of a program take so much longer. Answers its path, for LD_PRELOAD."""
    built = f"{base}/slow-sync-{milliseconds}.so"
    subprocess.run(["cc", "-shared", "-fPIC", f"-DSYNC_US={round(milliseconds * 1000)}", "-o", built, "-x", "c", "-", "-ldl", "-lpthread"],
                   input=SLOW_SYNC, text=True, check=True, timeout=60)
    return built


class Native:
    def __init__(self, root):
        self.root = root
        os.makedirs(root, exist_ok=True)

    def requests(self):
        return 0

    def mount(self, fresh=False):
        pass

    def sync(self):
        os.sync()


class Ours:
    """A mount of the built-in Image Relay server."""

    def __init__(self, base, name, cleanups, api_ms=0, cdn_ms=0, kbps=0, seed="none", user=None, rate=0):
        self.base, self.root, self.user, self.rate = f"{base}/{name}", f"{base}/{name}/mount", user, rate
        os.makedirs(self.root)
        if user:
            for folder in (self.base, self.root):
                shutil.chown(folder, user)
        self.server = subprocess.Popen(
            [BINARY, "serve", "imagerelay", "--seed", str(seed), "--latency-ms", str(api_ms)]
            + ["--cdn-latency-ms", str(cdn_ms), "--cdn-kbps", str(kbps)],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        cleanups.append(self.server.kill)
        self.url = self.server.stdout.readline().strip()
        self.origin = self.url.removesuffix("/api/v2")
        self.daemon, self.preload = None, None
        cleanups.append(self.unmount)

    def control(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.origin}/_emulator/{path}", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or "null")

    def requests(self):
        counters = self.control("counters")
        return counters["api"] + counters["content"]

    def content_bytes(self):
        return self.control("counters")["content_bytes"]

    def root_folder(self):
        return self.control("tree?hashes=false")["id"]

    def add_folder(self, name):
        return self.control("edits", {"create_folder": {"parent": self.root_folder(), "name": name}})["ids"][0]

    def add_pattern(self, folder, name, size, seed=5):
        body = {"pattern": {"seed": seed, "bytes": size, "text": False}}
        self.control("edits", {"create_file": {"folder": folder, "name": name, "body": body}})

    def content_url(self):
        """Where the bytes of the file that was read last come from."""
        return self.origin + [seen["path"] for seen in self.control("log") if seen["kind"] == "content"][-1]

    def places(self):
        return ["--cache-dir", f"{self.base}/cache", "--state-dir", f"{self.base}/state"]

    def environment(self):
        return {**os.environ, "ASSETFS_API_KEY": "emulator", "HOME": self.base, "ASSETFS_RUNTIME_DIR": f"{self.base}/run"}

    def mount(self, fresh=False):
        self.unmount()
        if fresh:
            for part in ("cache", "state"):
                shutil.rmtree(f"{self.base}/{part}", ignore_errors=True)
        with open(f"{self.base}/log", "a") as log:
            self.daemon = subprocess.Popen(
                [*as_user(self.user), BINARY, "mount", "-f", *self.places()]
                + ["-o", f"rate={self.rate},poll=0,list-ttl=1h,cache-size=20G" + (",allow-other" if self.user is None else "")]
                + [f"imagerelay+{self.url}", self.root],
                stdout=log, stderr=log, env={**self.environment(), **({"LD_PRELOAD": self.preload} if self.preload else {})})
        wait_for("assetfs mount", lambda: self.root in open("/proc/self/mounts").read() or self.daemon.poll() is not None)
        if self.daemon.poll() is not None:
            raise RuntimeError(f"assetfs did not mount: {open(f'{self.base}/log').read()[-400:]}")

    def unmount(self):
        if self.daemon:
            unmount(self.root)
            end(self.daemon)
            self.daemon = None

    def abandon(self):
        """Ends it with all that is pending: nobody wants to wait until a slow store has that."""
        if self.daemon:
            self.daemon.kill()
            self.daemon.wait()
            unmount(self.root)
            self.daemon = None
            # Set aside: after many were deleted, ext4 takes ten times as long to make a file, for some seconds.
            for part in ("cache", "state"):
                os.rename(f"{self.base}/{part}", f"{self.base}/{part}-{time.monotonic_ns()}")

    def refresh(self):
        """Shows what was changed on the server."""
        subprocess.run([BINARY, "refresh", self.root, *self.places()], env=self.environment(), check=True,
                       stdout=subprocess.DEVNULL, timeout=STEP_SECONDS_MAX)

    def sync(self):
        subprocess.run([BINARY, "sync", self.root, *self.places()], env=self.environment(),
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=STEP_SECONDS_MAX)

    def rss_mib(self, field="VmRSS"):
        return resident_mib(self.daemon, field)

    def close(self):
        """Done with it: the disk is wanted for the next one."""
        self.unmount()
        self.server.kill()
        shutil.rmtree(self.base, ignore_errors=True)


class Files:
    """A folder over HTTP as web servers serve it, for rclone: a page of links, HEAD, ranges; each answer as late, and each
    connection as slow, as those of the built-in server. The kernel moves the bytes (sendfile), so it does not hold up."""

    def __init__(self, root, latency_ms=0, kbps=0):
        self.root, self.latency, self.kbps, self.requests = root, latency_ms / 1000, kbps, 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        try:
            with client, client.makefile("rb") as lines:
                while first := lines.readline():
                    verb, path, _ = first.decode().split(" ", 2)
                    headers = {}
                    while (line := lines.readline().strip()):
                        name, _, value = line.decode().partition(":")
                        headers[name.lower()] = value.strip()
                    self.requests += 1
                    time.sleep(self.latency)
                    self.answer(client, verb, urllib.parse.unquote(path), headers)
        except (OSError, ValueError):
            pass

    def answer(self, client, verb, path, headers):
        place = os.path.join(self.root, path.strip("/"))
        if os.path.isdir(place):
            links = [urllib.parse.quote(e.name) + "/" * e.is_dir() for e in os.scandir(place)]
            page = "".join(f'<a href="{html.escape(link)}">{html.escape(link)}</a>\n' for link in sorted(links)).encode()
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(page)
                           + (b"" if verb == "HEAD" else page))
            return
        if not os.path.isfile(place):
            client.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return
        with open(place, "rb") as file:
            size, modified = os.fstat(file.fileno()).st_size, os.fstat(file.fileno()).st_mtime
            start, stop, status, extra = 0, size, "200 OK", ""
            if (asked := headers.get("range", "")).startswith("bytes="):
                first, last = asked.removeprefix("bytes=").split("-")
                start, stop = int(first), min(int(last) + 1 if last else size, size)
                status, extra = "206 Partial Content", f"Content-Range: bytes {start}-{stop - 1}/{size}\r\n"
            client.sendall(f"HTTP/1.1 {status}\r\nContent-Length: {stop - start}\r\nAccept-Ranges: bytes\r\n{extra}"
                           f"Last-Modified: {email.utils.formatdate(modified, usegmt=True)}\r\n\r\n".encode())
            if verb != "HEAD":
                self.send(client, file, start, stop)

    def send(self, client, file, start, stop):
        began, sent = time.monotonic(), 0
        while start < stop:
            done = os.sendfile(client.fileno(), file.fileno(), start, min(stop - start, (256 << 10) if self.kbps else 16 << 20))
            if not done:
                return
            start, sent = start + done, sent + done
            if self.kbps:
                time.sleep(max(0.0, began + sent * 8 / (self.kbps * 1000) - time.monotonic()))


class Rclone:
    """`rclone mount` as its authors advise for such use."""

    def __init__(self, base, name, remote, counts, cleanups):
        self.base, self.root, self.remote, self.counts = f"{base}/{name}", f"{base}/{name}/mount", remote, counts
        os.makedirs(self.root)
        self.daemon = None
        cleanups.append(self.unmount)

    @classmethod
    def over_http(cls, base, name, source, cleanups, latency_ms=0, kbps=0):
        """Large files: their bytes come as ours do, by ranges over HTTP."""
        files = Files(source, latency_ms, kbps)
        return cls(base, name, [":http:", "--http-url", files.url], lambda: files.requests, cleanups)

    @classmethod
    def over_webdav(cls, base, name, source, cleanups, api_ms=0, cdn_ms=0):
        """Trees that are written to: the nearest thing to a store's API that rclone can both serve and mount."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        server = subprocess.Popen(["rclone", "serve", "webdav", source, "--addr", f"127.0.0.1:{port}", "--config", "/dev/null"],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        cleanups.append(server.terminate)
        wait_for("rclone serve", lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
        relay = Relay(port, api_ms, cdn_ms)
        return cls(base, name, [":webdav:", "--webdav-url", f"http://127.0.0.1:{relay.port}/"], lambda: relay.requests, cleanups)

    def requests(self):
        return self.counts()

    def mount(self, fresh=False):
        self.unmount()
        if fresh:
            shutil.rmtree(f"{self.base}/cache", ignore_errors=True)
        self.daemon = subprocess.Popen(
            ["rclone", "mount", self.remote[0], self.root, *self.remote[1:], "--config", "/dev/null", "--vfs-cache-mode", "full"]
            + ["--attr-timeout", "60s", "--dir-cache-time", "1h", "--poll-interval", "0"]
            + ["--cache-dir", f"{self.base}/cache", "--vfs-cache-max-size", "20G"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("rclone mount", lambda: os.path.ismount(self.root))

    def unmount(self):
        if self.daemon:
            unmount(self.root)
            end(self.daemon, 30)
            self.daemon = None

    def sync(self):
        time.sleep(7)  # its write-back time is 5 s

    def close(self):
        self.unmount()
        shutil.rmtree(self.base, ignore_errors=True)


class Relay:
    """Stands before a server: holds each request back, and counts it."""

    VERBS = (b"GET ", b"PUT ", b"PROPFIND ", b"HEAD ", b"MKCOL ", b"MOVE ", b"DELETE ", b"COPY ", b"PROPPATCH ", b"OPTIONS ")

    def __init__(self, port, api_ms, cdn_ms):
        self.target, self.api, self.cdn, self.requests = port, api_ms / 1000, cdn_ms / 1000, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            server = socket.create_connection(("127.0.0.1", self.target))
            for side in (client, server):
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.forth, args=(client, server), daemon=True).start()
            threading.Thread(target=self.back, args=(server, client), daemon=True).start()

    def forth(self, client, server):
        try:
            while data := client.recv(1 << 20):
                if data.startswith(self.VERBS):
                    self.requests += 1
                    time.sleep(self.cdn if data.startswith(b"GET ") else self.api)
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)
        except OSError:
            server.close()

    def back(self, server, client):
        try:
            while data := server.recv(1 << 20):
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            client.close()
