"""What a step may do to whoever runs it: `python a_step.py BEHAVIOUR …`."""

import signal
import subprocess
import sys
from pathlib import Path


def main(arguments: list[str]) -> int:
    match arguments:
        case ["works", *_]:
            print("it worked")
        case ["fails", times, file]:
            attempts = Path(file).read_text().count(".") + 1 if Path(file).exists() else 1
            Path(file).write_text("." * attempts)
            print(f"attempt {attempts}", file=sys.stderr)
            return 3 if attempts <= int(times) else 0
        case ["hangs", file]:
            child = subprocess.Popen([sys.executable, __file__, "sleeps"])
            Path(f"{file}.draft").write_text(str(child.pid))
            Path(f"{file}.draft").rename(file)
            child.wait()
        case ["sleeps"]:
            signal.pause()
        case _:
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
