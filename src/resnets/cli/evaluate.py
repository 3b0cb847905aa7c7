"""`resnets evaluate`: how good is a model on images whose classes are known, and is it better than another?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from resnets.cli.output import console, emit, line, note, told_next


def evaluate(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL... [DATA]",
            help="One model or two: a file, a run, anybody's weights, or a tag. Then the data: a folder, a .zip or "
            ".tar of one, or a name like cifar10. Default: digits.",
            show_default=False,
        ),
    ],
    split: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="train, val, test, new, or unseen (held out or new); without it, the held-out one.",
            show_default=False,
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="F.html", help="Write it as a page with pictures, too.", show_default=False),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Judge a model on images whose classes are known, each exactly once; or compare two models.

    Classes are matched by name; those that the model does not know are left out, and said. A model knows its
    training images again by their content: of class folders, what the training held out judges, new images where
    there is none of that, and training images only when you ask for them. Files that are no usable image are named
    and left out. Two models are compared on images that neither was trained on, and called different only where
    chance alone would not do it.

    \b
    Examples:
      resnets evaluate runs/photos photos/                       the images that training held out
      resnets evaluate runs/photos photos/ --report photos.html  where it fails, to look at
      resnets evaluate runs/photos photos/ --split train         how well it knows what it has seen
      resnets evaluate runs/photos photos/ --split new           what you have added since
      resnets evaluate runs/photos runs/other photos/            which of the two is better?
      resnets evaluate model.safetensors new.zip --json          for a program
    """
    if len(words) > 3:
        raise typer.BadParameter(f"{len(words)} words are too many: name a model or two, then the data.")
    *models, data = words if len(words) > 1 else [*words, "digits"]
    if len(words) == 1:
        note("no data is named, so scikit-learn's digits judge: name yours behind the model")
    from resnets.errors import DataError
    from resnets.machine import keep_memory
    from resnets.pages import page
    from resnets.text import printable

    if (Path(data) / "run.json").is_file() or data.endswith(".safetensors"):
        raise DataError(f"{printable(data)} is a model and no data: name the data after the models.")
    if report is not None:  # before the long work
        page.check(report, data)
    keep_memory()
    if len(models) == 1:
        _judge(models[0], data, split, report, json)
    else:
        _compare((models[0], models[1]), data, split, report, json)


def _judge(model: str, data: str, split: str | None, report: Path | None, json: bool) -> None:
    from resnets.evaluation import evaluate
    from resnets.inference import load

    classifier = load(model)
    result = evaluate(classifier, data, split).followed(model, data)
    if report is not None:
        from resnets.pages.report import write

        run = Path(model) if (Path(model) / "run.json").is_file() else None
        write(report, classifier, result, data=data, run=run, model=model)
        note(f"report: {report}")
    if json:
        emit({**result.document(), **({"titles": dict(classifier.titles)} if classifier.titles else {})})
    else:
        _show(result.document(), classifier.titles)


def _compare(models: tuple[str, str], data: str, split: str | None, report: Path | None, json: bool) -> None:
    from resnets.evaluation import compare

    result = compare(*models, data, split, names=models)
    if report is not None:
        from resnets.pages.comparison import write

        write(report, result, data, models)
        note(f"report: {report}")
    if json:
        emit(result.document())
    else:
        _show_comparison(result.document())


def _show(result: dict[str, Any], titles: Mapping[str, str]) -> None:
    from rich.table import Table

    from resnets.data.titles import shown as titled
    from resnets.evaluation.significance import interval, shown
    from resnets.progress import duration

    figures = Table.grid(padding=(0, 2))
    for name, value in (
        ("images", f"{result['images']:,} ({result['split']}), in {duration(result['seconds'])}"),
        ("top-1", shown(result["top1"], result["top1_interval"])),
        ("guessing", f"{_percent(result['baseline'])}, always the commonest class"),
        ("top-5", _percent(result["top5"])),
        ("balanced accuracy", _percent(result["balanced_accuracy"])),
        ("macro-F1", _percent(result["macro_f1"])),
        ("loss", f"{result['loss']:.4f}"),
        ("calibration error", _percent(result["ece"])),
        *_doubts(result),
    ):
        figures.add_row(name, value)
    classes = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    classes.add_column("class")
    for header in ("images", "precision", "recall"):
        classes.add_column(header, justify="right", no_wrap=True)
    for row in result["per_class"]:
        recall = "-" if row["recall"] is None else shown(row["recall"], interval(row["recall"], row["images"]))
        shares = (_percent(row["precision"]), recall)
        classes.add_row(titled(row["name"], titles), f"{row['images']:,}", *shares)
    console().print(figures)
    line("")
    for sentence in (*told_next(result["next"]), *result["remarks"]):
        line(sentence)
    console().print("", classes)
    _name_skipped(result["skipped_files"])


def _doubts(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Lines that only a calibrated model has."""
    lines = []
    if (coverage := result.get("coverage")) is not None:
        stated, size = result.get("stated_coverage"), result["set_size"]
        promised = "" if stated is None else f" ({_percent(stated)} stated)"
        lines.append(("coverage", f"{_percent(coverage)}{promised}, {size:.2f} classes in a set"))
    for name in ("unsure", "unlike"):
        if (share := result.get(name)) is not None:
            lines.append((name, _percent(share)))
    return lines


def _show_comparison(result: dict[str, Any]) -> None:
    from rich.table import Table

    from resnets.evaluation.significance import shown

    def table(left: str, right: tuple[str, ...]) -> Table:
        made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        made.add_column(left)
        for header in right:
            made.add_column(header, justify="right", no_wrap=True)
        return made

    models = table("model", ("top-1 (95 %)", "right alone"))
    for model, alone in zip(result["models"], (result["only_first"], result["only_second"]), strict=True):
        models.add_row(model["name"], shown(model["top1"], model["interval"]), f"{alone:,}")
    classes = table("class", ("images", "only 1st right", "only 2nd right", "p"))
    for row in result["classes"]:
        counts = (f"{row[key]:,}" for key in ("images", "only_first", "only_second"))
        classes.add_row(row["name"], *counts, f"{row['p_value']:.2g}")
    left_out = f", {result['left_out']:,} judged by one alone left out" if result["left_out"] else ""
    out = console()
    out.print(result["verdict"], "", models, f"\n{result['images']:,} images{left_out}", "", classes)
    named = [file for model in result["models"] for file in model["skipped_files"]]
    _name_skipped(list({file["path"]: file for file in named}.values()))


def _name_skipped(files: list[dict[str, str]]) -> None:
    for file in files:
        note(f"left out: {file['path']}: {file['why']}", serious=True)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f} %"
