"""Counts the requests of operations on a mount of each built-in server, and checks what is refused. To be run by
scripts/requests; ends with a status other than 0 when a program fails that must not."""

import argparse
import errno
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
    "omeka": ("mkdir Work Work/one Work/two Other", "Work/one", "Work/two"),
    "flextype": ("mkdir Work Work/one Work/two", "Work/one", "Work/two"),
    "im4": None,
}
FIELD = {
    "imagerelay": "user.imagerelay.term.Credit",
    "omeka": "user.dublincore.creator",
    "flextype": "user.flextype.caption",
    "im4": "user.im4.caption",
}

# Where a folder of `Work` may be moved to.
MOVED = {"imagerelay": "Work/one/new", "omeka": "Other/new", "flextype": "Work/one/new", "im4": ""}

# Each works on `$one` and `$two`, and fails the script when it does not end with status 0; `–` in the store's place means that
# it has nothing of the kind. `../ten` and `../twenty` are folders of that many small files.
OPERATIONS = [
    ("make a file", "seq 100 > $one/a.txt"),
    ("read it again", "cat $one/a.txt"),
    ("overwrite it", "seq 200 > $one/a.txt"),
    ("save it again with the same bytes", "seq 200 > $one/a.txt"),
    ("an editor's save by rename", "seq 300 > $one/.a.txt.tmp && mv $one/.a.txt.tmp $one/a.txt"),
    ("set an attribute", "setfattr -n $field -v Ada $one/a.txt"),
    ("show all attributes", "getfattr -d $one/a.txt | grep -q Ada"),
    ("rename it", "mv $one/a.txt $one/b.txt"),
    ("move it to another folder", "mv $one/b.txt $two/"),
    ("copy it", "cp $two/b.txt $one/c.txt && cmp $two/b.txt $one/c.txt"),
    ("make ten files", "for i in 0 1 2 3 4 5 6 7 8 9; do seq 10$i > $one/ten-$i.txt; done"),
    ("rsync -aX the folder out", "rsync -aX $one/ ../out/ && diff -r $one ../out"),
    ("rsync -aX it out again", "rsync -aX $one/ ../out/"),
    ("make a folder", "mkdir $new"),
    ("rename the folder", "mv $new $new-2"),
    ("move the folder", "mv $new-2 $moved"),
    ("remove the folder", "rmdir $moved"),
    ("remove a file", "rm $two/b.txt"),
    ("rm -r of eleven files", "rm -r $one/*"),
    ("cp -a a folder of twenty files in", "cp -a ../twenty/. $one/"),
    ("set an attribute of all twenty", "setfattr -n $field -v Edith $one/*.txt"),
    ("show the attributes of all twenty", "getfattr -d $one/*.txt | grep -c =.Edith | grep -qx 20"),
    ("cp -a them out", "cp -a $one ../back && diff -r ../twenty ../back"),
    ("move all twenty to another folder", "mv $one/*.txt $two/"),
    ("rsync -aX a folder of ten files in", "rsync -aX ../ten/ $one/ && diff -r ../ten $one"),
    ("rsync -aX it in again", "rsync -aX ../ten/ $one/"),
    ("rm -r of thirty files", "rm -r $one/* $two/*"),
]


def make(path):
    with open(path, "xb", 0) as file:
        file.write(b"x")


def edit(path):
    with open(path, "r+b", 0) as file:
        file.write(b"x")


def move(to):
    return lambda path: os.rename(path, to(path))


def elsewhere(file):
    """The same name in the same category of another project."""
    category = os.path.dirname(file)
    project = os.path.dirname(category)
    others = sorted(os.scandir(os.path.dirname(project)), key=lambda entry: entry.name)
    other = next(entry.path for entry in others if entry.name != os.path.basename(project))
    return os.path.join(other, os.path.basename(category), os.path.basename(file))


def set_field(name, value=b"x"):
    return lambda path: os.setxattr(path, name, value)


# What a store's shape does not allow: where (`{one}`, `{two}` and `{top}` are folders, `{file}` is a file in `{one}`), what is
# tried there, and the exact errno.
REFUSED = {
    "imagerelay": [
        ("a name of more than 255 bytes", "{one}/" + 300 * "n", make, "ENAMETOOLONG"),
        ("`mkdir .Trash-1000` (so that file managers offer to delete for good)", "{top}/.Trash-1000", os.mkdir, "EPERM"),
        ("renaming a file to a name without an extension", "{file}", move(lambda file: file.removesuffix(".txt")), "EINVAL"),
        ("removing a folder that is not empty", "{one}", os.rmdir, "ENOTEMPTY"),
        ("setting a field that the library does not have", "{file}", set_field("user.imagerelay.nosuch"), "EOPNOTSUPP"),
        ("setting what only the drive tells", "{file}", set_field("user.assetfs.id"), "EPERM"),
    ],
    "omeka": [
        ("a file at the top", "{top}/a.txt", make, "EPERM"),
        ("a file in a collection", "Work/a.txt", make, "EPERM"),
        ("a folder in an item", "{one}/below", os.mkdir, "EPERM"),
        ("an item moved to the top", "{two}", move(os.path.basename), "EPERM"),
        ("an HTML file", "{one}/a.html", make, "EINVAL"),
        ("a file without an extension", "{one}/Makefile", make, "EINVAL"),
        ("removing an item that has files", "{one}", os.rmdir, "ENOTEMPTY"),
        ("an emoji in a text", "{file}", set_field("user.dublincore.title", "\N{PARTY POPPER}".encode()), "EINVAL"),
        ("setting the type that the site found", "{file}", set_field("user.omeka.mime_type"), "EPERM"),
    ],
    "flextype": [
        ("a PHP script", "{one}/a.php", make, "EINVAL"),
        ("a folder with a leading dot", "{one}/.hidden", os.mkdir, "EINVAL"),
        ("renaming a file to a name without an extension", "{file}", move(lambda file: file.removesuffix(".txt")), "EINVAL"),
        ("renaming a file to a Markdown file", "{file}", move(lambda file: file.removesuffix("txt") + "md"), "EINVAL"),
        ("a folder moved into itself", "{one}", move(lambda folder: folder + "/below"), "EINVAL"),
        ("removing a folder that is not empty", "{one}", os.rmdir, "ENOTEMPTY"),
        ("a hard link", "{file}", lambda file: os.link(file, file + ".txt"), "EPERM"),
        ("setting the file's size", "{file}", set_field("user.flextype.filesize"), "EPERM"),
    ],
    "im4": [
        ("a file at the top", "{top}/a.txt", make, "EPERM"),
        ("a file in a project", "{one}/../a.txt", make, "EPERM"),
        ("a category", "{one}/../New", os.mkdir, "EPERM"),
        ("a folder in a category", "{one}/below", os.mkdir, "EPERM"),
        ("renaming a category", "{one}", move(lambda folder: folder + " 2"), "EPERM"),
        ("removing a category", "{two}", os.rmdir, "EPERM"),
        ("a file moved to another project", "{file}", move(elsewhere), "EXDEV"),
        ("a hard link", "{file}", lambda file: os.link(file, file + ".txt"), "EPERM"),
        ("a priority of 7", "{file}", set_field("user.im4.priority", b"7"), "EINVAL"),
        ("setting what the server does", "{file}", set_field("user.im4.queue"), "EPERM"),
    ],
}


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


def refused(kind, drive, places):
    """What is refused: the errno of each, which must be the one that is promised."""
    drive.shell(f"echo x > {shlex.quote(places['file'])}")
    # A file that is nowhere but here may still have any name.
    drive.run("sync", drive.mountpoint, "--wait", "60")
    told = []
    for what, where, attempt, promised in REFUSED[kind]:
        path = os.path.join(drive.mountpoint, where.format(**places))
        found = "success"
        before = os.getcwd()
        os.chdir(drive.mountpoint)
        try:
            attempt(path)
        except OSError as error:
            # Two names for one number.
            found = errno.errorcode[error.errno].replace("ENOTSUP", "EOPNOTSUPP")
        finally:
            os.chdir(before)
        if found != promised:
            raise RuntimeError(f"{kind}: {what}: {found} instead of {promised}")
        told.append((what, found))
    return told


def everyday(kind, work):
    """The costs of the everyday operations, by name, and what is refused."""
    for folder, files in [("ten", 10), ("twenty", 20)]:
        os.mkdir(os.path.join(work, folder))
        for number in range(files):
            with open(os.path.join(work, folder, f"{folder}-{number:02}.txt"), "w") as file:
                file.write(f"{folder} {number}\n" * 50)
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
            drive.shell(f"rm -f {shlex.quote(one)}/* {shlex.quote(two)}/*")
            new = None
        settings = {"one": one, "two": two, "new": new or "", "moved": f"{MOVED[kind]}", "field": FIELD[kind]}
        head = "".join(f"{name}={shlex.quote(value)}; " for name, value in settings.items())
        for name, script in OPERATIONS:
            if new is None and ("$new" in script or "$moved" in script):
                costs[name] = "–"
                continue
            script = re.sub(r"\$(one|two|new|moved|field)", r'"$\1"', script)
            costs[name] = told(drive.cost(lambda script=script: drive.shell(head + script)))
        places = {"one": one, "two": two, "top": ".", "file": f"{one}/refused.txt"}
        denials = refused(kind, drive, places)
        drive.unmount()
        server.reset()
        drive.mount()
        counters = server.counters()
        costs["mount again"] = told((counters["api"], counters["content"]))
    finally:
        subprocess.run(["umount", "-l", drive.mountpoint], stderr=subprocess.DEVNULL, check=False)
        server.stop()
    return costs, denials


def many(kind, work):
    """What it costs to list thousands of files."""
    server = Server(kind, LIST_OF)
    drive = Drive(kind, server, work)
    try:
        drive.mount()
        return told(drive.cost(lambda: drive.shell(f"ls -lR | grep -c ^- | grep -qx {LIST_OF}")))
    finally:
        subprocess.run(["umount", "-l", drive.mountpoint], stderr=subprocess.DEVNULL, check=False)
        server.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stores", nargs="*", default=STORES, metavar="KIND", help=", ".join(STORES))
    stores = parser.parse_args().stores
    costs, denials = {}, {}
    for kind in stores:
        print(f"== {kind}", file=sys.stderr)
        with tempfile.TemporaryDirectory(prefix="assetfs-requests-") as work:
            costs[kind], denials[kind] = everyday(kind, work)
        with tempfile.TemporaryDirectory(prefix="assetfs-requests-") as work:
            costs[kind][f"ls -lR of {LIST_OF:,} files"] = many(kind, work)
    print("Requests to the API, and with `+` those for content, until everything is in the store:\n")
    print("| | " + " | ".join(stores) + " |")
    print("|---|" + "---:|" * len(stores))
    for name in costs[stores[0]]:
        print(f"| {name} | " + " | ".join(costs[kind][name] for kind in stores) + " |")
    print("\nWhat a store's shape does not allow is refused at once:\n")
    print("| store | what | errno |")
    print("|---|---|---|")
    for kind in stores:
        for what, found in denials[kind]:
            print(f"| {kind} | {what} | {found} |")


if __name__ == "__main__":
    main()
