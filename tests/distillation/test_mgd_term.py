"""MGD against its equation, number by number, and the random choice of its hidden cells."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from distune.config.distillation import DistillationSettings
from distune.detectors.taps import StudentTaps, TeacherTaps
from distune.distillation.filtering import InstanceWeights
from distune.distillation.maps.pooling import PooledFeatures
from distune.distillation.term import Step, TermContext
from distune.distillation.terms.map_term import MapTerm
from distune.distillation.terms.mgd import build_mgd, generation_loss, hide_cells
from distune.training.rng_state import RngState

MakeTaps = Callable[..., tuple[StudentTaps, TeacherTaps]]
STRIDES = (8, 16, 32)


def literal_convolution(image: list[list[list[float]]], layer: nn.Conv2d) -> list[list[list[float]]]:
    """A 3x3 convolution of one image, [channel][row][column], with zeros around it."""
    assert layer.bias is not None
    height, width = len(image[0]), len(image[0][0])
    answer = []
    for kernels, bias in zip(layer.weight.tolist(), layer.bias.tolist(), strict=True):
        plane = [[bias] * width for _ in range(height)]
        for row in range(height):
            for column in range(width):
                for channel, kernel in enumerate(kernels):
                    for dy in (-1, 0, 1):
                        for dx in (-1, 0, 1):
                            if 0 <= row + dy < height and 0 <= column + dx < width:
                                plane[row][column] += kernel[dy + 1][dx + 1] * image[channel][row + dy][column + dx]
        answer.append(plane)
    return answer


def literal_loss(
    student: Tensor, teacher: Tensor, weights: Tensor, drawn: Tensor, fraction: float, generate: nn.Sequential
) -> float:
    """One level, with scalars; the adapter is the identity."""
    first, _, last = generate
    assert isinstance(first, nn.Conv2d)
    assert isinstance(last, nn.Conv2d)
    batch, channels, height, width = teacher.shape
    loss = 0.0
    for b in range(batch):
        visible = [
            [
                [float(student[b, e, y, x]) if drawn[b, y, x] >= fraction else 0.0 for x in range(width)]
                for y in range(height)
            ]
            for e in range(channels)
        ]
        hidden = [[[max(0.0, v) for v in line] for line in plane] for plane in literal_convolution(visible, first)]
        generated = literal_convolution(hidden, last)
        for e in range(channels):
            for y in range(height):
                for x in range(width):
                    loss += float(weights[b, y, x]) * (generated[e][y][x] - float(teacher[b, e, y, x])) ** 2
    return loss / (batch * channels * height * width)


def no_features() -> PooledFeatures:
    raise AssertionError("the term pools no features")


def step_of(student: StudentTaps, teacher: TeacherTaps, local_LN: Tensor) -> Step:
    weights = InstanceWeights(torch.zeros_like(local_LN), local_LN, local_LN, local_LN > -1)
    return Step(student, teacher, STRIDES, weights, None, no_features)


def build(*, seed: int = 0, channels: int = 3, **settings: object) -> MapTerm:
    context = TermContext(
        strides=STRIDES,
        student_channels=(channels,) * 3,
        teacher_channels=(channels,) * 3,
        score_kind="sigmoid",
        base_size_px=56.0,
        generator=torch.Generator().manual_seed(seed),
    )
    return build_mgd(DistillationSettings.model_validate({"mgd": {"adapter": "identity", **settings}}), context)


def run(term: MapTerm, step: Step, seed: int) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        loss: Tensor = term(step)
    return loss


@pytest.mark.parametrize("robust", [True, False])
def test_equals_its_equation(make_taps: MakeTaps, robust: bool) -> None:
    student, teacher = make_taps(student_channels=3, teacher_channels=3, image_size=(32, 32))
    local_LN = torch.rand(3, 7, generator=torch.Generator().manual_seed(1))
    step = step_of(student, teacher, local_LN)
    term = build(robust=robust)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        drawn = [torch.rand(2, 32 // stride, 32 // stride) for stride in STRIDES]
    expected = 0.0
    for level, stride in enumerate(STRIDES):
        generate = term.get_submodule(f"generators.{level}")
        assert isinstance(generate, nn.Sequential)
        expected += literal_loss(
            student.neck[stride].detach(),
            teacher.neck[stride],
            step.cell_weights(level, robust=robust),
            drawn[level],
            0.65,
            generate,
        )
    assert float(run(term, step, 5).detach()) == pytest.approx(expected / 3, rel=1e-4)


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.65, 0.95])
def test_the_fraction_of_cells_is_hidden_in_all_channels(fraction: float) -> None:
    drawn_BHW = torch.rand(2, 60, 60, generator=torch.Generator().manual_seed(0))
    visible_BEHW = hide_cells(torch.ones(2, 3, 60, 60), drawn_BHW, masked_fraction=fraction)
    assert float(visible_BEHW.mean()) == pytest.approx(1 - fraction, abs=0.02)
    assert torch.equal(visible_BEHW.amin(dim=1), visible_BEHW.amax(dim=1))
    if fraction == 0:
        assert bool(visible_BEHW.all())


def test_hidden_cells_count_as_much_as_visible_ones() -> None:
    generated_BEHW = torch.zeros(1, 1, 1, 2)
    teacher_BEHW = torch.tensor([2.0, 4.0]).reshape(1, 1, 1, 2)
    assert float(generation_loss(generated_BEHW, teacher_BEHW, torch.ones(1, 1, 2))) == 10
    assert float(generation_loss(generated_BEHW, teacher_BEHW, torch.tensor([[[0.5, 0.0]]]))) == 1


def test_hidden_cells_are_drawn_in_each_step_from_the_default_generator(make_taps: MakeTaps) -> None:
    student, teacher = make_taps(student_channels=3, teacher_channels=3)
    step, term = step_of(student, teacher, torch.ones(3, 7)), build()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        first, second = term(step), term(step)
    assert float(first.detach()) != float(second.detach())
    assert torch.equal(run(term, step, 1), first)


def test_a_resumed_student_hides_the_same_cells(make_taps: MakeTaps) -> None:
    step = step_of(*make_taps(student_channels=3, teacher_channels=3), torch.ones(3, 7))
    term, randomness, resumed = build(), *(RngState(seed, torch.device("cpu")) for seed in (3, 4))
    with randomness.active():
        term(step)
    resumed.load_state_dict(randomness.state_dict())
    losses = []
    for each in (randomness, resumed):
        with each.active():
            losses.append(term(step).detach())
    assert torch.equal(*losses)


def test_initial_weights_come_from_the_terms_generator_alone() -> None:
    before = torch.get_rng_state()
    first, again, other = (build(seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    weights, weights_again, others = (list(term.state_dict().values()) for term in (first, again, other))
    assert len(weights) == 3 * 4
    assert all(torch.equal(x, y) for x, y in zip(weights, weights_again, strict=True))
    assert not torch.equal(weights[0], others[0])
    assert not torch.equal(weights[0], weights[2])


def test_a_generator_can_learn_the_teacher_from_a_student_with_hidden_cells(make_taps: MakeTaps) -> None:
    student, teacher = make_taps(student_channels=3, teacher_channels=3, boxes_per_image=(1,), same=True)
    for each in teacher.neck.values():
        each.fill_(0.7)
    step, term = step_of(student, teacher, torch.ones(3, 1)), build()
    optimizer = torch.optim.Adam(term.parameters(), lr=0.02)
    losses = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(60):
            optimizer.zero_grad()
            loss = term(step)
            torch.autograd.backward(loss)
            optimizer.step()
            losses.append(float(loss.detach()))
    assert losses[-1] < 0.2 * losses[0]


@pytest.mark.parametrize("counts", [(1,), (0, 0), (4, 3)])
def test_accepts_bfloat16_maps_and_sends_finite_gradients_to_the_student_and_itself(
    make_taps: MakeTaps, counts: tuple[int, ...]
) -> None:
    student, teacher = make_taps(student_channels=8, boxes_per_image=counts, dtype=torch.bfloat16)
    for teacher_map in teacher.neck.values():
        teacher_map.requires_grad_()
    term = build(channels=8)
    loss = run(term, step_of(student, teacher, torch.ones(3, sum(counts))), 0)
    torch.autograd.backward(loss)
    assert loss.dtype == torch.float32
    assert float(loss.detach()) > 0
    learners = [*student.neck.values(), *term.parameters()]
    assert all(each.grad is not None and bool(each.grad.isfinite().all()) for each in learners)
    assert all(each.grad is not None and bool(each.grad.any()) for each in term.parameters())
    assert all(each.grad is None for each in teacher.neck.values())
