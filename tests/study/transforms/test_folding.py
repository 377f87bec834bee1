"""A network whose batch-norms are folded into any parameters is that network, at all parameters and to first order."""

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from study.measures.perturbation.perturbation import Perturbed
from study.models.nin import nin
from study.models.residual import ResNet
from study.transforms.folding import Folding, folded

SHAPE = (3, 8, 8)


def trained(model: nn.Module) -> nn.Module:
    """Norms and their statistics as they are not at first."""
    generator = torch.Generator().manual_seed(0)
    for module in model.double().eval().modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                assert tensor is not None
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
            assert module.running_mean is not None
            module.running_mean.neg_()  # so that outputs are not all 0 behind the last ReLU
    return model


def images(n: int) -> Tensor:
    return torch.randn(n, *SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.fixture(params=["nin", "resnet"])
def network(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    if request.param == "nin":
        return trained(nin(SHAPE, 3, (), depth=1, width=4, dropout=0.1, norm_momentum=0.1))
    return trained(ResNet(3, 3, (4, 8), 1, projects=True, norm_momentum=0.1))


def test_it_is_the_network_at_other_parameters_and_in_its_gradient(network: nn.Module) -> None:
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    perturbed, x = Perturbed(network, images(6), torch.zeros(6).long(), "cross_entropy"), images(6)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in perturbed.running.modules())
    weights = (perturbed.weights + 0.1 * torch.randn_like(perturbed.weights)).requires_grad_()
    (found,) = torch.autograd.grad(perturbed.outputs(weights).square().sum(), weights)
    plain = functional_call(network, perturbed.named(weights), (x,))
    (wanted,) = torch.autograd.grad(plain.square().sum(), weights)
    torch.testing.assert_close(perturbed.outputs(weights), plain)
    torch.testing.assert_close(found, wanted)
    for part in perturbed.batches(2):
        assert len(part.x) == len(part.labels) == 2
    torch.testing.assert_close(torch.cat([part.outputs(weights) for part in perturbed.batches(2)]), plain)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert not any(module.inplace for module in network.modules() if isinstance(module, nn.ReLU))


def test_a_norm_before_its_layer_is_left_alone() -> None:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1), nn.Flatten())
    network = trained(body)
    assert Folding(network).folds  # into the convolution before the ReLU, which is another function
    perturbed = Perturbed(network, images(4), torch.zeros(4).long(), "cross_entropy")
    assert perturbed.running is network
    assert torch.equal(perturbed.outputs(perturbed.weights), network(images(4)))


class Again(nn.Module):
    """What a convolution of an nn.Sequential gives is read behind the ReLU again; there is no batch-norm."""

    def __init__(self, relu: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), relu)
        self.head = nn.Linear(4 * 64, 3)

    def forward(self, x: Tensor) -> Tensor:
        z = self.body[0](x)
        return self.head((self.body[1](z) + z).flatten(1))


def test_what_is_read_twice_is_not_written_over() -> None:
    torch.manual_seed(0)
    own, relu = Again(nn.ReLU()), nn.ReLU()
    shared = nn.Sequential(nn.Conv2d(3, 3, 1), relu, Again(relu))  # its ReLU is the one that may not write over
    for network in (own.double(), shared.double()):
        perturbed = Perturbed(network, images(4), torch.zeros(4).long(), "cross_entropy")
        torch.testing.assert_close(perturbed.outputs(perturbed.weights), network(images(4)))
    chain = nn.Sequential(nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU()), nn.Flatten()).double()
    assert Folding(chain).model.get_submodule("0.1").inplace


def test_a_batch_norm_or_its_layer_at_two_places_is_named() -> None:
    """Folded at the first alone it would be the same function at the weights, and another one beside them."""
    norm, conv, tied = nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
    tied.weight = conv.weight
    for parts, said in (
        (
            [conv, norm, nn.Conv2d(3, 3, 1), norm],
            "1: is registered as 3, too, so that it may be run twice: batch-norm cannot be folded",
        ),
        (
            [conv, nn.BatchNorm2d(3), conv, nn.BatchNorm2d(3)],
            "0: is registered as 2, too, so that it may be run twice: batch-norm cannot be folded",
        ),
        (
            [conv, nn.BatchNorm2d(3), tied, nn.BatchNorm2d(3)],
            "0: is registered as 2, too, so that it may be run twice: batch-norm cannot be folded",
        ),
    ):
        network = trained(nn.Sequential(*parts, nn.Flatten(), nn.Linear(192, 3)))
        with pytest.raises(ValueError, match=said):
            folded(network)
        assert Perturbed(network, images(4), torch.zeros(4).long(), "cross_entropy").running is network, "as it is"
