"""The student before training: which towers it trains, where the others come from, and its vocabulary.

Four shapes: a new image tower beside the teacher's text tower (or none), a new text tower beside a finished image tower
(MoTIS trains 2 to 6 layers so), both new, or both the teacher's own, to be cut down in stages. A tower that is not
trained belongs to the first teacher's space.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mobileclip_kit.distillation.request import TEACHERS_OWN, DistillRequest
from mobileclip_kit.distillation.teachers import DistillTeacher, shares_space, text_source
from mobileclip_kit.errors import ModelError, ModelMismatchError, UsageError
from mobileclip_kit.inherit.manual import inherit_channels
from mobileclip_kit.networks.backbones import beside, download_backbone, load_backbone, preprocessing_of
from mobileclip_kit.networks.model import Model, logit_bias
from mobileclip_kit.networks.students import build_student, stated_preprocessing, student_config, text_config
from mobileclip_kit.networks.vocabulary import trim_vocabulary
from mobileclip_kit.spec import MERGES_FILE, ImageSpec, TextSpec, Tower, tower_of
from mobileclip_kit.tokenizer import Tokenizer, standard_merges, trim_merges, write_merges


@dataclass(frozen=True)
class Student:
    """A model that is ready to be trained.

    Attributes:
        network: The open_clip model.
        config: Its ``model_cfg`` and ``preprocess_cfg``.
        towers: Which are trained.
        tokenizer_file: Of the text tower: ``merges.txt`` of a trimmed vocabulary or ``tokenizer.json``, or None.
        text: The model that the text tower or its vocabulary came from, or None.
        classifier: Weights ``(classes, features)`` of what a trained backbone was a part of, or None.
    """

    network: nn.Module
    config: dict[str, Any]
    towers: tuple[Tower, ...]
    tokenizer_file: Path | None
    text: Model | None
    classifier: Tensor | None = None

    @property
    def made_as(self) -> dict[str, Any]:
        """What must be equal, of the student, for an interrupted run to be continued."""
        return {"preprocessing": self.config["preprocess_cfg"], "architecture": self.config["model_cfg"]}


def make_student(
    request: DistillRequest, teacher: DistillTeacher, init: Model | None, texts: Sequence[str], run: Path
) -> Student:
    """Build a student.

    Args:
        request: What was asked for.
        teacher: The first one.
        init: A model whose image tower the student starts from, or keeps when only the text tower is trained.
        texts: What a trimmed vocabulary must hold.
        run: Where its merges are kept while the run lasts.

    Raises:
        UsageError: Flags contradict each other.
        ModelError: A row is unknown, or towers do not fit together.
        ModelMismatchError: The text tower, or the image tower beside a new one, lies in another space than the
            teacher's.
    """
    towers = request.towers
    source = text_source(teacher, request.text_from, init)
    source, merges = _vocabulary(request, source, texts, run)
    if request.text_tower is None:
        assert request.image_tower is not None
        config = student_config(
            request.image_tower, embedding_dim=teacher.embedding_dim, image=teacher.image, teacher=source,
            giver=teacher.live or init,
        )  # fmt: skip
        if init is not None:
            _share_activation(config["model_cfg"], init, source)
        _share_logit_bias(config["model_cfg"], teacher)
        network = build_student(config, seed=request.resolved.training.seed, teacher=source,
                                towers=(request.image_tower,))  # fmt: skip
    else:
        network, config = _with_text_tower(request, teacher, init, source, merges)
    classifier = _start_image_tower(network, config, request, init)
    if request.inherited is not None:
        giver = init if init is not None and request.image_tower is not None else teacher.live or source
        if giver is None:
            raise UsageError("To inherit weights needs the teacher's model.",
                             hint="Pass it as --teacher or --text-from, or take a recipe without inherit.")  # fmt: skip
        inherit_channels(network, giver.network, request.inheriting, choice=request.inherited)
    is_new = source is None or request.text_tower is not None
    if is_new:
        set_logit_scale(network, teacher.logit_scale)
    if is_new or (source is not None and logit_bias(source.network) is None):
        _take_over_logit_bias(network, teacher, source or init)
    return Student(network, config, towers, merges, source, classifier)


def _start_image_tower(network: nn.Module, config: dict[str, Any], request: DistillRequest,
                       init: Model | None) -> Tensor | None:  # fmt: skip
    """Give an image tower the weights that it starts from, and a backbone's configuration the preprocessing they need.

    Returns:
        Weights of the backbone's former classifier, or None.
    """
    if request.init_file is not None:
        config["preprocess_cfg"] |= beside(request.init_file) | stated_preprocessing(str(request.student))
        return load_backbone(network, request.init_file)
    if request.is_timm and init is None:
        return download_backbone(network, str(request.student))
    if init is not None and request.image_tower is not None:
        if request.is_timm:  # as its backbone was trained, not as the teacher saw images
            config["preprocess_cfg"] |= preprocessing_of(init.config["preprocess_cfg"])
        if "image" not in request.inheriting:
            take_over_image_tower(network, init)
    return None


def _vocabulary(request: DistillRequest, source: Model | None, texts: Sequence[str],
                run: Path) -> tuple[Model | None, Path | None]:  # fmt: skip
    """The text tower's model with its vocabulary as it will be, and the merges' file when it is a trimmed one."""
    if not request.trim_vocab:
        return source, source.tokenizer_file if source else None
    if not texts:
        raise UsageError("--trim-vocab needs texts to know which words are used.",
                         hint="Pass images with captions, or a --bank of texts.")  # fmt: skip
    run.mkdir(parents=True, exist_ok=True)
    merges = run / MERGES_FILE
    if source is not None and request.text_tower in (None, TEACHERS_OWN):
        return trim_vocabulary(source, texts, merges), merges
    if request.text_tower is None:
        raise UsageError("--trim-vocab needs a text tower.", hint="Name a --text, or the teacher's as --text-from.")
    of_clip = source is not None and source.spec.require_text().tokenizer == "clip-bpe"
    known = Tokenizer.for_spec(source.spec.require_text(), source.tokenizer_file) if source and of_clip else None
    kept, _ = trim_merges(texts, known or Tokenizer(standard_merges()))
    write_merges(merges, kept)
    return source, merges


def _with_text_tower(request: DistillRequest, teacher: DistillTeacher, init: Model | None, source: Model | None,
                     merges: Path | None) -> tuple[nn.Module, dict[str, Any]]:  # fmt: skip
    """A student whose text tower is trained."""
    assert request.text_tower is not None
    known = source.spec.require_text() if source is not None else TextSpec()
    if known.tokenizer != "clip-bpe" and request.text_tower != TEACHERS_OWN:
        known = TextSpec()  # a new text tower has CLIP's pieces, whatever its teacher's are
    if request.text_tower == TEACHERS_OWN:
        if source is None:
            raise UsageError("--text teacher needs the teacher's model.", hint="Pass it as --teacher or --text-from.")
        text_cfg = copy.deepcopy(source.config["model_cfg"]["text_cfg"])
    else:
        rows = known.vocab_size if merges is None else Tokenizer.for_spec(TextSpec(merges="trimmed"), merges).vocab_size
        text_cfg = text_config(request.text_tower, context_length=known.context_length, vocab_size=rows)
    if request.image_tower is not None and request.image_tower != TEACHERS_OWN:
        config = student_config(request.image_tower, embedding_dim=teacher.embedding_dim, image=teacher.image,
                                giver=source or teacher.live or init)  # fmt: skip
        finished = None
        if init is not None:
            _share_activation(config["model_cfg"], init, source if request.text_tower == TEACHERS_OWN else None)
    else:
        finished = init or teacher.live or source if request.image_tower is None else source
        if finished is None:
            raise UsageError("A text tower alone needs a finished image tower beside it.",
                             hint="Pass a model as --init, or the teacher's as --teacher or --text-from.")  # fmt: skip
        _check_space(finished, init, teacher)
        config = copy.deepcopy(finished.config)
        config["model_cfg"].pop("multimodal_cfg", None)
        if request.text_tower == TEACHERS_OWN and source is not None:
            _share_activation(config["model_cfg"], finished, source)
    config["model_cfg"]["text_cfg"] = text_cfg
    _share_logit_bias(config["model_cfg"], teacher)
    network = build_student(config, seed=request.resolved.training.seed,
                            towers=(request.image_tower, request.text_tower))  # fmt: skip
    if finished is not None:
        take_over_image_tower(network, finished)
    if request.text_tower == TEACHERS_OWN and source is not None:
        _take_over_text_tower(network, source)
    return network, config


def _check_space(finished: Model, init: Model | None, teacher: DistillTeacher) -> None:
    """Refuse an image tower whose vectors a text tower that learns from the teacher would not find."""
    if finished.spec.embedding_dim != teacher.embedding_dim:
        raise ModelError(
            f"{finished.spec.name} gives vectors of {finished.spec.embedding_dim} numbers, the teacher "
            f"{teacher.name} of {teacher.embedding_dim}; their spaces differ."
        )
    if finished is init and shares_space(finished, teacher) is False:
        raise ModelMismatchError(
            f"{finished.spec.name} was distilled from another teacher than {teacher.name}, so a text tower that "
            "learns from this one would not find its images.",
            hint="Pass a student of this teacher as --init, or the teacher that made it.",
        )


def init_notes(request: DistillRequest, teacher: DistillTeacher, init: Model | None, image: ImageSpec) -> list[str]:
    """What the user should know of a starting model that saw other images, or is not known to share the space.

    Args:
        request: What was asked for.
        teacher: The first one.
        init: The starting model, or None.
        image: The student's preprocessing.
    """
    if init is None:
        return seen_otherwise(request.init_file, request.student, image)
    notes, shared, theirs = list[str](), shares_space(init, teacher), init.spec.name
    if request.image_tower is None:
        if not shared:
            notes.append(
                f"Nothing says that the images of {theirs} lie where the teacher {teacher.name} puts them; the text "
                "tower learns to find them there."
            )
    else:
        notes += seen_otherwise(init, request.student, image)
    borrowed = request.text_tower or request.text_from or teacher.live
    if not borrowed and init.spec.text and not shared:
        notes.append(
            f"The text tower of {theirs} is not the teacher {teacher.name}'s, so the student has none; --text-from "
            "names the teacher's model."
        )
    return notes


def seen_otherwise(init: Model | Path | None, student: str | None, image: ImageSpec) -> list[str]:
    """A sentence where what a student starts from saw other images than the student sees, or does not say.

    Args:
        init: A model, or a file of weights.
        student: The image tower's name.
        image: The student's preprocessing.
    """
    if init is None:
        return []
    if isinstance(init, Path):
        if beside(init) or (student is not None and stated_preprocessing(student)):
            return []
        return [f"No config.json beside {init.name} says how its images were prepared; the student sees them with mean "
                f"{image.mean} and std {image.std}."]  # fmt: skip
    seen = init.spec.image
    if seen is None or (seen.mean, seen.std) == (image.mean, image.std):
        return []
    return [f"{init.spec.name} saw images with mean {seen.mean} and std {seen.std}; the student sees them with mean "
            f"{image.mean} and std {image.std}."]  # fmt: skip


def take_over_image_tower(network: nn.Module, init: Model) -> None:
    """Start a student's image tower from another model's weights; 24 heads take 12 heads' weights as they are.

    Raises:
        ModelError: A weight is missing or has another shape.
    """
    state = {name: tensor for name, tensor in init.network.state_dict().items() if tower_of(name) == "image"}
    wanted = {name: tensor for name, tensor in network.state_dict().items() if tower_of(name) == "image"}
    for name, tensor in wanted.items():
        if name not in state or state[name].shape != tensor.shape:
            found = f"has the shape {tuple(state[name].shape)}" if name in state else "is missing"
            raise ModelError(
                f"{init.spec.name} cannot start this student: its {name} {found}, not {tuple(tensor.shape)}.",
                hint="--init takes a model of the same widths and layers.",
            )
    network.load_state_dict({name: state[name] for name in wanted}, strict=False)


def _take_over_text_tower(network: nn.Module, source: Model) -> None:
    """Give the student another model's text weights, whether open_clip keeps them under ``text.`` or not."""
    theirs: dict[str, Tensor] = {
        name.removeprefix("text."): tensor for name, tensor in source.network.state_dict().items()
    }
    ours = {name: name.removeprefix("text.") for name in network.state_dict() if tower_of(name) == "text"}
    missing = [name for name in ours.values() if name not in theirs]
    if missing:
        raise ModelError(f"{source.spec.name} has no {missing[0]}, which the student's text tower needs.")
    network.load_state_dict({name: theirs[short] for name, short in ours.items()}, strict=False)


def _share_activation(model_cfg: dict[str, Any], image: Model, text: Model | None) -> None:
    """Give a student the activation with which its towers were trained: QuickGELU weights mean nothing in GELU layers.

    Args:
        model_cfg: The student's, changed in place.
        image: Whose image tower it starts from.
        text: Whose text tower it has; None for a new one.

    Raises:
        ModelError: The towers were trained with different activations; an open_clip configuration has only one.
    """
    own = bool(image.config["model_cfg"].get("quick_gelu"))
    theirs = own if text is None else bool(text.config["model_cfg"].get("quick_gelu"))
    vision = image.config["model_cfg"]["vision_cfg"]
    is_transformer = "timm_model_name" not in vision and not isinstance(vision["layers"], list | tuple)
    if text is not None and is_transformer and own != theirs:
        kinds = ("QuickGELU", "GELU") if own else ("GELU", "QuickGELU")
        raise ModelError(
            f"The image tower of {image.spec.name} uses {kinds[0]} and the text tower of {text.spec.name} "
            f"{kinds[1]}; an open_clip model has one activation.",
            hint="Take both towers from one model, or train a new image tower: --student without --init.",
        )
    model_cfg["quick_gelu"] = theirs


def _share_logit_bias(model_cfg: dict[str, Any], teacher: DistillTeacher) -> None:
    """Give a student's configuration its teacher's logit bias: a cache knows the value, and a live teacher has it."""
    if teacher.logit_bias is not None and model_cfg.get("init_logit_bias") is None:
        model_cfg["init_logit_bias"] = teacher.logit_bias


@torch.no_grad()
def _take_over_logit_bias(network: Any, teacher: DistillTeacher, giver: Model | None) -> None:
    """Give a student with SigLIP's bias the value that its teacher learned, or its starting model where that is all."""
    learned = teacher.logit_bias
    if learned is None and giver is not None:
        learned = logit_bias(giver.network)
    if learned is not None and getattr(network, "logit_bias", None) is not None:
        network.logit_bias.fill_(learned)


def set_logit_scale(network: Any, scale: float | None) -> None:
    """Give a student its teacher's logit scale, CLIP's 100 where it is not known."""
    with torch.no_grad():
        network.logit_scale.fill_(math.log(scale or 100.0))
