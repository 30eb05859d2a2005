#!/usr/bin/env python3
"""Random work on a folder, against a model: what `scripts/e2e` puts a drive under.

    load.py namespace FOLDER --seed N --operations N    one program; the tree stays for who compares it
    load.py parallel FOLDER --seconds N --workers N     several programs at once on the same folders

Both exit with 1 and say where, when the folder is not what the model says.
"""

import argparse
import errno
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import time

# Long enough for a loaded machine; a program that takes longer hangs.
PROGRAM_SECONDS_MAX = 120
BYTES_MAX = 64 * 1024


def fail(text):
    sys.exit(f"load.py: {text}")


class Tree:
    """What a folder must look like: every path below it, with the bytes of files and None for folders."""

    def __init__(self, root):
        self.root = root
        self.nodes = {}

    def at(self, path):
        return os.path.join(self.root, path)

    def folders(self):
        return [""] + [path for path, data in self.nodes.items() if data is None]

    def files(self):
        return [path for path, data in self.nodes.items() if data is not None]

    def below(self, path):
        return [other for other in self.nodes if other.startswith(path + "/")]

    def move(self, source, target):
        self.drop(target)
        for path in [source] + self.below(source):
            self.nodes[target + path[len(source):]] = self.nodes.pop(path)

    def drop(self, path):
        for gone in [path] + self.below(path):
            self.nodes.pop(gone, None)

    def compare(self):
        """The differences between the folder and the model, as lines."""
        seen, wrong = set(), []
        for folder, folders, files in os.walk(self.root, onerror=raise_it):
            for name in folders + files:
                path = os.path.relpath(os.path.join(folder, name), self.root)
                seen.add(path)
                if path not in self.nodes:
                    wrong.append(f"{path}: is there and should not be")
                elif (name in folders) != (self.nodes[path] is None):
                    wrong.append(f"{path}: file and folder are confused")
                elif name in files:
                    with open(self.at(path), "rb") as file:
                        data = file.read()
                    want = self.nodes[path]
                    if data != want:
                        wrong.append(f"{path}: {len(data)} bytes where {len(want)} others should be")
        wrong += [f"{path}: is missing" for path in self.nodes if path not in seen]
        return wrong


def raise_it(error):
    raise error


def expect(code, work):
    """Runs something that must fail with this errno."""
    try:
        work()
    except OSError as error:
        if error.errno != code:
            fail(f"{errno.errorcode[code]} expected, not {error}")
    else:
        fail(f"{errno.errorcode[code]} expected, and nothing failed")


class Namespace:
    """One program that does everything that changes a tree."""

    def __init__(self, root, seed):
        self.random = random.Random(seed)
        self.tree = Tree(root)

    def name(self, is_folder):
        stem = self.random.choice(["a", "b", "long name ", "ü", "x.y", "Ω"]) + str(self.random.randrange(12))
        return stem if is_folder else stem + self.random.choice([".txt", ".jpg", ".bin"])

    def place(self, is_folder):
        folder = self.random.choice(self.tree.folders())
        if folder.count("/") > 5:
            folder = ""
        return os.path.join(folder, self.name(is_folder))

    def bytes(self):
        size = self.random.choice([0, 1, 100, 4096, 5000, self.random.randrange(BYTES_MAX)])
        return self.random.randbytes(size)

    def one_file(self):
        files = self.tree.files()
        return self.random.choice(files) if files else None

    def put(self, path, data):
        with open(self.tree.at(path), "wb") as file:
            file.write(data)
        self.tree.nodes[path] = data

    def is_free_for_file(self, path):
        return self.tree.nodes.get(path, b"") is not None

    def mkdir(self):
        path = self.place(True)
        if path in self.tree.nodes:
            return expect(errno.EEXIST, lambda: os.mkdir(self.tree.at(path)))
        os.mkdir(self.tree.at(path))
        self.tree.nodes[path] = None

    def write(self):
        path = self.place(False)
        if self.is_free_for_file(path):
            self.put(path, self.bytes())

    def save_by_rename(self):
        path = self.one_file()
        if path:
            temporary = os.path.join(os.path.dirname(path), f"save{self.random.randrange(10**6)}.tmp")
            data = self.bytes()
            with open(self.tree.at(temporary), "wb") as file:
                file.write(data)
                os.fsync(file.fileno())
            os.rename(self.tree.at(temporary), self.tree.at(path))
            self.tree.nodes[path] = data

    def append(self):
        path = self.one_file()
        if path:
            data = self.bytes()
            with open(self.tree.at(path), "ab") as file:
                file.write(data)
            self.tree.nodes[path] += data
            if len(self.tree.nodes[path]) > 4 * BYTES_MAX:
                self.put(path, b"")

    def patch(self):
        path = self.one_file()
        if path:
            old, data = self.tree.nodes[path], self.bytes()
            offset = self.random.randrange(len(old) + 5000)
            with open(self.tree.at(path), "r+b") as file:
                file.seek(offset)
                file.write(data)
            padded = old.ljust(offset, b"\0") if data else old
            self.tree.nodes[path] = padded[:offset] + data + padded[offset + len(data):] if data else old

    def truncate(self):
        path = self.one_file()
        if path:
            old = self.tree.nodes[path]
            size = self.random.randrange(len(old) + 1000)
            os.truncate(self.tree.at(path), size)
            self.tree.nodes[path] = old[:size].ljust(size, b"\0")

    def unlink(self):
        path = self.one_file()
        if path:
            os.unlink(self.tree.at(path))
            self.tree.drop(path)
            expect(errno.ENOENT, lambda: os.stat(self.tree.at(path)))

    def rmdir(self):
        path = self.random.choice(self.tree.folders())
        if not path:
            return
        if self.tree.below(path):
            return expect(errno.ENOTEMPTY, lambda: os.rmdir(self.tree.at(path)))
        os.rmdir(self.tree.at(path))
        self.tree.drop(path)

    def remove_tree(self):
        path = self.random.choice(self.tree.folders())
        # Else little would be left to work on.
        if path and len(self.tree.below(path)) < 8:
            shutil.rmtree(self.tree.at(path))
            self.tree.drop(path)

    def rename_file(self):
        source, target = self.one_file(), self.place(False)
        if not source or source == target:
            return
        if not self.is_free_for_file(target):
            return expect(errno.EISDIR, lambda: os.rename(self.tree.at(source), self.tree.at(target)))
        os.rename(self.tree.at(source), self.tree.at(target))
        self.tree.move(source, target)

    def rename_folder(self):
        source, target = self.random.choice(self.tree.folders()), self.place(True)
        if not source or source == target:
            return
        rename = lambda: os.rename(self.tree.at(source), self.tree.at(target))
        if target.startswith(source + "/"):
            return expect(errno.EINVAL, rename)
        if source.startswith(target + "/") or self.tree.below(target):
            return expect(errno.ENOTEMPTY, rename)
        if self.tree.nodes.get(target) is not None:
            return expect(errno.ENOTDIR, rename)
        rename()
        self.tree.move(source, target)

    def times_and_mode(self):
        path = self.one_file()
        if path:
            nanoseconds = self.random.randrange(10**18)
            os.utime(self.tree.at(path), ns=(nanoseconds, nanoseconds))
            os.chmod(self.tree.at(path), 0o640)
            stat = os.stat(self.tree.at(path))
            if stat.st_mtime_ns != nanoseconds or stat.st_mode & 0o777 != 0o640:
                fail(f"{path}: time or mode are not what was set")

    def look(self):
        folder = self.random.choice(self.tree.folders())
        want = {os.path.basename(p) for p in self.tree.nodes if os.path.dirname(p) == folder}
        found = set(os.listdir(self.tree.at(folder)))
        if found != want:
            fail(f"{folder or '.'}: differs in {sorted(found ^ want)}")

    def read(self):
        path = self.one_file()
        if path:
            with open(self.tree.at(path), "rb") as file:
                if file.read() != self.tree.nodes[path]:
                    fail(f"{path}: other bytes than were written")

    def run(self, operations):
        work = [
            (self.mkdir, 8), (self.write, 14), (self.save_by_rename, 8), (self.append, 8), (self.patch, 6),
            (self.truncate, 4), (self.unlink, 5), (self.rmdir, 4), (self.remove_tree, 1), (self.rename_file, 8),
            (self.rename_folder, 5), (self.times_and_mode, 3), (self.look, 6), (self.read, 8),
        ]
        steps, weights = zip(*work)
        for number in range(operations):
            step = self.random.choices(steps, weights)[0]
            try:
                step()
            except OSError as error:
                fail(f"operation {number}, {step.__name__}: {error}")
            except SystemExit as error:
                fail(f"operation {number}, {step.__name__}: {error}")
        return self.tree


def program(*arguments, cwd=None):
    """Runs a program that must succeed, and must not hang."""
    try:
        done = subprocess.run(arguments, cwd=cwd, capture_output=True, timeout=PROGRAM_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        fail(f"{' '.join(arguments)}: does not end")
    if done.returncode:
        fail(f"{' '.join(arguments)}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


FOLDERS = ["a", "b", "b/c"]


class Worker:
    """One of several programs that work in the same folders, each with names of its own, and on two files in common."""

    def __init__(self, root, number, source):
        self.tree = Tree(root)
        self.number = number
        self.source = source
        self.random = random.Random(number)
        self.serial = 0
        self.lines = 0

    def fresh(self, ending=""):
        self.serial += 1
        return os.path.join(self.random.choice(FOLDERS), f"w{self.number}-{self.serial}{ending}")

    def mine(self, is_folder):
        own = [p for p, data in self.tree.nodes.items() if (data is None) == is_folder]
        top = [p for p in own if os.path.basename(p).startswith(f"w{self.number}-")]
        return self.random.choice(top) if top else None

    def copy(self):
        path = self.fresh()
        program("cp", "-r", self.source.root, self.tree.at(path))
        self.tree.nodes[path] = None
        for below, data in self.source.nodes.items():
            self.tree.nodes[f"{path}/{below}"] = data

    def move(self):
        is_folder = self.random.random() < 0.5
        source, target = self.mine(is_folder), self.fresh("" if is_folder else ".txt")
        if source:
            program("mv", self.tree.at(source), self.tree.at(target))
            self.tree.move(source, target)

    def remove(self):
        path = self.mine(True)
        if path:
            program("rm", "-r", self.tree.at(path))
            self.tree.drop(path)

    def find(self):
        # Names of others come and go while it looks, so only what is asked of it is what it must not do: hang.
        subprocess.run(["find", self.tree.root, "-type", "f", "-size", "+1k"], capture_output=True,
                       timeout=PROGRAM_SECONDS_MAX)

    def edit(self):
        path = self.mine(False) or self.fresh(".txt")
        data = f"line of {self.number}\n".encode() * self.random.randrange(1, 400)
        temporary = self.tree.at(path) + ".tmp"
        with open(temporary, "wb") as file:
            file.write(data)
            os.fsync(file.fileno())
        os.rename(temporary, self.tree.at(path))
        self.tree.nodes[path] = data

    def edit_in_place(self):
        path = self.mine(False)
        if path and self.tree.nodes[path]:
            program("sed", "-i", "s/line/LINE/", self.tree.at(path))
            self.tree.nodes[path] = self.tree.nodes[path].replace(b"line", b"LINE")

    def delete(self):
        path = self.mine(False)
        if path:
            os.unlink(self.tree.at(path))
            self.tree.drop(path)

    def read(self):
        path = self.mine(False)
        if path:
            with open(self.tree.at(path), "rb") as file:
                if file.read() != self.tree.nodes[path]:
                    fail(f"{path}: other bytes than were written")

    def log(self):
        with open(self.tree.at("log.txt"), "ab", buffering=0) as file:
            file.write(b"%d %06d\n" % (self.number, self.lines))
        self.lines += 1

    def save_common(self):
        temporary = self.tree.at(f"common-{self.number}.tmp")
        with open(temporary, "wb") as file:
            file.write(common(self.number))
        os.rename(temporary, self.tree.at("common.txt"))

    def run(self, until):
        work = [
            (self.copy, 3), (self.move, 4), (self.remove, 3), (self.find, 1), (self.edit, 6), (self.edit_in_place, 3),
            (self.delete, 2), (self.read, 4), (self.log, 5), (self.save_common, 2),
        ]
        steps, weights = zip(*work)
        count = 0
        while time.monotonic() < until:
            step = self.random.choices(steps, weights)[0]
            if len(self.tree.nodes) > 400:
                step = self.remove if self.mine(True) else self.delete
            try:
                step()
            except OSError as error:
                fail(f"{step.__name__}: {error}")
            count += 1
        return count, self.lines, self.tree.nodes


def common(number):
    return f"all of {number}\n".encode() * 3000


def run_worker(task):
    root, number, source, until = task
    try:
        return Worker(root, number, source).run(until)
    except SystemExit as error:
        return str(error)


def source_tree(folder):
    tree = Tree(folder)
    for path in ["x", "x/y", "z"]:
        os.makedirs(tree.at(path), exist_ok=True)
        tree.nodes[path] = None
    for number in range(6):
        path = ["", "x/", "x/y/", "z/"][number % 4] + f"file {number}.txt"
        tree.nodes[path] = random.Random(number).randbytes(number * 3000)
        with open(tree.at(path), "wb") as file:
            file.write(tree.nodes[path])
    return tree


def parallel(root, seconds, workers):
    for folder in FOLDERS:
        os.makedirs(os.path.join(root, folder), exist_ok=True)
    whole = Tree(root)
    source = source_tree(os.path.join(root, "source"))
    until = time.monotonic() + seconds
    with multiprocessing.Pool(workers) as pool:
        done = pool.map(run_worker, [(root, number, source, until) for number in range(workers)], 1)
    broken = [result for result in done if isinstance(result, str)]
    if broken:
        fail("; ".join(broken))
    whole.nodes.update({folder: None for folder in FOLDERS + ["source"]})
    whole.nodes.update({f"source/{path}": data for path, data in source.nodes.items()})
    for _, _, nodes in done:
        whole.nodes.update(nodes)
    compare_common(whole, [lines for _, lines, _ in done])
    wrong = whole.compare()
    if wrong:
        fail("\n".join(wrong[:20]))
    print(f"{sum(count for count, _, _ in done)} operations of {workers} programs, {len(whole.nodes)} nodes at the end")


def compare_common(whole, lines):
    """The files that all wrote: of one, every line arrived whole; the other is one program's whole work."""
    want = sorted(b"%d %06d\n" % (number, line) for number, count in enumerate(lines) for line in range(count))
    if want:
        with open(whole.at("log.txt"), "rb") as file:
            log = file.read()
        if sorted(log.splitlines(True)) != want:
            fail(f"log.txt: {len(log.splitlines())} lines where {len(want)} were appended")
        whole.nodes["log.txt"] = log
    if os.path.exists(whole.at("common.txt")):
        with open(whole.at("common.txt"), "rb") as file:
            data = file.read()
        if data not in [common(number) for number in range(len(lines))]:
            fail("common.txt: a mixture")
        whole.nodes["common.txt"] = data


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["namespace", "parallel"])
    parser.add_argument("folder")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--operations", type=int, default=2000)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--workers", type=int, default=8)
    args = parser.parse_args()
    os.makedirs(args.folder, exist_ok=True)
    if args.what == "parallel":
        return parallel(args.folder, args.seconds, args.workers)
    tree = Namespace(args.folder, args.seed).run(args.operations)
    wrong = tree.compare()
    if wrong:
        fail("\n".join(wrong[:20]))
    print(f"{args.operations} operations, {len(tree.nodes)} nodes at the end")


if __name__ == "__main__":
    main()
