"""How fastopt.torch reads tensors: layouts, signs, types, changing addresses, and what it refuses."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch is what fastopt.torch is for")

import torch

import fastopt.torch as ours
from tests.support.torch_rows import NAMES, SHAPES, assert_same, pair, walk


def one(name: str, p: torch.Tensor, g: torch.Tensor, steps: int = 3, **kwargs: Any) -> torch.Tensor:
    """The result of torch's single-tensor loop for contiguous copies, which is right for any layout."""
    q = torch.nn.Parameter(p.detach().resolve_neg().clone(memory_format=torch.contiguous_format))
    opt = getattr(torch.optim, name)([q], **kwargs)
    q.grad = g.detach().resolve_neg().clone(memory_format=torch.contiguous_format)
    for _ in range(steps):
        opt.step()
    return q.detach()


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    assert a.shape == b.shape
    torch.testing.assert_close(a.detach().resolve_neg().contiguous(), b, rtol=2e-6, atol=2e-6)


# -- gradients --------------------------------------------------------------------------------------------------------


def _odd_gradients() -> dict[str, torch.Tensor]:
    x = torch.randn(6, 4) + 0.5
    z = torch.complex(torch.randn(6, 4), torch.randn(6, 4) + 0.5)
    return {
        "transposed": torch.randn(4, 6).t(),
        "every other": torch.randn(6, 8)[:, ::2],
        "expanded": torch.randn(1, 4).expand(6, 4),
        "one number": torch.tensor(0.7).expand(6, 4),
        "negative view": torch._neg_view(x),
        "imaginary part of a conjugate": z.conj().imag,
        "real part": z.real,
        "reversed storage": torch.randn(4, 6).flip(0).t(),
    }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", _odd_gradients())
@pytest.mark.parametrize("turned", [False, True], ids=["row-major", "column-major"])
def test_gradients_of_any_layout(name: str, kind: str, turned: bool) -> None:
    g = _odd_gradients()[kind]
    p = torch.nn.Parameter(torch.randn(4, 6).t() if turned else torch.randn(6, 4))
    expected = one(name, p, g)
    opt = getattr(ours, name)([p])
    p.grad = g
    before = g.clone()
    for _ in range(3):
        opt.step()
    close(p, expected)
    assert torch.equal(p.grad, before), "the gradient itself must stay"


def test_torchs_fused_kernel_gets_a_transposed_gradient_wrong() -> None:
    """torch 2.13 has this bug. Delete the test when torch has fixed it."""
    p, g = torch.randn(6, 4), torch.randn(4, 6).t()
    q = torch.nn.Parameter(p.clone())
    q.grad = g
    torch.optim.SGD([q], lr=1.0, fused=True).step()
    mine = torch.nn.Parameter(p.clone())
    mine.grad = g
    ours.SGD([mine], lr=1.0).step()
    assert torch.equal(mine.detach(), p - g)
    assert not torch.allclose(q.detach(), p - g)


@pytest.mark.parametrize("name", NAMES)
def test_a_gradient_that_is_negative_in_some_steps(name: str) -> None:
    p = torch.nn.Parameter(torch.randn(64))
    opt = getattr(ours, name)([p])
    q = torch.nn.Parameter(p.detach().clone())
    peer = getattr(torch.optim, name)([q])
    for step in range(6):
        g = torch.randn(64) + 0.1
        p.grad = torch._neg_view(g) if step % 2 else g
        q.grad = p.grad.resolve_neg().clone()
        opt.step()
        peer.step()
    close(p, q.detach())


def test_a_gradient_of_one_element_that_becomes_negative_in_place() -> None:
    z = torch.tensor([2 + 3j])
    p = torch.nn.Parameter(torch.ones(1))
    opt = ours.SGD([p], lr=1.0)
    p.grad = z.imag
    opt.step()
    assert float(p.detach()) == -2.0
    p.grad = z.conj().imag
    opt.step()
    assert float(p.detach()) == 1.0


# -- parameters -------------------------------------------------------------------------------------------------------


def _odd_parameters() -> dict[str, torch.Tensor]:
    return {
        "transposed": torch.randn(4, 6).t(),
        "channels last": torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        "permuted": torch.randn(3, 4, 5).permute(2, 0, 1),
        "every other": torch.randn(6, 8)[:, ::2],
        "a column": torch.randn(9, 4)[:, 1],
        "offset": torch.randn(100)[3:50],
        "one by one": torch.randn(1, 1, 1),
        "size one in between": torch.randn(3, 1, 4).transpose(0, 1),
        "no dimension": torch.randn(()),
        "empty": torch.randn(0, 3),
        "negative view": torch._neg_view(torch.randn(6, 4)),
        "imaginary part of a conjugate": torch.randn(7, dtype=torch.cfloat).conj().imag,
    }


def test_a_state_of_one_element_that_becomes_negative_in_place() -> None:
    """Only public functions of torch are used; address, shape and strides stay."""
    values = []
    for negative in (False, True):
        p = torch.nn.Parameter(torch.ones(1))
        opt = ours.SGD([p], lr=0.1, momentum=0.5)
        z = torch.zeros(1, dtype=torch.cfloat)
        for step in range(4):
            p.grad = torch.ones(1)
            if step == 1:
                z.imag = opt.state[p]["momentum_buffer"]
                opt.state[p]["momentum_buffer"].data = z.imag
            if step == 3 and negative:
                opt.state[p]["momentum_buffer"].data = z.conj().imag
            if step == 3 and not negative:
                opt.state[p]["momentum_buffer"].neg_()
            opt.step()
        values.append(p.item())
    assert values[0] == values[1]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", _odd_parameters())
def test_parameters_of_any_layout(name: str, kind: str) -> None:
    torch.manual_seed(1)
    x = _odd_parameters()[kind]
    p = torch.nn.Parameter(x)
    g = torch.randn(x.shape) + 0.3
    expected = one(name, p, g)
    opt = getattr(ours, name)([p])
    p.grad = g
    for _ in range(3):
        opt.step()
    close(p, expected)
    assert p.data_ptr() == x.data_ptr()
    assert p.stride() == x.stride()


def test_gaps_between_the_elements_stay() -> None:
    base = torch.arange(24.0).reshape(6, 4)
    p = torch.nn.Parameter(base[:, ::2])
    p.grad = torch.ones(6, 2)
    ours.SGD([p], lr=1.0).step()
    assert torch.equal(base[:, ::2], torch.arange(24.0).reshape(6, 4)[:, ::2] - 1)
    assert torch.equal(base[:, 1::2], torch.arange(24.0).reshape(6, 4)[:, 1::2])


def test_elements_that_share_memory_are_refused() -> None:
    p = torch.randn(1, 4).expand(6, 4)
    p.requires_grad_()
    p.grad = torch.ones(6, 4)
    with pytest.raises(
        ValueError, match=r"parameter 0 has elements that share memory \(shape \(6, 4\), strides \(0, 1\)\)"
    ):
        ours.SGD([p]).step()


@pytest.mark.parametrize("name", NAMES)
def test_parameters_and_states_given_other_memory_between_steps(name: str) -> None:
    """p.data = ..., another layout of it, states that are replaced."""
    a, b, mine, peers = pair(name, weight_decay=0.1)
    old: list[Any] = []

    def move(step: int) -> None:
        for p in mine:
            old.append(p.data)  # kept, so that no address comes back by chance
            p.data = p.data.clone(memory_format=torch.preserve_format)
            for key, value in a.state[p].items() if p in a.state else ():
                if step % 2:
                    a.state[p][key] = value.clone(memory_format=torch.preserve_format)
                else:
                    value.data = value.data.clone(memory_format=torch.preserve_format)
        if step == 3:
            mine[7].data = mine[7].data.t().contiguous().t()

    way = walk(a, b, mine, peers, 6, each=move)
    assert_same(mine, peers, way)


def test_states_of_another_layout_are_converted() -> None:
    a, b, mine, peers = pair("Adam")
    walk(a, b, mine, peers, 2)
    mine[7].data = mine[7].data.t().contiguous().t()
    way = walk(a, b, mine, peers, 4, seed=2)
    assert a.state[mine[7]]["exp_avg"].stride() == mine[7].stride() == (1, 3)
    assert_same(mine, peers, way)


def test_subclasses_of_tensor() -> None:
    class Named(torch.Tensor):
        pass

    p = torch.randn(5).as_subclass(Named).requires_grad_()
    q = torch.nn.Parameter(p.detach().clone().as_subclass(torch.Tensor))
    p.grad, q.grad = torch.ones(5).as_subclass(Named), torch.ones(5)
    ours.SGD([p], lr=0.5).step()
    torch.optim.SGD([q], lr=0.5).step()
    assert torch.equal(p.detach().as_subclass(torch.Tensor), q.detach())


def test_a_tensor_that_hides_its_numbers_is_refused() -> None:
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode():
        p = torch.nn.Parameter(torch.zeros(3))
        p.grad = torch.ones(3)
        opt = ours.SGD([p])
    with pytest.raises(TypeError, match=r"parameter 0 is a .*FakeTensor, which hides its numbers"):
        opt.step()


def test_swapped_tensors() -> None:
    p = torch.nn.Parameter(torch.zeros(3))
    opt = ours.SGD([p], lr=1.0, momentum=0.5)
    p.grad = torch.ones(3)
    opt.step()
    p.grad = None
    torch.utils.swap_tensors(p, torch.nn.Parameter(torch.full((3,), 5.0)))
    p.grad = torch.ones(3)
    opt.step()
    assert torch.equal(p.detach(), torch.full((3,), 3.5))


# -- overlap ----------------------------------------------------------------------------------------------------------


def test_gradients_that_are_missing_in_some_steps() -> None:
    """A record of one parameter must not be used for another that takes its place in the table."""
    ps = [torch.nn.Parameter(torch.randn(64)) for _ in range(3)]
    qs = [torch.nn.Parameter(p.detach().clone()) for p in ps]
    opt, peer = ours.Adam(ps), torch.optim.Adam(qs)
    for i in range(12):
        for j, (p, q) in enumerate(zip(ps, qs, strict=True)):
            q.grad = None if (i + j) % 3 == 0 else torch.randn(64) + 0.5
            p.grad = None if q.grad is None else q.grad.clone()
        opt.step()
        peer.step()
    for p, q in zip(ps, qs, strict=True):
        close(p, q.detach())


def test_an_overlap_that_begins_between_steps_is_refused() -> None:
    base = torch.randn(100)
    p, q = torch.nn.Parameter(base[:50]), torch.nn.Parameter(base[50:])
    opt = ours.Adam([p, q])
    p.grad, q.grad = torch.ones(50), torch.ones(50)
    opt.step()
    before, states = base.clone(), [opt.state[x]["step"].clone() for x in (p, q)]
    for data, message in (
        (base[10:60], "parameter 1 overlaps parameter 0"),
        (opt.state[q]["exp_avg"], "overlaps"),
        (p.grad.data, "gradient 0 overlaps parameter 0"),
    ):
        p.data = data
        for _ in range(2):
            with pytest.raises(ValueError, match=f"{message}.* in memory"):
                opt.step()
        assert torch.equal(base, before)
        assert [opt.state[x]["step"] for x in (p, q)] == states
    p.data = base[:50]
    opt.step()


def test_overlaps_of_parameters_with_gaps() -> None:
    """They are updated through copies, which never overlap; so their originals are checked."""
    base = torch.zeros(4, 6)
    p, q, r = (torch.nn.Parameter(base[:, i::3]) for i in range(3))
    opt = ours.SGD([p, q, r], lr=1.0)
    for i, x in enumerate((p, q, r)):
        x.grad = torch.full((4, 2), i + 1.0)
    opt.step()
    assert torch.equal(base, torch.tensor([-1.0, -2, -3, -1, -2, -3]).expand(4, 6))
    before = base.clone()
    r.data = base[1:, :3]
    r.grad = torch.ones(3, 3)
    for _ in range(2):
        with pytest.raises(
            ValueError, match=r"a parameter of shape \(3, 3\), strides \(6, 1\) overlaps another in mem"
        ):
            opt.step()
    assert torch.equal(base, before)


def test_16_bit_neighbours_do_not_overlap() -> None:
    base = torch.ones(100, dtype=torch.bfloat16)
    p, q = torch.nn.Parameter(base[:50]), torch.nn.Parameter(base[50:])
    opt = ours.SGD([p, q], lr=1.0)
    p.grad, q.grad = torch.ones(50, dtype=torch.bfloat16), torch.ones(50, dtype=torch.bfloat16)
    opt.step()
    assert torch.equal(base, torch.zeros(100, dtype=torch.bfloat16))
    p.grad = base[49:99]
    with pytest.raises(ValueError, match="gradient 0 overlaps parameter 0 in memory"):
        opt.step()


# -- refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*NAMES, "NAG"])
@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda x: x.double(), r"has dtype torch.float64, expected float32.*\.float\(\), or use torch.optim"),
        (lambda x: x.cfloat(), r"has dtype torch.complex64.*view_as_real"),
        (lambda x: x.to_sparse(), r"is sparse \(torch.sparse_coo\).*SparseAdam"),
        (lambda x: x.to_sparse_csr(), r"is sparse \(torch.sparse_csr\)"),
    ],
    ids=["float64", "complex", "sparse", "csr"],
)
@pytest.mark.filterwarnings("ignore:Sparse CSR:UserWarning")
def test_refused_parameters(name: str, made: Callable[[torch.Tensor], torch.Tensor], message: str) -> None:
    p = made(torch.eye(3))
    with pytest.raises(TypeError, match=f"parameter 0 of group 0 {message}"):
        getattr(ours, name)([p.requires_grad_()])
    opt = getattr(ours, name)([torch.nn.Parameter(torch.zeros(1))])
    with pytest.raises(TypeError, match=f"parameter 0 of group 1 {message}"):
        opt.add_param_group({"params": [p]})
    assert len(opt.param_groups) == 1


@pytest.mark.parametrize("name", NAMES)
def test_refused_gradients_and_changes(name: str) -> None:
    p, q = torch.nn.Parameter(torch.ones(3, 3)), torch.nn.Parameter(torch.ones(3, 3))
    far = torch.nn.Parameter(torch.ones(3, 3, device="meta"))
    opt = getattr(ours, name)([q, p, far])
    q.grad = torch.ones(3, 3)
    p.grad = torch.eye(3).to_sparse()
    with pytest.raises(TypeError, match=r"gradient 1 is sparse .*Embedding\(sparse=False\)"):
        opt.step()
    p.grad = None
    p.data = p.data.double()
    p.grad = torch.ones(3, 3, dtype=torch.float64)
    with pytest.raises(TypeError, match=f"parameter 1 has dtype torch.float64.*torch.optim.{name}"):
        opt.step()
    p.grad = None
    far.grad = torch.ones(3, 3, device="meta")
    with pytest.raises(TypeError, match="parameter 2 is on device meta: fastopt is for CPUs"):
        opt.step()
    assert torch.equal(q.detach(), torch.ones(3, 3)), "nothing was written"
    assert all(float(s.get("step", 0)) == 0 for s in opt.state.values())


def test_refused_states() -> None:
    p = torch.nn.Parameter(torch.ones(3))
    opt = ours.Adam([p])
    p.grad = torch.ones(3)
    opt.step()
    whole = dict(opt.state[p])
    for name, value, error, message in (
        ("exp_avg", torch.zeros(4), ValueError, r"exp_avg 0 has shape \(4,\), parameter has \(3,\)"),
        ("exp_avg", torch.zeros(3, dtype=torch.float64), TypeError, "exp_avg 0 must be a dense float32 tensor"),
        ("exp_avg_sq", None, KeyError, "the state of parameter 0 has no 'exp_avg_sq'"),
        ("step", torch.zeros(2), TypeError, "step 0 must be a CPU tensor of one"),
        ("step", torch.tensor(-3.0), ValueError, r"step 0 must be a whole number >= 0 and below 2\*\*53, got -3"),
        ("step", torch.tensor(float("nan")), ValueError, r"step 0 must be .*, got nan"),
        ("step", torch.tensor(1e30), ValueError, r"step 0 must be .*, got 1\.0.*e\+30"),
        ("step", torch.tensor(3.5), ValueError, r"step 0 must be a whole number .*, got 3.5"),
    ):
        opt.state[p] = {**whole, name: value}
        with pytest.raises(error, match=message):
            opt.step()
    opt.state[p] = whole
    opt.step()
    assert float(whole["step"]) == 2


@pytest.mark.parametrize("what", ["parameter", "gradient", "exp_avg", "exp_avg_sq", "step"])
@pytest.mark.parametrize("left", ["nothing", "all but a byte"])
@pytest.mark.parametrize("kind", ["plain", "transposed", "with gaps", "offset", "bfloat16"])
def test_tensors_beyond_their_storage_are_refused(what: str, left: str, kind: str) -> None:
    def make() -> torch.Tensor:
        x = torch.rand(8, 6, dtype=torch.bfloat16 if kind == "bfloat16" else torch.float32)
        return {"transposed": x.t(), "with gaps": x[:, ::2], "offset": x[3:]}.get(kind, x)

    ps = [torch.nn.Parameter(make()) for _ in range(3)]
    opt = ours.Adam(ps, lr=0.1)
    for p in ps:
        p.grad = make()
    opt.step()
    opt.step()
    mine = opt.state[ps[1]]
    shrunk: Any = {"parameter": ps[1], "gradient": ps[1].grad, **mine}[what]
    others = [ps[0], ps[2], *opt.state[ps[0]].values(), *opt.state[ps[2]].values()]
    others += [x for x in (ps[1], ps[1].grad, *mine.values()) if x is not shrunk]
    before = [x.detach().clone() for x in others]
    inside = sum((n - 1) * stride for n, stride in zip(shrunk.shape, shrunk.stride(), strict=True))
    reach = (shrunk.storage_offset() + inside + 1) * shrunk.element_size()
    bytes_left = 0 if left == "nothing" else reach - 1
    shrunk.untyped_storage().resize_(bytes_left)
    message = rf"{what} 1 has shape .* reaches to byte {reach} of its storage, which has {bytes_left}: was it freed"
    for _ in range(2):
        with pytest.raises(ValueError, match=message):
            opt.step()
        assert all(torch.equal(x, old) for x, old in zip(others, before, strict=True))
    shrunk.untyped_storage().resize_(reach)
    shrunk.detach().fill_(0.5 if what != "step" else 2.0)
    opt.step()
    assert [float(opt.state[p]["step"]) for p in ps] == [3.0, 3.0, 3.0]


def test_a_storage_may_change_its_size_outside_of_the_tensor() -> None:
    p, q = torch.nn.Parameter(torch.ones(5)), torch.nn.Parameter(torch.ones(0, 7))
    p.grad, q.grad = torch.ones(9)[2:7], torch.ones(0, 7)
    opt = ours.SGD([p, q], lr=1.0)
    p.untyped_storage().resize_(400)
    p.grad.untyped_storage().resize_(28)
    q.untyped_storage().resize_(0)
    opt.step()
    assert torch.equal(p.detach(), torch.zeros(5))


@pytest.mark.parametrize("name", [*NAMES, "NAG"])
@pytest.mark.parametrize("gaps", [False, True], ids=["dense", "with gaps"])
def test_parameters_made_in_inference_mode_are_updated_only_there(name: str, gaps: bool) -> None:
    """torch allows no update of them outside of inference mode."""
    with torch.inference_mode():
        x = torch.ones(6)[::2] if gaps else torch.ones(3)
    p = torch.nn.Parameter(torch.ones(3))
    opt = getattr(ours, name)([p, x], lr=0.1, weight_decay=0.1)
    p.grad, x.grad = torch.ones(3), torch.ones(3)
    if name == "NAG":
        opt.param_groups[0]["momentum"] = 0.0

    def refused() -> None:
        before = p.detach().clone(), x.clone(), copy.deepcopy(opt.state_dict())
        message = r"parameter 1 was made under torch.inference_mode\(\): torch allows no update of it outside"
        for _ in range(2):
            with pytest.raises(RuntimeError, match=message), torch.no_grad():
                opt.step()
        assert torch.equal(p.detach(), before[0])
        assert torch.equal(x, before[1])
        assert str(opt.state_dict()) == str(before[2])

    refused()
    with torch.inference_mode():
        opt.step()
        opt.step()
    assert torch.equal(x, p.detach())
    assert float(x[0]) < 1.0
    refused()


@pytest.mark.parametrize("name", NAMES)
def test_gradients_made_in_inference_mode_are_accepted(name: str) -> None:
    p = torch.nn.Parameter(torch.rand(5))
    opt = getattr(ours, name)([p])
    with torch.inference_mode():
        g = torch.randn(5) + 0.3
    expected = one(name, p, g.clone())
    p.grad = g
    for _ in range(3):
        opt.step()
    close(p, expected)


def test_memory_that_is_not_aligned_is_refused() -> None:
    p = torch.nn.Parameter(torch.frombuffer(bytearray(42), dtype=torch.float32, offset=2))
    p.grad = torch.ones(10)
    with pytest.raises(ValueError, match=r"parameter 0 is at address 0x.*, expected a multiple of 4: pass x.clone"):
        ours.SGD([p]).step()


def test_layouts_that_are_neither_dense_nor_sparse() -> None:
    with pytest.raises(
        TypeError, match=r"has layout torch._mkldnn, expected a plain dense tensor: use torch.optim.RMSp"
    ):
        ours.RMSprop([torch.ones(3, 3).to_mkldnn().requires_grad_()])


def test_more_dimensions_than_torch_computes_with() -> None:
    p = torch.nn.Parameter(torch.ones([1] * 100))
    p.grad = torch.ones([1] * 100)
    opt = ours.SGD([p], lr=1.0)
    opt.step()
    assert float(p.detach()) == 0.0


def test_the_advice_names_the_base_class_of_torch() -> None:
    class Mine(ours.AdamW):
        pass

    for cls, advice in ((Mine, r"torch\.optim\.AdamW"), (ours.NAG, r"torch\.optim\.SGD\(nesterov=True\)")):
        with pytest.raises(TypeError, match=f"or use {advice}$"):
            cls([torch.ones(3, dtype=torch.float64, requires_grad=True)])


def test_refused_hyper_parameters() -> None:
    """They are written into a group, where torch does not check them. The step refuses them and writes nothing."""
    p = torch.nn.Parameter(torch.ones(3))
    opt = ours.Adam([p])
    p.grad = torch.ones(3)
    opt.step()
    before = p.detach().clone()
    for key, value, error, message in (
        ("lr", "x", TypeError, "lr must be a number or a tensor of one, got 'x'"),
        ("lr", None, TypeError, "lr must be a number or a tensor of one, got None"),
        ("lr", "0.1", TypeError, "lr must be a number or a tensor of one, got '0.1'"),
        ("lr", torch.ones(2), TypeError, r"lr must be a number or a tensor of one, got tensor\(\[1., 1.\]\)"),
        ("lr", torch.tensor(1j), TypeError, "lr must be a number or a tensor of one, got tensor"),
        ("eps", "1e-8", TypeError, "eps must be a number or a tensor of one, got '1e-8'"),
        ("weight_decay", (0.1,), TypeError, r"weight_decay must be a number or a tensor of one, got \(0.1,\)"),
        ("amsgrad", None, TypeError, "amsgrad must be a number or a tensor of one, got None"),
        ("betas", 0.9, TypeError, "betas must be 2 numbers, got 0.9"),
        ("betas", (0.9, 0.99, 0.999), TypeError, r"betas must be 2 numbers, got \(0.9, 0.99, 0.999\)"),
        ("betas", (0.9, "0.99"), TypeError, r"betas\[1\] must be a number or a tensor of one, got '0.99'"),
        ("betas", (0.9, 1.0), ValueError, r"betas must be 2 numbers >= 0 and below 1, got \(0.9, 1.0\)"),
        ("betas", (1.0, 0.9), ValueError, r"betas must be 2 numbers >= 0 and below 1, got \(1.0, 0.9\)"),
    ):
        kept, opt.param_groups[0][key] = opt.param_groups[0][key], value
        for _ in range(2):
            with pytest.raises(error, match=message):
                opt.step()
        opt.param_groups[0][key] = kept
    assert torch.equal(p.detach(), before)
    assert float(opt.state[p]["step"]) == 1


def test_a_hyper_parameter_that_is_added_to_a_group_counts() -> None:
    p = torch.nn.Parameter(torch.zeros(3))
    opt = ours.SGD([p], lr=1.0)
    p.grad = torch.ones(3)
    del opt.param_groups[0]["maximize"]
    opt.step()
    opt.param_groups[0]["maximize"] = True
    opt.step()
    assert torch.equal(p.detach(), torch.zeros(3))


def test_step_counts_are_on_the_cpu_whatever_the_default_device() -> None:
    p = torch.nn.Parameter(torch.zeros(3))
    p.grad = torch.ones(3)
    opt = ours.Adam([p])
    with torch.device("meta"):
        opt.step()
    assert opt.state[p]["step"].device.type == "cpu"


def test_refused_options() -> None:
    p = [torch.nn.Parameter(torch.ones(3))]
    for kwargs in ({"capturable": True}, {"differentiable": True}, {"differentiable": True, "fused": True}):
        with pytest.raises(RuntimeError, match=r"=True .*use torch.optim.Adam for it"):
            ours.Adam(p, **kwargs)
    with pytest.raises(RuntimeError, match="`fused` does not support `differentiable`"):
        ours.SGD(p, fused=True, differentiable=True)
    with pytest.raises(RuntimeError, match="`fused` and `foreach` cannot be `True` together"):
        ours.Adam(p, fused=True, foreach=True)
    opt = ours.Adam(p)
    opt.param_groups[0]["capturable"] = True
    p[0].grad = torch.ones(3)
    with pytest.raises(RuntimeError, match="capturable=True is for CUDA graphs"):
        opt.step()
    sgd = ours.SGD(p, momentum=0.9, nesterov=True)
    sgd.param_groups[0]["dampening"] = 0.5
    with pytest.raises(ValueError, match="Nesterov momentum requires a momentum and zero dampening"):
        sgd.step()
    sgd.param_groups[0].update(dampening=0, lr=1e39)
    with pytest.raises(ValueError, match=r"lr of the step is 1e\+39, beyond float32"):
        sgd.step()
    assert torch.equal(p[0].detach(), torch.ones(3))


def test_shapes_include_a_scalar_and_an_empty_one() -> None:
    assert {(), (0,)} < set(SHAPES)
