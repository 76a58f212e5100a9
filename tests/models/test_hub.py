"""Published weights: from the hub, from torchvision's server, from local caches, and unreachable."""

import hashlib
import threading

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import save_file

from fibrolab.errors import WeightsError
from fibrolab.models import hub
from fibrolab.models.backbones import Backbone
from fibrolab.models.networks import published_weights

TINY = "test_resnet"


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))


@pytest.mark.usefixtures("empty_cache")
def test_pretrained_without_a_network_fails_with_advice(monkeypatch):
    def unreachable(*_, **__):
        raise OSError("Name or service not known")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", unreachable)
    with pytest.raises(WeightsError, match=r"resnet18.*not known.*=FILE.*run:ID.*pretrained=false"):
        Backbone("resnet18", pretrained=True)


@pytest.mark.usefixtures("empty_cache")
def test_a_hub_that_does_not_respond_is_not_waited_for(monkeypatch):
    response = threading.Event()
    monkeypatch.setattr(hub, "TIMEOUT", 0.05)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda *_, **__: response.wait(60))
    with pytest.raises(WeightsError, match="no response within"):
        hub.timm_weights(TINY)
    response.set()


@pytest.mark.usefixtures("empty_cache")
def test_offline_mode_is_respected(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE"):
        hub.timm_weights(TINY)


def test_weights_in_the_local_cache_need_no_network(tmp_path, monkeypatch):
    source = timm.create_model(TINY)
    save_file(source.state_dict(), tmp_path / "model.safetensors")
    monkeypatch.setattr(
        huggingface_hub, "try_to_load_from_cache", lambda *_, **__: str(tmp_path / "model.safetensors")
    )
    monkeypatch.setattr(
        huggingface_hub, "get_hf_file_metadata", lambda *_, **__: pytest.fail("sent a request to the hub")
    )
    backbone = Backbone(TINY, pretrained=True, image_size=32)
    torch.testing.assert_close(backbone.network.conv1[0].weight, source.conv1[0].weight, rtol=0, atol=0)


def test_a_network_without_published_weights_says_so():
    with pytest.raises(WeightsError, match="timm publishes no weights for resnet101d_unpublished"):
        hub.timm_weights("resnet101d_unpublished")


@pytest.fixture
def empty_torch_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    return tmp_path / "checkpoints"


def test_weights_of_torchvision_in_the_local_cache_need_no_network(empty_torch_cache, monkeypatch):
    monkeypatch.setattr(hub, "urlopen", lambda *_, **__: pytest.fail("sent a request to the server"))
    source = Backbone("googlenet", image_size=32)
    empty_torch_cache.mkdir()
    torch.save(source.network.state_dict(), empty_torch_cache / "googlenet-1378be20.pth")
    backbone = Backbone("googlenet", pretrained=True, image_size=32)
    for name, value in source.state_dict().items():
        torch.testing.assert_close(backbone.state_dict()[name], value, rtol=0, atol=0)


@pytest.mark.usefixtures("empty_torch_cache")
def test_an_unreachable_torchvision_server_is_reported_with_advice(monkeypatch):
    def unreachable(*_, **__):
        raise OSError("Name or service not known")

    monkeypatch.setattr(hub, "urlopen", unreachable)
    with pytest.raises(
        WeightsError, match=r"r3d_18-b3b3357e\.pth.*not known.*weights=FILE.*run:ID.*pretrained=false"
    ):
        Backbone("r3d_18", pretrained=True, image_size=32)


def test_a_download_that_is_not_the_published_file_is_refused(empty_torch_cache, tmp_path):
    (tmp_path / "network-00000000.pth").write_bytes(b"something else")
    address = (tmp_path / "network-00000000.pth").as_uri()
    with pytest.raises(WeightsError, match="hash"):
        hub.torchvision_weights(address)
    assert not list(empty_torch_cache.iterdir())


def test_a_download_lands_in_the_cache_of_torch(empty_torch_cache, tmp_path):
    content = b"weights"
    name = f"network-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    (tmp_path / name).write_bytes(content)
    path = hub.torchvision_weights((tmp_path / name).as_uri())
    assert path == empty_torch_cache / name
    assert path.read_bytes() == content


def test_the_users_own_folder_of_weights_comes_first(monkeypatch, tmp_path):
    file = tmp_path / "resnet50.tv_in1k.safetensors"
    file.write_bytes(b"")
    monkeypatch.setenv(hub.FOLDER, str(tmp_path))
    assert published_weights("resnet50.tv_in1k") == file
    assert hub.own_weights("resnet50") is None  # other weights than those of the tag
    monkeypatch.delenv(hub.FOLDER)
    assert hub.own_weights("resnet50.tv_in1k") is None
