"""Sections about the search: parameters, early stopping, time, pictures, and the settings to repeat it."""

from __future__ import annotations

from distune.config.format_value import show_duration
from distune.reports.page.data_card_values import card_lines, card_tables
from distune.reports.page.figures.importance_figure import draw_importances
from distune.reports.page.figures.stopping_figure import draw_rungs
from distune.reports.page.figures.time_figure import draw_timeline
from distune.reports.page.page_blocks import Block, Code, Figure, Section, Table, Text
from distune.reports.page.page_input import ParameterPlots, Pictures, Settings, StudyFacts
from distune.reports.page.stopping_values import Rung, compare_rungs, conclusion, saving
from distune.reports.page.time_values import evaluation_fraction, spent_by_outcome, spent_table, timeline

FEW_TRIALS = 20
"""Below this number of finished trials, importances of parameters are noise."""


def parameter_section(facts: StudyFacts, plots: ParameterPlots) -> Section:
    """Return importances and Optuna's figures, with the number of trials that they rest on."""
    blocks: list[Block] = [trials_caveat(len(facts.finished))]
    blocks += [Text(text=problem) for problem in plots.problems]
    if plots.importances:
        words = "; ".join(
            f"{name}: " + ", ".join(f"{path} {value:.2f}" for path, value in values.items())
            for name, values in plots.importances.items()
        )
        blocks.append(
            Figure(
                title="Importances, of 1 in total", description=f"{words}.", plot=draw_importances(plots.importances)
            )
        )
    blocks += plots.figures
    return Section(
        name="parameters",
        title="Parameters",
        guide=(
            "Importances say how much of the spread between finished trials goes with a parameter. Two evaluators of "
            "Optuna that disagree are a sign of too few trials."
        ),
        blocks=blocks,
    )


def trials_caveat(num_finished: int) -> Text:
    """Return the caveat about few trials, with their number."""
    if num_finished < FEW_TRIALS:
        return Text(
            text=f"{_trials(num_finished)} finished. Below about {FEW_TRIALS}, importances are noise: do not choose by "
            "them.",
            is_caveat=True,
        )
    return Text(text=f"{_trials(num_finished)} finished. Trials that were stopped early are not in these figures.")


def stopping_section(facts: StudyFacts) -> Section:
    """Return how scores at the rungs agree with final scores, and the epochs that were saved."""
    blocks: list[Block] = []
    saved = saving(facts)
    if facts.scheduler == "none":
        blocks.append(Text(text="Early stopping is off: every trial trains for all epochs."))
    else:
        blocks.append(
            Text(
                text=f"{_trials(saved.num_stopped)} been stopped early. {saved.trained} epochs were trained instead of "
                f"{saved.without_stopping}: {saved.fraction:.0%} were saved."
            )
        )
    rungs = compare_rungs(facts)
    if rungs:
        blocks.append(Text(text=conclusion(rungs)))
        blocks.append(_rung_table(rungs))
        if facts.scheduler != "none":
            blocks.append(
                Text(
                    text="Stopped trials have no final score, so the correlation is over the survivors and the "
                    "controls. Survivors are alike at the rung, which lowers it. It cannot show a good trial that was "
                    "stopped.",
                    is_caveat=True,
                )
            )
        compared = sum(len(rung.compared) for rung in rungs)
        if compared:
            blocks.append(
                Figure(
                    title="Scores at a rung and at the end",
                    description=f"{compared} points. {conclusion(rungs)}",
                    plot=draw_rungs(rungs, metric=facts.metric_title),
                )
            )
    return Section(
        name="stopping",
        title="Early stopping",
        guide=(
            "Stopping is right where the order of trials at a rung is that at the end. Kendall's tau is +1 for the "
            "same order, 0 for no relation."
        ),
        blocks=blocks,
    )


def _rung_table(rungs: list[Rung]) -> Table:
    rows = [
        [
            f"epoch\u00a0{rung.epoch}",
            f"{rung.reached}",
            f"{rung.stopped}",
            "unknown" if rung.kendall is None else f"{rung.kendall:+.2f}",
            f"{rung.agreement:.0%}" if rung.is_comparable else "unknown",
            f"{rung.tied_fraction:.0%}" if rung.is_comparable else "unknown",
            f"{len(rung.compared)}",
        ]
        for rung in rungs
    ]
    return Table(
        title="Rungs",
        columns=["rung", "reached", "stopped", "Kendall's tau", "pairs in order", "pairs tied", "of trials"],
        rows=rows,
        note="Kendall's tau-b and pairs: scores at the rung against those of the last epoch, of finished trials and "
        "controls. A pair is tied if one of the two scores is the same.",
    )


def time_section(facts: StudyFacts) -> Section:
    """Return epochs and seconds by outcome, the fraction of evaluation, and the timeline."""
    spent = spent_by_outcome(facts)
    blocks: list[Block] = [spent_table(spent)]
    fraction = evaluation_fraction(spent)
    if facts.simulated:
        blocks.append(Text(text="A simulated study has no time."))
    elif fraction is not None:
        total = sum(each.seconds or 0.0 for each in spent)
        blocks.append(Text(text=f"Evaluation took {fraction:.0%} of {show_duration(total)}; the rest is training."))
    spans = timeline(facts)
    if spans:
        minutes = show_duration(max(span.begin_s + span.length_s for span in spans))
        description = f"{len(spans)} epochs of {len({span.run for span in spans})} runs in {minutes}."
        blocks.append(Figure(title="Timeline", description=description, plot=draw_timeline(spans)))
    return Section(
        name="time",
        title="Time and epochs",
        guide="Epochs of stopped and failed trials are the price of the search; finished trials are its result.",
        blocks=blocks,
    )


def image_section(pictures: Pictures) -> Section | None:
    """Return search images with the boxes of all models; None where there is nothing to say."""
    blocks: list[Block] = [Text(text=problem) for problem in pictures.problems]
    if pictures.images is not None:
        blocks.append(pictures.images)
    if not blocks:
        return None
    return Section(
        name="images",
        title="Images",
        guide=(
            "Images of the search split, some evenly spaced and those on which student and control differ most. A box "
            "has its class and its score; dashed boxes are crowd or difficult and do not count."
        ),
        blocks=blocks,
    )


def prototype_section(pictures: Pictures) -> Section | None:
    """Return prototypes and filtered instances as pictures; None where the best trial uses none."""
    blocks: list[Block] = [Text(text=problem) for problem in pictures.prototype_problems]
    blocks += pictures.prototypes
    if pictures.filtered:
        blocks.append(
            Text(
                text="The filter gives each instance a weight from 0 to 1 in the local terms: low where student and "
                "teacher see it differently. Both ends of a sample of training images:"
            )
        )
        blocks += pictures.filtered
    if not blocks:
        return None
    return Section(
        name="prototypes",
        title="Prototypes",
        guide="The training instances that stand for their class in the distillation, on the finest level of features.",
        blocks=blocks,
    )


def settings_section(facts: StudyFacts, settings: Settings) -> Section:
    """Return what repeats the study: commands, files, versions, data."""
    blocks: list[Block] = [
        Code(title="Commands", text="\n".join(settings.commands), is_open=True),
        Code(title=f"{facts.study}.yaml: the experiment with all defaults", text=settings.experiment),
        Code(title=f"{facts.study}-space.yaml: the search space", text=settings.space),
        Table(
            title="Versions on the machine that wrote this page",
            columns=["library", "version"],
            rows=[[name, version] for name, version in settings.versions.items()],
        ),
    ]
    if settings.data_card is not None:
        blocks += [Text(text=f"Data: {line}") for line in card_lines(settings.data_card) if line]
        blocks += card_tables(settings.data_card)
    return Section(
        name="settings",
        title="Settings",
        guide="Save both files beside each other and run the commands to repeat the study.",
        blocks=blocks,
    )


def _trials(number: int) -> str:
    return "1 trial has" if number == 1 else f"{number} trials have"
