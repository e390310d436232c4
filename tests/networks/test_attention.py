from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from napari_feedback_seg.errors import DeviceError
from napari_feedback_seg.networks import attention
from napari_feedback_seg.networks.attention import FeedbackAttention, attend, attend_in_row_blocks

if TYPE_CHECKING:
    from collections.abc import Callable

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
needs_mps = pytest.mark.skipif(not torch.backends.mps.is_available(), reason="needs Apple's MPS")
DEVICES = [
    ("cpu", torch.float32),
    ("cpu", torch.float64),
    pytest.param("cuda", torch.float32, marks=needs_cuda),
    pytest.param("mps", torch.float32, marks=needs_mps),
]
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}


def attend_plainly(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return (query @ key.transpose(1, 2)).softmax(dim=-1) @ value


def plain_feedback(module: FeedbackAttention, input_side: Tensor, output_side: Tensor) -> Tensor:
    """Return the equations of the paper, with the matrix of all pairs."""
    query = module.query(input_side if module.mode == "source_target" else output_side)
    key, value = module.key(output_side), module.value(output_side)
    for each in (query, key, value):
        if each.requires_grad:  # batch norm goes wrong with the layout that the gradient has otherwise
            each.register_hook(lambda gradient: gradient.contiguous())
    if module.key_pooling > 1:
        key, value = (pool_by_hand(each, module.key_pooling) for each in (key, value))
    attended = attend_plainly(*(each.flatten(2).transpose(1, 2) for each in (query, key, value)))
    attended = attended.transpose(1, 2).reshape(len(input_side), -1, *input_side.shape[2:])
    return module.scale * module.norm(module.project(attended)) + input_side


def pool_by_hand(feature_map: Tensor, size: int) -> Tensor:
    """Return the means of size x size places, and of what is left at the lower and right border."""
    rows = [row.mean(dim=2, keepdim=True) for row in feature_map.split(size, dim=2)]
    columns = [column.mean(dim=3, keepdim=True) for column in torch.cat(rows, dim=2).split(size, dim=3)]
    return torch.cat(columns, dim=3)


def tensors(batch: int, places: int, keys: int, channels: tuple[int, int], **options: Any) -> list[Tensor]:
    query_channels, value_channels = channels
    return [
        torch.randn(batch, length, depth, **options).requires_grad_()
        for length, depth in ((places, query_channels), (keys, query_channels), (keys, value_channels))
    ]


def assert_near(result: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    """Compare to ``tolerance``, of the largest value where that is more than 1."""
    assert result.shape == expected.shape
    assert result.dtype == expected.dtype
    difference = (result - expected).abs().max().item()
    assert difference <= tolerance * max(1.0, expected.abs().max().item())


def with_gradients(
    function: Callable[..., Tensor], arguments: list[Tensor], wanted: list[Tensor], places: int = 1
) -> list[Tensor]:
    """Return the result, and the gradients of a weighted sum of it over ``places``."""
    result = function(*arguments)
    weights = torch.linspace(-1, 1, result.numel(), dtype=result.dtype, device=result.device)
    loss = (result * weights.view(result.shape)).sum() / places
    return [result, *torch.autograd.grad(loss, wanted)]


def operations(function: Callable[[], object]) -> set[str]:
    """Return the names of the operations of torch that a call runs."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        function()
    return {event.key for event in profile.key_averages()}


class TestAttend:
    @pytest.mark.parametrize(("device", "dtype"), DEVICES)
    @pytest.mark.parametrize("path", [attend, attend_in_row_blocks])
    @pytest.mark.parametrize("batch", [1, 3])
    @pytest.mark.parametrize(
        ("places", "keys", "channels"),
        [(1024, 1024, (8, 32)), (33 * 31, 17 * 16, (2, 8)), (35, 35, (9, 3)), (7, 1, (1, 1)), (1, 1, (1, 8))],
    )
    def test_equals_plain_formula(self, device, dtype, path, batch, places, keys, channels):
        inputs = tensors(batch, places, keys, channels, device=device, dtype=dtype)
        expected = with_gradients(attend_plainly, inputs, inputs)
        for ours, theirs in zip(with_gradients(path, inputs, inputs), expected, strict=True):
            assert_near(ours, theirs, TOLERANCE[dtype])

    @pytest.mark.parametrize("path", [attend, attend_in_row_blocks])
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_precision(self, path, dtype):
        inputs = tensors(2, 63, 35, (3, 5), dtype=dtype)
        exact = [each.detach().float().requires_grad_() for each in inputs]
        expected = with_gradients(attend_plainly, exact, exact)
        for ours, theirs in zip(with_gradients(path, inputs, inputs), expected, strict=True):
            assert ours.dtype == dtype
            assert_near(ours.float(), theirs, 0.05)

    def test_no_square_root_of_the_depth(self):
        key = torch.eye(4)[None]
        result = attend(torch.full((1, 1, 4), 2.0) * key[:, :1], key, key)
        assert_near(result, torch.tensor([2.0, 0, 0, 0]).softmax(0)[None, None])

    def test_layout_of_the_values_does_not_matter(self):
        # From a feature map come places that lie side by side, not channels.
        inputs = tensors(2, 64, 64, (8, 8))
        strided = [each.detach().transpose(1, 2).contiguous().transpose(1, 2) for each in inputs]
        assert_near(attend(*strided), attend(*inputs))


class TestFusedPath:
    @pytest.mark.parametrize("channels", [(1, 8), (8, 32), (9, 3), (8, 8), (1, 1)])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
    def test_cpu_never_takes_the_fall_back(self, channels, dtype):
        inputs = tensors(2, 40, 20, channels, dtype=dtype)
        ran = operations(lambda: attend(*inputs).sum().backward())
        assert "aten::_scaled_dot_product_flash_attention_for_cpu" in ran
        assert "aten::_scaled_dot_product_flash_attention_for_cpu_backward" in ran
        assert not any("math" in name for name in ran)

    def test_cpu_never_takes_the_fall_back_in_mixed_precision(self):
        module = FeedbackAttention(8, 1, "self", 1)
        feature_map = torch.randn(1, 8, 6, 6)

        def run() -> None:
            with torch.autocast("cpu", torch.bfloat16):
                module(feature_map, feature_map).sum().backward()

        assert "aten::_scaled_dot_product_flash_attention_for_cpu" in operations(run)

    @pytest.mark.filterwarnings("ignore::UserWarning")  # torch says why, too
    def test_says_when_the_device_cannot(self):
        numbers = torch.ones(1, 4, 8, dtype=torch.int32)
        with pytest.raises(DeviceError, match=r"cpu has no memory-saving attention for torch\.int32"):
            attend(numbers, numbers, numbers)
        assert torch.backends.cuda.math_sdp_enabled()

    @needs_cuda
    @pytest.mark.filterwarnings("ignore::UserWarning")  # torch says why, too
    def test_cuda_refuses_double_precision(self):
        with pytest.raises(DeviceError, match="float64"):
            attend(*tensors(1, 16, 16, (8, 8), dtype=torch.float64, device="cuda"))

    def test_other_errors_stay_what_they_are(self):
        numbers = torch.ones(1, 4, 8)
        with pytest.raises(RuntimeError, match="same dtype"):
            attend(numbers, numbers.double(), numbers)

    def test_threads_leave_the_choice_of_torch_as_it_was(self):
        inputs = [each.detach() for each in tensors(1, 16, 16, (8, 8))]
        with ThreadPoolExecutor(8) as pool:
            for future in [pool.submit(attend, *inputs) for _ in range(2000)]:
                future.result()
        assert torch.backends.cuda.math_sdp_enabled()


class TestRowBlocks:
    @pytest.mark.parametrize("rows", [1, 4, 34, 35, 1000])
    def test_equals_plain_formula_for_any_block(self, rows):
        inputs = tensors(2, 35, 20, (3, 5))
        expected = with_gradients(attend_plainly, inputs, inputs)
        ours = with_gradients(lambda *each: attend_in_row_blocks(*each, rows=rows), inputs, inputs)
        for result, value in zip(ours, expected, strict=True):
            assert_near(result, value)

    def test_gradients_are_those_of_finite_differences(self):
        inputs = tensors(2, 7, 5, (2, 3), dtype=torch.float64)
        assert torch.autograd.gradcheck(lambda *each: attend_in_row_blocks(*each, rows=3), inputs)

    @pytest.mark.parametrize("channels", [8, 16])
    def test_serves_devices_without_fused_attention(self, channels, monkeypatch):
        module = FeedbackAttention(channels, 2, "self", 2)
        torch.nn.init.ones_(module.scale)
        feature_map = torch.randn(2, channels, 9, 7)
        fused = module(feature_map, feature_map)
        monkeypatch.setattr(attention, "_FUSED_DEVICES", ())
        ran = operations(lambda: module(feature_map, feature_map))
        assert not any("scaled_dot_product" in name for name in ran)
        assert_near(module(feature_map, feature_map), fused)


@pytest.mark.parametrize("mode", ["self", "source_target"])
class TestFeedbackAttention:
    def module(self, mode: str, key_pooling: int = 1, channels: int = 64) -> FeedbackAttention:
        module = FeedbackAttention(channels, channels // 8, mode, key_pooling)
        torch.nn.init.constant_(module.scale, 0.7)
        return module

    @pytest.mark.parametrize(("device", "dtype"), DEVICES)
    @pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
    @pytest.mark.parametrize("rows", [False, True])
    @pytest.mark.parametrize(
        ("shape", "key_pooling"),
        [
            ((1, 32, 32), 1),
            ((2, 32, 32), 1),
            ((3, 7, 13), 1),
            ((1, 1, 5), 1),
            ((2, 32, 32), 4),
            ((1, 7, 13), 4),
        ],
    )
    def test_equals_plain_formula(self, mode, device, dtype, layout, rows, shape, key_pooling, monkeypatch):
        if rows:
            monkeypatch.setattr(attention, "_FUSED_DEVICES", ())
            monkeypatch.setattr(attention, "_BLOCK_ELEMENTS", 10_000)
        module = self.module(mode, key_pooling).to(device, dtype)
        # Pooled maps vary little, and the statistics of a batch then amplify the rounding.
        module.train(key_pooling == 1 or dtype == torch.float64)
        batch, *sides = shape
        maps = [
            torch.randn(batch, 64, *sides, dtype=dtype, device=device)
            .to(memory_format=layout)
            .requires_grad_()
            for _ in range(2)
        ]
        wanted = [*maps, *module.parameters()]
        places = batch * sides[0] * sides[1]
        ours = with_gradients(module, maps, wanted, places)
        theirs = with_gradients(lambda *each: plain_feedback(module, *each), maps, wanted, places)
        for result, expected in zip(ours, theirs, strict=True):
            assert_near(result, expected, TOLERANCE[dtype])

    @pytest.mark.parametrize("key_pooling", [3, 300])
    def test_pools_keys_and_values_up_to_the_border(self, mode, key_pooling):
        module = self.module(mode, key_pooling, channels=8)
        maps = [torch.randn(1, 8, 7, 10) for _ in range(2)]
        query, key = module.query_and_key(*maps)
        assert query.shape == (1, 1, 7, 10)
        assert key.shape == (1, 1, -(-7 // key_pooling), -(-10 // key_pooling))
        assert_near(key, pool_by_hand(module.key(maps[1]), key_pooling))

    def test_pools_queries_and_interpolates_what_comes_back(self, mode):
        module = FeedbackAttention(8, 2, mode, 2, query_pooling=4).eval()
        module.scale.data.fill_(1.0)
        maps = torch.randn(2, 1, 8, 8, 12, generator=torch.Generator().manual_seed(0))
        query, key = module.query_and_key(*maps)
        full = module.query(maps[0] if mode == "source_target" else maps[1])
        assert_near(query, pool_by_hand(full, 4))
        assert key.shape == (1, 2, 4, 6)
        value = pool_by_hand(module.value(maps[1]), 2)
        weights = (query.flatten(2).transpose(1, 2) @ key.flatten(2)).softmax(-1)
        attended = (value.flatten(2) @ weights.transpose(1, 2)).unflatten(2, (2, 3))
        attended = functional.interpolate(attended, (8, 12), mode="bilinear")
        assert_near(module(*maps), maps[0] + module.norm(module.project(attended)))

    def test_scale_starts_at_zero(self, mode):
        input_side, output_side = torch.randn(2, 1, 8, 4, 4)
        assert torch.equal(FeedbackAttention(8, 1, mode, 1)(input_side, output_side), input_side)

    def test_query_comes_from_its_side(self, mode):
        input_side, output_side = torch.randn(2, 1, 8, 4, 4)
        module = self.module(mode, channels=8).eval()
        query, key = module.query_and_key(input_side, output_side)
        assert torch.equal(query, module.query(input_side if mode == "source_target" else output_side))
        assert torch.equal(key, module.key(output_side))


MEMORY = """
import resource, sys, torch
from napari_feedback_seg.networks.attention import FeedbackAttention

side, backward = int(sys.argv[1]), sys.argv[2] == "backward"
resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30, 8 * 2**30))  # a fall-back fails, and harms nobody
torch.set_num_threads(1)
module = FeedbackAttention(64, 8, "self", 1)


def run(feature_map):
    with torch.set_grad_enabled(backward):
        result = module(feature_map, feature_map)
        if backward:
            result.sum().backward()
    return result


run(torch.randn(1, 64, 16, 16))
feature_map = torch.randn(1, 64, side, side)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
result = run(feature_map)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 - result.nbytes / 2**20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read as Linux gives it")
@pytest.mark.parametrize(
    ("side", "direction", "limit"),
    [
        # The matrix alone would take 2.6 GB and 1 GB.
        (160, "forward", 150),
        (128, "backward", 150),
    ],
)
def test_memory_in_megabytes(side, direction, limit):
    command = [sys.executable, "-c", MEMORY, str(side), direction]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < limit


@needs_cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_memory_on_cuda(dtype):
    module = FeedbackAttention(64, 8, "self", 1).to("cuda")
    feature_map = torch.randn(1, 64, 256, 256, device="cuda")
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
        module(feature_map, feature_map).sum().backward()
    assert torch.cuda.max_memory_allocated() - before < 600 * 2**20


def test_pooling_by_hand_is_the_mean():
    feature_map = torch.arange(12.0).view(1, 1, 3, 4)
    expected = torch.tensor([[[[5.0 / 2, 9.0 / 2], [17.0 / 2, 21.0 / 2]]]])
    assert_near(pool_by_hand(feature_map, 2), expected)
    assert_near(pool_by_hand(feature_map[:, :, :2], 2), functional.avg_pool2d(feature_map[:, :, :2], 2))
