"""Counts the requests of operations on a mount of each built-in server. To be run by scripts/requests."""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import urllib.request

BINARY = os.environ["ASSETFS_BINARY"]
OPTIONS = "rate=0,poll=0,quiet=200ms,quiet_empty=200ms"
STORES = ["imagerelay", "omeka", "flextype", "im4"]
LIST_OF = 2000

# Where files may be made, with the commands that make the two folders; im4 makes no folders, so it uses two that it has.
FOLDERS = {
    "imagerelay": ("mkdir Work Work/one Work/two", "Work/one", "Work/two"),
    "omeka": ("mkdir Work Work/one Work/two", "Work/one", "Work/two"),
    "flextype": ("mkdir Work Work/one Work/two", "Work/one", "Work/two"),
    "im4": None,
}
FIELD = {
    "imagerelay": "user.imagerelay.term.Credit",
    "omeka": "user.dublincore.creator",
    "flextype": "user.flextype.caption",
    "im4": "user.im4.caption",
}

# Each works on `$one` and `$two`; `-` in the store's place means that it cannot do that.
OPERATIONS = [
    ("make a file", "seq 100 > $one/a.txt"),
    ("read it again", "cat $one/a.txt"),
    ("overwrite it", "seq 200 > $one/a.txt"),
    ("save it again with the same bytes", "seq 200 > $one/a.txt"),
    ("an editor's save by rename", "seq 300 > $one/.a.txt.tmp && mv $one/.a.txt.tmp $one/a.txt"),
    ("set an attribute", "setfattr -n $field -v Ada $one/a.txt"),
    ("show all attributes", "getfattr -d $one/a.txt"),
    ("rename it", "mv $one/a.txt $one/b.txt"),
    ("move it to another folder", "mv $one/b.txt $two/"),
    ("copy it", "cp $two/b.txt $one/c.txt"),
    ("make ten files", "for i in 0 1 2 3 4 5 6 7 8 9; do seq 10$i > $one/ten-$i.txt; done"),
    ("rsync -aX the folder out", "rsync -aX $one/ ../out/"),
    ("rsync -aX it out again", "rsync -aX $one/ ../out/"),
    ("make a folder", "mkdir $new"),
    ("rename the folder", "mv $new $new-2"),
    ("remove the folder", "rmdir $new-2"),
    ("remove a file", "rm $two/b.txt"),
    ("rm -r of eleven files", "rm -r $one/*"),
]


class Server:
    def __init__(self, kind, seed):
        command = [BINARY, "serve", kind, "--seed", str(seed)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()
        said = ""
        while "Ctrl-C" not in said:
            said += self.process.stderr.readline()
        self.secrets = dict(re.findall(r"(ASSETFS_[A-Z_]+)=(\S+)", said))
        self.origin = "/".join(self.url.split("/")[:3])

    def ask(self, what, data=None):
        with urllib.request.urlopen(f"{self.origin}/_emulator/{what}", data=data, timeout=30) as answer:
            return answer.read()

    def counters(self):
        return json.loads(self.ask("counters"))

    def reset(self):
        self.ask("reset", b"")

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


class Drive:
    def __init__(self, kind, server, work):
        self.kind, self.server, self.work = kind, server, work
        self.mountpoint = os.path.join(work, "mnt")
        self.env = dict(os.environ, **server.secrets)
        for name in ["CACHE", "STATE", "RUNTIME"]:
            self.env[f"ASSETFS_{name}_DIR"] = os.path.join(work, name.lower())
        self.env["ASSETFS_CONFIG"] = os.path.join(work, "config.toml")
        os.makedirs(self.mountpoint, exist_ok=True)

    def run(self, *arguments):
        subprocess.run([BINARY, *arguments], env=self.env, check=True, timeout=120, stdout=subprocess.DEVNULL)

    def mount(self):
        self.run("mount", f"{self.kind}+{self.server.url}", self.mountpoint, "-o", OPTIONS)

    def unmount(self):
        self.run("unmount", "--wait", "60", self.mountpoint)

    def shell(self, script):
        command = ["bash", "-euo", "pipefail", "-c", script]
        done = subprocess.run(command, cwd=self.mountpoint, capture_output=True, text=True, timeout=300)
        if done.returncode != 0:
            raise RuntimeError(f"{self.kind}: {script}: {done.stdout}{done.stderr}")
        return done.stdout

    def cost(self, work):
        """The requests of `work`, up to the last upload: those of the API and those for content."""
        self.run("sync", self.mountpoint, "--wait", "60")
        self.server.reset()
        work()
        self.run("sync", self.mountpoint, "--wait", "60")
        counters = self.server.counters()
        return counters["api"], counters["content"]


def told(cost):
    api, content = cost
    return f"{api} + {content}" if content else str(api)


def everyday(kind, work):
    """The costs of the everyday operations, by name."""
    server = Server(kind, "small")
    drive = Drive(kind, server, work)
    costs = {}
    try:
        server.reset()
        drive.mount()
        counters = server.counters()
        costs["mount for the first time"] = told((counters["api"], counters["content"]))
        costs["ls -lR"] = told(drive.cost(lambda: drive.shell("ls -lR > /dev/null")))
        costs["ls -lR again"] = told(drive.cost(lambda: drive.shell("ls -lR > /dev/null")))
        if FOLDERS[kind]:
            make, one, two = FOLDERS[kind]
            drive.shell(make)
            new = "Work/new"
        else:
            found = drive.shell("find . -mindepth 2 -maxdepth 2 -type d | sort").split("\n")
            project = os.path.dirname(found[0])
            one, two = [folder for folder in found if os.path.dirname(folder) == project][:2]
            new = None
        settings = {"one": one, "two": two, "new": new or "", "field": FIELD[kind]}
        head = "".join(f"{name}={shlex.quote(value)}; " for name, value in settings.items())
        for name, script in OPERATIONS:
            if new is None and "$new" in script:
                costs[name] = "–"
                continue
            script = re.sub(r"\$(one|two|new|field)", r'"$\1"', script)
            costs[name] = told(drive.cost(lambda script=script: drive.shell(head + script)))
        drive.unmount()
        server.reset()
        drive.mount()
        counters = server.counters()
        costs["mount again"] = told((counters["api"], counters["content"]))
    finally:
        subprocess.run(["umount", "-l", drive.mountpoint], stderr=subprocess.DEVNULL, check=False)
        server.stop()
    return costs


def many(kind, work):
    """What it costs to list thousands of files; nothing for a store that cannot be seeded with them."""
    if kind == "im4":
        return "–"
    server = Server(kind, LIST_OF)
    drive = Drive(kind, server, work)
    try:
        drive.mount()
        return told(drive.cost(lambda: drive.shell("find . -type f -printf '%s\\n' | wc -l")))
    finally:
        subprocess.run(["umount", "-l", drive.mountpoint], stderr=subprocess.DEVNULL, check=False)
        server.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stores", nargs="*", default=STORES, metavar="KIND", help=", ".join(STORES))
    stores = parser.parse_args().stores
    costs = {}
    for kind in stores:
        print(f"== {kind}", file=sys.stderr)
        with tempfile.TemporaryDirectory(prefix="assetfs-requests-") as work:
            costs[kind] = everyday(kind, work)
        with tempfile.TemporaryDirectory(prefix="assetfs-requests-") as work:
            costs[kind][f"find of {LIST_OF:,} files"] = many(kind, work)
    print("Requests to the API, and with `+` those for content, until everything is in the store:\n")
    print("| | " + " | ".join(stores) + " |")
    print("|---|" + "---:|" * len(stores))
    for name in costs[stores[0]]:
        print(f"| {name} | " + " | ".join(costs[kind][name] for kind in stores) + " |")


if __name__ == "__main__":
    main()
