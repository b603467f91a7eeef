"""SESN's and DISCO's layers: the published numbers, and what is exactly true of them."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from layers.scale.disco import Disco, dilated_impulses, impulse_versions, mixed
from layers.scale.functions import FixedFunctions
from layers.scale.hermite import Family, Hermite, geometric, hermite_functions
from layers.scale.mixing import ScaleConv1x1
from layers.scale.pool import ScalePool
from layers.scale.steerable import SAME, LiftingConv2d, ScaleConv2d
from tests.layers.scale.golden import golden
from tests.layers.scale.trials import bears_tools

A3 = Family(kind="A", effective_size=3)
B5 = Family(kind="B", effective_size=5, mult=1.5, max_order=3)
TWICE = Hermite(kernel_size=15, sigmas=(1.0, 2.0), family=A3)  # both fit: 15 = 2 * 7 + 1
IMPULSES = Disco(kernel_size=5, scales=(1.0, 2.0), family=A3, sigma=0.9)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def family_of(settings: dict) -> Family:
    kind = settings.get("basis") or settings["basis_type"][-1].upper()
    mult, order = (settings.get(key, settings.get(f"basis_{key}")) for key in ("mult", "max_order"))
    return Family(kind=kind, effective_size=settings["effective_size"], mult=mult, max_order=order)


def test_families_list_their_functions() -> None:
    assert A3.members == [
        (0, 0, 0),
        (1, 0, 0),
        (2, 0, 0),
        (0, 1, 0),
        (1, 1, 0),
        (2, 1, 0),
        (0, 2, 0),
        (1, 2, 0),
        (2, 2, 0),
    ]
    assert Family(kind="B", effective_size=3, mult=2.0, max_order=1).members == [
        *[(0, 0, 0), (1, 0, 0), (0, 1, 0)],
        *[(0, 0, 1), (1, 0, 1), (0, 1, 1)],
        *[(0, 0, 2), (1, 0, 2), (0, 1, 2)],
    ]


@pytest.mark.parametrize("name", ["basis_A_e3", "basis_A_e5", "basis_A_stl", "basis_B_e4", "basis_B_e7_vector28"])
def test_published_functions(name: str) -> None:
    values, settings = golden(name)
    basis = Hermite(kernel_size=settings["kernel_size"], sigmas=tuple(settings["sigmas"]), family=family_of(settings))
    torch.testing.assert_close(basis.functions(), values["basis"], rtol=1e-10, atol=1e-13)
    assert FixedFunctions(basis).ranks() == values["ranks"].tolist()


@pytest.mark.parametrize(
    "name", ["hermite_a_lift", "hermite_b_lift_stir", "hermite_a_hh_n2", "hermite_a_hh_n2_nopad", "hermite_b_hh_n1"]
)
def test_published_hermite_layers(name: str) -> None:
    values, settings = golden(name)
    basis = Hermite(kernel_size=settings["kernel_size"], sigmas=tuple(settings["scales"]), family=family_of(settings))
    torch.testing.assert_close(layer_of(basis, values, settings)(values["x"]), values["y"], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["disco_a_lift", "disco_b_hh_n2"])
def test_published_disco_layers(name: str) -> None:
    """Of the published kernels, which were found by gradient descent."""
    values, settings = golden(name)
    published = golden("disco_proxy_K5_e3")[0]["proxy"]
    basis = mixed(published, family_of(settings), settings["basis_min_scale"])
    torch.testing.assert_close(basis, values["basis"], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(layer_of(basis, values, settings)(values["x"]), values["y"], rtol=1e-10, atol=1e-12)


def layer_of(basis: Hermite | torch.Tensor, values: dict[str, torch.Tensor], settings: dict) -> nn.Module:
    sizes = settings["in_channels"], settings["out_channels"]
    options = {"padding": settings["padding"], "bias": settings["bias"], "stride": settings["stride"]}
    interaction = settings["scale_size"]
    layer: nn.Module = (
        LiftingConv2d(*sizes, basis, **options)
        if interaction is None
        else ScaleConv2d(*sizes, basis, interaction=interaction, **options)
    )
    layer.double().load_state_dict({key: values[key] for key in ("weight", "bias") if key in values})
    return layer


def test_published_one_by_one_convolutions() -> None:
    values, _ = golden("ses_1x1_and_projection")
    for weight, expected in (("weight", "y"), ("weight_n2", "y_n2")):
        given = values[weight].flatten(2)
        layer = ScaleConv1x1(3, 2, interaction=given.shape[2], bias=False).double()
        layer.load_state_dict({"weight": given})
        torch.testing.assert_close(layer(values["x"]), values[expected], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(ScalePool("pixel")(values["x"]), values["y_max_projection"])


@pytest.mark.parametrize("basis", [Hermite(kernel_size=7, sigmas=(1.3,), family=B5), random(9, 1, 5, 5)])
def test_one_scale_is_a_convolution(basis: Hermite | torch.Tensor) -> None:
    lifting, later = LiftingConv2d(2, 3, basis).double(), ScaleConv2d(2, 3, basis).double()
    x = random(2, 2, 12, 11)
    kernel = torch.einsum("ocf,fhw->ochw", lifting.weight, lifting.functions()[:, 0])
    nn.init.normal_(lifting.bias)
    torch.testing.assert_close(lifting(x)[:, :, 0], F.conv2d(x, kernel, lifting.bias))
    later.load_state_dict({"weight": lifting.weight[:, :, None], "bias": lifting.bias})
    torch.testing.assert_close(later(x[:, :, None]), lifting(x))


@pytest.mark.parametrize("interaction", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2])
def test_scales_by_hand(interaction: int, stride: int) -> None:
    """One grouped convolution does what two loops, over scales and over the scales above, do."""
    basis = Hermite(kernel_size=9, sigmas=(1.0, 1.5, 2.2), family=B5)
    layer = ScaleConv2d(2, 3, basis, interaction=interaction, stride=stride, padding=SAME).double()
    nn.init.normal_(layer.bias)
    x = random(2, 2, 3, 10, 9)
    functions = basis.functions()
    for scale in range(3):
        expected = layer.bias[:, None, None]
        for above in range(min(interaction, 3 - scale)):
            kernel = torch.einsum("ocf,fhw->ochw", layer.weight[:, :, above], functions[:, scale])
            expected = expected + F.conv2d(x[:, :, scale + above], kernel, stride=stride, padding=4)
        torch.testing.assert_close(layer(x)[:, :, scale], expected, rtol=1e-10, atol=1e-12)


def stuffed(x: torch.Tensor) -> torch.Tensor:
    """Twice as large, with zeros between the pixels."""
    y = x.new_zeros(*x.shape[:-2], 2 * x.shape[-2] - 1, 2 * x.shape[-1] - 1)
    y[..., ::2, ::2] = x
    return y


@pytest.mark.parametrize(("basis", "factor"), [(TWICE, 0.25), (IMPULSES, 1.0)])
def test_an_image_of_twice_the_size_answers_one_scale_above(basis: Hermite | Disco, factor: float) -> None:
    """Exactly so where the pixels between are 0. SESN's kernels are a quarter as high then, and DISCO's as high."""
    x = random(2, 2, 12, 13)
    lifting = LiftingConv2d(2, 3, basis, padding=SAME, bias=False).double()
    y, larger = lifting(x), lifting(stuffed(x))
    torch.testing.assert_close(larger[:, :, 1, ::2, ::2], factor * y[:, :, 0], rtol=1e-13, atol=1e-13)
    later = ScaleConv2d(3, 2, basis, padding=SAME, bias=False).double()
    shifted = torch.stack([torch.zeros_like(stuffed(y[:, :, 0])), stuffed(y[:, :, 0])], 2)
    torch.testing.assert_close(later(shifted)[:, :, 1, ::2, ::2], factor * later(y)[:, :, 0], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("prefilter", ["none", "blur", "random"])
def test_disco_commutes_with_any_filter_before_every_second_pixel(prefilter: str) -> None:
    """D(x * k_2) = (D x) * k_1, D a filter and then every second pixel of an image whose borders meet."""
    kernels = {"none": torch.ones(1, 1), "blur": torch.tensor([1.0, 3, 3, 1]), "random": random(5, 5)}
    shape = kernels[prefilter].double()
    taps = torch.outer(shape, shape) if shape.ndim == 1 else shape
    x = random(2, 1, 24, 20)
    lifting = LiftingConv2d(1, 3, IMPULSES, bias=False).double()
    kernel = torch.einsum("ocf,fshw->oschw", lifting.weight, lifting.functions())

    def circular(image: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        rows, columns = kernel.shape[-2:]
        margin = (columns // 2, (columns - 1) // 2, rows // 2, (rows - 1) // 2)
        return F.conv2d(F.pad(image, margin, mode="circular"), kernel)

    def shrunk(image: torch.Tensor) -> torch.Tensor:
        answers = circular(image.flatten(0, 1)[:, None], taps[None, None])
        return answers[:, 0, ::2, ::2].unflatten(0, image.shape[:2])

    after = shrunk(circular(x, kernel[:, 1]))
    before = circular(shrunk(x), kernel[:, 0])
    torch.testing.assert_close(after, before, rtol=1e-11, atol=1e-12)


def test_a_blob_of_twice_the_size_answers_about_one_scale_above() -> None:
    """Between pixels nothing is exact: a quarter of the answer's norm may differ, and an eighth does."""
    basis = Hermite(kernel_size=25, sigmas=(2.0, 4.0), family=Family(kind="A", effective_size=3))
    place = torch.arange(65, dtype=torch.float64) - 32
    blobs = [torch.exp(-(place**2) / 2 / width**2) for width in (4.0, 8.0)]
    lifting = LiftingConv2d(1, 4, basis, padding=SAME, bias=False).double()
    small, large = (lifting(torch.outer(blob, blob)[None, None]) for blob in blobs)
    wanted = small[:, :, 0, 24:41, 24:41]
    found = large[:, :, 1, 16:49:2, 16:49:2]
    assert (found - wanted).norm() < 0.25 * wanted.norm()


def test_functions_are_even_or_odd() -> None:
    functions = Hermite(kernel_size=11, sigmas=(1.0, 1.7), family=B5).functions()
    signs = torch.tensor([(-1.0) ** (rows + columns) for rows, columns, _ in B5.members], dtype=torch.float64)
    assert torch.equal(functions.flip(2, 3), signs[:, None, None, None] * functions)


def test_rows_and_columns_are_not_the_same() -> None:
    """The fast index counts the order along rows: function 1 of A is odd from top to bottom."""
    ramp = Hermite(kernel_size=5, sigmas=(1.0,), family=A3).functions()[1, 0]
    assert torch.equal(ramp.flip(0), -ramp) and torch.equal(ramp.flip(1), ramp)


def test_impulses_are_dilated_at_whole_scales() -> None:
    values, _ = golden("disco_proxy_integer")
    for scale in (1, 2, 3, 4):
        assert torch.equal(dilated_impulses(13, 3, scale), values[f"scale_{scale}"].double())
    for scale in (1, 2, 3):
        assert torch.equal(dilated_impulses(13, 5, scale), values[f"e5_scale_{scale}"].double())


def test_scales_shift_with_their_widths() -> None:
    """A lifted map that moves by one scale, before kernels that move by one scale, moves the result by one scale."""
    family = B5
    widths = torch.tensor([1.0, 1.5, 2.25, 3.4], dtype=torch.float64)
    functions = hermite_functions(family, widths, 13)
    low, high = (ScaleConv2d(2, 2, functions[:, part], bias=False).double() for part in (slice(0, 3), slice(1, 4)))
    high.load_state_dict(low.state_dict())
    x = random(1, 2, 4, 15, 15)
    torch.testing.assert_close(high(x[:, :, 1:])[:, :, :2], low(x[:, :, :3])[:, :, 1:])


def test_constants_keep_their_digits() -> None:
    layer = copy.deepcopy(LiftingConv2d(1, 1, TWICE).float().bfloat16()).double()
    assert torch.equal(layer.functions(), TWICE.functions())
    assert list(layer.state_dict()) == ["weight", "bias"]


@pytest.mark.parametrize("kind", ["lifting", "later", "one"])
def test_it_learns(kind: str) -> None:
    torch.manual_seed(0)
    basis = Hermite(kernel_size=7, sigmas=(1.0, 1.6), family=A3)
    lifting: nn.Module = LiftingConv2d(1, 4, basis, padding=SAME)
    layers = {"lifting": nn.Identity(), "later": ScaleConv2d(4, 4, basis, interaction=2), "one": ScaleConv1x1(4, 4)}
    images, labels = torch.rand(64, 1, 12, 12), torch.arange(64) % 2
    images[labels == 1, :, 3:6, 3:6] += 1
    head = nn.Linear(4, 2)
    parameters = [*lifting.parameters(), *layers[kind].parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, 0.03)
    losses = []
    for _ in range(20):
        loss = F.cross_entropy(head(layers[kind](lifting(images).relu()).amax((2, 3, 4))), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Hermite(kernel_size=8, sigmas=(1.0,), family=A3), "kernel_size is 8; expected an odd number"),
        (lambda: Hermite(kernel_size=7, sigmas=(2.0, 1.0), family=A3), "each to be larger than the one before"),
        (lambda: Hermite(kernel_size=7, sigmas=(), family=A3), "sigmas is empty"),
        (lambda: Hermite(kernel_size=7, sigmas=geometric(1.0, 1.001, 3, digits=1), family=A3), "larger than the one"),
        (lambda: Family(kind="B", effective_size=3), "kind B needs a mult above 1"),
        (lambda: Family(kind="A", effective_size=3, mult=1.4), "belong to kind B"),
        (lambda: impulse_versions(5, 3, (1.0, 3.0)), "kernel_size is 5; expected at least 7"),
        (lambda: impulse_versions(5, 3, (1.0, 2.0, 2.5)), "kernel_size is 5; expected at least 7.*scale 2.5"),
        (
            lambda: Disco(kernel_size=5, scales=(1.0, 2.5), family=A3, sigma=0.9),
            "kernel_size is 5; expected at least 7",
        ),
        (lambda: Disco(kernel_size=5, scales=(1.0, 2.0), family=A3, sigma=0), "sigma is 0; expected a width"),
        (lambda: LiftingConv2d(1, 1, Disco(kernel_size=5, scales=(1.0,), family=A3, sigma=0.01)), "not all finite"),
        (lambda: Hermite(kernel_size=7, sigmas=(1.0, 2.0, 6.0), family=A3), "is 7; expected at least 13.* from 1 to 6"),
        (lambda: Hermite(kernel_size=5, sigmas=(1.0, 1.4, 4.0), family=A3), "is 5; expected at least 9"),
        (lambda: LiftingConv2d(1, 1, Hermite(kernel_size=7, sigmas=(0.01,), family=A3)), "not all finite"),
        (lambda: impulse_versions(5, 3, (1.2, 1.5)), "expected a whole number among them"),
        (lambda: LiftingConv2d(0, 3, TWICE), "is 0; expected a whole number"),
        (lambda: geometric(1.0, 2.0, 0), "count is 0"),
        (lambda: LiftingConv2d(1, 1, TWICE)(torch.zeros(1, 1, 9, 9)), "do not fit with a padding of 0"),
        (lambda: LiftingConv2d(1, 1, TWICE)(torch.zeros(1, 1, 2, 19, 19)), "got a lifted tensor"),
        (lambda: ScaleConv2d(1, 1, TWICE)(torch.zeros(1, 1, 19, 19)), "got a plain tensor"),
        (lambda: ScaleConv2d(1, 1, TWICE)(torch.zeros(1, 1, 3, 19, 19)), "got 3 scales.*expected the 2"),
    ],
)
def test_bad_input(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("sigmas", [(1.0, 6.0), (1.0, 4.0), (1.0, 1.5), (0.7, 0.9, 2.3), (1.0, 3.0)])
def test_the_kernel_size_that_is_asked_for_is_the_least_that_does(sigmas: tuple[float, ...]) -> None:
    for kernel_size in range(1, 21, 2):
        functions = hermite_functions(A3, torch.tensor(sigmas, dtype=torch.float64), kernel_size)
        if functions.isfinite().all():
            Hermite(kernel_size=kernel_size, sigmas=sigmas, family=A3)
            continue
        with pytest.raises(ValueError, match="expected at least") as found:
            Hermite(kernel_size=kernel_size, sigmas=sigmas, family=A3)
        least = int(str(found.value).split("at least ")[1].split(",")[0])
        assert hermite_functions(A3, torch.tensor(sigmas, dtype=torch.float64), least).isfinite().all()
        assert not hermite_functions(A3, torch.tensor(sigmas, dtype=torch.float64), least - 2).isfinite().all()


def test_even_functions_alone_fit_into_one_pixel() -> None:
    family = Family(kind="B", effective_size=2, mult=1.5, max_order=0)
    assert Hermite(kernel_size=3, sigmas=(1.0, 6.0), family=family).functions().isfinite().all()


@pytest.mark.parametrize("interaction", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2])
def test_mixing_by_hand(interaction: int, stride: int) -> None:
    layer = ScaleConv1x1(2, 3, interaction=interaction, stride=stride).double()
    nn.init.normal_(layer.bias)
    x = random(2, 2, 3, 7, 6)
    above = F.pad(x, (0, 0, 0, 0, 0, interaction - 1))
    expected = F.conv3d(above, layer.weight[..., None, None], layer.bias, (1, stride, stride))
    torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-13)
    bears_tools(layer.float(), x.float())


def test_whole_numbers_are_no_images() -> None:
    with pytest.raises(TypeError, match="got uint8; expected floating-point numbers"):
        LiftingConv2d(1, 1, TWICE)(torch.zeros(1, 1, 19, 19, dtype=torch.uint8))
