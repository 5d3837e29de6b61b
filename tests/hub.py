"""A small stand-in for the Hugging Face Hub on 127.0.0.1, with the repositories that tests need.

The model has the names of bert-base-uncased's checkpoint (an encoder with heads for pretraining,
norms under their old names), the data sets have the layouts of the real ones.
"""

import hashlib
import io
import json
import random
import re
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, unquote, urlsplit

import datasets
import torch
from safetensors.torch import save
from transformers import BertConfig, BertForPreTraining

from tests.tiny import tiny_tokenizer

REPOSITORY = r"/(?:api/)?(models/|datasets/)?([\w.-]+/[\w.-]+)/?(resolve|revision|tree|paths-info)?"
SHA = "0123456789abcdef0123456789abcdef01234567"
STARS = ["1 star", "2 star", "3 stars", "4 stars", "5 stars"]
FIVE = ["very negative", "negative", "neutral", "positive", "very positive"]
MARKER = "CODE_RAN"
CODE = f"open({MARKER!r}, 'w').close()\nfrom transformers import BertConfig as MyConfig\n"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.answer("")

    do_HEAD = do_GET

    def do_POST(self):
        self.answer(self.rfile.read(int(self.headers["Content-Length"])).decode())

    def reply(self, status, body, **headers):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": len(body)}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def answer(self, posted):
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(path)
        found = re.match(REPOSITORY, path)
        if found is None:
            return self.reply(404, {"error": "no such route"})
        kind = "datasets" if found[1] == "datasets/" else "models"
        files = self.server.repositories.get((kind, found[2]))
        rest = path[found.end() :].lstrip("/").partition("/")[2]  # after the revision
        if files is None:
            return self.reply(401, {}, X_Error_Code="RepoNotFound", X_Error_Message="not found")
        if files.get("gated") and rest != "README.md":
            return self.reply(401, {}, X_Error_Code="GatedRepo", X_Error_Message="restricted")
        if found[3] == "resolve":
            return self.file(files.get(rest))
        if found[3] == "tree":
            deep = parse_qs(urlsplit(self.path).query).get("recursive", [""])[0].lower() == "true"
            return self.tree(files, f"{rest}/" if rest else "", deep)
        if found[3] == "paths-info":
            names = json.loads(posted)["paths"] if posted[:1] == "{" else parse_qs(posted)["paths"]
            return self.reply(200, [entry(n, files[n]) for n in names if n in files])
        siblings = [{"rfilename": name} for name in files]
        return self.reply(200, {"id": found[2], "sha": SHA, "siblings": siblings, "tags": []})

    def file(self, content):
        if content is None:
            return self.reply(404, {}, X_Error_Code="EntryNotFound", X_Repo_Commit=SHA)
        start, status = 0, 200
        if part := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            start, status = int(part[1]), 206
        tag = hashlib.sha1(content).hexdigest()
        return self.reply(status, content[start:], ETag=f'"{tag}"', X_Repo_Commit=SHA)

    def tree(self, files, under, deep):
        inside = [name for name in files if name.startswith(under)]
        if not inside:
            return self.reply(404, {}, X_Error_Code="EntryNotFound")
        folders = {under + name[len(under) :].split("/")[0] for name in inside} - set(inside)
        here = [name for name in inside if deep or "/" not in name[len(under) :]]
        listed = [{"type": "directory", "oid": SHA, "size": 0, "path": f} for f in folders]
        return self.reply(200, listed + [entry(name, files[name]) for name in here])


def entry(name, content):
    oid = hashlib.sha1(content).hexdigest()
    return {"type": "file", "oid": oid, "size": len(content), "path": name}


@contextmanager
def serving(repositories):
    """Serve repositories, a mapping of (models or datasets, id) to contents of files by name.

    Yields the address, and the list of all paths that are asked for.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.repositories, server.asked = repositories, []
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.asked
    finally:
        server.shutdown()
        server.server_close()


def repositories(folder):
    """All of them: the model and data of the shipped configurations, and some that misbehave."""
    model = {**tokenizer_files(folder), **bert()}
    remote = {"auto_map": {"AutoConfig": "my.MyConfig"}, "model_type": "my"}
    found = {
        "google-bert/bert-base-uncased": model,
        "tests/pickled": {**model, **pickled(pretraining())},
        "tests/evil": {**model, **pickled({**pretraining(), "x": Runs()})},
        "tests/remote-code": {**model, "config.json": config(**remote), "my.py": CODE.encode()},
        "tests/gated": {"gated": b"manual", **model},
        "tests/damaged": {**model, "model.safetensors": b"nothing"},
    }
    for name in ("tests/pickled", "tests/evil"):
        del found[name]["model.safetensors"]
    data = {
        "stanfordnlp/sst2": sst2(),
        "SetFit/sst5": sst5(),
        "cardiffnlp/tweet_eval": tweet_eval(),
        "stanfordnlp/imdb": imdb(),
        "Yelp/yelp_review_full": yelp(),
        "tests/gated-data": {"gated": b"manual", "README.md": b"", "train.jsonl": b"{}"},
        "tests/script": {"README.md": b"", "script.py": CODE.encode()},
        "tests/damaged-data": {"README.md": b"", "data/train.parquet": b"PAR1 and nothing"},
    }
    return {
        **{("models", name): files for name, files in found.items()},
        **{("datasets", name): files for name, files in data.items()},
    }


class Runs:
    """A pickle that would make a file."""

    def __reduce__(self):
        return open, (MARKER, "w")


def config(**more):
    small = BertConfig(
        vocab_size=len(tiny_tokenizer()), hidden_size=16, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=24, max_position_embeddings=64,
    )  # fmt: skip
    known = small.to_dict() | {"architectures": ["BertForMaskedLM"], **more}
    return json.dumps(known).encode()


def pretraining():
    """The weights of an encoder with the heads of its pretraining, named as those of 2018."""
    torch.manual_seed(0)
    model = BertForPreTraining(BertConfig(**json.loads(config())))
    return {
        name.replace("LayerNorm.weight", "LayerNorm.gamma")
        .replace("LayerNorm.bias", "LayerNorm.beta"): weight.contiguous()
        for name, weight in model.state_dict().items()
        if not name.startswith("cls.predictions.decoder")
    }  # fmt: skip


def bert():
    weights = save(pretraining(), metadata={"format": "pt"})
    return {"config.json": config(), "model.safetensors": weights}


def pickled(weights):
    buffer = io.BytesIO()
    torch.save(weights, buffer)
    return {"pytorch_model.bin": buffer.getvalue()}


def tokenizer_files(folder):
    tokenizer = tiny_tokenizer()
    tokenizer.model_max_length = 64
    tokenizer.save_pretrained(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def rows(classes, count=12):
    """Texts of the tiny vocabulary with their classes in turn."""
    draw = random.Random(0)
    words = ["awful", "dull", "food", "great", "superb"]
    starts = [" ".join(draw.choices(["the", "film", "was", "plot"], k=3)) for _ in range(count)]
    return [(f"{start} {words[i % classes]}", i % classes) for i, start in enumerate(starts)]


def parquet(columns, names):
    kinds = {"idx": datasets.Value("int32"), "label": datasets.ClassLabel(names=names)}
    features = {name: kinds.get(name, datasets.Value("string")) for name in columns}
    buffer = io.BytesIO()
    datasets.Dataset.from_dict(columns, features=datasets.Features(features)).to_parquet(buffer)
    return buffer.getvalue()


def card(configs):
    """A README that says where the files of each split of each configuration are."""
    text = "---\nconfigs:\n"
    for name, (splits, default) in configs.items():
        text += f"- config_name: {name}\n  data_files:\n"
        text += "".join(f"  - split: {s}\n    path: {p}\n" for s, p in splits.items())
        text += "  default: true\n" if default else ""
    return f"{text}---\n".encode()


def sst2():
    splits = ("train", "validation", "test")
    files = {}
    for split in splits:
        texts, labels = zip(*rows(2), strict=True)
        labels = [-1] * len(labels) if split == "test" else list(labels)
        columns = {"idx": list(range(len(texts))), "sentence": list(texts), "label": labels}
        files[f"data/{split}-00000-of-00001.parquet"] = parquet(columns, ["negative", "positive"])
    return {"README.md": card({"default": ({s: f"data/{s}-*" for s in splits}, False)}), **files}


def sst5():
    lines = [{"text": t, "label": y, "label_text": FIVE[y]} for t, y in rows(5, 20)]
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    return {"README.md": b"# SST-5\n", **{f"{s}.jsonl": content for s in ("train", "dev", "test")}}


def tweet_eval():
    known = {"emotion": ["anger", "joy"], "sentiment": ["negative", "neutral", "positive"]}
    splits, files = ("train", "validation", "test"), {}
    for name, names in known.items():
        texts, labels = zip(*rows(len(names)), strict=True)
        content = parquet({"text": list(texts), "label": list(labels)}, names)
        files |= {f"{name}/{split}-00000-of-00001.parquet": content for split in splits}
    where = {name: ({s: f"{name}/{s}-*" for s in splits}, False) for name in known}
    return {"README.md": card(where), **files}


def imdb():
    """Sorted by class, without a validation split, and with texts that nobody labelled."""
    texts, labels = zip(*sorted(rows(2), key=lambda row: row[1]), strict=True)
    columns = {"text": list(texts), "label": list(labels)}
    unknown = {**columns, "label": [-1] * len(labels)}
    splits = ("train", "test", "unsupervised")
    files = {
        f"plain_text/{s}-00000-of-00001.parquet": parquet(
            unknown if s == "unsupervised" else columns, ["neg", "pos"]
        )
        for s in splits
    }
    where = {"plain_text": ({s: f"plain_text/{s}-*" for s in splits}, True)}
    return {"README.md": card(where), **files}


def yelp():
    """The label first, the training texts in three files, and no validation split."""
    name = "yelp_review_full"
    texts, labels = zip(*rows(5, 30), strict=True)
    files = {}
    for split, count in (("train", 3), ("test", 1)):
        for i in range(count):
            columns = {"label": list(labels[i::count]), "text": list(texts[i::count])}
            files[f"{name}/{split}-{i:05d}-of-{count:05d}.parquet"] = parquet(columns, STARS)
    splits = {split: f"{name}/{split}-*" for split in ("train", "test")}
    return {"README.md": card({name: (splits, False)}), **files}
