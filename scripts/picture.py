"""Runs a session with the built-in Image Relay in a home of its own, and draws what a terminal shows of it."""

import os
import pty
import re
import subprocess
import sys
import tempfile

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

COLUMNS = 96

# What somebody types. Each line runs in the same shell.
SESSION = [
    "mkdir studio && assetfs mount studio ~/studio",
    "ls ~/studio; cd ~/studio",
    "mkdir Spring && cp ~/hero.jpg Spring/        # a new asset, in a new folder",
    "setfattr -n user.imagerelay.term.Credit -v Ada Spring/hero.jpg",
    "getfattr -n user.assetfs.state Spring/hero.jpg",
    "assetfs sync                                 # closed = safe here, synced = in the store",
    "getfattr -n user.assetfs.state Spring/hero.jpg",
    "rm Spring/hero.jpg && assetfs status",
    "cd && assetfs unmount ~/studio",
]


def terminal(command, environment, home):
    """The output of a command that believes to be on a terminal."""
    main, side = pty.openpty()
    process = subprocess.Popen(
        ["stty", "cols", str(COLUMNS)], stdin=side, stdout=side, stderr=side
    )
    process.wait()
    process = subprocess.Popen(
        command, stdin=side, stdout=side, stderr=side, env=environment, cwd=home
    )
    os.close(side)
    output = b""
    while True:
        try:
            piece = os.read(main, 65536)
        except OSError:
            break
        if not piece:
            break
        output += piece
    os.close(main)
    if process.wait() != 0:
        sys.exit("the session failed:\n" + output.decode())
    return output.decode()


def shown(text):
    """What is left on the screen of a text: a line that was drawn over shows its last state."""
    lines = []
    for line in text.replace("\r\n", "\n").split("\n"):
        line = re.sub(r"\x1b\[[0-9;?]*[A-HJKSTfhl]", "", line)
        lines.append(line.rsplit("\r", 1)[-1])
    return "\n".join(line for line in lines if line.strip())


def picture(text):
    console = Console(record=True, width=COLUMNS, file=open(os.devnull, "w"))
    for line in text.split("\n"):
        # As a terminal does with what is longer than its width.
        console.print(Text.from_ansi(line), overflow="fold", soft_wrap=False)
    svg = console.export_svg(title="assetfs", theme=MONOKAI)
    # The picture stands for itself: it loads no fonts from elsewhere.
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.S)
    svg = svg.replace("Fira Code, monospace", "ui-monospace, Menlo, Consolas, monospace")
    return re.sub(r"terminal-\d+", "t", svg)


def main(program, target):
    with tempfile.TemporaryDirectory(prefix="assetfs-picture-") as home:
        environment = {
            "HOME": home,
            "PATH": os.path.dirname(program) + ":" + os.environ["PATH"],
            "XDG_RUNTIME_DIR": home + "/run",
            "ASSETFS_RUNTIME_DIR": home + "/run/assetfs",
            "ASSETFS_CONFIG": home + "/config.toml",
            "ASSETFS_CACHE_DIR": home + "/cache",
            "ASSETFS_STATE_DIR": home + "/state",
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
            "USER": "ada",
        }
        os.mkdir(home + "/run", 0o700)
        with open(home + "/hero.jpg", "wb") as hero:
            hero.write(b"\xff\xd8\xff\xe0" + os.urandom(1_800_000))
        server = subprocess.Popen(
            [program, "serve", "imagerelay"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            text=True,
        )
        try:
            url = server.stdout.readline().strip()
            subprocess.run(
                [program, "login", "studio", "--kind", "imagerelay", "--url", url, "--file", "--stdin"],
                input="emulator\n",
                text=True,
                env=environment,
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            prompt = "\033[1;32mada@desk\033[0m:\033[1;34m${PWD/#$HOME/\\~}\033[0m\\$"
            script = "set -e; trap 'cd; assetfs unmount --lazy ~/studio 2>/dev/null || true' EXIT\n"
            script += "alias ls='ls --color=always -C -w %d'; shopt -s expand_aliases\n" % COLUMNS
            for line in SESSION:
                escaped = line.replace("'", "'\\''")
                script += f"printf '%b %s\\n' \"{prompt}\" '{escaped}'\n{line}\n"
            text = terminal(["bash", "-c", script], environment, home)
        finally:
            server.terminate()
            server.wait()
        text = shown(text.replace(home, "/home/ada"))
        with open(target, "w") as file:
            file.write(picture(text))
        print(text, file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
