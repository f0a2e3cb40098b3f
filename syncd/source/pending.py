"""Changed pages between two deltas, in memory and bounded."""

from dataclasses import dataclass, field

from syncd.source.position import Position


@dataclass(frozen=True, slots=True)
class Piece:
    """Pages for one delta.

    `boundary` says that the database stood like this at a committed transaction boundary, at
    `position`; otherwise the piece is a part of something larger. `rebase` says that all earlier
    pages are void, because the page size changed.
    """

    pages: dict[int, bytes]
    page_size: int
    page_count: int
    rebase: bool
    boundary: bool
    commits: int
    first_ms: int
    last_ms: int
    position: Position | None


@dataclass(slots=True)
class Pending:
    """What was read and not yet taken.

    `touched` has a byte for each page: set where a running comparison must not look at the file,
    because the log had the page. It is empty while no comparison runs. `unfinished` says that some
    but not all pages of a stretch of the log are here.
    """

    page_size: int = 0
    page_count: int = 0
    pages: dict[int, bytes] = field(default_factory=dict)
    rebase: bool = False
    commits: int = 0
    first_ms: int = 0
    last_ms: int = 0
    touched: bytearray = field(default_factory=bytearray)
    scanning: bool = False
    unfinished: bool = False

    @property
    def size(self) -> int:
        """Bytes of page images held."""
        return len(self.pages) * self.page_size

    def begin_scan(self) -> None:
        """A comparison starts: nothing is touched yet."""
        self.scanning = True
        self.touched = bytearray()

    def end_scan(self) -> None:
        """The comparison is complete."""
        self.scanning = False
        self.touched = bytearray()

    def is_touched(self, number: int) -> bool:
        """Whether the log had this page since the comparison began."""
        return number < len(self.touched) and self.touched[number] != 0

    def put(self, pages: dict[int, bytes], now_ms: int) -> None:
        """Add committed images from the log."""
        if not pages:
            return
        self.note(now_ms)
        self.unfinished = True
        self.pages.update(pages)
        if self.scanning:
            top = max(pages)
            if top >= len(self.touched):
                self.touched.extend(bytes(top + 1024 - len(self.touched)))
            for number in pages:
                self.touched[number] = 1

    def finish(self, commits: int, page_count: int) -> None:
        """The stretch is complete: so many commits, and the size after them (0: as before)."""
        self.commits += commits
        self.page_count = page_count or self.page_count
        self.unfinished = False

    def put_compared(self, number: int, image: bytes, now_ms: int) -> None:
        """Add an image that the comparison found in the file."""
        self.note(now_ms)
        self.pages[number] = image

    def note(self, now_ms: int) -> None:
        """Something changed at this time."""
        self.first_ms = self.first_ms or now_ms
        self.last_ms = max(now_ms, self.first_ms)

    def restart(self, page_size: int) -> None:
        """The page size is another one: all earlier pages are void."""
        self.page_size = page_size
        self.page_count = 0
        self.pages = {}
        self.rebase = True
        self.end_scan()

    def take(self, *, boundary: bool, position: Position | None, now_ms: int) -> Piece:
        """Hand everything over and begin anew.

        A piece that is no boundary keeps the size that its pages need: the final size is known at
        the boundary only.
        """
        self.note(now_ms)
        piece = Piece(
            pages=self.pages,
            page_size=self.page_size,
            page_count=self.page_count if boundary else max(self.pages, default=0),
            rebase=self.rebase,
            boundary=boundary,
            commits=self.commits if boundary else 0,
            first_ms=self.first_ms,
            last_ms=self.last_ms,
            position=position,
        )
        self.pages = {}
        self.rebase = False
        if boundary:
            self.commits = 0
            self.first_ms = self.last_ms = 0
        return piece
