"""Image towers of timm that were trained on something else, as the start of a student.

``timm:NAME`` is an architecture of timm, ``timm:NAME.TAG`` one of its published weights. open_clip builds the tower
from the architecture's name alone, so a student's folder loads there like any other. ``stages:NAME`` and
``stages:NAME.TAG`` are the same backbones read at several stages, see :mod:`mobileclip_kit.networks.stage_features`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models import PretrainedCfg
from torch import Tensor, nn

from mobileclip_kit.errors import ModelError, first_line
from mobileclip_kit.files import read_json
from mobileclip_kit.hub import hub_reason, quiet_hub
from mobileclip_kit.model_names import STAGES, is_backbone
from mobileclip_kit.networks.families import image_tower
from mobileclip_kit.networks.stage_features import BACKBONES, PREFIX, StageFeatures
from mobileclip_kit.resources import did_you_mean
from mobileclip_kit.spec import CONFIG_FILE, ImageSpec

_LISTED = 3
# Parts of a backbone's file that belong to its former task, beside those that timm names for the architecture.
_CLASSIFIERS = ("classifier.", "fc.", "head.")


def backbone_config(name: str) -> dict[str, Any]:
    """The ``vision_cfg`` and ``preprocess_cfg`` of a student on a timm backbone.

    Args:
        name: ``timm:NAME`` or ``timm:NAME.TAG``; ``stages:`` in place of ``timm:`` reads several stages.

    Raises:
        ModelError: timm has no such architecture, or no such weights of it (the nearest are named), it is no
            classifier, or its stages cannot be read.
    """
    published = _published(name)
    prefix = PREFIX if name.startswith(STAGES) else ""
    if prefix and published.architecture not in BACKBONES:
        raise ModelError(f"mckit does not read the stages of {published.architecture}.",
                         hint=f"Take timm:{published.architecture}, or one of {', '.join(BACKBONES)}.")  # fmt: skip
    section = {"image_size": published.input_size[-1], "timm_model_name": f"{prefix}{published.architecture}"}
    if not prefix and _has_layers_behind_pooling(published.architecture):
        section |= {"timm_pool": "avg", "timm_proj": None}
    else:
        section |= {"timm_pool": "", "timm_proj": "linear", "timm_proj_bias": True}
    known = timm.get_pretrained_cfg(published.architecture, allow_unregistered=True) is not None
    return {"vision_cfg": section, "preprocess_cfg": preprocessing_of(vars(published)) if known else {}}


def require_architecture(architecture: str) -> None:
    """Refuse a name that timm does not know.

    Raises:
        ModelError: Names the nearest ones.
    """
    if not timm.is_model(architecture):
        known = [model for model in timm.list_models() if not model.startswith("mckit_")]
        hint = did_you_mean(architecture, known, most=_LISTED) or "`timm.list_models()` lists the known names."
        raise ModelError(f"timm has no model {architecture!r}.", hint=hint)


def _published(name: str) -> Any:
    architecture, _, tag = _timm_name(name).partition(".")
    require_architecture(architecture)
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        nearest = difflib.get_close_matches(tag, tags, n=_LISTED, cutoff=0.3) or tags[:_LISTED]
        hint = f"Did you mean {', '.join(f'{architecture}.{known}' for known in nearest)}?" if nearest else None
        raise ModelError(f"timm has no weights {tag!r} of {architecture}.", hint=hint)
    found = timm.get_pretrained_cfg(f"{architecture}.{tag}" if tag else architecture, allow_unregistered=True)
    return found or PretrainedCfg(architecture=architecture)


def _has_layers_behind_pooling(architecture: str) -> bool:
    """Whether a backbone's features are wider or narrower than its last grid, as MobileNetV3's and V4's are.

    open_clip 3.3 builds its projection for the width of the grid. The backbone's own classifier is the projection then.

    Raises:
        ModelError: It has no classifier that could be replaced.
    """
    with torch.device("meta"):  # nothing is computed or kept
        model: Any = timm.create_model(architecture)
    if not hasattr(model, "reset_classifier"):
        raise ModelError(f"timm's {architecture} classifies nothing, so open_clip cannot put a projection on it.",
                         hint="Take an architecture that was trained to classify images.")  # fmt: skip
    return bool(getattr(model, "head_hidden_size", model.num_features) != model.num_features)


def projection_of(visual: nn.Module) -> nn.Linear | None:
    """The linear layer that ends a tower: behind its backbone, or the backbone's own classifier; None without one."""
    found = getattr(getattr(visual, "head", None), "proj", None)
    if found is None and hasattr(trunk := getattr(visual, "trunk", None), "get_classifier"):
        found = trunk.get_classifier()  # type: ignore[union-attr]
    return found if isinstance(found, nn.Linear) else None


def preprocessing_of(published: Mapping[str, Any]) -> dict[str, Any]:
    """What a backbone's configuration says of its input, in open_clip's words."""
    found = {key: published[key] for key in ("mean", "std") if published.get(key)}
    if published.get("interpolation") in ("bilinear", "bicubic"):
        found["interpolation"] = published["interpolation"]
    return found


def preprocessing_in(path: Path, section: Any, *, is_open_clips: bool = False) -> dict[str, Any]:
    """What a section of a JSON file says of a backbone's input, see :func:`preprocessing_of`.

    Args:
        path: The file, for messages.
        section: What it holds; nothing where it is no object.
        is_open_clips: Whether it is open_clip's ``preprocess_cfg``. Of other programs' words only some are understood,
            and the others are left out.

    Raises:
        ModelError: The mean or std is not three numbers, with std above 0; or a ``preprocess_cfg`` has other mistakes.
    """
    found = preprocessing_of(section if isinstance(section, dict) else {})
    try:
        if is_open_clips:
            _check_words(section)
        ImageSpec.from_open_clip(section if is_open_clips else found)
    except ModelError as error:
        raise ModelError(f"{path} holds no usable preprocessing: {error.message}",
                         hint=error.hint or "Correct or remove it.") from error  # fmt: skip
    return found


def _check_words(section: Any) -> None:
    if not isinstance(section, dict):
        raise ModelError("its preprocess_cfg is no object.")
    known = ImageSpec().to_open_clip().keys()
    if unknown := [key for key in section if key not in known]:
        raise ModelError(f"its preprocess_cfg has {unknown[0]!r}; open_clip knows {', '.join(known)}.",
                         hint=did_you_mean(unknown[0], known))  # fmt: skip


def follow_backbone(image: ImageSpec, preprocess: Mapping[str, Any]) -> ImageSpec:
    """A teacher's preprocessing with the mean, std and filter that a backbone was trained with."""
    known = {"size": [image.height, image.width], **image.to_open_clip(), **preprocess}
    return ImageSpec.from_open_clip(known)


def _timm_name(name: str) -> str:
    """What stands behind ``timm:`` or ``stages:``."""
    return name.partition(":")[2] if is_backbone(name) else name


def download_backbone(network: nn.Module, name: str) -> Tensor | None:
    """Give a student the weights that timm publishes for its backbone.

    Returns:
        The weights of the backbone's classifier, see :func:`load_backbone`.

    Raises:
        ModelError: They cannot be downloaded.
    """
    wanted = _timm_name(name)
    try:
        with quiet_hub():
            trained = timm.create_model(wanted, pretrained=True)
    except Exception as error:  # hub libraries raise their own trees; all of them mean "no weights came"
        raise ModelError(
            f"The weights of {name} could not be loaded: {hub_reason(error)}",
            hint="Check the network, or pass the weights as --init FILE.safetensors.",
        ) from error
    return _take_over(network, trained.state_dict(), name)


def load_backbone(network: nn.Module, path: Path) -> Tensor | None:
    """Start a student's image tower from a file of weights: a timm backbone's, or an open_clip model's.

    Args:
        network: The student, changed in place.
        path: Names as timm gives them, or ``visual.…`` as open_clip does, also behind ``module.`` and the like; the
            student takes no classifier.

    Returns:
        The weights of the classifier in the file, ``(classes, features)``; None without one that is linear, and of
        several.

    Raises:
        ModelError: The file cannot be read, is of another architecture, or holds values that are not finite: the first
            tensors that do not fit are named.
    """
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        reason = first_line(error).rstrip(".")
        raise ModelError(f"{path} cannot be read: {reason}.", hint="Pass a .safetensors file of weights.") from error
    return _take_over(network, state, str(path))


def _take_over(network: nn.Module, state: Mapping[str, Tensor], source: str) -> Tensor | None:
    visual = image_tower(network)
    trunk = getattr(visual, "trunk", visual)
    backbone = trunk.backbone if isinstance(trunk, StageFeatures) else trunk
    for target, projection in ((visual, None), (backbone, projection_of(visual))):
        own = _own(target, projection)
        if (prefix := _prefix(state, own)) is not None:
            break
    state = {name.removeprefix(prefix or ""): tensor for name, tensor in state.items() if name.startswith(prefix or "")}
    missing = [name for name in own if name not in state]
    shaped = [name for name in own if name in state and state[name].shape != own[name].shape]
    classifiers = _classifiers(backbone)
    former_task = _CLASSIFIERS + tuple(f"{name.partition('.')[0]}." for name in classifiers)
    unknown = [name for name in state if name not in target.state_dict() and not name.startswith(former_task)]
    if missing or shaped or unknown:
        wrong = [f"it lacks {_some(missing)}"] if missing else []
        wrong += (
            [f"{shaped[0]} is {tuple(state[shaped[0]].shape)}, not {tuple(own[shaped[0]].shape)}"] if shaped else []
        )
        wrong += [f"it also has {_some(unknown)}"] if unknown else []
        raise ModelError(f"{source} is of another architecture than the student: {'; '.join(wrong)}.",
                         hint="Pass the weights of the architecture that --student names.")  # fmt: skip
    if wrong := [name for name in own if not bool(state[name].isfinite().all())]:
        raise ModelError(f"{source} holds values that are not finite, in {_some(wrong)}.",
                         hint="Pass a file that is not damaged.")  # fmt: skip
    target.load_state_dict({name: state[name].float() for name in own}, strict=False)
    former = state.get(f"{classifiers[0]}.weight") if len(classifiers) == 1 else None
    return former.float() if former is not None and former.ndim == 2 and target is not visual else None


def _classifiers(backbone: nn.Module) -> tuple[str, ...]:
    """The layers of timm's architecture that classify; a distilled one has a second one for its teacher's answers."""
    named: Any = getattr(backbone, "pretrained_cfg", {}).get("classifier") or ()
    return (named,) if isinstance(named, str) else tuple(named)


def _own(target: nn.Module, projection: nn.Module | None) -> dict[str, Tensor]:
    """The tensors that a file must have; of a projection that is the student's own it need not have any."""
    ours = tuple(f"{name}." for name, part in target.named_modules() if part is projection)
    return {name: tensor for name, tensor in target.state_dict().items()
            if not name.endswith("num_batches_tracked") and not name.startswith(ours)}  # fmt: skip


def _prefix(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str | None:
    """What stands before each of our names in a file: nothing, ``module.``, …; None where some are missing."""
    first = next(iter(own))
    found = (name.removesuffix(first) for name in state if name.endswith(first))
    return next((prefix for prefix in sorted(found, key=len) if all(f"{prefix}{name}" in state for name in own)), None)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


@torch.no_grad()
def measure_batch_norms(network: nn.Module, batches: Iterable[Tensor]) -> int:
    """Give batch norms that were folded into their convolutions the statistics that their inputs have.

    Such a norm has mean 0 and variance 1 and does nothing; in training it would normalise by the batch's statistics
    and so undo what the backbone learned. Afterwards it computes the same as before in eval mode, and nearly so in
    training.

    Args:
        network: A student, in eval mode.
        batches: Images ``(n, 3, height, width)``, as the student takes them.

    Returns:
        How many norms were folded.
    """
    folded = [part for part in image_tower(network).modules() if isinstance(part, nn.BatchNorm2d) and _is_folded(part)]
    sums: dict[nn.Module, list[Any]] = {part: [0, 0.0, 0.0] for part in folded}

    def count(part: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        places = inputs[0].numel() // inputs[0].shape[1]
        variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
        entry = sums[part]
        sums[part] = [entry[0] + places, entry[1] + places * mean.double(),
                      entry[2] + places * (variance + mean.square()).double()]  # fmt: skip

    hooks = [part.register_forward_pre_hook(count) for part in folded]
    if folded:
        for images in batches:
            image_tower(network)(images)
    for hook in hooks:
        hook.remove()
    part: Any  # torch's types know no buffers
    for part, (places, total, squares) in sums.items():
        if places:
            mean = (total / places).float()
            variance = (squares / places - (total / places).square()).clamp(min=0.0).float()
            scale = part.weight / (1.0 + part.eps) ** 0.5
            part.bias.add_(scale * mean)
            part.weight.copy_(scale * (variance + part.eps).sqrt())
            part.running_mean.copy_(mean)
            part.running_var.copy_(variance)
    return len(folded)


def _is_folded(norm: nn.BatchNorm2d) -> bool:
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None or norm.weight is None:
        return False
    return bool((mean == 0.0).all() and (variance == 1.0).all() and not (norm.bias == 0.0).all())


def beside(path: Path) -> dict[str, Any]:
    """The preprocessing in timm's ``config.json`` or a model folder's beside a file of weights; nothing without one.

    Raises:
        DataError: It is not a JSON object.
        ModelError: Its mean or std is not three numbers.
    """
    for name, section in (("config.json", "pretrained_cfg"), (CONFIG_FILE, "preprocess_cfg")):
        if (config := path.with_name(name)).is_file():
            document = read_json(config)
            return preprocessing_in(config, document.get(section, document))
    return {}
