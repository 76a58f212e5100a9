"""Settings of the computation: precision, layout, compilation, accumulation, clipping, determinism."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import timm
import torch
from compose import composed
from torch import Tensor, nn
from torch.utils.data import DataLoader

from fibrolab.config import arguments
from fibrolab.errors import ConfigError
from fibrolab.training import precision as arithmetic

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


class Small(L.LightningModule):
    def __init__(self, name: str = "test_resnet") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.network = timm.create_model(name, num_classes=5, **({"img_size": 32} if "vit" in name else {}))
        self.losses: list[float] = []
        self.norms: list[float] = []

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        loss = nn.functional.cross_entropy(self.network(images), labels)
        self.losses.append(float(loss.detach()))
        return loss

    def on_before_zero_grad(self, optimizer: torch.optim.Optimizer) -> None:
        gradients = [p.grad for p in self.parameters() if p.grad is not None]
        if gradients:
            self.norms.append(float(torch.nn.utils.get_total_norm(gradients)))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05)


def images(number: int = 16) -> Tensor:
    return torch.randn(number, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def batches(batch_size: int) -> DataLoader:
    pairs = list(zip(images(), torch.arange(16) % 5, strict=True))
    return DataLoader(pairs, batch_size)  # type: ignore[arg-type]


def fitted(module: Small, root: Path, *overrides: str, batch_size: int = 8) -> L.Trainer:
    settings: dict[str, Any] = arguments(composed("trainer.max_epochs=2", *overrides).trainer, "requeue")
    trainer = L.Trainer(
        **settings,
        default_root_dir=root,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, batches(batch_size))
    return trainer


def weights(module: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().cpu().reshape(-1) for parameter in module.parameters()])


@pytest.fixture(autouse=True)
def settings_of_torch(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # Lightning sets it and does not reset it
    yield
    torch.use_deterministic_algorithms(False)
    torch.compiler.reset()


def test_accumulated_halves_train_as_one_batch(tmp_path: Path) -> None:
    whole, halves = Small("test_vit"), Small("test_vit")
    start = weights(whole)
    fitted(whole, tmp_path, "trainer.accelerator=cpu", batch_size=8)
    fitted(halves, tmp_path, "trainer.accelerator=cpu", "trainer.accumulate_grad_batches=2", batch_size=4)
    assert len(halves.losses) == 2 * len(whole.losses)
    torch.testing.assert_close(weights(halves), weights(whole), rtol=0, atol=1e-6)
    assert (weights(whole) - start).abs().max() > 1e-3


def test_clipping_bounds_the_norm_of_every_step_s_gradient(tmp_path: Path) -> None:
    free, clipped = Small(), Small()
    fitted(free, tmp_path, "trainer.accelerator=cpu")
    fitted(clipped, tmp_path, "trainer.accelerator=cpu", "trainer.gradient_clip_val=0.1")
    assert min(free.norms) > 0.2
    assert clipped.norms
    assert clipped.norms == pytest.approx([0.1] * len(clipped.norms), rel=1e-4)


def test_bfloat16_trains_nearly_as_full_precision_does(tmp_path: Path) -> None:
    full, mixed = Small(), Small()
    fitted(full, tmp_path, "trainer.accelerator=cpu")
    fitted(mixed, tmp_path, "trainer.accelerator=cpu", "trainer.precision=bf16-mixed")
    assert mixed.losses == pytest.approx(full.losses, rel=0.03)
    assert mixed.losses != full.losses
    assert all(parameter.dtype == torch.float32 for parameter in mixed.parameters())


def test_deterministic_training_repeats_itself_to_the_bit(tmp_path: Path) -> None:
    once, again = Small(), Small()
    for module in (once, again):
        fitted(module, tmp_path, "trainer.accelerator=cpu", "trainer.deterministic=true")
        assert torch.are_deterministic_algorithms_enabled()
    assert torch.equal(weights(once), weights(again))


def test_channels_last_changes_the_layout_and_nothing_else() -> None:
    plain, laid_out = Small().network.eval(), Small().network.eval()
    arithmetic.prepare(laid_out, channels_last=True, compile=False)
    kernels = [parameter for parameter in laid_out.parameters() if parameter.ndim == 4]
    assert kernels
    assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)
    assert any(not kernel.is_contiguous() for kernel in kernels)
    assert plain.state_dict().keys() == laid_out.state_dict().keys()
    for name, value in plain.state_dict().items():
        assert torch.equal(value, laid_out.state_dict()[name])
    with torch.no_grad():
        features = laid_out.forward_features(images(2))
        torch.testing.assert_close(laid_out(images(2)), plain(images(2)), rtol=1e-4, atol=1e-5)
    assert features.is_contiguous(memory_format=torch.channels_last)  # although the input was not


def test_channels_last_applies_to_3d_kernels() -> None:
    network = nn.Sequential(nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4), nn.Conv3d(4, 2, 3)).eval()
    clip = torch.randn(2, 1, 8, 9, 10)
    with torch.no_grad():
        expected = network(clip)
        arithmetic.prepare(network, channels_last=True, compile=False)
        found = network(clip)
    assert found.is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_channels_last_network_trains_equally_and_its_weights_load_into_a_plain_one(tmp_path: Path) -> None:
    plain, laid_out = Small(), Small()
    arithmetic.prepare(laid_out.network, channels_last=True, compile=False)
    fitted(plain, tmp_path, "trainer.accelerator=cpu")
    fitted(laid_out, tmp_path, "trainer.accelerator=cpu")
    torch.testing.assert_close(weights(laid_out), weights(plain), rtol=1e-3, atol=1e-5)
    plain.load_state_dict(laid_out.state_dict())
    assert torch.equal(weights(plain), weights(laid_out))


def test_without_layout_and_compilation_a_network_is_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arithmetic, "_try_compiler", lambda: pytest.fail("tried the compiler"))
    network = Small().network
    arithmetic.prepare(network, channels_last=False, compile=False)
    assert all(parameter.is_contiguous() for parameter in network.parameters())
    assert network._compiled_call_impl is None


def test_a_machine_that_cannot_compile_is_reported_before_training(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from torch._inductor import config  # slow to load

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: None)
    network = nn.Linear(2, 2)
    with (
        config.patch({"cpp.cxx": (None, "no-such-compiler")}),
        pytest.raises(ConfigError, match=r"compile=true.*no-such-compiler.*set compile=false"),
    ):
        arithmetic.prepare(network, channels_last=False, compile=True)
    assert network._compiled_call_impl is None


@pytest.mark.slow
def test_a_compiled_network_trains_equally_and_keeps_its_keys(tmp_path: Path) -> None:
    plain, compiled = Small(), Small()
    for module in (plain, compiled):  # less to compile than a network of timm
        torch.manual_seed(0)
        module.network = nn.Sequential(
            nn.Conv2d(3, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 5),
        )
    arithmetic.prepare(compiled.network, channels_last=True, compile=True)
    fitted(plain, tmp_path, "trainer.accelerator=cpu")
    trainer = fitted(compiled, tmp_path, "trainer.accelerator=cpu")
    assert compiled.losses == pytest.approx(plain.losses, rel=1e-3)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    assert state.keys() == plain.state_dict().keys()
    plain.load_state_dict(state)
    with torch.no_grad():
        expected = plain.eval().network(images())
        torch.testing.assert_close(compiled.eval().network(images()), expected, rtol=1e-3, atol=1e-4)


def test_half_precision_on_a_cpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"needs a GPU.*bf16-mixed"):
        arithmetic.check_precision("16-mixed", "cpu")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="this run is on the CPU"):
        arithmetic.check_precision("16-mixed", "auto")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    arithmetic.check_precision("16-mixed", "auto")


def test_bfloat16_on_a_cpu_is_refused_for_3d_convolutions_only() -> None:
    film, image = nn.Sequential(nn.Conv3d(1, 2, 3)), nn.Sequential(nn.Conv2d(1, 2, 3))
    with pytest.raises(ConfigError, match=r"3D convolutions on a CPU.*32-true"):
        arithmetic.check_network(film, "bf16-mixed", "cpu")
    arithmetic.check_network(film, "32-true", "cpu")
    arithmetic.check_network(film, "bf16-mixed", "gpu")
    arithmetic.check_network(image, "bf16-mixed", "cpu")


@pytest.mark.parametrize("precision", arithmetic.PRECISIONS)
def test_lightning_accepts_every_precision_that_is_allowed(precision: str) -> None:
    arithmetic.check_precision(precision, "gpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lightning.pytorch.trainer.connectors.accelerator_connector.rank_zero_warn", print)
        trainer = L.Trainer(precision=precision, accelerator="cpu", logger=False, enable_checkpointing=False)  # type: ignore[arg-type]
    assert trainer.precision in arithmetic.PRECISIONS


@pytest.mark.parametrize("precision", ["bf16-mixd", "half", 16])
def test_an_unknown_precision_is_refused_with_the_known_ones(precision: str | int) -> None:
    with pytest.raises(ConfigError, match=r"trainer\.precision.*16-mixed, 32-true, bf16-mixed"):
        arithmetic.check_precision(precision, "cpu")


@cuda
@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_gpu_trains_nearly_equally_in_half_precision(
    tmp_path: Path, precision: str, channels_last: bool
) -> None:
    full, mixed = Small(), Small()
    arithmetic.prepare(mixed.network, channels_last=channels_last, compile=False)
    fitted(full, tmp_path, "trainer.accelerator=gpu")
    trainer = fitted(mixed, tmp_path, "trainer.accelerator=gpu", f"trainer.precision={precision}")
    assert trainer.strategy.root_device.type == "cuda"
    assert mixed.losses == pytest.approx(full.losses, rel=0.05)


@cuda
@pytest.mark.gpu
def test_a_compiled_network_runs_on_a_gpu() -> None:
    plain, compiled = Small().network.eval().cuda(), Small().network.eval().cuda()
    arithmetic.prepare(compiled, channels_last=True, compile=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(images().cuda()), plain(images().cuda()), rtol=1e-2, atol=1e-3)
