"""ferret-xai alone, seconds a sentence: run it in an environment that ferret can be installed in.

pip install torch "transformers<5" ferret-xai "numpy<2"
python benchmarks/peer_ferret.py --model RUN/hf --data DIR/sst2/dev.tsv
"""

import argparse
import time

from ferret import GradientExplainer, IntegratedGradientExplainer
from texts import read_texts
from transformers import AutoModelForSequenceClassification, AutoTokenizer


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="a folder with a fine-tuned classifier")
    parser.add_argument("--data", required=True, help="a TSV file with the texts in column one")
    parser.add_argument("--count", type=int, default=20)
    options = parser.parse_args()
    texts = read_texts(options.data)
    texts = texts[:: max(len(texts) // options.count, 1)][: options.count]
    model = AutoModelForSequenceClassification.from_pretrained(options.model).eval()
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    explainers = {
        "gradient": GradientExplainer(model, tokenizer, multiply_by_inputs=False),
        "gradient x input": GradientExplainer(model, tokenizer, multiply_by_inputs=True),
        "integrated gradients": IntegratedGradientExplainer(model, tokenizer),
    }
    for name, explainer in explainers.items():
        explainer(texts[0], target=1)
        start = time.perf_counter()
        for text in texts:
            explainer(text, target=1)
        print(f"ferret {name}: {(time.perf_counter() - start) / len(texts):.4f} s a sentence")


if __name__ == "__main__":
    main()
