"""NAG in the textbook's form: the lookahead block, its end, and the gradients that a step accepts."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastopt
from tests.support.rows import Array, arrays, contents, given, params_of, steps, steps_of


def nag(seed: int = 0, warm: int = 2, **values: Any) -> Any:
    """A NAG whose momentum is not zero."""
    return steps(fastopt.NAG(arrays(seed), **{"lr": 0.1, "momentum": 0.7, **values}), 1, warm)


@pytest.mark.parametrize("lr_in_momentum", [False, True])
def test_the_lookahead_point(lr_in_momentum: bool) -> None:
    opt = nag(lr_in_momentum=lr_in_momentum)
    before = contents(opt)
    shift = np.float32(-0.7) if lr_in_momentum else np.float32(0.1 * 0.7)
    expected = [p - shift * s["momentum_buffer"] for p, s in zip(params_of(opt), opt.state, strict=True)]
    with opt.lookahead():
        for p, q in zip(params_of(opt), expected, strict=True):
            np.testing.assert_array_equal(p, q)
        assert contents(opt)[0] != before[0]
    assert contents(opt) == before


def test_closure_and_context_are_the_same() -> None:
    a, b = nag(warm=0), nag(warm=0)
    for t in range(1, 4):
        with a.lookahead():
            grads = [np.asarray(np.sin(p)) for p in params_of(a)]
        norm = a.step(grads, max_norm=1.0, grad_scale=0.5)
        assert norm == b.step(lambda: [np.asarray(np.sin(p)) for p in params_of(b)], max_norm=1.0, grad_scale=0.5)
        assert contents(a) == contents(b)
        assert a.state[0]["step"] == t


def test_a_step_needs_a_gradient_from_the_lookahead_point() -> None:
    opt = nag()
    before = contents(opt)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="lookahead"):
            opt.step(arrays(1))
        assert contents(opt) == before
    with opt.lookahead():
        pass
    opt.step(arrays(3))
    before = contents(opt)
    with pytest.raises(RuntimeError, match="lookahead"):
        opt.step(arrays(3))  # a second step with the same gradient
    assert contents(opt) == before


def test_inside_the_block() -> None:
    """A step, another lookahead, a copy and a new group are refused; the block continues."""
    opt, twin = nag(), nag()
    with opt.lookahead():
        inside = contents(opt)
        for refused in (
            lambda: opt.step(arrays(3)),
            lambda: opt.step(given(arrays(3))),
            lambda: opt._array_step.step(arrays(3)),
            lambda: opt.lookahead().__enter__(),
            lambda: copy.deepcopy(opt),
            lambda: pickle.dumps(opt),
            lambda: opt.add_param_group({"params": np.ones(3, np.float32)}),
        ):
            with pytest.raises(RuntimeError, match="lookahead"):
                refused()
            assert contents(opt) == inside
    opt.step(arrays(3))
    assert contents(opt) == contents(steps_of(twin, arrays(3)))


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, GeneratorExit, SystemExit])
def test_an_exception_inside_the_block(error: type[BaseException]) -> None:
    opt, twin = nag(), nag()
    before = contents(opt)

    def spoil() -> None:
        with opt.lookahead():
            params_of(opt)[3][0, 0] = 9.0  # this change is also undone
            raise error

    with pytest.raises(error):
        spoil()
    assert contents(opt) == before
    with pytest.raises(RuntimeError, match="lookahead"):
        opt.step(arrays(3))
    with pytest.raises(error):
        opt.step(given_error(error))
    assert contents(opt) == before
    assert contents(steps_of(opt, arrays(3))) == contents(steps_of(twin, arrays(3)))


LOST: dict[str, tuple[Callable[[Array], Any], str]] = {
    "resized": (lambda p: p.resize((2,), refcheck=False), "parameter 1 was moved or resized"),
    "read-only": (lambda p: p.setflags(write=False), "parameter 1 is read-only"),
}


@pytest.mark.parametrize("what", LOST)
def test_a_parameter_that_cannot_be_restored_is_named_and_all_others_are_restored(what: str) -> None:
    params = [np.arange(n, dtype=np.float32) + 1 for n in (5, 8, 3)]
    opt = fastopt.NAG(params, lr=0.1)
    opt.step(lambda: [p.copy() for p in params])
    before, (spoil, message) = [p.copy() for p in params], LOST[what]

    def leave() -> None:
        with opt.lookahead():
            spoil(params[1])

    with pytest.raises(RuntimeError, match=f"as all others are: {message}"):
        leave()
    np.testing.assert_array_equal(params[0], before[0])
    np.testing.assert_array_equal(params[2], before[2])
    if what == "read-only":
        params[1].setflags(write=True)
        with pytest.raises(RuntimeError, match="must be taken at the lookahead point"):
            opt.step([p.copy() for p in params])
        params[1][...] = before[1]
        opt.step(lambda: [p.copy() for p in params])
        assert opt.state[0]["step"] == 2


def test_a_block_that_cannot_be_left_now_is_left_later() -> None:
    """For instance while another thread uses the optimizer."""
    opt = nag()
    before = contents(opt)
    block = opt.lookahead()
    block.__enter__()
    with pytest.raises(RuntimeError, match="in the middle of a step"):
        opt._array_step.hold(block.__exit__, None, None, None)
    assert contents(opt)[0] != before[0]
    del block
    assert contents(opt) == before


def given_error(error: type[BaseException]) -> Callable[[], Any]:
    def closure() -> Any:
        raise error

    return closure


def test_a_block_in_a_generator_that_is_dropped() -> None:
    opt = nag()
    before = contents(opt)

    def gradients() -> Iterator[Array]:
        with opt.lookahead():
            yield from params_of(opt)

    generator = gradients()
    next(generator)
    assert contents(opt)[0] != before[0]
    del generator
    assert contents(opt) == before
    with pytest.raises(RuntimeError, match="lookahead"):
        opt.step(arrays(3))


def test_a_bad_gradient_after_the_block_may_be_replaced() -> None:
    opt, twin = nag(), nag()
    with opt.lookahead():
        pass
    before = contents(opt)
    with pytest.raises(ValueError, match="gradient 2 has shape"):
        opt.step([*arrays(3)[:2], *arrays(3)[3:], arrays(3)[2]])
    with pytest.raises(TypeError, match="max_norm"):
        opt.step(arrays(3), max_norm="1")
    assert contents(opt) == before
    opt.step(arrays(3))
    assert contents(opt) == contents(steps_of(twin, arrays(3)))


def test_a_skipped_step_uses_up_its_gradient() -> None:
    opt = nag(skip_nonfinite=True)
    opt.step(given([np.full_like(g, np.nan) for g in arrays(3)]))
    assert opt.skipped == 1
    with pytest.raises(RuntimeError, match="lookahead"):
        opt.step(arrays(3))


def test_lookahead_follows_the_schedule() -> None:
    """It uses each group's learning rate of the next step."""
    rates = [0.1, 0.03, 0.5, 0.2]
    a = nag(lr=lambda count: rates[count])
    b = nag(lr=0.0)
    for p, q in zip(params_of(b), params_of(a), strict=True):
        p[...] = q
    b.load_state_dict({**a.state_dict(), "param_groups": [{**a.state_dict()["param_groups"][0], "lr": rates[2]}]})
    with a.lookahead(), b.lookahead():
        assert contents(a)[0] == contents(b)[0]
    a.step(arrays(3))
    b.step(arrays(3))
    b.param_groups[0]["lr"] = rates[3]
    with a.lookahead(), b.lookahead():
        assert contents(a)[:2] == contents(b)[:2]


def test_the_shifted_form_does_not_look_ahead() -> None:
    for convention in ("torch", "keras", "optax", "sklearn"):
        opt = fastopt.NAG(arrays(0), convention=convention)
        with pytest.raises(RuntimeError, match="lookahead=False"):
            opt.lookahead().__enter__()
        steps_of(opt, arrays(1))
        opt.step(arrays(2))


def test_groups_at_the_lookahead_point() -> None:
    """Each group has its own learning rate and momentum. After adding a group, a new gradient is required."""
    opt = fastopt.NAG([{"params": arrays(0)[:3], "lr": 0.3}, {"params": arrays(0)[3:], "momentum": 0.4}], lr=0.1)
    steps(opt, 1, 2)
    expected = []
    for p, s, lr, momentum in zip(params_of(opt), opt.state, [0.3] * 3 + [0.1] * 2, [0.9] * 3 + [0.4] * 2, strict=True):
        expected.append(p - np.float32(lr * momentum) * s["momentum_buffer"])
    with opt.lookahead():
        for p, q in zip(params_of(opt), expected, strict=True):
            np.testing.assert_array_equal(p, q)
    opt.add_param_group({"params": np.ones(3, np.float32)})
    with pytest.raises(RuntimeError, match="lookahead"):
        opt.step([*arrays(3), np.ones(3, np.float32)])
    opt.step(given([*arrays(3), np.ones(3, np.float32)]))


def test_saving_inside_the_block_saves_the_parameters_themselves(tmp_path: Path) -> None:
    """It is refused, or saves W and not the lookahead point."""
    opt = nag()
    before = [p.copy() for p in params_of(opt)]
    saved = True
    with opt.lookahead():
        try:
            opt.save(tmp_path / "opt.npz", params=True)
        except RuntimeError:
            saved = False
    if saved:
        other = nag(1)
        other.load(tmp_path / "opt.npz")
        for p, q in zip(params_of(other), before, strict=True):
            np.testing.assert_array_equal(p, q)


def test_loading_inside_the_block_is_refused_or_takes_effect(tmp_path: Path) -> None:
    opt, other = nag(), nag(1, warm=5)
    other.save(tmp_path / "opt.npz", params=True)
    loaded, before = True, contents(opt)
    with opt.lookahead():
        try:
            opt.load(tmp_path / "opt.npz")
        except RuntimeError:
            loaded = False
    assert contents(opt) == (contents(other) if loaded else before)


def test_a_gradient_of_another_state_is_refused() -> None:
    """The gradient was taken before load_state_dict replaced the momentum."""
    opt, other = nag(), nag(1, warm=5)
    with opt.lookahead():
        pass
    opt.load_state_dict(other.state_dict())
    with pytest.raises(RuntimeError, match="lookahead"):
        opt.step(arrays(3))


def test_every_shape_and_order_is_restored(tmp_path: Path) -> None:
    mapped = np.memmap(tmp_path / "w", np.float32, "w+", shape=(4, 4))
    mapped[...] = 3.0
    opt = fastopt.NAG([*arrays(0), mapped], lr=0.1)
    grads = [*arrays(1), np.ones((4, 4), np.float32)]
    opt.step(given(grads))
    before = contents(opt)
    with opt.lookahead():
        assert all(p.size == 0 or (p.tobytes() != b) for p, b in zip(params_of(opt), before[0], strict=True))
    assert contents(opt) == before


def test_signed_zeros_and_nan_are_restored() -> None:
    w = np.array([-0.0, 0.0, np.nan, np.inf, -np.inf, 1e-45, 3.4e38], np.float32)
    w.view(np.uint32)[2] = 0x7FA12345  # a signalling NaN with a payload
    before = w.tobytes()
    opt = fastopt.NAG(w, lr=1.0)
    opt.state[0]["momentum_buffer"][...] = 1e38
    with opt.lookahead():
        assert w.tobytes() != before
    assert w.tobytes() == before


def test_a_step_refuses_a_gradient_of_another_lr_or_momentum() -> None:
    for change in ({"lr": 5.0}, {"momentum": 0.1}):
        opt = fastopt.NAG(arrays(0)[2], lr=0.5)
        with opt.lookahead():
            grads = arrays(1)[2]
        opt.param_groups[0].update(change)
        before = contents(opt)
        with pytest.raises(RuntimeError, match="changed since lookahead"):
            opt.step(grads)
        assert contents(opt) == before
        opt.step(lambda grads=grads: grads)
