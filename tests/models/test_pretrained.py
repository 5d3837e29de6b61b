"""Models and tokenizers by name, from folders alone."""

import shutil
import sys

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModel, BertModel, PreTrainedTokenizerFast

from bertx.errors import InputError
from bertx.models.pretrained import (
    load_classifier,
    load_tokenizer,
    load_with_missing,
    locate,
    longest_input,
)
from tests.runs import save_model
from tests.tiny import ARCHITECTURES, tiny_model
from tests.tokenizer_kinds import KINDS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model"), labels=3)


def test_locate_leaves_names_and_folders_alone(folder):
    assert locate(folder) == folder
    assert locate("google-bert/bert-base-uncased") == "google-bert/bert-base-uncased"


def test_locate_finds_the_folder_of_a_package_without_importing_it(tmp_path, monkeypatch):
    package = tmp_path / "some_encoder"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "model/config.json").write_text("{}")
    monkeypatch.syspath_prepend(tmp_path)
    assert locate("package:some_encoder/model") == str(package / "model")
    assert "some_encoder" not in sys.modules


@pytest.mark.parametrize("name", ["package:no_such_thing/model", "package:/model", "package:a-b/c"])
def test_locate_refuses_what_is_not_installed(name):
    with pytest.raises(InputError, match="is not installed"):
        locate(name)


def test_locate_refuses_a_folder_without_a_model():
    with pytest.raises(InputError, match=r"no config.json in .*tests"):
        locate("package:tests/cli")


def test_a_classifier_trains_and_names_its_classes(folder):
    model = load_classifier(folder, ["bad", "so so", "good"])
    assert all(part.training for part in model.modules())
    assert model.config.id2label == {0: "bad", 1: "so so", 2: "good"}
    assert model.config.label2id == {"bad": 0, "so so": 1, "good": 2}


def test_weights_are_kept_and_a_head_of_another_size_is_new(folder):
    same = load_classifier(folder, ["a", "b", "c"])
    other = load_classifier(folder, ["a", "b"])
    assert other.classifier.out_features == 2
    for name, weight in other.bert.state_dict().items():
        assert torch.equal(weight, same.bert.state_dict()[name])


def test_the_precision_is_that_asked_for(tmp_path):
    tiny_model("bert", 2, torch.bfloat16).save_pretrained(tmp_path)
    assert load_classifier(str(tmp_path), ["a", "b"]).dtype == torch.float32
    assert load_classifier(str(tmp_path), ["a", "b"], "bfloat16").dtype == torch.bfloat16


def test_an_encoder_without_a_head_gets_one(tmp_path, bert):
    BertModel(bert.config).save_pretrained(tmp_path)
    assert load_classifier(str(tmp_path), ["a", "b", "c", "d"]).classifier.out_features == 4


def test_the_tokenizer_of_a_folder(folder):
    assert load_tokenizer(folder)("the film")["input_ids"][0] == 2


def test_weights_that_were_drawn_are_told(tmp_path):
    tiny_model().save_pretrained(tmp_path)
    assert load_with_missing(str(tmp_path), ["a", "b", "c"])[1] == []
    assert load_with_missing(str(tmp_path), ["a", "b"])[1] == [
        "classifier.bias",
        "classifier.weight",
    ]
    AutoModel.from_pretrained(tmp_path).save_pretrained(tmp_path / "encoder")
    _, drawn = load_with_missing(str(tmp_path / "encoder"), ["a", "b", "c"])
    assert drawn == ["classifier.bias", "classifier.weight"]


@pytest.mark.parametrize("load", [load_tokenizer, lambda name: load_classifier(name, ["a", "b"])])
def test_unknown_names_say_what_is_expected(load, tmp_path):
    with pytest.raises(InputError, match=r"cannot be loaded.*a hub id, a folder"):
        load(str(tmp_path / "nothing"))


@pytest.mark.parametrize("load", [load_tokenizer, lambda name: load_classifier(name, ["a", "b"])])
def test_a_missing_package_is_said_once(load):
    with pytest.raises(InputError) as caught:
        load("package:no_such_module/model")
    assert str(caught.value).count("no_such_module") == 2  # the name and the package in it
    assert "cannot be loaded" not in str(caught.value)


@pytest.mark.parametrize(("kind", "longest"), [("bert", 64), ("roberta", 63), ("distilbert", 64)])
def test_positions_kept_for_padding_do_not_count(kind, longest):
    assert longest_input(tiny_model(kind)) == longest


@pytest.mark.parametrize("kind", sorted({*ARCHITECTURES} - {"modernbert"}))
def test_a_folder_without_a_tokenizer_is_refused(kind, tmp_path):
    """transformers makes a tokenizer of special tokens alone, which reads every word as unknown."""
    tiny_model(kind).config.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"special tokens.*files are missing") as caught:
        load_tokenizer(str(tmp_path))
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_small_vocabularies_are_taken(kind, tmp_path):
    KINDS[kind]().save_pretrained(tmp_path)
    tiny_model().config.save_pretrained(tmp_path)
    assert len(load_tokenizer(str(tmp_path))("good", add_special_tokens=False)["input_ids"]) > 0


def test_a_tokenizer_of_letters_is_taken(tmp_path):
    raw = Tokenizer(models.WordLevel({"<pad>": 0, "<unk>": 1, "a": 2}, "<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(tmp_path)
    assert load_tokenizer(str(tmp_path))("aab")["input_ids"] == [2, 2, 1]


@pytest.mark.parametrize("content", ["nothing", "{}", '{"a": 1}', "[]"])
def test_a_damaged_tokenizer_is_refused(content, tmp_path, folder):
    shutil.copytree(folder, tmp_path / "m")
    (tmp_path / "m" / "tokenizer.json").write_text(content)
    with pytest.raises(InputError, match=r"cannot be loaded: .*a hub id, a folder"):
        load_tokenizer(str(tmp_path / "m"))


@pytest.mark.parametrize("kept", [0, 100, -100])
def test_damaged_weights_are_refused(kept, tmp_path, folder):
    shutil.copytree(folder, tmp_path / "m")
    weights = tmp_path / "m" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept])
    with pytest.raises(InputError, match=rf"{tmp_path}/m' cannot be loaded: .*a hub id, a folder"):
        load_classifier(str(tmp_path / "m"), ["a", "b", "c"])
