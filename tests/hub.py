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

from tests.tiny import tiny_model, tiny_tokenizer

REPOSITORY = r"/(?:api/)?(models/|datasets/)?([\w.-]+/[\w.-]+)/?(resolve|revision|tree|paths-info)?"
SHA = "0123456789abcdef0123456789abcdef01234567"
STARS = ["1 star", "2 star", "3 stars", "4 stars", "5 stars"]
MARKER = "CODE_RAN"
CODE = f"open({MARKER!r}, 'w').close()\nimport transformers as t\nclass MyConfig(t.BertConfig): ..."


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
        return self.reply(200, {"id": found[2], "sha": SHA, "tags": []})

    def file(self, content):
        if content is None:
            return self.reply(404, {}, X_Error_Code="EntryNotFound", X_Repo_Commit=SHA)
        tag = hashlib.sha1(content).hexdigest()
        return self.reply(200, content, ETag=f'"{tag}"', X_Repo_Commit=SHA)

    def tree(self, files, under, deep):
        inside = [name for name in files if name.startswith(under)]
        if not inside:
            return self.reply(404, {}, X_Error_Code="EntryNotFound")
        folders = {under + name[len(under) :].split("/")[0] for name in inside} - set(inside)
        listed = [{"type": "directory", "oid": SHA, "size": 0, "path": f} for f in folders]
        here = [name for name in inside if deep or "/" not in name[len(under) :]]
        return self.reply(200, listed + [entry(name, files[name]) for name in here])


def entry(name, content):
    return {"type": "file", "oid": SHA, "size": len(content), "path": name}


@contextmanager
def serving(repositories):
    """Serve files by name of (models or datasets, id); the address, and all that is asked for."""
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
    """The model and data sets of the shipped configurations, and some that misbehave."""
    weights = save(pretraining(), metadata={"format": "pt"})
    model = {**tokenizer_files(folder), "config.json": config(), "model.safetensors": weights}
    own = {"auto_map": {"AutoConfig": "my.MyConfig"}, "model_type": "my"}
    models = {
        "google-bert/bert-base-uncased": model,
        "tests/pickled": {**model, **pickled(pretraining())},
        "tests/evil": {**model, **pickled({**pretraining(), "x": Runs()})},
        "tests/remote-code": {**model, "config.json": config(**own), "my.py": CODE.encode()},
        "tests/gated": {"gated": b"manual", **model},
        "tests/damaged": {**model, "model.safetensors": b"nothing"},
    }
    for name in ("tests/pickled", "tests/evil"):
        del models[name]["model.safetensors"]
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
    kinds = {"models": models, "datasets": data}
    return {(kind, name): files for kind, found in kinds.items() for name, files in found.items()}


class Runs:
    """A pickle that would make a file."""

    def __reduce__(self):
        return open, (MARKER, "w")


def config(**more):
    known = {**tiny_model().config.to_dict(), "architectures": ["BertForMaskedLM"], **more}
    return json.dumps(known).encode()


def pretraining():
    """The weights of an encoder with the heads of its pretraining, named as those of 2018."""
    torch.manual_seed(0)
    model = BertForPreTraining(BertConfig(**json.loads(config())))
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)  # so that norms differ from new ones
    return {
        name.replace("LayerNorm.weight", "LayerNorm.gamma")
        .replace("LayerNorm.bias", "LayerNorm.beta"): weight.contiguous()
        for name, weight in model.state_dict().items()
        if not name.startswith("cls.predictions.decoder")
    }  # fmt: skip


def pickled(weights):
    buffer = io.BytesIO()
    torch.save(weights, buffer)
    return {"pytorch_model.bin": buffer.getvalue()}


def tokenizer_files(folder):
    tiny_tokenizer().save_pretrained(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def table(classes, count=12, text="text"):
    """Columns of texts in the tiny vocabulary, with their classes in turn."""
    draw = random.Random(0)
    words, labels = (
        ["awful", "dull", "food", "great", "superb"],
        [i % classes for i in range(count)],
    )
    starts = [" ".join(draw.choices(["the", "film", "was", "plot"], k=3)) for _ in labels]
    return {text: [f"{s} {words[y]}" for s, y in zip(starts, labels, strict=True)], "label": labels}


def parquet(columns, names):
    kinds = {"idx": datasets.Value("int32"), "label": datasets.ClassLabel(names=names)}
    features = {name: kinds.get(name, datasets.Value("string")) for name in columns}
    buffer = io.BytesIO()
    datasets.Dataset.from_dict(columns, features=datasets.Features(features)).to_parquet(buffer)
    return buffer.getvalue()


def laid_out(configurations, default=""):
    """Configurations: a folder, names of the classes, and for each split the columns of files."""
    card, files = "---\nconfigs:\n", {}
    for name, (folder, names, splits) in configurations.items():
        card += f"- config_name: {name}\n" + "  default: true\n" * (name == default)
        card += "  data_files:\n"
        for split, parts in splits.items():
            card += f"  - split: {split}\n    path: {folder}/{split}-*\n"
            for i, columns in enumerate(parts):
                path = f"{folder}/{split}-{i:05d}-of-{len(parts):05d}.parquet"
                files[path] = parquet(columns, names)
    return {"README.md": f"{card}---\n".encode(), **files}


def sst2():
    """Nobody knows the labels of the test split."""
    known = {"idx": list(range(12)), **table(2, text="sentence")}
    splits = {"train": [known], "validation": [known], "test": [{**known, "label": [-1] * 12}]}
    return laid_out({"default": ("data", ["negative", "positive"], splits)})


def sst5():
    """Files of JSON, and a README that says nothing."""
    texts = zip(*table(5, 20).values(), strict=True)
    lines = [json.dumps({"text": t, "label": y, "label_text": str(y)}) for t, y in texts]
    content = "\n".join(lines).encode()
    return {"README.md": b"# SST-5\n", **{f"{s}.jsonl": content for s in ("train", "dev", "test")}}


def tweet_eval():
    """Several configurations, none of which is the default."""
    found = {}
    for name, names in (("emotion", ["anger", "joy"]), ("sentiment", ["neg", "neutral", "pos"])):
        part = [table(len(names))]
        found[name] = (name, names, {"train": part, "validation": part, "test": part})
    return laid_out(found)


def imdb():
    """Sorted by class, without a validation split, and with texts that nobody labelled."""
    texts, labels = zip(
        *sorted(zip(*table(2).values(), strict=True), key=lambda r: r[1]), strict=True
    )
    known = {"text": list(texts), "label": list(labels)}
    splits = {"train": [known], "test": [known], "unsupervised": [{**known, "label": [-1] * 12}]}
    return laid_out({"plain_text": ("plain_text", ["neg", "pos"], splits)}, "plain_text")


def yelp():
    """The label first, the training texts in three files, and no validation split."""
    known = dict(reversed(table(5, 30).items()))
    parts = [{name: column[i::3] for name, column in known.items()} for i in range(3)]
    name = "yelp_review_full"
    return laid_out({name: (name, STARS, {"train": parts, "test": [known]})})
