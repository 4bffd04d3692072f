"""Progress: how far a benchmark has come, on standard error: a bar on a terminal, and elsewhere a line now and then."""

from rich.console import Console
from rich.progress import Progress, TaskID

_LINES_OF_A_TASK = 10


class Told(Progress):
    """Tells whoever looks; nothing of it stays on a terminal."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        super().__init__(console=console, transient=True, disable=not console.is_terminal)

    def begin(self, what: str, total: int | None = None) -> TaskID:
        """Begin something that comes to its end in so many steps, or without one that could be told."""
        if self.disable:
            self.console.print(f"{what} …")
        return self.add_task(what, total=total)

    def step(self, task: TaskID, steps: int = 1) -> None:
        """So much more of it is done."""
        (of,) = (each for each in self.tasks if each.id == task)
        before = of.completed
        self.advance(task, steps)
        if self.disable and of.total and _lines(before, of.total) < _lines(of.completed, of.total):
            self.console.print(f"{of.description}: {of.completed:.0f} of {of.total:.0f}")


def _lines(completed: float, total: float) -> int:
    """How many lines are due when so much is done."""
    return int(completed * _LINES_OF_A_TASK // total)
