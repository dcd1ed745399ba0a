"""Sections about the result of a study: verdict, curves, explanation, confirmation, costs."""

from __future__ import annotations

from collections.abc import Iterator

from distune.evidence.confirmation_result import ConfirmationResult
from distune.explanation.explanation import Explanation, cell_text, grouped
from distune.reports.page.cost_values import model_points, pareto_points, pareto_table
from distune.reports.page.curve_values import describe_curves, trial_curves
from distune.reports.page.figures.cost_figure import draw_costs
from distune.reports.page.figures.curves_figure import draw_curves
from distune.reports.page.figures.seeds_figure import draw_seeds
from distune.reports.page.page_blocks import Block, Figure, FindingList, Section, Table, Text
from distune.reports.page.page_input import StudyFacts
from distune.reports.page.verdict_values import chosen_table, headline, model_table, state_lines


def verdict_section(facts: StudyFacts) -> Section:
    """Return the verdict, the state of the study, the three models and the chosen parameters."""
    blocks: list[Block] = [headline(facts)]
    if facts.simulated:
        blocks.append(
            Text(text="The study is simulated: nothing was trained, and its scores mean nothing.", is_caveat=True)
        )
    blocks += [Text(text=line) for line in state_lines(facts)]
    blocks += [Text(text=f"Warning: {line}", is_caveat=True) for line in facts.warnings]
    models, chosen = model_table(facts), chosen_table(facts)
    blocks += [table for table in (models, chosen) if table is not None and table.rows]
    return Section(
        name="verdict",
        title="Verdict",
        guide=(
            f"The gain is the {facts.metric_title} of the distilled student minus that of the control, the same "
            "student trained without distillation."
        ),
        blocks=blocks,
    )


def curves_section(facts: StudyFacts) -> Section:
    """Return the learning curves of all trials."""
    curves = trial_curves(facts)
    blocks: list[Block] = [Text(text="No trial has a score yet.")]
    if curves:
        plot = draw_curves(
            curves,
            metric=facts.metric_title,
            num_epochs=facts.num_epochs,
            rungs=facts.rungs,
            teacher=None if facts.teacher_unknown else facts.teacher_score,
        )
        blocks = [Figure(title=f"{facts.metric_title} by epoch", description=describe_curves(curves, facts), plot=plot)]
    return Section(
        name="curves",
        title="Learning curves",
        guide=(
            f"Each line is a trial: its {facts.metric_title} on the search split after each epoch, higher is better. A "
            "trial counts with its best epoch. Vertical lines are rungs, where early stopping compares trials."
        ),
        blocks=blocks,
    )


def explanation_section(explanation: Explanation | None) -> Section | None:
    """Return the findings and where the gain is; None without any."""
    if explanation is None or not explanation.findings:
        return None
    blocks: list[Block] = [FindingList(findings=grouped(explanation.findings))]
    blocks += [Text(text=f"{note[:1].upper()}{note[1:]}.") for note in explanation.notes]
    blocks += [
        Table(
            title=table.title,
            columns=table.columns,
            rows=[[cell_text(cell) for cell in row] for row in table.rows],
            note=table.note,
        )
        for table in explanation.tables
    ]
    return Section(
        name="explanation",
        title="Explanation",
        guide="Each check asks for one condition of a gain. A problem comes with the change to try next.",
        blocks=blocks,
    )


def cost_section(facts: StudyFacts) -> Section | None:
    """Return the metric against the costs, or against the latency of the three models; None without either."""
    title = f"{facts.metric_title} against cost"
    if facts.costs:
        blocks: list[Block] = []
        for cost in facts.costs:
            points = pareto_points(facts, cost)
            if points:
                description = f"{facts.metric_title} against {cost} of {len(points)} finished trials and controls."
                plot = draw_costs(points, metric=facts.metric_title, cost=cost)
                blocks.append(Figure(title=cost, description=description, plot=plot))
        blocks.append(pareto_table(facts) if blocks else Text(text="No trial has finished yet."))
        guide = "A trial on the Pareto front is beaten by no other trial in the metric and all costs at once."
        return Section(name="cost", title=title, guide=guide, blocks=blocks)
    models = model_points(facts)
    if not models or facts.sizes is None:
        return None
    shown = "; ".join(f"{point.name}: {point.score:.1f} at {point.cost:.3g} ms" for point in models)
    plot = draw_costs(models, metric=facts.metric_title, cost=f"latency, ms ({facts.sizes.device})")
    is_same = facts.winner is None or not any(path.startswith("student.") for path in facts.winner.params)
    same = "Control and student are the same network, so only their heights differ. " if is_same else ""
    classes = ", on the classes that the teacher knows" if facts.teacher_unknown else ""
    return Section(
        name="cost",
        title=title,
        guide=f"{same}The scores are those of the search split{classes}; up and to the left is better.",
        blocks=[Figure(title="The three models", description=f"{shown}.", plot=plot)],
    )


def confirmation_section(facts: StudyFacts) -> Section:
    """Return the gains by seed with their interval, the candidates and the seeds."""
    result = facts.confirmation
    if result is None:
        blocks: list[Block] = [Text(text=f"The study is not confirmed. To do it: distune confirm {facts.study}")]
    else:
        blocks = list(_confirmation_blocks(result, facts))
    return Section(
        name="confirmation",
        title="Confirmation",
        guide=(
            "The best trial and its control are trained again under fresh seeds. Each point is the gain under one "
            "seed; the square is their mean with its interval over seeds and images."
        ),
        blocks=blocks,
    )


def _confirmation_blocks(result: ConfirmationResult, facts: StudyFacts) -> Iterator[Block]:
    found = {"test": result.test, "search": result.best.search}
    gains = {split: gain for split, gain in found.items() if gain is not None}
    words = "; ".join(
        f"{split} split: {gain.mean:+.1f} [{gain.low:+.1f}, {gain.high:+.1f}]" for split, gain in gains.items()
    )
    yield Figure(title="Gain by seed", description=f"{words}.", plot=draw_seeds(gains))
    yield from (Text(text=line[:1].upper() + line[1:]) for line in facts.confirmation_lines)
    rows = [
        [
            f"trial {each.number}{' (chosen)' if each.number == result.winner else ''}",
            each.control,
            "–" if each.score is None else f"{each.score:.1f}",
            f"{each.num_selection_seeds}",
            "; ".join(each.failures) or "none",
        ]
        for each in result.candidates
    ]
    if len(rows) > 1 or result.best.failures:
        yield Table(
            title="Trials that were compared",
            columns=["trial", "control", f"{result.metric} over selection seeds", "selection seeds", "failed runs"],
            rows=rows,
        )
    margin = [] if result.margin is None else [["smallest gain that matters", f"{result.margin:g} {result.metric}"]]
    yield Table(
        title="Seeds and evaluations",
        columns=["", ""],
        rows=[
            ["seeds of the result", ", ".join(map(str, result.seeds))],
            ["seeds that chose the trial", ", ".join(map(str, result.selection_seeds)) or "none: one trial"],
            ["split of the result", result.split],
            ["other evaluations on the test split", f"{result.previous_test_evaluations}"],
            ["intervals computed so far", f"{result.num_analyses}"],
            ["images with a box that counts", f"{result.gain.num_images}"],
            *margin,
        ],
    )
