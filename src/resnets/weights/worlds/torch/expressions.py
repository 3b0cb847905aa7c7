"""Rows that read each other -> lines of PyTorch: the modules that they need, and the calls in their order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from resnets.architecture import ResNetSpec, Row
from resnets.architecture.rows import readers

LONGEST = 108  # characters of a line, without what stands before it


class Writer:
    """The lines of one class.

    rows        of a stem, a unit or a head
    words       what ours are called: norm, shortcut
    channels    what a role gives, as an expression; a norm and a ReLU give what they read
    strides     parts whose stride is the class's `stride`
    norm        how a norm of so many channels is made
    """

    def __init__(
        self,
        rows: Sequence[Row],
        spec: ResNetSpec,
        words: Mapping[str, str],
        channels: Mapping[str, str],
        strides: Collection[str],
        norm: Callable[[ResNetSpec, str], str],
    ) -> None:
        self.rows, self.spec, self.words, self.strides, self.norm = rows, spec, words, strides, norm
        self.prefix = rows[0].role.rpartition(".")[0] + "."
        self.gives = dict(channels)
        for row in rows:
            self.gives.setdefault(row.role, self.gives[row.reads[0]])

    def part(self, row: Row) -> str:
        """A row's place in its class: "conv1", "shortcut.conv"."""
        return row.role.removeprefix(self.prefix)

    def modules(self) -> list[str]:
        """What __init__ makes: convolutions, norms and the linear layer; those of a shortcut in one line."""
        lines, shortcut = [], []
        for row in self.rows:
            if row.kind not in ("conv", "norm", "linear"):
                continue
            if self.part(row).startswith("shortcut."):
                shortcut.append((self.part(row).partition(".")[2], self._made(row)))
            else:
                lines.append(f"self.{self.attribute(row)} = {self._made(row)}")
        if shortcut:
            place = f"self.{self.words['shortcut']}"
            ours = self.words["shortcut"] == "shortcut"
            before, behind = ("nn.Sequential(OrderedDict(", "))") if ours else ("nn.Sequential(", ")")
            lines += listed(f"{place} = {before}", [f"{n}={made}" if ours else made for n, made in shortcut], behind)
        return lines

    def attribute(self, row: Row) -> str:
        """Its name in the state."""
        name = self.part(row)
        if self.words["norm"] == "bn" and self.prefix in ("stem.", "head."):
            return {"conv": "conv1", "norm": "bn1", "linear": "fc"}[name]
        return name.replace("norm", self.words["norm"])

    def _made(self, row: Row) -> str:
        given = self.gives[row.reads[0]]
        if row.kind == "norm":
            return self.norm(self.spec, given)
        if row.kind == "linear":
            return f"nn.Linear({given}, {self.gives[row.role]})"
        stride = "stride" if self.part(row) in self.strides else str(row.stride)
        padding = 0 if row.padding == "same" else int(row.padding)
        settings = [f"stride={stride}"] if stride != "1" else []
        settings += [f"padding={padding}"] if padding else []
        settings += [f"dilation={row.dilation}"] if row.dilation > 1 else []
        settings += [f"groups={row.groups}"] if row.groups > 1 else []
        settings += ["bias=False"] if not row.bias else []
        return f"nn.Conv2d({', '.join([given, self.gives[row.role], str(row.kernel), *settings])})"

    def lines(self, x: str, y: str, fork: str | None, *, returns: bool = True) -> list[str]:
        """The body of forward.

        x, y        the variables of what comes in, and of what is made of it
        fork        the role that the shortcut reads, where that is a row of the branch: it keeps a variable of its own
        returns     whether the last line returns, instead of keeping it in y
        """
        reading = readers(self.rows)
        value = {self.rows[0].reads[0]: x}
        found: list[str] = []
        for row in self.rows:
            expression = self._called(row, value)
            after = reading.get(row.role, [])
            inside = self.part(row).startswith("shortcut.")
            if not after:
                found.append(f"return {expression}" if returns else f"{y} = {expression}")
            elif len(after) > 1 or after[0].kind in ("add", "conv", "linear") or row.kind == "add":
                keeps = "a" if row.role == fork else "s" if inside else y
                if row.kind == "add" and after[0].kind in ("relu", "norm"):
                    value[row.role] = expression
                    continue
                if self._continues(row, after):
                    value[row.role] = expression
                    continue
                if expression != keeps:
                    found.append(f"{keeps} = {expression}")
                value[row.role] = keeps
            else:
                value[row.role] = expression
        return found

    def _continues(self, row: Row, after: Sequence[Row]) -> bool:
        """Whether a shortcut's next row is of the same module, or a pool before it: they are one expression."""
        return len(after) == 1 and self.part(row).startswith("shortcut.") and after[0].kind in ("conv", "norm")

    def _called(self, row: Row, value: Mapping[str, str]) -> str:
        e = value[row.reads[0]]
        part = self.part(row)
        match row.kind:
            case "conv" | "norm" if part.startswith("shortcut."):
                kinds = [one.kind for one in self.rows if self.part(one).startswith("shortcut.")]
                if row.kind == "norm" and "conv" in kinds:
                    return e  # it is in the same Sequential, which was called already
                return f"self.{self.words['shortcut']}({e})"
            case "conv":
                padded = f"same({e}, {row.kernel}, {row.stride})" if row.padding == "same" else e
                return f"self.{self.attribute(row)}({padded})"
            case "norm" | "linear":
                return f"self.{self.attribute(row)}({e})"
            case "relu":
                return f"F.relu({e})"
            case "add":
                return f"{e} + {value[row.reads[1]]}"
            case "max_pool":
                return _max_pool(row, e)
            case "avg_pool" if row.stride == 1:
                return f'F.avg_pool2d(F.pad({e}, (0, 1, 0, 1), mode="replicate"), 2, 1)'
            case "avg_pool":
                return f"F.avg_pool2d({e}, 2, {row.stride}, ceil_mode=True, count_include_pad=False)"
            case "subsample":
                return f"{e}[:, :, ::{row.stride}, ::{row.stride}]"
            case "pad":
                return self._padded(row, e)
            case "global_pool":
                return f"({e}).mean((2, 3))" if " " in e else f"{e}.mean((2, 3))"
        raise ValueError(f"No line for a row of kind {row.kind!r}")

    def _padded(self, row: Row, e: str) -> str:
        """Zeros for the channels that the branch's end has more; at that line it is y."""
        kept = f"{e}[:, :, ::{row.stride}, ::{row.stride}]" if row.stride > 1 else e
        new = f"y.shape[1] - {e}.shape[1]"
        if row.pad_side == "both":
            return f"F.pad({kept}, (0, 0, 0, 0, ({new}) // 2, ({new} + 1) // 2))"
        return f"F.pad({kept}, (0, 0, 0, 0, 0, {new}))"


def listed(before: str, parts: Sequence[str], behind: str) -> list[str]:
    """What stands between brackets: in one line, or, where that is too long, a line each."""
    line = f"{before}{', '.join(parts)}{behind}"
    return [line] if len(line) <= LONGEST else [before, *(f"    {part}," for part in parts), behind]


def _max_pool(row: Row, e: str) -> str:
    window = f"{row.kernel}, {row.stride}"
    match row.padding:
        case "ceil":
            return f"F.max_pool2d({e}, {window}, ceil_mode=True)"
        case "zero":
            return f"F.max_pool2d(F.pad({e}, (1, 1, 1, 1)), {window})"
        case "same":
            return f'F.max_pool2d(same({e}, {window}, float("-inf")), {window})'
        case 0:
            return f"F.max_pool2d({e}, {window})"
    return f"F.max_pool2d({e}, {window}, padding={row.padding})"
